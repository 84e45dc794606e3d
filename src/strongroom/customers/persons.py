"""What a customer is: a row, and what is personal of it, sealed for that row.

Beside the personal values, sealed as well, lie 16 random bytes; an event holds the SHA-256 over
both. So what was written can be proved later, and cannot be guessed from the log.
"""

import hashlib
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict

from strongroom.payments.states import digest_of
from strongroom.vault.envelope import Column, FieldKey
from strongroom.vault.errors import Tampered

LABEL: Final = Column("customers", "sealed").label
SALT_BYTES: Final = 16


class Address(Struct, frozen=True, omit_defaults=True):
    """Where bills go; the country as ISO 3166-1 alpha-2."""

    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: str | None = None


class Person(Struct, frozen=True, omit_defaults=True):
    """What is known of a customer, all of it under the customer's own key."""

    name: str | None = None
    email: str | None = None
    phone: str | None = None
    address: Address | None = None
    description: str | None = None
    metadata: dict[str, str] = {}


class Changes(Struct, frozen=True, omit_defaults=True):
    """What is to be different; what is not named stays, None takes it away."""

    name: str | UnsetType | None = UNSET
    email: str | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET
    address: Address | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


NOBODY: Final = Person()


class Customer(Struct, frozen=True, kw_only=True):
    """A customer's row: references and sealed bytes, nothing personal in the clear."""

    legal_entity_id: UUID
    customer_id: UUID
    version: int
    sealed: bytes
    email_index: bytes | None
    digest_salt: bytes
    created_at: datetime
    updated_at: datetime

    def row_digest(self) -> bytes:
        """SHA-256 over the row's canonical JSON: 32 bytes."""
        return digest_of(self)


class Row(Protocol):
    """One row by column name, as asyncpg gives it."""

    def __getitem__(self, name: str, /) -> Any:
        """The column's value."""
        ...


_decode: Final = msgspec.json.Decoder(Person).decode


def seal_person(key: FieldKey, customer_id: UUID, person: Person, salt: bytes) -> bytes:
    """The person, for the customer's row alone; `salt` is fresh, SALT_BYTES long."""
    return key.seal(LABEL, customer_id.bytes, salt + msgspec.json.encode(person))


def open_person(key: FieldKey, customer: Customer) -> Person:
    """What was sealed for this row. Raises Unreadable."""
    content = key.open(LABEL, customer.customer_id.bytes, customer.sealed)
    try:
        return _decode(content[SALT_BYTES:])
    except msgspec.MsgspecError:
        raise Tampered from None  # it opened, so a process of ours sealed something else


def commitment_to(person: Person, salt: bytes) -> bytes:
    """What an event says of the person: 32 bytes that prove it and do not tell it."""
    return hashlib.sha256(salt + msgspec.json.encode(person)).digest()


def changed(person: Person, changes: Changes) -> tuple[Person, list[str]]:
    """The person with the changes, and the names of the fields that are different now."""
    wanted = {name: value for name, value in asdict(changes).items() if value is not UNSET}
    after = Person(**{**asdict(person), **wanted})
    return after, [name for name in wanted if getattr(after, name) != getattr(person, name)]


def customer_of(row: Row) -> Customer:
    """The customer in a row of the table customers."""
    return Customer(**{name: row[name] for name in Customer.__struct_fields__})

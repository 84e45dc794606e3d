"""Customers in the database: made, changed, read, found by e-mail address.

A key of the customer's own is made in the database of the keys before its row is written: a crash
in between leaves a key that seals nothing.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import structlog
from msgspec import Struct

from strongroom.clock import microseconds_since_epoch
from strongroom.customers.persons import (
    NOBODY,
    SALT_BYTES,
    Changes,
    Customer,
    Person,
    changed,
    commitment_to,
    customer_of,
    open_person,
    seal_person,
)
from strongroom.database import Connection, reading, statements, writing
from strongroom.ids import new_id
from strongroom.vault.blind_index import EMAIL, blind_index
from strongroom.vault.envelope import FieldKey
from strongroom.vault.errors import KeyMissing, SubjectDestroyed, Unreadable
from strongroom.vault.keys import EntityKeys, Keyring
from strongroom.vault.subjects import Subjects

SQL: Final = statements("strongroom.customers", "customers.sql")
ERASED_FINGERPRINT: Final = bytes(33)
"""What stands for a fingerprint whose owner was erased."""
HIGHEST: Final = UUID(int=(1 << 128) - 1)

log = structlog.get_logger()


class NoSuchCustomer(Exception):
    """The legal entity has no such customer."""


class KeyReused(Exception):
    """The Idempotency-Key stands for another request."""


class Wish(Struct, frozen=True, kw_only=True):
    """Who asks, under which Idempotency-Key, and the canonical form of what is asked."""

    legal_entity_id: UUID
    idempotency_key: str
    content: bytes
    actor: str
    at: datetime


class Known(Struct, frozen=True, kw_only=True):
    """A customer with what is personal of it; `erased`: its key was destroyed, for good."""

    customer: Customer
    person: Person = NOBODY
    erased: bool = False
    replayed: bool = False


class Page(Struct, frozen=True):
    """Customers, newest first, and below which one the next page begins."""

    known: list[Known]
    below: UUID | None


class Register:
    """The customers of all legal entities, for one process.

    All methods raise errors of UNAVAILABLE of vault.keys, and those of UNREACHABLE.
    """

    def __init__(self, pool: asyncpg.Pool, keyring: Keyring, subjects: Subjects) -> None:
        self._pool, self.keyring, self.subjects = pool, keyring, subjects

    async def create(self, wish: Wish, person: Person) -> Known:
        """A new customer, or the one that this key made. Raises KeyReused."""
        entity = wish.legal_entity_id
        keys = await self.keyring.entity(entity)
        before = await self._replayed(wish, keys)
        if before is not None:
            return before
        customer_id = new_id(microseconds_since_epoch(wish.at), entity)
        key = await self.subjects.create(entity, customer_id, wish.at)
        salt = os.urandom(SALT_BYTES)
        customer = Customer(
            legal_entity_id=entity,
            customer_id=customer_id,
            version=1,
            sealed=seal_person(key, customer_id, person, salt),
            email_index=_index(keys, person),
            digest_salt=os.urandom(16),
            created_at=wish.at,
            updated_at=wish.at,
        )
        async with writing(self._pool, [entity]) as connection:
            claimed = await claim(connection, wish, keys, customer_id)
            if claimed:
                await connection.execute(
                    SQL["add_customer"],
                    entity,
                    customer_id,
                    customer.sealed,
                    customer.email_index,
                    customer.digest_salt,
                    wish.at,
                )
                names = [name for name in person.__struct_fields__ if getattr(person, name)]
                commitment = commitment_to(person, salt)
                await _tell(connection, wish, customer, "customer.created", names, commitment)
        if claimed:
            return Known(customer=customer, person=person)
        return await self._surely_replayed(wish, keys)

    async def change(self, wish: Wish, customer_id: UUID, changes: Changes) -> Known:
        """The customer with the changes; under a key that was used, as it now stands.

        Raises KeyReused, NoSuchCustomer, SubjectDestroyed and Unreadable.
        """
        entity = wish.legal_entity_id
        keys = await self.keyring.entity(entity)
        before = await self._replayed(wish, keys, customer_id)
        if before is not None:
            return before
        await self._row(entity, customer_id)
        key = await self.subjects.of(entity, customer_id)
        async with writing(self._pool, [entity]) as connection:
            # The row first: two that change one customer wait for each other here, in one order.
            row = await connection.fetchrow(SQL["lock_customer"], entity, customer_id)
            if row is None:
                raise NoSuchCustomer
            await self.subjects.of(entity, customer_id)  # erased meanwhile, it stays erased
            claimed = await claim(connection, wish, keys, customer_id)
            if claimed:
                return await _write(connection, wish, customer_of(row), (key, keys), changes)
        return await self._surely_replayed(wish, keys, customer_id)

    async def get(self, legal_entity_id: UUID, customer_id: UUID) -> Known:
        """The customer. Raises NoSuchCustomer."""
        customer = await self._row(legal_entity_id, customer_id)
        [known] = await self._opened(legal_entity_id, [customer])
        return known

    async def page(
        self, legal_entity_id: UUID, email: str | None, below: UUID | None, limit: int
    ) -> Page:
        """A page of customers, of all or of those with this address.

        Who was erased is found by no address: a restore may have brought its digest back.
        """
        name, extra = "list_customers", []
        if email is not None:
            keys = await self.keyring.entity(legal_entity_id)
            name, extra = "customers_by_email", [blind_index(keys, EMAIL, email)]
        async with reading(self._pool, [legal_entity_id]) as connection:
            rows = await connection.fetch(
                SQL[name], legal_entity_id, below or HIGHEST, limit + 1, *extra
            )
        customers = [customer_of(row) for row in rows[:limit]]
        known = await self._opened(legal_entity_id, customers)
        more = customers[-1].customer_id if len(rows) > limit else None
        return Page([one for one in known if email is None or not one.erased], more)

    async def _row(self, legal_entity_id: UUID, customer_id: UUID) -> Customer:
        async with reading(self._pool, [legal_entity_id]) as connection:
            row = await connection.fetchrow(SQL["customer"], legal_entity_id, customer_id)
        if row is None:
            raise NoSuchCustomer
        return customer_of(row)

    async def _opened(
        self, legal_entity_id: UUID, customers: Sequence[Customer]
    ) -> Sequence[Known]:
        if not customers:
            return []
        ids = [customer.customer_id for customer in customers]
        found = await self.subjects.of_all(legal_entity_id, ids)
        return [_opened(one, found.keys, found.refused) for one in customers]

    async def _replayed(self, wish: Wish, keys: EntityKeys, of: UUID | None = None) -> Known | None:
        """What the wish's key made before, as it now stands; `of`: whom it changes.

        Raises KeyReused.
        """
        held = await holder(self._pool, wish, keys)
        if held is None:
            return None
        try:
            known = await self.get(wish.legal_entity_id, held.owner_id)
        except NoSuchCustomer:
            raise KeyReused from None
        if not held.is_surely_it and of not in (None, held.owner_id):
            raise KeyReused
        return msgspec.structs.replace(known, replayed=True)

    async def _surely_replayed(self, wish: Wish, keys: EntityKeys, of: UUID | None = None) -> Known:
        """After the key was found taken, which waits for who takes it."""
        known = await self._replayed(wish, keys, of)
        if known is None:
            raise asyncpg.SerializationError("a key that was held is free")
        return known


def _opened(
    customer: Customer, keys: Mapping[UUID, FieldKey], refused: Mapping[UUID, Exception]
) -> Known:
    """One that cannot be opened, for it was changed from outside, is shown as nobody."""
    why = refused.get(customer.customer_id)
    if isinstance(why, SubjectDestroyed):
        return Known(customer=customer, erased=True)
    try:
        if why is not None:
            raise why
        return Known(customer=customer, person=open_person(keys[customer.customer_id], customer))
    except (Unreadable, KeyMissing) as error:
        name = type(error).__name__
        log.error("customer_unreadable", error=name, ids=[customer.customer_id])
        return Known(customer=customer)


async def claim(connection: Connection, wish: Wish, keys: EntityKeys, owner_id: UUID) -> bool:
    """Takes the wish's key for what it makes or changes; False where it is taken.

    Waits for whoever is taking it in this moment.
    """
    claimed = await connection.fetchval(
        SQL["claim_customer_key"],
        wish.legal_entity_id,
        wish.idempotency_key,
        fingerprint(wish, keys),
        owner_id,
        wish.at,
    )
    return claimed is not None


async def _write(
    connection: Connection,
    wish: Wish,
    before: Customer,
    sealing: tuple[FieldKey, EntityKeys],
    changes: Changes,
) -> Known:
    """The change itself; what changes nothing leaves no event."""
    key, keys = sealing
    person, names = changed(open_person(key, before), changes)
    if not names:
        return Known(customer=before, person=person)
    salt = os.urandom(SALT_BYTES)
    after = msgspec.structs.replace(
        before,
        version=before.version + 1,
        sealed=seal_person(key, before.customer_id, person, salt),
        email_index=_index(keys, person),
        updated_at=wish.at,
    )
    await connection.execute(
        SQL["change_customer"],
        after.legal_entity_id,
        after.customer_id,
        after.version,
        after.sealed,
        after.email_index,
        after.updated_at,
    )
    commitment = commitment_to(person, salt)
    await _tell(connection, wish, after, "customer.changed", names, commitment)
    return Known(customer=after, person=person)


async def _tell(
    connection: Connection,
    wish: Wish,
    after: Customer,
    kind: str,
    names: Sequence[str],
    commitment: bytes,
) -> None:
    """The event of a change: which fields, and what proves them; none of their values."""
    content = {
        "fields": names,
        "person": commitment.hex(),
        "idempotency_key": wish.idempotency_key,
    }
    await connection.execute(
        SQL["add_customer_event"],
        after.legal_entity_id,
        after.customer_id,
        after.version,
        kind,
        wish.actor,
        wish.at,
        after.row_digest(),
        msgspec.json.encode(content, order="deterministic"),
    )


def _index(keys: EntityKeys, person: Person) -> bytes | None:
    return None if person.email is None else blind_index(keys, EMAIL, person.email)


class Held(NamedTuple):
    """What a key that was used made or changed, and whether by this very wish.

    Of what was erased nobody can say that any more: a wish about it is answered by what is left.
    """

    owner_id: UUID
    is_surely_it: bool


async def holder(pool: asyncpg.Pool, wish: Wish, keys: EntityKeys) -> Held | None:
    """Whose the wish's key is; None where it is free. Raises KeyReused for another wish's."""
    async with reading(pool, [wish.legal_entity_id]) as connection:
        held = await connection.fetchrow(
            SQL["customer_key"], wish.legal_entity_id, wish.idempotency_key
        )
    if held is None:
        return None
    is_erased = held["fingerprint"] == ERASED_FINGERPRINT
    if not is_erased and held["fingerprint"] != fingerprint(wish, keys):
        raise KeyReused
    return Held(held["owner_id"], not is_erased)


def fingerprint(wish: Wish, keys: EntityKeys) -> bytes:
    """A version byte and a keyed digest: who has the database alone cannot try values out."""
    return b"\x02" + keys.mac(b"customers\n" + wish.content)

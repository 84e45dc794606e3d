"""What a customer agreed to: to be charged by a payment method while away.

Kept with the moment, the version of the text that was shown, and from where it was given, which is
sealed under the customer's own key and is gone with it. A consent is never changed: what is agreed
to later is another one, and the newest counts.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from strongroom.database import Connection, rows_by_id, statements
from strongroom.payments.ways import Purpose
from strongroom.vault.envelope import Column
from strongroom.vault.subjects import Subjects

SQL: Final = statements("strongroom.customers", "consents.sql")
LABEL: Final = Column("consents", "sealed").label


class Origin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """From where a consent was given: personal, and never shown again."""

    ip_address: str | None = None
    user_agent: str | None = None


class Agreed(Struct, frozen=True, kw_only=True):
    """A consent as a caller tells of it."""

    given_at: datetime
    purpose: Purpose
    text_version: str
    origin: Origin = Origin()


class Consent(Struct, frozen=True, kw_only=True):
    """A consent as it is kept; `sealed` is its Origin, None where nothing was told of that."""

    recorded_at: datetime
    given_at: datetime
    purpose: Purpose
    text_version: str
    sealed: bytes | None

    def told(self) -> dict[str, Any]:
        """What an event says of it: nothing of its origin but a digest of what is sealed."""
        return {
            "given_at": self.given_at,
            "purpose": self.purpose,
            "text_version": self.text_version,
            "origin_digest": None if self.sealed is None else sha256(self.sealed).hexdigest(),
        }


async def sealed_consent(
    subjects: Subjects,
    legal_entity_id: UUID,
    customer_id: UUID,
    payment_method_id: UUID,
    agreed: Agreed,
    now: datetime,
) -> Consent:
    """The consent, ready to be written. Raises SubjectDestroyed and as Subjects.of does."""
    sealed, key = None, await subjects.of(legal_entity_id, customer_id)
    if agreed.origin != Origin():
        sealed = key.seal(LABEL, payment_method_id.bytes, msgspec.json.encode(agreed.origin))
    return Consent(
        recorded_at=now,
        given_at=agreed.given_at,
        purpose=agreed.purpose,
        text_version=agreed.text_version,
        sealed=sealed,
    )


async def opened_consent(
    subjects: Subjects,
    legal_entity_id: UUID,
    customer_id: UUID,
    payment_method_id: UUID,
    consent: Consent,
) -> Agreed:
    """The consent as it was told of, so that it can be kept for another payment method.

    Raises SubjectDestroyed and as Subjects.of does.
    """
    origin = Origin()
    if consent.sealed is not None:
        row = payment_method_id.bytes
        content = await subjects.open(legal_entity_id, customer_id, LABEL, row, consent.sealed)
        origin = msgspec.json.decode(content, type=Origin)
    return Agreed(
        given_at=consent.given_at,
        purpose=consent.purpose,
        text_version=consent.text_version,
        origin=origin,
    )


async def add_consent(
    connection: Connection, legal_entity_id: UUID, payment_method_id: UUID, consent: Consent
) -> None:
    """Writes it down."""
    await connection.execute(
        SQL["add_consent"],
        legal_entity_id,
        payment_method_id,
        consent.recorded_at,
        consent.given_at,
        consent.purpose,
        consent.text_version,
        consent.sealed,
    )


async def newest_consents(pool: asyncpg.Pool, wanted: Mapping[UUID, UUID]) -> dict[UUID, Consent]:
    """By payment method, of `wanted` (by payment method its legal entity), what counts."""
    if not wanted:
        return {}
    rows = await rows_by_id(pool, SQL["newest_consents"], wanted)
    return {
        row["payment_method_id"]: Consent(**{name: row[name] for name in Consent.__struct_fields__})
        for row in rows
    }

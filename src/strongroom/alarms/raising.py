"""An alarm is raised in the transaction that finds its cause, with an event in the log.

Once for each subject while it is open: what comes a thousand times is one alarm. An alarm has an id
and versions as a payment has, so its events stand beside those of payments.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.clock import microseconds_since_epoch
from strongroom.database import Connection, statements
from strongroom.ids import bucket_of, new_id
from strongroom.log.noting import by_hand
from strongroom.payments.states import digest_of

SQL: Final = statements("strongroom.alarms", "alarms.sql")

Kind = Literal[
    "webhook_mismatched",
    "webhook_id_reused",
    "ghost_charge",
    "unmarked_charge",
    "payout_failed",
    "tax_not_recorded",
]
"""What there is an alarm for; `advice.py` has what to do about each."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Alarm(Struct, frozen=True, kw_only=True):
    """One alarm: of whom, what, about which object or event of the gateway, and why."""

    legal_entity_id: UUID
    alarm_id: UUID
    kind: Kind
    gateway_account_id: UUID
    subject: str
    reason: str
    raised_at: datetime

    def row_digest(self) -> bytes:
        """SHA-256 over the row's canonical JSON."""
        return digest_of(self)

    def as_json(self) -> bytes:
        """The row in canonical JSON."""
        return msgspec.json.encode(self, order="deterministic")


def alarm(
    kind: Kind,
    *,
    legal_entity_id: UUID,
    gateway_account_id: UUID,
    subject: str,
    reason: str,
    at: datetime,
) -> Alarm:
    """A new one, not yet raised."""
    return Alarm(
        legal_entity_id=legal_entity_id,
        alarm_id=new_id(microseconds_since_epoch(at), legal_entity_id),
        kind=kind,
        gateway_account_id=gateway_account_id,
        subject=subject,
        reason=reason,
        raised_at=at,
    )


async def raise_alarms(connection: Connection, alarms: Sequence[Alarm], actor: str) -> int:
    """Raises those that are not open already; returns how many that were.

    The connection is in a transaction that sees their legal entities.
    """
    if not alarms:
        return 0
    rows = await connection.fetch(
        SQL["raise_alarms"],
        [one.legal_entity_id for one in alarms],
        [one.alarm_id for one in alarms],
        [bucket_of(one.legal_entity_id) for one in alarms],
        [one.kind for one in alarms],
        [one.gateway_account_id for one in alarms],
        [one.subject for one in alarms],
        [one.reason for one in alarms],
        [one.raised_at for one in alarms],
        [one.row_digest() for one in alarms],
        [one.as_json() for one in alarms],
        actor,
    )
    return len(rows)


async def clear_alarm(
    connection: Connection,
    legal_entity_id: UUID,
    alarm_id: UUID,
    *,
    by: str,
    because: str,
    at: datetime,
) -> Alarm | None:
    """Ends one, with who did by hand, and why; None where no such alarm is open."""
    row = await connection.fetchrow(SQL["alarm_to_clear"], legal_entity_id, alarm_id)
    if row is None:
        return None
    found = Alarm(**dict(row))
    ended = {**by_hand(), "cleared_at": at, "cleared_by": by, "cleared_because": because}
    payload = msgspec.json.encode(ended, order="deterministic")
    digest = hashlib.sha256(found.as_json() + payload).digest()
    await connection.execute(
        SQL["clear_alarm"], legal_entity_id, alarm_id, at, by, because, digest, payload
    )
    return found

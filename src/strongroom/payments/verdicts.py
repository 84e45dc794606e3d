"""Writes decisions: payments with their events and jobs, and what they leave in attempts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.database import Connection, statements
from strongroom.payments.journal import Verdict, attempt_columns, leaves_attempt, verdict_columns
from strongroom.payments.reviews import of_payment, write_reviews
from strongroom.payments.states import Rest, Schedule

SQL: Final = statements("strongroom.payments", "engine.sql")
CALLS_KEPT_MAX: Final = 50
"""Calls that one attempt remembers; looks that learn nothing are not kept at all."""


async def write_verdicts(
    connection: Connection, verdicts: Sequence[Verdict], now: datetime, actor: str
) -> set[UUID]:
    """Writes decisions; returns the payments whose version was not the one decided on."""
    changed = [v for v in verdicts if v.decision.payment is not v.payment]
    lost: set[UUID] = set()
    if changed:
        changed.sort(key=lambda v: (v.payment.legal_entity_id.bytes, v.payment.payment_id.bytes))
        rows = await connection.fetch(SQL["apply"], *verdict_columns(changed), actor)
        applied = {row["payment_id"] for row in rows}
        lost = {v.payment.payment_id for v in changed} - applied
        frozen = [
            one
            for v in changed
            if v.payment.payment_id in applied
            for one in of_payment(v.payment, v.decision.payment)
        ]
        await write_reviews(connection, frozen)
    unchanged = [v for v in verdicts if v.decision.payment is v.payment]
    if unchanged:
        await _write_unchanged(connection, unchanged, now)
    of_attempts = [v for v in verdicts if v.payment.payment_id not in lost and leaves_attempt(v)]
    if of_attempts:
        rows = await connection.fetch(
            SQL["settle_attempts"], *attempt_columns(of_attempts), now, CALLS_KEPT_MAX
        )
        if len(rows) != len(of_attempts):
            raise asyncpg.SerializationError("an attempt got an id while it was given up")
    return lost


async def _write_unchanged(
    connection: Connection, verdicts: Sequence[Verdict], now: datetime
) -> None:
    """Nothing changed in these payments; only when to look again."""
    later = [v for v in verdicts if isinstance(v.decision.effect, Schedule)]
    if later:
        await connection.execute(
            SQL["reschedule"],
            [v.payment.legal_entity_id for v in later],
            [v.payment.payment_id for v in later],
            [v.decision.effect.run_at for v in later],  # type: ignore[union-attr]
            [v.lease for v in later],
            now,
        )
    over = [v for v in verdicts if isinstance(v.decision.effect, Rest)]
    if over:
        await connection.execute(
            SQL["remove_jobs"],
            [v.payment.legal_entity_id for v in over],
            [v.payment.payment_id for v in over],
        )

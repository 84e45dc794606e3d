"""Locks on payments for those who act for them: what moved on, and what somebody else holds.

Whoever waits for a lock on payments holds no job that a caller could wait for: claims, which hold
jobs, take only payments that are free. So callers and workers never wait for each other in a ring.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from strongroom.database import Connection, statements
from strongroom.payments.journal import Verdict
from strongroom.payments.states import Payment

SQL: Final = statements("strongroom.payments", "commands.sql")


async def stale(connection: Connection, verdicts: Sequence[Verdict]) -> set[UUID]:
    """The payments that moved on while an answer was decided to change nothing in them.

    What a change is decided on, `apply` compares by itself. A decision to wait, or to send, has to
    be compared here: a caller may have asked for a capture or a cancel in between. All are locked,
    in one order, when one needs it.
    """
    if all(v.decision.payment is not v.payment for v in verdicts):
        return set()
    seen = [v.payment for v in verdicts]
    rows = await connection.fetch(SQL["lock_payments"], *_ids_in_order(seen))
    versions = {row["payment_id"]: row["version"] for row in rows}
    return {p.payment_id for p in seen if versions.get(p.payment_id) != p.version}


async def held_elsewhere(connection: Connection, verdicts: Sequence[Verdict]) -> set[UUID]:
    """The payments that would change but are held by somebody else now; the others are locked."""
    changing = [v.payment for v in verdicts if v.decision.payment is not v.payment]
    if not changing:
        return set()
    rows = await connection.fetch(SQL["lock_free_payments"], *_ids_in_order(changing))
    return {payment.payment_id for payment in changing} - {row["payment_id"] for row in rows}


def _ids_in_order(payments: Sequence[Payment]) -> tuple[list[UUID], list[UUID]]:
    ordered = sorted(payments, key=lambda p: (p.legal_entity_id.bytes, p.payment_id.bytes))
    return [p.legal_entity_id for p in ordered], [p.payment_id for p in ordered]

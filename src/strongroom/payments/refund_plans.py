"""When somebody comes back to a refund, and when the window of its key begins."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from strongroom.database import Connection, statements
from strongroom.payments.claims import RefundSettlement
from strongroom.payments.refunds import RefundDecision, Refused
from strongroom.payments.rows import json_text
from strongroom.payments.states import Rest, Schedule

SQL: Final = statements("strongroom.payments", "refunds.sql")
CALLS_KEPT_MAX: Final = 50


async def plan(
    connection: Connection,
    decided: Sequence[tuple[RefundSettlement, RefundDecision]],
    now: datetime,
) -> None:
    """When to come back, and the calls that no event remembers."""
    later = [
        (item, decision.effect.run_at)
        for item, decision in decided
        if isinstance(decision.effect, Schedule)
    ]
    leases: dict[UUID, int] = {}
    if later:
        rows = await connection.fetch(
            SQL["reschedule_refunds"],
            [item.refund.legal_entity_id for item, _ in later],
            [item.refund.refund_id for item, _ in later],
            [run_at for _, run_at in later],
            [item.lease for item, _ in later],
            now,
        )
        leases = {row["refund_id"]: row["lease"] for row in rows}
    # Whoever has had the lease since may have sent it: then the window of its key has begun.
    windows = [
        decision.refund
        for item, decision in decided
        if item.refund.opened_at != decision.refund.opened_at
        and leases.get(item.refund.refund_id) == item.lease
    ]
    for is_anew, statement, more in (
        (False, "unopen_refunds", ()),
        (True, "reopen_refunds", (now,)),
    ):
        some = [refund for refund in windows if (refund.opened_at is not None) == is_anew]
        if some:
            ids = [one.legal_entity_id for one in some], [one.refund_id for one in some]
            await connection.execute(SQL[statement], *ids, *more)
    over = [item.refund for item, decision in decided if isinstance(decision.effect, Rest)]
    if over:
        await connection.execute(
            SQL["remove_refund_jobs"],
            [refund.legal_entity_id for refund in over],
            [refund.refund_id for refund in over],
        )
    kept = [
        item
        for item, decision in decided
        if decision.kind is None and item.answered.asked == "send"
    ]
    if kept:
        await connection.execute(
            SQL["keep_refund_calls"],
            [item.refund.legal_entity_id for item in kept],
            [item.refund.refund_id for item in kept],
            [json_text([item.answered.call]) for item in kept],
            CALLS_KEPT_MAX,
        )


async def claimed_since(connection: Connection, wave: Sequence[RefundSettlement]) -> set[UUID]:
    """Of those that were refused at their first send, what somebody else may have sent since.

    Asked under the locks of their payments: who sends one again has held that lock before it, for
    the look, and after its claim.
    """
    refused = [
        item for item in wave if item.answered.first and isinstance(item.answered.answer, Refused)
    ]
    if not refused:
        return set()
    rows = await connection.fetch(
        SQL["leases_of_refunds"],
        [item.refund.legal_entity_id for item in refused],
        [item.refund.refund_id for item in refused],
    )
    leases = {row["refund_id"]: row["lease"] for row in rows}
    ids = {item.refund.refund_id: item.lease for item in refused}
    return {refund_id for refund_id, lease in ids.items() if leases.get(refund_id) != lease}

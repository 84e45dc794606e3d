"""Between database rows and disputes, and reading them."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from strongroom.database import reading, rereading, rows_by_id, statements
from strongroom.payments.reads import HIGHEST
from strongroom.payments.rows import Row
from strongroom.settlement.answers import AnswerShown, DisputeAnswer
from strongroom.settlement.disputes import Dispute

SQL: Final = statements("strongroom.settlement", "disputes.sql")
_ANSWER_FIELDS: Final = AnswerShown.__struct_fields__


Shown = tuple[Dispute, AnswerShown | None]
"""A dispute and the newest answer to it."""


class DisputePage(Struct, frozen=True):
    """Disputes, newest first; `below` is where the next page begins, None at the end."""

    disputes: list[Shown]
    below: UUID | None


def dispute_of(row: Row) -> Dispute:
    """The dispute in a row of the table disputes."""
    return Dispute(**{name: row[name] for name in Dispute.__struct_fields__})


def shown_of(row: Row) -> Shown:
    """A row of the statements that read for callers."""
    answer = None
    if row["answer_kind"] is not None:
        answer = AnswerShown(**{name: row["answer_" + name] for name in _ANSWER_FIELDS})
    return dispute_of(row), answer


def answer_of(row: Row) -> DisputeAnswer:
    """The answer in a row of the table dispute_answers."""
    return DisputeAnswer(**{name: row[name] for name in DisputeAnswer.__struct_fields__})


def dispute_summary(dispute: Dispute) -> dict[str, Any]:
    """What an event says of a dispute; the digest covers the whole of its row."""
    return {
        "id": dispute.dispute_id,
        "status": dispute.status,
        "amount_minor": dispute.amount_minor,
        "currency": dispute.currency,
        "disputed_minor": dispute.disputed_minor,
        "reason": dispute.reason,
        "evidence_due_by": dispute.evidence_due_by,
        "gateway_account_id": dispute.gateway_account_id,
        "gateway_object_id": dispute.gateway_object_id,
        "row_digest": dispute.row_digest().hex(),
    }


async def read_disputes(pool: asyncpg.Pool, wanted: Mapping[UUID, UUID]) -> list[Shown]:
    """Disputes by id, unknown ones left out; `wanted` maps dispute ids to legal entities."""
    return [shown_of(row) for row in await rows_by_id(pool, SQL["disputes_by_id"], wanted)]


@rereading
async def list_disputes(
    pool: asyncpg.Pool,
    legal_entity_id: UUID,
    payment_id: UUID | None,
    below: UUID | None,
    limit: int,
) -> DisputePage:
    """One page of a legal entity's disputes, of one payment or of all, newest first."""
    name, extra = "list_disputes", list[UUID]()
    if payment_id is not None:
        name, extra = "list_disputes_of_payment", [payment_id]
    async with reading(pool, [legal_entity_id]) as connection:
        rows = await connection.fetch(
            SQL[name], legal_entity_id, below or HIGHEST, limit + 1, *extra
        )
    disputes = [shown_of(row) for row in rows[:limit]]
    return DisputePage(disputes, disputes[-1][0].dispute_id if len(rows) > limit else None)

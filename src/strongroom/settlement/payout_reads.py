"""Reading payouts, with what they are made of."""

from typing import Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from strongroom.database import reading, rereading
from strongroom.payments.reads import HIGHEST
from strongroom.payments.rows import Row
from strongroom.settlement.payout_desk import SQL, payout_of
from strongroom.settlement.payouts import Payout

ITEMS_MAX: Final = 1000
"""Of one payout, what an answer shows; the sums are over all."""


class Reconciled(Struct, frozen=True, kw_only=True):
    """A payout with its items, and how much of it is nothing of ours; in minor units."""

    payout: Payout
    items: list[Row]
    count: int
    net_minor: int
    unknown: int
    unknown_minor: int


@rereading
async def read_payout(
    pool: asyncpg.Pool, legal_entity_id: UUID, payout_id: UUID
) -> Reconciled | None:
    """One payout with what it is made of; None when there is none."""
    async with reading(pool, [legal_entity_id]) as connection:
        rows = await connection.fetch(SQL["payouts_by_id"], [legal_entity_id], [payout_id])
        if not rows:
            return None
        items = await connection.fetch(SQL["items_of"], legal_entity_id, payout_id, ITEMS_MAX)
        [sums] = await connection.fetch(SQL["sums_of"], legal_entity_id, payout_id)
    return Reconciled(
        payout=payout_of(rows[0]),
        items=list(items),
        count=sums["items"],
        net_minor=sums["net_minor"],
        unknown=sums["unknown"],
        unknown_minor=sums["unknown_minor"],
    )


@rereading
async def list_payouts(
    pool: asyncpg.Pool, legal_entity_id: UUID, below: UUID | None, limit: int
) -> tuple[list[Payout], UUID | None]:
    """One page of a legal entity's payouts, newest first, and where the next one begins."""
    async with reading(pool, [legal_entity_id]) as connection:
        rows = await connection.fetch(
            SQL["list_payouts"], legal_entity_id, below or HIGHEST, limit + 1
        )
    payouts = [payout_of(row) for row in rows[:limit]]
    return payouts, payouts[-1].payout_id if len(rows) > limit else None

"""Reading payments: by id, as a list, and with everything that is known about one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from strongroom.clock import microseconds_since_epoch
from strongroom.database import reading, rereading, rows_by_id, statements
from strongroom.ids import first_at
from strongroom.payments.refunds import Refund
from strongroom.payments.rows import payment_of, refund_of
from strongroom.payments.states import Payment, Status

SQL: Final = statements("strongroom.payments", "payments.sql")
REFUNDS_SQL: Final = statements("strongroom.payments", "commands.sql")
SCAN_ROWS: Final = 1000
SCANS_MAX: Final = 10
"""A page that filters by status looks at most at this many times SCAN_ROWS rows."""
LOWEST: Final = UUID(int=0)
HIGHEST: Final = UUID(int=(1 << 128) - 1)


class Filters(Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; times are those of creation, the lower bound included."""

    status: Status | None = None
    merchant_reference: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None


class Page(Struct, frozen=True):
    """Payments, newest first; `below` is where the next page begins, None at the end.

    A page may hold fewer than asked for while there is a next one.
    """

    payments: list[Payment]
    below: UUID | None


class RefundPage(Struct, frozen=True):
    """Refunds, newest first; `below` is where the next page begins, None at the end."""

    refunds: list[Refund]
    below: UUID | None


class History(Struct, frozen=True, kw_only=True):
    """Everything known about one payment."""

    payment: Payment
    events: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    refunds: list[dict[str, Any]]
    job: dict[str, Any] | None


async def read_payments(pool: asyncpg.Pool, wanted: Mapping[UUID, UUID]) -> list[Payment]:
    """Payments by id, unknown ones left out; `wanted` maps payment ids to legal entities."""
    return [payment_of(row) for row in await rows_by_id(pool, SQL["payments_by_id"], wanted)]


async def read_refunds(pool: asyncpg.Pool, wanted: Mapping[UUID, UUID]) -> list[Refund]:
    """Refunds by id, unknown ones left out; `wanted` maps refund ids to legal entities."""
    return [refund_of(row) for row in await rows_by_id(pool, REFUNDS_SQL["refunds_by_id"], wanted)]


@rereading
async def list_refunds(
    pool: asyncpg.Pool,
    legal_entity_id: UUID,
    payment_id: UUID | None,
    below: UUID | None,
    limit: int,
) -> RefundPage:
    """One page of a legal entity's refunds, of one payment or of all, newest first."""
    name, extra = "list_refunds", ()
    if payment_id is not None:
        name, extra = "list_refunds_of_payment", (payment_id,)  # type: ignore[assignment]
    async with reading(pool, [legal_entity_id]) as connection:
        rows = await connection.fetch(
            REFUNDS_SQL[name], legal_entity_id, below or HIGHEST, limit + 1, *extra
        )
    refunds = [refund_of(row) for row in rows[:limit]]
    return RefundPage(refunds, refunds[-1].refund_id if len(rows) > limit else None)


@rereading
async def list_payments(
    pool: asyncpg.Pool, legal_entity_id: UUID, filters: Filters, below: UUID | None, limit: int
) -> Page:
    """One page of a legal entity's payments, newest first."""
    lowest = _first_at(filters.created_from) or LOWEST
    highest = _first_at(filters.created_before) or HIGHEST
    cursor = min(below, highest) if below is not None else highest
    found: list[Payment] = []
    name, extra = "list_payments", ()
    if filters.merchant_reference is not None:
        name, extra = "list_by_reference", (filters.merchant_reference,)  # type: ignore[assignment]
    rows_wanted = limit + 1 if filters.status is None else SCAN_ROWS
    async with reading(pool, [legal_entity_id]) as connection:
        for _ in range(SCANS_MAX):
            rows = await connection.fetch(
                SQL[name], legal_entity_id, cursor, lowest, rows_wanted, *extra
            )
            for row in rows:
                if filters.status is None or row["status"] == filters.status:
                    if len(found) == limit:
                        return Page(found, found[-1].payment_id)
                    found.append(payment_of(row))
            if len(rows) < rows_wanted:
                return Page(found, None)
            cursor = rows[-1]["payment_id"]
    return Page(found, cursor)


def _first_at(moment: datetime | None) -> UUID | None:
    return None if moment is None else first_at(microseconds_since_epoch(moment))


@rereading
async def read_history(
    pool: asyncpg.Pool, legal_entity_id: UUID, payment_id: UUID
) -> History | None:
    """Everything known about a payment, in order; None when there is none."""
    async with reading(pool, [legal_entity_id]) as connection:
        rows = await connection.fetch(SQL["payments_by_id"], [legal_entity_id], [payment_id])
        if not rows:
            return None
        events = await connection.fetch(SQL["history_events"], legal_entity_id, payment_id)
        attempts = await connection.fetch(SQL["history_attempts"], legal_entity_id, payment_id)
        refunds = await connection.fetch(SQL["history_refunds"], legal_entity_id, payment_id)
        job = await connection.fetchrow(SQL["history_job"], legal_entity_id, payment_id)
    return History(
        payment=payment_of(rows[0]),
        events=[{**row, "payload": msgspec.json.decode(row["payload"])} for row in events],
        attempts=[
            {
                **row,
                "calls": msgspec.json.decode(row["calls"]),
                "parameters": msgspec.json.decode(row["parameters"]),
            }
            for row in attempts
        ],
        refunds=[{**row, "calls": msgspec.json.decode(row["calls"])} for row in refunds],
        job=dict(job) if job is not None else None,
    )

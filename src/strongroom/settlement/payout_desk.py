"""Looks at payouts: what the gateway shows of one, and what it is made of, tied to what is ours."""

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
import msgspec
import structlog

from strongroom.alarms.raising import alarm, raise_alarms
from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.database import Connection, reading, statements, writing
from strongroom.gateways.port import Account
from strongroom.ids import new_id, tag_of
from strongroom.payments.rows import Row
from strongroom.settlement.looks import AT_REST, Look, end_look, is_ours
from strongroom.settlement.payouts import (
    ItemSeen,
    NewPayout,
    Payout,
    PayoutSeen,
    next_look,
    payout_seen,
)

SQL: Final = statements("strongroom.settlement", "payouts.sql")
ITEMS_KNOWN_MAX: Final = 3
"""So many a gateway is asked for by their ids, where it does not show the payout itself."""

log = structlog.get_logger()


def payout_of(row: Row) -> Payout:
    """The payout in a row of the table payouts."""
    return Payout(**{name: row[name] for name in Payout.__struct_fields__})


async def known_items(pool: asyncpg.Pool, look: Look) -> list[str]:
    """Some of what the payout was made of when it was looked at before."""
    async with reading(pool, [look.legal_entity_id]) as connection:
        rows = await connection.fetch(
            SQL["items_known"],
            look.legal_entity_id,
            look.gateway_account_id,
            look.gateway_object_id,
            ITEMS_KNOWN_MAX,
        )
    return [row["gateway_item"] for row in rows]


async def settle_payout(
    pool: asyncpg.Pool,
    clock: Clock,
    look: Look,
    account: Account,
    seen: PayoutSeen,
    items: Sequence[ItemSeen] | None,
    *,
    actor: str,
) -> None:
    """One transaction: the payout's row, its items, its event, and an alarm where it failed.

    `items` None: what it is made of could not be told yet.
    """
    now = clock.now()
    async with writing(pool, [look.legal_entity_id]) as connection:
        if await is_ours(connection, look):
            known = await _known(connection, look)
            await _settle(connection, look, account, known, seen, items, now, actor)


async def settle_returned(
    pool: asyncpg.Pool,
    clock: Clock,
    look: Look,
    account: Account,
    why: str,
    *,
    actor: str,
) -> None:
    """One transaction: a payout that we know has failed, and is all else that it was."""
    now = clock.now()
    async with writing(pool, [look.legal_entity_id]) as connection:
        known = await _known(connection, look) if await is_ours(connection, look) else None
        if known is not None:
            seen = PayoutSeen(
                object_id=known.gateway_object_id,
                status="failed",
                status_reason=why,
                amount_minor=known.amount_minor,
                currency=known.currency,
                arrives_at=known.arrives_at,
                opened_at=known.opened_at,
            )
            await _settle(connection, look, account, known, seen, None, now, actor)


async def _known(connection: Connection, look: Look) -> Payout | None:
    row = await connection.fetchrow(
        SQL["payout_at_gateway"],
        look.legal_entity_id,
        look.gateway_account_id,
        look.gateway_object_id,
    )
    return None if row is None else payout_of(row)


async def _settle(
    connection: Connection,
    look: Look,
    account: Account,
    known: Payout | None,
    seen: PayoutSeen,
    items: Sequence[ItemSeen] | None,
    now: datetime,
    actor: str,
) -> None:
    new = NewPayout(
        legal_entity_id=look.legal_entity_id,
        payout_id=new_id(microseconds_since_epoch(now), look.legal_entity_id),
        digest_salt=os.urandom(16),
        gateway=account.gateway,
        gateway_account_id=account.gateway_account_id,
    )
    payout, kind = payout_seen(known, seen, items is not None, new, now)
    if kind is not None:
        await _write(connection, payout, kind, actor)
    if items:
        await _add_items(connection, look, payout, items)
    if payout.status == "failed" and (known is None or known.status != "failed"):
        raised = alarm(
            "payout_failed",
            legal_entity_id=look.legal_entity_id,
            gateway_account_id=look.gateway_account_id,
            subject=look.gateway_object_id,
            reason=payout.status_reason or "failed",
            at=now,
        )
        await raise_alarms(connection, [raised], actor)
    await end_look(connection, look, next_look(payout, now) or now + AT_REST, now)


async def _write(connection: Connection, payout: Payout, kind: str, actor: str) -> None:
    content = {
        name: getattr(payout, name)
        for name in (
            "status", "status_reason", "amount_minor", "currency", "arrives_at", "itemised",
            "gateway_account_id", "gateway_object_id",
        )
    }  # fmt: skip
    rows = await connection.fetch(
        SQL["settle_payout"],
        payout.legal_entity_id,
        payout.payout_id,
        payout.version,
        payout.status,
        payout.status_reason,
        payout.amount_minor,
        payout.currency,
        payout.arrives_at,
        payout.itemised,
        payout.gateway,
        payout.gateway_account_id,
        payout.gateway_object_id,
        payout.opened_at,
        payout.digest_salt,
        payout.created_at,
        payout.updated_at,
        kind,
        actor,
        payout.row_digest(),
        msgspec.json.encode(content, order="deterministic"),
    )
    if len(rows) != 1:
        raise asyncpg.SerializationError("a payout changed meanwhile")


async def _add_items(
    connection: Connection, look: Look, payout: Payout, items: Sequence[ItemSeen]
) -> None:
    """Ties each to what it is of ours: only what our own rows say as well, at this account."""
    of = look.legal_entity_id, look.gateway_account_id
    tag = tag_of(look.legal_entity_id)
    ours = [one for one in items if one.payment_id is not None and tag_of(one.payment_id) == tag]
    attempts = await connection.fetch(
        SQL["attempts_paid_out"],
        [look.legal_entity_id] * len(ours),
        look.gateway_account_id,
        [one.payment_id for one in ours],
        [one.attempt_no for one in ours],
    )
    payments = {(row["payment_id"], row["gateway_object_id"]) for row in attempts}
    refunds = await connection.fetch(
        SQL["refunds_paid_out"], *of, [one.refund_id for one in items if one.refund_id is not None]
    )
    given_back = {(row["refund_id"], row["gateway_object_id"]) for row in refunds}
    sources = [one.source_id for one in items if one.source_id is not None]
    rows = await connection.fetch(SQL["disputes_paid_out"], *of, sources)
    disputed = {row["gateway_object_id"]: row["dispute_id"] for row in rows}
    columns = zip(
        *(
            (
                one.item_id,
                one.kind,
                one.amount_minor,
                one.fee_minor,
                one.currency,
                one.source_id,
                one.payment_id if (one.payment_id, one.intent_id) in payments else None,
                one.refund_id if (one.refund_id, one.source_id) in given_back else None,
                disputed.get(one.source_id or ""),
            )
            for one in items
        ),
        strict=True,
    )
    await connection.execute(
        SQL["add_items"],
        look.legal_entity_id,
        payout.payout_id,
        *(list(column) for column in columns),
    )

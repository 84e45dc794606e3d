"""Confirming a payment: an instrument is brought, or the customer has come back."""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from strongroom.database import SERIALIZATION_FAILURES, Connection, statements, writing
from strongroom.ids import bucket_of
from strongroom.payments.decide import decide
from strongroom.payments.rows import payment_of
from strongroom.payments.states import (
    CustomerReturned,
    Decision,
    InstrumentBrought,
    Payment,
    Schedule,
)

SQL: Final = statements("strongroom.payments", "payments.sql")
RETRIES_MAX: Final = 8


class Confirmation(Struct, frozen=True, kw_only=True):
    """A confirm request; `brought` is None when the customer has come back from an action."""

    legal_entity_id: UUID
    payment_id: UUID
    idempotency_key: str
    fingerprint: bytes
    actor: str
    at: datetime


class Confirmed(Struct, frozen=True):
    """The payment as it now stands; `replayed` when the key had been used for this before."""

    payment: Payment
    replayed: bool


class UnknownPayment(Exception):
    """There is no such payment of this legal entity."""


class KeyUsedElsewhere(Exception):
    """The key was used before for another request."""


async def confirm(
    pool: asyncpg.Pool,
    confirmation: Confirmation,
    happening: Callable[[Payment], InstrumentBrought | CustomerReturned],
) -> Confirmed:
    """Claims the key and moves the payment, in one transaction.

    `happening` is asked, with the payment under lock, for what is brought to it; it must not wait
    for anything. Raises
    UnknownPayment, KeyUsedElsewhere, NotPossible of states, and what `happening` raises; nothing
    is stored then.
    """
    for _ in range(RETRIES_MAX):
        try:
            return await _confirm_once(pool, confirmation, happening)
        except SERIALIZATION_FAILURES:
            continue
    raise asyncpg.SerializationError("confirm met too many others")


async def _confirm_once(
    pool: asyncpg.Pool,
    asked: Confirmation,
    happening: Callable[[Payment], InstrumentBrought | CustomerReturned],
) -> Confirmed:
    async with writing(pool, [asked.legal_entity_id]) as connection:
        row = await connection.fetchrow(
            SQL["payment_for_update"], asked.legal_entity_id, asked.payment_id
        )
        if row is None:
            raise UnknownPayment
        payment = payment_of(row)
        if not await _claim(connection, asked):
            return Confirmed(payment, replayed=True)
        decision = decide(payment, happening(payment), asked.at)
        await _write(connection, asked, payment, decision)
        return Confirmed(decision.payment, replayed=False)


async def _claim(connection: Connection, asked: Confirmation) -> bool:
    """True when the key is new; False when it is held by this very request."""
    won = await connection.fetchval(
        SQL["claim_key"],
        asked.legal_entity_id,
        asked.idempotency_key,
        "payments.confirm",
        asked.fingerprint,
        asked.payment_id,
        asked.at,
    )
    if won is not None:
        return True
    held = await connection.fetchrow(
        SQL["keys_held"], [asked.legal_entity_id], [asked.idempotency_key]
    )
    if held is None or bytes(held["fingerprint"]) != asked.fingerprint:
        raise KeyUsedElsewhere
    return False


async def _write(
    connection: Connection, asked: Confirmation, before: Payment, decision: Decision
) -> None:
    after = decision.payment
    if after is not before:
        await connection.execute(
            SQL["bring_instrument"],
            after.legal_entity_id,
            after.payment_id,
            after.version,
            after.status,
            after.gateway,
            after.gateway_account_id,
            after.instrument_token,
            after.return_url,
            after.updated_at,
        )
        payload = msgspec.json.encode(
            {
                "status": after.status,
                "gateway": after.gateway,
                "idempotency_key": asked.idempotency_key,
            },
            order="deterministic",
        )
        await connection.execute(
            SQL["add_event"],
            after.legal_entity_id,
            after.payment_id,
            after.version,
            decision.kind,
            asked.actor,
            after.updated_at,
            after.row_digest(),
            payload,
        )
    if isinstance(decision.effect, Schedule):
        await connection.execute(
            SQL["run_job_at"],
            after.legal_entity_id,
            after.payment_id,
            bucket_of(after.legal_entity_id),
            decision.effect.run_at,
        )

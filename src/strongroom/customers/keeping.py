"""An instrument that is saved by paying with it: what is wanted, and when it is kept.

The wish is on disk before its payment is, with the id that the payment method is to have: so the
wish of a payment is never lost, and is fulfilled once. A wish whose payment was never made goes
after a while. The payment itself knows nothing of it but that its gateway is told.
"""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
from msgspec import Struct

from strongroom.clock import microseconds_since_epoch
from strongroom.customers.consents import (
    Agreed,
    add_consent,
    newest_consents,
    opened_consent,
    sealed_consent,
)
from strongroom.customers.register import SQL as CUSTOMERS_SQL
from strongroom.customers.register import NoSuchCustomer
from strongroom.customers.rows import SQL as METHODS_SQL
from strongroom.customers.rows import tell
from strongroom.customers.saving import Saving, offered_by_payment
from strongroom.database import Connection, reading, statements, writing
from strongroom.errors import InvariantBroken
from strongroom.ids import bucket_of, new_id
from strongroom.payments.rows import Row, attempt_of, payment_of
from strongroom.payments.states import Attempt, Payment
from strongroom.vault.errors import SubjectDestroyed
from strongroom.vault.subjects import Subjects

SQL: Final = statements("strongroom.customers", "keeping.sql")
ENGINE_SQL: Final = statements("strongroom.payments", "engine.sql")
PAYMENTS_SQL: Final = statements("strongroom.payments", "payments.sql")
FIRST_LOOK: Final = timedelta(seconds=1)
POLL_SECONDS: Final = (1, 1, 2, 2, 5, 10, 30, 60)
"""Waits between looks at a payment that has not paid yet; the last one repeats."""
NEVER_MADE: Final = timedelta(hours=2)
"""A payment that is not there by then was not made; an answer of accept is out in seconds."""
TIME_TO_KEEP: Final = timedelta(days=1)
"""In which the gateway has to say what was paid with."""
ACTOR: Final = "worker"

What = Literal["keep", "wait", "over", "drop"]


class Wanted(Struct, frozen=True, kw_only=True):
    """A payment that is about to be made, and for whom its instrument is to be saved."""

    legal_entity_id: UUID
    payment_id: UUID
    customer_id: UUID
    agreed: Agreed | None
    at: datetime


class WantedAgain(Struct, frozen=True):
    """What a payment's wish says that another payment may say again."""

    customer_id: UUID
    agreed: Agreed | None


class Wish(Struct, frozen=True, kw_only=True):
    """A wish that this process may act for until its lease ends."""

    legal_entity_id: UUID
    payment_id: UUID
    payment_method_id: UUID
    customer_id: UUID
    lease: int
    tries: int
    created_at: datetime


async def want(pool: asyncpg.Pool, subjects: Subjects, wanted: Wanted) -> None:
    """Writes down the wish, and the consent that came with it.

    Raises NoSuchCustomer, and as Subjects.of does: SubjectDestroyed for one that was erased.
    """
    entity, customer_id, at = wanted.legal_entity_id, wanted.customer_id, wanted.at
    async with reading(pool, [entity]) as connection:
        row = await connection.fetchrow(CUSTOMERS_SQL["customer"], entity, customer_id)
    if row is None:
        raise NoSuchCustomer
    await subjects.of(entity, customer_id)
    method_id, consent = new_id(microseconds_since_epoch(at), entity), None
    if wanted.agreed is not None:
        consent = await sealed_consent(subjects, entity, customer_id, method_id, wanted.agreed, at)
    row_of = (entity, wanted.payment_id, method_id, customer_id, bucket_of(entity))
    async with writing(pool, [entity]) as connection:
        await connection.execute(
            SQL["want_kept"], *([one] for one in (*row_of, at + FIRST_LOOK, at))
        )
        if consent is not None:
            await add_consent(connection, entity, method_id, consent)


async def wanted_again(
    pool: asyncpg.Pool, subjects: Subjects, legal_entity_id: UUID, payment_id: UUID
) -> WantedAgain | None:
    """For whom what pays a payment is to be saved, so that another for its order can save it too.

    None where nothing is to be saved, and for a customer who was erased: paying goes on without.
    Raises as Subjects.of does.
    """
    async with reading(pool, [legal_entity_id]) as connection:
        row = await connection.fetchrow(SQL["wish_of"], legal_entity_id, payment_id)
    if row is None:
        return None
    customer_id, method_id = row["customer_id"], row["payment_method_id"]
    consent = (await newest_consents(pool, {method_id: legal_entity_id})).get(method_id)
    try:
        await subjects.of(legal_entity_id, customer_id)
        agreed = (
            None
            if consent is None
            else await opened_consent(subjects, legal_entity_id, customer_id, method_id, consent)
        )
    except SubjectDestroyed:
        return None
    return WantedAgain(customer_id, agreed)


def what_to_do(wish: Wish, payment: Payment | None, attempt: Attempt | None, now: datetime) -> What:
    """What becomes of a wish, by how its payment stands. Pure."""
    if payment is None:
        return "drop" if now >= wish.created_at + NEVER_MADE else "wait"
    if payment.status in ("failed", "canceled"):
        return "over"
    if payment.review is not None or payment.status not in ("succeeded", "authorized"):
        return "wait"
    if attempt is None or attempt.gateway_object_id is None:
        return "wait"
    return "keep"


def wait_of(wish: Wish, payment: Payment | None, now: datetime) -> datetime:
    """When to look again."""
    if payment is None:
        return min(now + timedelta(minutes=5), wish.created_at + NEVER_MADE)
    return now + timedelta(seconds=POLL_SECONDS[min(wish.tries, len(POLL_SECONDS)) - 1])


async def look(
    connection: Connection, wishes: Sequence[Wish]
) -> dict[UUID, tuple[Payment, Attempt | None]]:
    """By their ids, the payments of wishes that were made, with the attempts that count."""
    columns = [one.legal_entity_id for one in wishes], [one.payment_id for one in wishes]
    attempts: dict[UUID, Row] = {
        row["payment_id"]: row
        for row in await connection.fetch(ENGINE_SQL["read_attempts"], *columns)
    }
    found = {}
    for row in await connection.fetch(PAYMENTS_SQL["payments_by_id"], *columns):
        attempt = attempts.get(row["payment_id"])
        found[row["payment_id"]] = (
            payment_of(row), None if attempt is None else attempt_of(attempt),
        )  # fmt: skip
    return found


async def keep(
    pool: asyncpg.Pool, wish: Wish, payment: Payment, attempt: Attempt, now: datetime
) -> None:
    """What was paid with becomes a payment method that is to be saved: once, by its id."""
    entity, method_id = wish.legal_entity_id, wish.payment_method_id
    if attempt.gateway_object_id is None:
        raise InvariantBroken("nothing was paid with")
    saving = Saving(
        legal_entity_id=entity,
        payment_method_id=method_id,
        customer_id=wish.customer_id,
        version=1,
        status="processing",
        not_after=now + TIME_TO_KEEP,
        digest_salt=os.urandom(16),
        created_at=now,
        updated_at=now,
        gateway=attempt.gateway,
        gateway_account_id=attempt.gateway_account_id,
        offered=offered_by_payment(payment.payment_id),
        setup_object=attempt.gateway_object_id,
    )
    consents = await newest_consents(pool, {method_id: entity})
    async with writing(pool, [entity]) as connection:
        key = (entity, method_id)
        done = [[entity], [wish.payment_id], [wish.lease], [None]]
        if not await connection.fetch(SQL["kept_later"], *done):
            return  # somebody else is at it
        made = await connection.fetchval(
            SQL["add_kept_method"],
            *key,
            wish.customer_id,
            saving.not_after,
            saving.digest_salt,
            now,
        )
        if made is None:
            return
        await connection.execute(
            SQL["add_kept_token"],
            *key,
            saving.gateway_account_id,
            saving.gateway,
            saving.offered,
            saving.setup_object,
        )
        await connection.execute(METHODS_SQL["add_method_job"], *key, bucket_of(entity), now)
        told: dict[str, Any] = {}
        if method_id in consents:
            told["consent"] = consents[method_id].told()
        kind = "payment_method.created"
        await tell(connection, saving, kind, ACTOR, payment_id=payment.payment_id, **told)


async def drop(pool: asyncpg.Pool, wish: Wish) -> None:
    """Forgets a wish whose payment was never made, with the consent that came with it."""
    entity = wish.legal_entity_id
    async with writing(pool, [entity]) as connection:
        gone = await connection.fetchval(SQL["drop_kept"], entity, wish.payment_id, wish.lease)
        if gone is not None:
            await connection.execute(SQL["drop_consents"], entity, wish.payment_method_id)

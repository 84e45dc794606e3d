"""A worker while somebody else holds a payment's row, as an operator's open transaction does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg

from strongroom.ids import bucket_of
from strongroom.payments.commands import SQL as COMMANDS_SQL
from strongroom.payments.states import Payment
from tests.integration.test_worker import shop
from tests.integration.working import LEASE, Shop

__all__ = ["shop"]
GO_ON_SECONDS_MAX = 30.0
"""The batch that meets the row first waits LOCK_TIMEOUT for it."""
NOT_WAITING_SECONDS_MAX = 2.8
WAITS_SQL = """
SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
  WHERE NOT l.granted AND a.datname = current_database())
"""
"""Less than LOCK_TIMEOUT."""


@asynccontextmanager
async def held(url: str, *payments: Payment) -> AsyncIterator[None]:
    """Somebody holds these payments in the block."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            for one in payments:
                await connection.execute(
                    "SELECT FROM strongroom.payments WHERE payment_id = $1 FOR UPDATE",
                    one.payment_id,
                )
            yield
    finally:
        await connection.close()


async def test_the_others_are_settled_while_one_row_is_held(shop: Shop, deployment) -> None:
    one, *others = [await shop.accepted(f"order-{number}") for number in range(10)]
    async with shop.working():
        async with held(deployment.owner_url, one):
            async with asyncio.timeout(GO_ON_SECONDS_MAX):
                await shop.until_status("succeeded", *others)
            # What comes now does not even meet it.
            later = [await shop.accepted(f"later-{number}") for number in range(5)]
            async with asyncio.timeout(NOT_WAITING_SECONDS_MAX):
                await shop.until_status("succeeded", *later)
            assert await shop.status(one) == "processing"
        async with asyncio.timeout(GO_ON_SECONDS_MAX):
            await shop.until_status("succeeded", one)
    assert len(shop.gateway.sent) == len(set(shop.gateway.sent)) == 15
    assert await shop.kinds(one) == ["payment.accepted", "payment.succeeded"]


async def test_a_worker_that_stops_settles_what_waited_for_a_row(shop: Shop, deployment) -> None:
    one, other = await shop.accepted("one"), await shop.accepted("other")
    async with shop.working() as worker, held(deployment.owner_url, one):
        await shop.until_status("succeeded", other)
        worker.stop()
        await asyncio.sleep(1)
    assert await shop.status(one) == "succeeded"


async def ask_to_cancel(shop: Shop, url: str, one: Payment) -> asyncpg.Connection:
    """Half of a caller's command: the payment is locked, and is to become `closing`."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "strongroom"})
    await connection.execute("BEGIN; SET LOCAL lock_timeout = '3s'")
    await connection.execute(
        "SELECT FROM payments WHERE payment_id = $1 FOR UPDATE", one.payment_id
    )
    return connection


async def test_a_claim_passes_by_what_somebody_holds_and_comes_back(shop: Shop, deployment) -> None:
    one, *others = [await shop.accepted(f"order-{number}") for number in range(5)]
    shop.clock.advance(timedelta(minutes=16))  # now a claim cancels them
    engine = shop.engine()
    async with held(deployment.owner_url, one):
        async with asyncio.timeout(NOT_WAITING_SECONDS_MAX):
            assert await engine.claim(10) == []
        assert {await shop.status(other) for other in others} == {"canceled"}
        job = await shop.row("jobs", one.payment_id)
        assert (await shop.status(one), job["held"]) == ("processing", False)
        async with asyncio.timeout(NOT_WAITING_SECONDS_MAX):
            assert await engine.claim(10) == []  # not at once
    shop.clock.advance(timedelta(seconds=1))
    assert await engine.claim(10) == []
    assert await shop.status(one) == "canceled"


async def test_a_claim_and_a_command_for_one_payment_never_wait_for_each_other_in_a_ring(
    shop: Shop, deployment
) -> None:
    one = await shop.accepted("order")
    shop.clock.advance(timedelta(minutes=16))
    command = await ask_to_cancel(shop, deployment.owner_url, one)
    try:
        claiming = asyncio.create_task(shop.engine().claim(1))
        # One that waits would have the job by now, and like to have the payment.
        while not (claiming.done() or await command.fetchval(WAITS_SQL)):
            await asyncio.wait([claiming], timeout=0.02)
        await command.execute("SET LOCAL lock_timeout = '500ms'")  # before a deadlock would end it
        await command.execute(
            COMMANDS_SQL["run_jobs_at"],
            [one.legal_entity_id], [one.payment_id],
            [bucket_of(one.legal_entity_id)], [shop.clock.now()],
        )  # fmt: skip
        await command.execute("COMMIT")
        assert await claiming == []
    finally:
        await command.close()


async def test_a_worker_goes_on_while_the_attempt_of_a_due_payment_is_held(
    shop: Shop, deployment
) -> None:
    one = await shop.accepted("held")
    engine = shop.engine()
    [claimed] = await engine.claim(1)
    shop.clock.advance(timedelta(minutes=16))  # the lease has ended, and the next claim cancels it
    connection = await asyncpg.connect(deployment.owner_url)
    try:
        await connection.execute("BEGIN; SELECT FROM strongroom.attempts FOR UPDATE")
        async with shop.working():
            others = [await shop.accepted(f"order-{number}") for number in range(5)]
            await shop.until_status("succeeded", *others)
            assert await shop.status(one) == "processing"
            await connection.execute("ROLLBACK")
            shop.clock.advance(LEASE)
            await shop.until_status("canceled", one)
    finally:
        await connection.close()
    assert claimed.attempt.gateway_object_id is None

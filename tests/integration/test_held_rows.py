"""A worker while somebody else holds a payment's row, as an operator's open transaction does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from strongroom.payments.states import Payment
from tests.integration.test_worker import shop
from tests.integration.working import Shop

__all__ = ["shop"]
GO_ON_SECONDS_MAX = 8.0
"""The batch that meets the row first waits LOCK_TIMEOUT for it."""


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
            async with asyncio.timeout(2):
                await shop.until_status("succeeded", *later)
            assert await shop.status(one) == "processing"
        async with asyncio.timeout(3):
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

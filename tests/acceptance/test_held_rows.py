"""One payment's row is held by somebody else, as an operator's open transaction does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from strongroom.clock import monotonic_seconds
from strongroom.ids import from_text
from tests.acceptance.client import Answer, Api, fresh, order
from tests.acceptance.running import Running

PAYMENTS = 50
LOCK_SECONDS = 3.0
OTHERS_SECONDS_MAX = LOCK_SECONDS + 7.0
"""One batch waits for the row, and then goes on one by one; who waited each time took minutes."""
LATER_SECONDS_MAX = LOCK_SECONDS + 4.0
HELD_SECONDS_MAX = 30.0


@asynccontextmanager
async def held(running: Running, payment_id: str) -> AsyncIterator[None]:
    """Somebody holds the payment in the block."""
    connection = await asyncpg.connect(running.owner_url)
    try:
        async with connection.transaction():
            await connection.execute(
                "SELECT FROM strongroom.payments WHERE payment_id = $1 FOR UPDATE",
                from_text("pay", payment_id),
            )
            yield
    finally:
        await connection.close()


async def payments(*merchants: Api) -> list[tuple[Api, str]]:
    """Payments that wait for an instrument, of these merchants in turn."""
    apis = [merchants[number % len(merchants)] for number in range(PAYMENTS)]
    made = await asyncio.gather(*(api.pay(order(None)) for api in apis))
    return [(api, one.id) for api, one in zip(apis, made, strict=True)]


async def cancel(api: Api, payment_id: str, key: str | None = None) -> Answer:
    return await api.post(f"/v1/payments/{payment_id}/cancel", {}, key=key)


async def cancel_all(
    first: tuple[Api, str], others: list[tuple[Api, str]], key: str
) -> tuple[asyncio.Task[Answer], list[Answer]]:
    """Cancels all at once, the first in the midst of the others, and waits for these."""
    half = len(others) // 2
    before = [asyncio.create_task(cancel(*one)) for one in others[:half]]
    waiting = asyncio.create_task(cancel(*first, key))
    after = [asyncio.create_task(cancel(*one)) for one in others[half:]]
    return waiting, await asyncio.gather(*before, *after)


async def test_only_the_payment_whose_row_is_held_waits(
    running: Running, api: Api, other_api: Api
) -> None:
    first, *others = await payments(api, other_api)
    key = fresh("key")
    async with held(running, first[1]):
        began = monotonic_seconds()
        waiting, answers = await cancel_all(first, others, key)
        assert monotonic_seconds() - began < OTHERS_SECONDS_MAX
        assert {one.status for one in answers} == {202}
        assert not waiting.done()
        # What is asked meanwhile of other payments is answered as ever, and done.
        (_, later), *_ = await payments(api)
        asked = monotonic_seconds()
        assert (await cancel(api, later)).status == 202
        assert monotonic_seconds() - asked < LATER_SECONDS_MAX
        await api.until(later, "canceled")
        answer = await waiting
        assert (answer.status, answer.code) == (503, "accept_unknown")
        assert answer.headers["Retry-After"]
        assert monotonic_seconds() - began < HELD_SECONDS_MAX
    again = await cancel(*first, key)
    assert (again.status, again.replayed) == (202, False)
    for one, payment_id in (first, *others):
        await one.until(payment_id, "canceled")


async def test_a_row_that_is_free_again_in_time_costs_nobody_an_answer(
    running: Running, api: Api, other_api: Api
) -> None:
    first, *others = await payments(api, other_api)
    async with held(running, first[1]):
        waiting, answers = await cancel_all(first, others, fresh("key"))
        assert not waiting.done()
    assert {one.status for one in (await waiting, *answers)} == {202}
    for one, payment_id in (first, *others):
        await one.until(payment_id, "canceled")

"""Requests that meet on their way to the database: each gets its own end.

The writer's one connection is held until all of them are on their way.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.acceptance.client import Api, fresh, order
from tests.acceptance.inside import Inside, busy, create, inside, until_queued
from tests.acceptance.running import Running

REFUSED_AMOUNT = 4711


@pytest.fixture
async def process(running: Running, api: Api) -> AsyncIterator[Inside]:
    """One that has heard of the key and the account already."""
    async with inside(running, writers=1) as process:
        await create(process, api.api_key, order())
        yield process


@pytest.fixture
async def extra_check(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """A rule in the database that the API knows nothing of."""
    await owner.execute(
        f"ALTER TABLE payments ADD CONSTRAINT of_the_test CHECK (amount_minor <> {REFUSED_AMOUNT})"
    )
    yield
    await owner.execute("ALTER TABLE payments DROP CONSTRAINT of_the_test")


async def test_who_hangs_up_takes_nothing_back(process: Inside, api: Api) -> None:
    """A request that its client gave up is decided once, for those who ask again too."""
    body = order(token=None, description=fresh())
    async with process.writers.acquire():
        first = await busy(process, api.api_key)
        impatient = asyncio.create_task(create(process, api.api_key, body))
        await until_queued(process, 1)
        patient = asyncio.create_task(create(process, api.api_key, body))
        await asyncio.sleep(0)  # it joins the other, which has the same key
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        assert not patient.done()
    answer = await patient
    assert answer.status == 200
    again = await create(process, api.api_key, body)
    assert (again.status, again.body) == (200, answer.body)
    await first


async def test_an_old_key_means_the_old_payment_while_a_new_one_takes_the_order(
    process: Inside, api: Api
) -> None:
    """A retry of a failed payment is a replay, also while the next try is being written."""
    body, key = order("pm_card_chargeDeclined"), fresh("key")
    declined = await api.pay(body, key=key)
    failed = await api.until(declined.id, "failed")
    good = {"instrument": {"gateway": "stripe", "token": "pm_card_visa"}}
    async with process.writers.acquire():
        first = await busy(process, api.api_key)
        next_try = asyncio.create_task(create(process, api.api_key, body | good))
        await until_queued(process, 1)
        retry = asyncio.create_task(create(process, api.api_key, body, key))
        third = asyncio.create_task(create(process, api.api_key, body, fresh("key")))
        await asyncio.sleep(0)  # both meet the one that is on its way with their reference
    answer = await retry
    assert ("idempotent-replayed", "true") in answer.headers
    assert json.loads(answer.body) == failed
    accepted, refused = json.loads((await next_try).body), json.loads((await third).body)
    assert accepted["status"] == "processing"
    assert (refused["code"], refused["payment_id"]) == (
        "merchant_reference_taken",
        accepted["id"],
    )
    await first


async def test_what_one_is_refused_for_is_no_refusal_of_another(
    process: Inside, api: Api, extra_check: None
) -> None:
    """Two intents for one order: the database refuses the first, and takes the second."""
    bad = order(amount=REFUSED_AMOUNT)
    good = bad | {"amount": 1999}
    async with process.writers.acquire():
        first = await busy(process, api.api_key)
        leading = asyncio.create_task(create(process, api.api_key, bad, fresh("key")))
        await until_queued(process, 1)
        following = asyncio.create_task(create(process, api.api_key, good, fresh("key")))
        await asyncio.sleep(0)  # it meets the other, which has the same reference
    assert json.loads((await leading).body)["code"] == "refused_by_database"
    assert (await following).status == 202
    await first

"""What a worker's lines say of rests: written down, read by whoever routes, over by itself."""

import asyncio
from datetime import timedelta

import pytest

from strongroom.clock import SystemClock
from strongroom.gateways.breaker import CALLS_MIN
from strongroom.gateways.lines import Lines
from strongroom.gateways.port import Account
from strongroom.gateways.rests import Resting, Rests
from strongroom.payments.states import Unknown
from tests.integration.conftest import Deployment
from tests.integration.working import open_shop

SEEN_SECONDS_MAX = 60


@pytest.fixture
async def shop(deployment: Deployment):
    async with open_shop(deployment) as shop:
        yield shop


def account_of(shop) -> Account:
    return Account(
        legal_entity_id=shop._account.legal_entity_id,
        gateway_account_id=shop._account.gateway_account_id,
        gateway="stripe",
        environment="stand_in",
        base_url=None,
    )


async def until_resting(shop, expected):
    entity = account_of(shop).legal_entity_id
    async with asyncio.timeout(SEEN_SECONDS_MAX):
        while True:
            found = await Resting(shop._api, shop.clock).of(entity)
            if found == expected:
                return
            await asyncio.sleep(0.05)


def fail(lines, account, operation):
    for _ in range(CALLS_MIN):
        place = lines.take(account, operation)
        if isinstance(place, str):
            return
        with place:
            place.answered(Unknown("gateway_error"))


async def test_a_line_that_opens_is_told_to_whoever_routes_until_its_rest_is_over(shop):
    rests = Rests(shop._worker, shop.clock)
    running = asyncio.create_task(rests.run())
    account, lines = account_of(shop), Lines(rests=rests.told)
    ours = frozenset({account.gateway_account_id})
    fail(lines, account, "look")
    await asyncio.sleep(0.2)
    await until_resting(shop, frozenset())  # looks move no money
    fail(lines, account, "send")
    await until_resting(shop, ours)
    row = await shop.owner.fetchrow("SELECT * FROM account_rests")
    assert row["rests_until"] <= shop.clock.now() + timedelta(seconds=2)
    shop.clock.advance(timedelta(seconds=3))
    await until_resting(shop, frozenset())
    # Of two workers the one that rests longer counts.
    rests.told(account, "send", 30.0)
    await until_resting(shop, ours)
    rests.told(account, "prepare", 1.0)
    await asyncio.sleep(0.3)
    shop.clock.advance(timedelta(seconds=5))
    await until_resting(shop, ours)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_nobody_learns_of_another_entitys_accounts(shop, deployment):
    await shop.owner.execute("DELETE FROM account_rests")
    rests = Rests(shop._worker, SystemClock())
    running = asyncio.create_task(rests.run())
    rests.told(account_of(shop), "send", 30.0)
    async with asyncio.timeout(SEEN_SECONDS_MAX):
        while not await shop.owner.fetchval("SELECT count(*) FROM account_rests"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    other = deployment.theirs.legal_entity_id
    assert await Resting(shop._api, SystemClock()).of(other) == frozenset()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

"""A worker whose gateway fails: its lines open, nothing is lost or sent twice, they close again."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from strongroom.gateways.breaker import CALLS_MIN, WINDOW_CALLS
from strongroom.gateways.lines import Lines
from strongroom.payments.states import NotSent, Unknown
from tests.integration.conftest import Deployment
from tests.integration.working import RuledGateway, Shop, open_shop

IN_FLIGHT = 8
PAYMENTS = 60
PROBES_MAX = 10
"""In the seconds that a test lasts; a rest is a second at least, and doubles."""


WAITING = {"gateway_resting", "gateway_error", "waiting_for_cancel_at_gateway"}
"""The last is whose attempt was the probe, until there is another."""


class FailingGateway(RuledGateway):
    """As its rules say, but for the operations that fail, which are counted."""

    def __init__(self, clock, *operations):
        super().__init__(clock)
        self.failing = set(operations)
        self.failed: Counter[str] = Counter()

    async def prepare(self, account, attempt):
        if "prepare" in self.failing:
            self.failed["prepare"] += 1
            return NotSent("gateway_error", fresh_key=True), self._call("create")
        return await super().prepare(account, attempt)

    async def send(self, account, attempt):
        if "send" in self.failing:
            self.failed["send"] += 1
            return Unknown("gateway_error"), self._call("confirm")
        return await super().send(account, attempt)

    async def look(self, account, attempt):
        if "look" in self.failing:
            self.failed["look"] += 1
            return Unknown("gateway_error"), self._call("retrieve")
        return await super().look(account, attempt)


@pytest.fixture
async def shop(deployment: Deployment):
    async with open_shop(deployment) as shop:
        yield shop


@pytest.fixture
def failing(shop: Shop):
    def begin(*operations):
        shop.gateway = FailingGateway(shop.clock, *operations)
        return shop.gateway

    return begin


async def hurry(shop: Shop, *payments):
    """Time passes until these have succeeded."""
    async with asyncio.timeout(90):
        while {await shop.status(one) for one in payments} != {"succeeded"}:
            shop.clock.advance(timedelta(seconds=5))
            await asyncio.sleep(0.2)


def charged_once(gateway, payments):
    seeds = Counter(name.split("_")[2] for name in gateway.sent)
    assert set(seeds.values()) == {1}
    assert len(seeds) == len(payments)


async def test_what_is_not_sent_to_a_gateway_that_fails_waits_and_goes_its_way_later(shop, failing):
    gateway = failing("prepare")
    payments = [await shop.accepted(f"waits-{number}") for number in range(PAYMENTS)]
    async with shop.working(in_flight_max=IN_FLIGHT):
        await shop.until(lambda: all_wait(shop, payments))
        assert gateway.failed["prepare"] <= WINDOW_CALLS + IN_FLIGHT + PROBES_MAX
        # Whoever comes now opens no attempt at all: nothing has to be found out about it.
        late = await shop.accepted("late")
        await shop.until(lambda: all_wait(shop, [late]))
        gateway.failing.clear()
        await hurry(shop, late, *payments)
    charged_once(gateway, [late, *payments])
    assert "payment.waits_for_gateway" in await shop.kinds(late)
    row = await shop.row("payments", late.payment_id)
    assert row["status_reason"] is None


async def all_wait(shop, payments):
    reasons = [(await shop.row("payments", one.payment_id))["status_reason"] for one in payments]
    return set(reasons) <= WAITING


async def test_unknown_outcomes_are_still_looked_at_and_end(shop, failing):
    gateway = failing("send", "look")
    payments = [await shop.accepted(f"unknown-{number}") for number in range(PAYMENTS)]

    async def have_begun():
        shop.clock.advance(timedelta(seconds=1))
        return gateway.failed["look"] > CALLS_MIN

    async with shop.working(in_flight_max=IN_FLIGHT):
        await shop.until(have_begun)
        assert gateway.failed["send"] <= WINDOW_CALLS + IN_FLIGHT + PROBES_MAX
        states = Counter([await shop.status(one) for one in payments])
        assert states["outcome_unknown"] <= gateway.failed["send"]
        assert set(states) == {"outcome_unknown", "processing"}
        gateway.failing.clear()
        await hurry(shop, *payments)
    charged_once(gateway, payments)


async def test_a_gateway_that_does_not_answer_does_not_take_the_whole_worker(shop):
    shop.lines = Lines(IN_FLIGHT)
    stuck = asyncio.Event()
    busy = 0

    async def never(_):
        nonlocal busy
        busy += 1
        await stuck.wait()

    shop.gateway.making = never
    payments = [await shop.accepted(f"stuck-{number}") for number in range(PAYMENTS)]

    async def is_full():
        return busy >= 5

    async with shop.working(in_flight_max=IN_FLIGHT):
        await shop.until(is_full)
        await asyncio.sleep(0.5)
        assert busy <= 6  # two thirds of its places
        shop.gateway.making = RuledGateway(shop.clock).making
        stuck.set()
        await hurry(shop, *payments)
    charged_once(shop.gateway, payments)

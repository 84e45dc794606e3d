"""A gateway that does not answer: the outcome is unknown, and nothing is sent a second time."""

import asyncio
import time

import aiohttp
import pytest

from tests.faults.cashiers import Cashiers
from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment
from tests.faults.judge import judge, statuses, until_ended
from tests.faults.judge_refunds import judge_refunds, until_none_is_open
from tests.faults.shoppers import Shoppers, orders_of

pytestmark = [pytest.mark.faults, pytest.mark.needs("procfs")]

PAYMENTS = 100
FEW = 20
CAPTURES = 8
"""Fewer than open the line of captures, which would then rest and leave some unsent."""
WAIT_SECONDS_MAX = 60
ENDED_MAX = 120


async def test_answers_withheld_after_the_charge(deploy: MakeDeployment) -> None:
    # Long enough for all of them at once to reach the charge on a busy machine.
    deployment = deploy(deadline_seconds=3.0)
    shoppers = Shoppers(deployment)
    await deployment.set_knobs(
        {"fault": "withhold_after", "match": {"operation": "payment_intents.confirm"}},
        {"fault": "withhold_before", "match": {"operation": "payment_intents.retrieve"}},
    )
    await shoppers.send_all(orders_of("after", PAYMENTS))
    begun = time.monotonic()
    while (await statuses(deployment))["outcome_unknown"] < PAYMENTS:
        assert time.monotonic() - begun < WAIT_SECONDS_MAX, await statuses(deployment)
        await asyncio.sleep(0.1)
    print(f"all unknown after {time.monotonic() - begun:.1f} s")
    await asyncio.sleep(deployment.lease_seconds + 1)
    assert await statuses(deployment) == {"outcome_unknown": PAYMENTS}
    assert len(await deployment.charges()) == PAYMENTS
    attempts = await deployment.fetch("SELECT attempt_no, state FROM attempts")
    assert {tuple(row) for row in attempts} == {(1, "unknown")}

    await deployment.clear_knobs()
    print(
        f"all ended {await until_ended(deployment, ENDED_MAX):.1f} s after the knob was turned off"
    )
    judged = await judge(deployment, shoppers.accepted)
    assert (judged.statuses, judged.charges) == ({"succeeded": PAYMENTS}, PAYMENTS)
    assert judged.attempts_most == 1


@pytest.mark.slow
async def test_confirm_withheld_before_it_acts(deploy: MakeDeployment) -> None:
    deployment = deploy()
    shoppers = Shoppers(deployment)
    await deployment.set_knobs(
        {"fault": "withhold_before", "match": {"operation": "payment_intents.confirm|retrieve"}}
    )
    await shoppers.send_all(orders_of("before", PAYMENTS))
    begun = time.monotonic()
    while (await statuses(deployment))["outcome_unknown"] < PAYMENTS:
        assert time.monotonic() - begun < WAIT_SECONDS_MAX, await statuses(deployment)
        await asyncio.sleep(0.1)
    assert await deployment.charges() == []

    await deployment.clear_knobs()
    print(
        f"all ended {await until_ended(deployment, ENDED_MAX):.1f} s after the knob was turned off"
    )
    judged = await judge(deployment, shoppers.accepted)
    assert (judged.statuses, judged.charges) == ({"succeeded": PAYMENTS}, PAYMENTS)


@pytest.mark.slow
async def test_a_refund_whose_answer_is_withheld(deploy: MakeDeployment) -> None:
    """Unknown, and its amount is locked until the gateway's truth is known."""
    deployment = deploy()
    shoppers, cashiers = Shoppers(deployment), Cashiers(deployment)
    await shoppers.send_all(orders_of("paid", FEW))
    await until_ended(deployment, ENDED_MAX)
    await deployment.set_knobs(
        {"fault": "withhold_after", "match": {"operation": "refunds.create"}},
        {"fault": "withhold_before", "match": {"operation": "refunds.list"}},
    )
    async with aiohttp.ClientSession() as session:
        for payment_id in shoppers.accepted.values():
            assert await cashiers.refund(session, payment_id, 600, 1) == 202
        await until_refunds(deployment, "outcome_unknown")
        # 1,000 and a bit were captured: 600 are locked, whatever time passes.
        for payment_id in shoppers.accepted.values():
            assert await cashiers.refund(session, payment_id, 600, 2) == 409
        await asyncio.sleep(4)
        assert await stand_as(deployment, "outcome_unknown") == FEW
        assert len(await deployment.refunds_there()) == FEW
        await deployment.clear_knobs()
        print(f"all known after {await until_none_is_open(deployment, ENDED_MAX):.1f} s")
        assert await judge_refunds(deployment, cashiers.refunds) == FEW
        assert await stand_as(deployment, "succeeded") == FEW
        for payment_id in shoppers.accepted.values():
            assert await cashiers.refund(session, payment_id, 600, 3) == 409
            assert await cashiers.refund(session, payment_id, 400, 4) in (200, 201, 202)
    await until_none_is_open(deployment, ENDED_MAX)
    await judge_refunds(deployment, cashiers.refunds)


@pytest.mark.slow
async def test_a_refund_that_is_withheld_before_it_acts(deploy: MakeDeployment) -> None:
    """It is sent again under its own key, once."""
    deployment = deploy()
    shoppers, cashiers = Shoppers(deployment), Cashiers(deployment)
    await shoppers.send_all(orders_of("paid", FEW))
    await until_ended(deployment, ENDED_MAX)
    await deployment.set_knobs(
        {"fault": "withhold_before", "match": {"operation": "refunds.*"}},
    )
    async with aiohttp.ClientSession() as session:
        for payment_id in shoppers.accepted.values():
            assert await cashiers.refund(session, payment_id, 600) == 202
    await until_refunds(deployment, "outcome_unknown")
    assert await deployment.refunds_there() == []
    await deployment.clear_knobs()
    print(f"all known after {await until_none_is_open(deployment, ENDED_MAX):.1f} s")
    assert await judge_refunds(deployment, cashiers.refunds) == FEW
    assert await stand_as(deployment, "succeeded") == FEW


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["withhold_after", "withhold_before"])
async def test_a_capture_whose_answer_is_withheld(deploy: MakeDeployment, fault: str) -> None:
    """Unknown, and neither canceled nor captured otherwise before it is known."""
    deployment = deploy()
    shoppers, cashiers = Shoppers(deployment), Cashiers(deployment)
    await shoppers.send_all(orders_of("held", CAPTURES, capture="manual"))
    await until_payments(deployment, "authorized", CAPTURES)
    await deployment.set_knobs(
        {"fault": fault, "match": {"operation": "payment_intents.capture"}},
        {"fault": "withhold_before", "match": {"operation": "payment_intents.retrieve"}},
    )
    async with aiohttp.ClientSession() as session:
        for payment_id in shoppers.accepted.values():
            assert await cashiers.capture(session, payment_id, 700) == 202
        await until_payments(deployment, "outcome_unknown", CAPTURES)
        for payment_id in shoppers.accepted.values():
            assert await cashiers.cancel(session, payment_id) == 409
    await asyncio.sleep(3)
    assert await statuses(deployment) == {"outcome_unknown": CAPTURES}
    await deployment.clear_knobs()
    print(
        f"all ended {await until_ended(deployment, ENDED_MAX):.1f} s after the knob was turned off"
    )
    judged = await judge(deployment, shoppers.accepted)
    assert judged.statuses == {"succeeded": CAPTURES}
    assert {charge["captured"] for charge in await deployment.charges()} == {700}


async def stand_as(deployment: Deployment, status: str) -> int:
    """How many refunds have this status."""
    rows = await deployment.fetch("SELECT FROM refunds WHERE status = $1", status)
    return len(rows)


async def until_refunds(deployment: Deployment, status: str) -> None:
    """Returns once all refunds have this status."""
    begun = time.monotonic()
    while (found := await stand_as(deployment, status)) < FEW:
        assert time.monotonic() - begun < WAIT_SECONDS_MAX, found
        await asyncio.sleep(0.1)


async def until_payments(deployment: Deployment, status: str, many: int = FEW) -> None:
    """Returns once all payments have this status."""
    begun = time.monotonic()
    while (found := await statuses(deployment))[status] < many:
        assert time.monotonic() - begun < WAIT_SECONDS_MAX, found
        await asyncio.sleep(0.1)

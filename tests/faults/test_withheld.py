"""A gateway that does not answer: the outcome is unknown, and nothing is sent a second time."""

import asyncio
import time

import pytest

from tests.faults.conftest import MakeDeployment
from tests.faults.judge import judge, statuses, until_ended
from tests.faults.shoppers import Shoppers, orders_of

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS = 100


async def test_answers_withheld_after_the_charge(deploy: MakeDeployment) -> None:
    deployment = deploy()
    shoppers = Shoppers(deployment)
    await deployment.set_knobs(
        {"fault": "withhold_after", "match": {"operation": "payment_intents.confirm"}},
        {"fault": "withhold_before", "match": {"operation": "payment_intents.retrieve"}},
    )
    await shoppers.send_all(orders_of("after", PAYMENTS))
    begun = time.monotonic()
    while (await statuses(deployment))["outcome_unknown"] < PAYMENTS:
        assert time.monotonic() - begun < 15, await statuses(deployment)
        await asyncio.sleep(0.1)
    print(f"all unknown after {time.monotonic() - begun:.1f} s")
    await asyncio.sleep(6)
    assert await statuses(deployment) == {"outcome_unknown": PAYMENTS}
    assert len(await deployment.charges()) == PAYMENTS
    attempts = await deployment.fetch("SELECT attempt_no, state FROM attempts")
    assert {tuple(row) for row in attempts} == {(1, "unknown")}

    await deployment.clear_knobs()
    print(f"all ended {await until_ended(deployment, 40):.1f} s after the knob was turned off")
    judged = await judge(deployment, shoppers.accepted)
    assert (judged.statuses, judged.charges) == ({"succeeded": PAYMENTS}, PAYMENTS)
    assert judged.attempts_most == 1


async def test_confirm_withheld_before_it_acts(deploy: MakeDeployment) -> None:
    deployment = deploy()
    shoppers = Shoppers(deployment)
    await deployment.set_knobs(
        {"fault": "withhold_before", "match": {"operation": "payment_intents.confirm|retrieve"}}
    )
    await shoppers.send_all(orders_of("before", PAYMENTS))
    begun = time.monotonic()
    while (await statuses(deployment))["outcome_unknown"] < PAYMENTS:
        assert time.monotonic() - begun < 15, await statuses(deployment)
        await asyncio.sleep(0.1)
    assert await deployment.charges() == []

    await deployment.clear_knobs()
    print(f"all ended {await until_ended(deployment, 40):.1f} s after the knob was turned off")
    judged = await judge(deployment, shoppers.accepted)
    assert (judged.statuses, judged.charges) == ({"succeeded": PAYMENTS}, PAYMENTS)

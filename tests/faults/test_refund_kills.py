"""kill -9 of everything while captures, cancels and refunds are under way."""

import asyncio
import random
import time
from collections import Counter

import aiohttp
import pytest

from tests.faults.cashiers import Cashiers
from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment
from tests.faults.judge import judge, until_ended
from tests.faults.judge_refunds import judge_refunds, until_none_is_open
from tests.faults.shoppers import Shoppers, orders_of
from tests.faults.test_kills import Kill, kill

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAID = 120
HELD = 120
KILLS = ("worker", "worker", "api", "stripe", "worker", "postmaster", "worker", "api")
PAUSE_SECONDS = (0.8, 1.6)
SENDING_SECONDS = 10
END_SECONDS_MAX = 120


async def test_kills_while_money_is_captured_and_given_back(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=1.0)
    shoppers, cashiers = Shoppers(deployment), Cashiers(deployment)
    await shoppers.send_all(orders_of("paid", PAID))
    await shoppers.send_all(orders_of("held", HELD, capture="manual"))
    await until_all_stand(deployment, {"succeeded": PAID, "authorized": HELD})
    await deployment.set_knobs(
        {
            "fault": "drop_after",
            "match": {
                "operation": "refunds.create|payment_intents.capture",
                "probability": 0.1,
            },
        },
        {
            "fault": "delay",
            "delay_ms": 120,
            "match": {"operation": "refunds.create|payment_intents.capture"},
        },
    )
    begun = time.monotonic()
    ids = dict(shoppers.accepted)
    asking = asyncio.create_task(ask_all(cashiers, ids))
    kills: list[Kill] = []
    for what in KILLS:
        await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
        kills.append(await kill(deployment, what, begun))
    for each in kills:
        print(f"{each.at_seconds:5.1f} s  {each.what}, ready again in {await each.recovered:.1f} s")
    statuses = await asking
    print(f"asked within {time.monotonic() - begun:.1f} s: {dict(cashiers.answers)}")
    await deployment.clear_knobs()
    print(f"payments ended after {await until_ended(deployment, END_SECONDS_MAX):.1f} s more")
    print(f"refunds after {await until_none_is_open(deployment, END_SECONDS_MAX):.1f} s more")
    judged = await judge(deployment, shoppers.accepted)
    many = await judge_refunds(deployment, cashiers.refunds)
    print(f"{judged.statuses}, {judged.charges} charges, {many} refunds, {dict(statuses)}")
    assert set(judged.statuses) == {"succeeded", "canceled"}
    assert many > PAID
    assert cashiers.answers["500"] == 0


async def ask_all(cashiers: Cashiers, ids: dict[str, str]) -> Counter[int]:
    """Each payment gets what its number says, while the kills go on."""
    turns = asyncio.Semaphore(32)
    statuses: Counter[int] = Counter()

    async def one(session: aiohttp.ClientSession, reference: str, payment_id: str) -> None:
        number = int(reference.rpartition("-")[2])
        amount = 1000 + number
        await asyncio.sleep(random.uniform(0, SENDING_SECONDS))
        async with turns:
            if reference.startswith("held"):
                if number % 3 == 0:
                    both = (
                        cashiers.capture(session, payment_id, amount),
                        cashiers.cancel(session, payment_id),
                    )
                    statuses.update(await asyncio.gather(*both))
                    return
                statuses[await cashiers.capture(session, payment_id, 600)] += 1
                return
            statuses[await cashiers.refund(session, payment_id, 300, 1)] += 1
            rest = (
                cashiers.refund(session, payment_id, amount - 300, 2),
                cashiers.refund(session, payment_id, amount - 300, 3),
            )
            statuses.update(await asyncio.gather(*rest))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(one(session, *item) for item in ids.items()))
    return statuses


async def until_all_stand(deployment: Deployment, wanted: dict[str, int]) -> None:
    """Returns once so many payments stand there."""
    begun = time.monotonic()
    while True:
        rows = await deployment.fetch("SELECT status, count(*) AS n FROM payments GROUP BY 1")
        found = {row["status"]: row["n"] for row in rows}
        if found == wanted:
            return
        assert time.monotonic() - begun < END_SECONDS_MAX, found
        await asyncio.sleep(0.2)

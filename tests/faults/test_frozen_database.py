"""The database is stopped without being dead: connections stay open and nothing answers."""

import asyncio
import os
import signal
import time

import pytest

from tests.faults.conftest import MakeDeployment
from tests.faults.judge import judge, until_ended
from tests.faults.shoppers import Shoppers, orders_of

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS = 600
FROZEN_SECONDS = 8.0
AGAIN_SECONDS_MAX = 40.0
END_SECONDS_MAX = 90


async def test_database_that_stops_answering(deploy: MakeDeployment) -> None:
    deployment = deploy()
    shoppers = Shoppers(deployment)
    sending = asyncio.create_task(
        shoppers.send_all(orders_of("frozen", PAYMENTS), at_once=128, per_second=PAYMENTS / 12)
    )
    await asyncio.sleep(2)
    answered = len(shoppers.accepted)
    frozen = deployment.signal("postgres", signal.SIGSTOP)
    await asyncio.sleep(FROZEN_SECONDS)
    during = dict(shoppers.answers)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    begun, thawed = time.monotonic(), len(shoppers.accepted)
    while len(shoppers.accepted) == thawed:
        assert time.monotonic() - begun < AGAIN_SECONDS_MAX, "nothing is accepted any more"
        await asyncio.sleep(0.02)
    print(
        f"{len(frozen)} processes frozen; {answered} accepted before, answers until the thaw: "
        f"{during}; accepting again {time.monotonic() - begun:.2f} s after it"
    )
    await sending
    print(f"answers: {dict(shoppers.answers)}, slowest {shoppers.slowest_seconds:.1f} s")
    print(f"all ended after another {await until_ended(deployment, END_SECONDS_MAX):.1f} s")
    judged = await judge(deployment, shoppers.accepted)
    assert not shoppers.refused
    assert not shoppers.unanswered
    assert shoppers.answers["500"] == 0
    assert judged.statuses == {"succeeded": PAYMENTS}

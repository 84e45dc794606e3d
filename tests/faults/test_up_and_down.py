"""The supervisor is killed, everything is told to stop, a worker is told to finish."""

import asyncio
import signal
import time

import pytest

from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import until
from tests.faults.judge import judge, statuses, until_ended
from tests.faults.shoppers import Shoppers, orders_of

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS = 300
GONE_SECONDS_MAX = 15.0
DRAIN_DEADLINE_SECONDS = 2.0


async def test_killed_supervisor_leaves_nothing_and_the_next_start_recovers(
    deploy: MakeDeployment,
) -> None:
    deployment = deploy()
    shoppers = Shoppers(deployment, give_up_seconds=1.0)
    orders = orders_of("supervised", PAYMENTS)
    sending = asyncio.create_task(shoppers.send_all(orders, per_second=PAYMENTS / 3))
    await asyncio.sleep(1.5)
    assert len(deployment.all_pids()) > len(deployment.ready["pids"]) - 1
    deployment.kill_supervisor()
    seconds = await until(lambda: not deployment.all_pids(), GONE_SECONDS_MAX, "no process left")
    print(f"no process left {seconds:.1f} s after the kill")
    await sending
    print(f"{len(shoppers.accepted)} answered 2xx, {len(shoppers.unanswered)} not")
    assert shoppers.accepted

    print(f"up again after {deployment.start():.1f} s")
    again = Shoppers(deployment, accepted=shoppers.accepted)
    await again.send_all(orders)
    print(f"all ended after {await until_ended(deployment, 30):.1f} s")
    judged = await judge(deployment, again.accepted)
    assert not again.refused
    assert judged.statuses == {"succeeded": PAYMENTS}


async def test_worker_finishes_what_it_has_in_flight(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=DRAIN_DEADLINE_SECONDS)
    await deployment.set_knobs(
        {"fault": "delay", "delay_ms": 1200, "match": {"operation": "payment_intents.confirm"}}
    )
    shoppers = Shoppers(deployment)
    await shoppers.send_all(orders_of("drained", 50))
    await asyncio.sleep(0.6)
    first = deployment.pids("worker")
    before, begun = await statuses(deployment), time.monotonic()
    deployment.signal("worker", signal.SIGTERM)
    await until(
        lambda: not set(first) & set(deployment.pids("worker")), 10, "the worker to end by itself"
    )
    seconds = time.monotonic() - begun
    print(f"ended {seconds:.1f} s after SIGTERM; {dict(before)} then {await statuses(deployment)}")
    said = [line for line in deployment.printed() if "worker ended with exit code" in line]
    assert said, deployment.printed()
    assert "worker ended with exit code 0" in said[0]
    assert before["processing"] == 50
    assert (await statuses(deployment))["succeeded"] == 50
    assert seconds < 2 * DRAIN_DEADLINE_SECONDS + 1
    await until_ended(deployment, 20)
    assert (await judge(deployment, shoppers.accepted)).charges == 50


async def test_up_stops_everything_when_told(deploy: MakeDeployment) -> None:
    deployment = deploy()
    shoppers = Shoppers(deployment, give_up_seconds=1.0)
    orders = orders_of("stopped", PAYMENTS)
    sending = asyncio.create_task(shoppers.send_all(orders, per_second=PAYMENTS / 3))
    await asyncio.sleep(1.5)
    begun = time.monotonic()
    code = await asyncio.to_thread(deployment.stop)
    print(f"stopped with exit code {code} after {time.monotonic() - begun:.1f} s")
    assert code == 0
    assert deployment.all_pids() == []
    await sending
    assert shoppers.answers["500"] == 0

    print(f"up again after {deployment.start():.1f} s")
    again = Shoppers(deployment, accepted=shoppers.accepted)
    await again.send_all(orders)
    print(f"all ended after {await until_ended(deployment, 30):.1f} s")
    assert (await judge(deployment, again.accepted)).statuses == {"succeeded": PAYMENTS}

"""The supervisor is killed, everything is told to stop, a worker is told to finish."""

import asyncio
import signal
import time

import pytest

from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment, until
from tests.faults.judge import judge, statuses, until_ended
from tests.faults.shoppers import Shoppers, orders_of

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS = 300
GONE_SECONDS_MAX = 40.0
END_SECONDS_MAX = 90
DRAIN_DEADLINE_SECONDS = 6.0
DRAIN_DELAY_MS = 4000
"""Longer than it takes until all that was sent is under way."""
DRAINED = 50
UNDER_WAY_SQL = "SELECT FROM attempts WHERE gateway_object_id IS NOT NULL"


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
    print(f"all ended after {await until_ended(deployment, END_SECONDS_MAX):.1f} s")
    judged = await judge(deployment, again.accepted)
    assert not again.refused
    assert judged.statuses == {"succeeded": PAYMENTS}


async def test_worker_finishes_what_it_has_in_flight(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=DRAIN_DEADLINE_SECONDS)
    await deployment.set_knobs(
        {
            "fault": "delay",
            "delay_ms": DRAIN_DELAY_MS,
            "match": {"operation": "payment_intents.confirm"},
        }
    )
    shoppers = Shoppers(deployment)
    await shoppers.send_all(orders_of("drained", DRAINED))
    begun = time.monotonic()
    while len(await deployment.fetch(UNDER_WAY_SQL)) < DRAINED:
        assert time.monotonic() - begun < GONE_SECONDS_MAX, "not all are under way"
        await asyncio.sleep(0.05)
    first = deployment.pids("worker")
    before, begun = await statuses(deployment), time.monotonic()
    deployment.signal("worker", signal.SIGTERM)
    await until(
        lambda: not set(first) & set(deployment.pids("worker")),
        GONE_SECONDS_MAX,
        "the worker to end by itself",
    )
    seconds = time.monotonic() - begun
    print(f"ended {seconds:.1f} s after SIGTERM; {dict(before)} then {await statuses(deployment)}")
    assert before["processing"] == DRAINED
    assert (await statuses(deployment))["succeeded"] == DRAINED
    await until(lambda: bool(ends_of_workers(deployment)), GONE_SECONDS_MAX, "its end to be told")
    assert "worker ended with exit code 0" in ends_of_workers(deployment)[0]
    assert seconds < 2 * DRAIN_DEADLINE_SECONDS + 1
    await until_ended(deployment, END_SECONDS_MAX)
    assert (await judge(deployment, shoppers.accepted)).charges == DRAINED


def ends_of_workers(deployment: Deployment) -> list[str]:
    """What `up` has said of workers that ended."""
    return [line for line in deployment.printed() if "worker ended with exit code" in line]


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
    print(f"all ended after {await until_ended(deployment, END_SECONDS_MAX):.1f} s")
    assert (await judge(deployment, again.accepted)).statuses == {"succeeded": PAYMENTS}

"""A sender that is stopped past its lease, another that takes over, and the first one's return."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment, until
from tests.faults.judge import Judged, judge, until_ended
from tests.faults.shoppers import Order, Shoppers
from tests.faults.wire import Passing, Wire, server_error

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

END_SECONDS_MAX = 30.0
RETURN_SECONDS = 0.8
"""After its return the first sender needs this long to write down what it heard."""


@asynccontextmanager
async def stopped_sender(deployment: Deployment) -> AsyncIterator[None]:
    """The worker of `up` is stopped, another one runs; at the end the first one goes on."""
    stopped = deployment.signal("worker", signal.SIGSTOP)
    assert len(stopped) == 1
    other = deployment.second_worker()
    try:
        yield
    finally:
        deployment.signal("worker", signal.SIGCONT)
    assert other.poll() is None


async def status_of(deployment: Deployment) -> tuple[str, int]:
    """Status and version of the only payment there is."""
    row = (await deployment.fetch("SELECT status, version FROM payments"))[0]
    return row["status"], row["version"]


async def until_status(deployment: Deployment, status: str, seconds_max: float) -> float:
    begun = time.monotonic()
    while (found := (await status_of(deployment))[0]) != status:
        assert time.monotonic() - begun < seconds_max, f"{found}, not {status}"
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


async def one_payment(deployment: Deployment, not_after_seconds: float | None = None) -> Shoppers:
    shoppers = Shoppers(deployment)
    order = Order("taken-over", amount=4711, not_after_seconds=not_after_seconds)
    await shoppers.send_all([order])
    return shoppers


async def end(deployment: Deployment, shoppers: Shoppers) -> tuple[Judged, str]:
    """Judge, and what `explain` says."""
    await asyncio.sleep(RETURN_SECONDS)
    await until_ended(deployment, END_SECONDS_MAX)
    told = await asyncio.to_thread(deployment.explain, shoppers.accepted["taken-over"])
    print(told)
    return await judge(deployment, shoppers.accepted), told


async def test_stopped_while_the_confirm_is_in_flight(deploy: MakeDeployment) -> None:
    deployment, arrived = deploy(deadline_seconds=0.6), asyncio.Event()

    async def script(passing: Passing) -> web.Response:
        answer = await passing.forward()
        if passing.operation == "confirm" and passing.number == 1:
            arrived.set()
            await asyncio.sleep(0.3)  # the sender is stopped by now: it hears this at its return
        return answer

    async with Wire(deployment, script) as wire:
        shoppers = await one_payment(deployment)
        await asyncio.wait_for(arrived.wait(), 10)
        async with stopped_sender(deployment):
            seconds = await until_status(deployment, "succeeded", 15)
            print(f"settled by the other {seconds:.1f} s after the stop: {dict(wire.seen)}")
        judged, told = await end(deployment, shoppers)
    assert judged.charges == 1
    assert "attempt.answered_late" in told
    assert "late answer to confirm: succeeded" in told


async def test_confirm_acts_after_the_other_has_looked(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=0.6)
    await deployment.set_knobs(
        {
            "fault": "delay",
            "delay_ms": 3000,
            "match": {"operation": "payment_intents.confirm", "first_n": 1},
        }
    )
    async with Wire(deployment) as wire:
        shoppers = await one_payment(deployment)
        await until(lambda: wire.seen["confirm"] == 1, 10, "the confirm")
        async with stopped_sender(deployment):
            await until_status(deployment, "succeeded", 20)
            await asyncio.sleep(0.5)
        judged, told = await end(deployment, shoppers)
        print(dict(wire.seen))
    assert judged.charges == 1
    assert "attempt.answered_late" in told


async def test_stopped_before_the_create(deploy: MakeDeployment) -> None:
    deployment, arrived, go_on = deploy(deadline_seconds=0.6), asyncio.Event(), asyncio.Event()

    async def script(passing: Passing) -> web.Response:
        if passing.operation == "create" and passing.number == 1:
            arrived.set()
            await go_on.wait()  # it has not left the sender's machine yet
        return await passing.forward()

    async with Wire(deployment, script) as wire:
        shoppers = await one_payment(deployment)
        await asyncio.wait_for(arrived.wait(), 10)
        async with stopped_sender(deployment):
            await until_status(deployment, "succeeded", 15)
            go_on.set()
            await asyncio.sleep(0.5)
        judged, _ = await end(deployment, shoppers)
        print(dict(wire.seen))
    assert judged.charges == 1


async def test_stopped_between_create_and_confirm(deploy: MakeDeployment) -> None:
    deployment, arrived = deploy(deadline_seconds=0.6), asyncio.Event()

    async def script(passing: Passing) -> web.Response:
        answer = await passing.forward()
        if passing.operation == "create" and passing.number == 1:
            arrived.set()
            await asyncio.sleep(0.3)
        return answer

    async with Wire(deployment, script) as wire:
        shoppers = await one_payment(deployment)
        await asyncio.wait_for(arrived.wait(), 10)
        async with stopped_sender(deployment):
            await until_status(deployment, "succeeded", 15)
        judged, _ = await end(deployment, shoppers)
        print(dict(wire.seen))
    assert judged.charges == 1


async def test_withheld_answer_is_cut_after_the_other_has_settled(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=0.6)
    await deployment.set_knobs(
        {
            "fault": "withhold_after",
            "match": {"operation": "payment_intents.confirm", "first_n": 1},
        }
    )
    shoppers = await one_payment(deployment)
    begun = time.monotonic()
    while not await deployment.charges():
        assert time.monotonic() - begun < 10
        await asyncio.sleep(0.05)
    async with stopped_sender(deployment):
        await until_status(deployment, "succeeded", 15)
        await deployment.clear_knobs()
    judged, told = await end(deployment, shoppers)
    assert judged.charges == 1
    assert "call stripe confirm" in told


async def test_late_confirm_after_the_other_has_canceled(deploy: MakeDeployment) -> None:
    deployment, arrived, go_on = deploy(deadline_seconds=0.6), asyncio.Event(), asyncio.Event()

    async def script(passing: Passing) -> web.Response:
        if passing.operation == "confirm":
            arrived.set()
            await go_on.wait()
        return await passing.forward()

    async with Wire(deployment, script) as wire:
        shoppers = await one_payment(deployment, not_after_seconds=2.0)
        await asyncio.wait_for(arrived.wait(), 10)
        async with stopped_sender(deployment):
            await until_status(deployment, "canceled", 15)
            go_on.set()
            await asyncio.sleep(0.5)
        judged, told = await end(deployment, shoppers)
        print(dict(wire.seen))
    assert (judged.charges, judged.statuses) == (0, {"canceled": 1})
    assert "attempt.answered_late" in told


async def test_late_refusal_of_the_create_while_the_other_confirms(deploy: MakeDeployment) -> None:
    """What a create answered says nothing any more once another one has made the object."""
    deployment = deploy(deadline_seconds=0.6)
    arrived, refuse, confirmed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    go_on = asyncio.Event()

    async def script(passing: Passing) -> web.Response:
        if passing.operation == "create" and passing.number == 1:
            arrived.set()
            await refuse.wait()
            return server_error()
        if passing.operation in ("confirm", "retrieve") and not go_on.is_set():
            confirmed.set()
            await go_on.wait()
        return await passing.forward()

    async with Wire(deployment, script) as wire:
        shoppers = await one_payment(deployment)
        await asyncio.wait_for(arrived.wait(), 10)
        async with stopped_sender(deployment):
            refuse.set()
            await asyncio.wait_for(confirmed.wait(), 15)
        await asyncio.sleep(3)
        print(f"before the confirm goes on: {dict(wire.seen)}, {await status_of(deployment)}")
        go_on.set()
        judged, _ = await end(deployment, shoppers)
        print(dict(wire.seen))
    # The first attempt's object is canceled for good before a second one is opened.
    assert judged.charges == 1

"""A sender that is stopped past its lease, another that takes over, and the first one's return."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from tests.faults.deployment import Deployment, until
from tests.faults.judge import judge, until_ended
from tests.faults.shoppers import Order, Shoppers
from tests.faults.wire import Passing, Wire, server_error

pytestmark = [pytest.mark.faults, pytest.mark.needs("procfs")]

DEADLINE_SECONDS = 0.6
END_SECONDS_MAX = 60.0
STATUS_SECONDS_MAX = 40.0
ARRIVED_SECONDS_MAX = 30.0
RETURN_SECONDS = 0.8
"""After its return the first sender has so long to do what it must not do."""
HEARD_LATE = "attempt.answered_late"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """One for all of these tests; each has a payment of its own."""
    shared = Deployment(deadline_seconds=DEADLINE_SECONDS)
    try:
        print(f"\nstarted in {shared.start():.1f} s")
        yield shared
    finally:
        print(f"\nlogged: {dict(shared.complaints())}")
        shared.remove()


@dataclass(slots=True)
class Story:
    """One payment, sent by a worker that is then stopped."""

    deployment: Deployment
    reference: str
    not_after_seconds: float | None = None
    shoppers: Shoppers = field(init=False)
    told: str = ""

    async def send(self) -> None:
        self.shoppers = Shoppers(self.deployment)
        order = Order(self.reference, amount=4711, not_after_seconds=self.not_after_seconds)
        await self.shoppers.send_all([order])

    async def status(self) -> tuple[str, int]:
        """Status and version."""
        rows = await self.deployment.fetch(
            "SELECT status, version FROM payments WHERE merchant_reference = $1", self.reference
        )
        return rows[0]["status"], rows[0]["version"]

    async def until_status(self, status: str) -> None:
        begun = time.monotonic()
        while (found := (await self.status())[0]) != status:
            assert time.monotonic() - begun < STATUS_SECONDS_MAX, f"{found}, not {status}"
            await asyncio.sleep(0.05)
        print(f"{status} {time.monotonic() - begun:.1f} s after the other was started")

    async def charges(self) -> int:
        charges = await self.deployment.charges()
        return sum(c["metadata"]["merchant_reference"] == self.reference for c in charges)

    async def until_heard_late(self) -> None:
        """The first sender has written down what it heard after its return."""
        begun = time.monotonic()
        while not await self.deployment.fetch(
            "SELECT FROM events e JOIN payments p USING (payment_id) "
            "WHERE p.merchant_reference = $1 AND e.kind = $2",
            self.reference,
            HEARD_LATE,
        ):
            assert time.monotonic() - begun < STATUS_SECONDS_MAX, "nothing was heard late"
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def stopped_sender(self) -> AsyncIterator[None]:
        """The worker of `up` is stopped, another one runs; at the end the first one goes on."""
        stopped = self.deployment.signal("worker", signal.SIGSTOP)
        assert len(stopped) == 1
        self.deployment.second_worker()
        try:
            yield
        finally:
            self.deployment.signal("worker", signal.SIGCONT)

    async def end(self) -> int:
        """Judge everything, end the other worker; returns how often this payment was charged."""
        await asyncio.sleep(RETURN_SECONDS)
        await until_ended(self.deployment, END_SECONDS_MAX)
        payment_id = self.shoppers.accepted[self.reference]
        self.told = await asyncio.to_thread(self.deployment.explain, payment_id)
        print(self.told)
        self.deployment.end_others()
        await self.deployment.clear_knobs()
        await judge(self.deployment, self.shoppers.accepted)
        return await self.charges()


async def test_stopped_while_the_confirm_is_in_flight(deployment: Deployment) -> None:
    arrived = asyncio.Event()

    async def script(passing: Passing) -> web.Response:
        answer = await passing.forward()
        if passing.operation == "confirm" and passing.number == 1:
            arrived.set()
            await asyncio.sleep(0.3)  # the sender is stopped by now: it hears this at its return
        return answer

    async with Wire(deployment, script):
        story = Story(deployment, "stopped-while-the-confirm-is-in-flight")
        await story.send()
        await asyncio.wait_for(arrived.wait(), ARRIVED_SECONDS_MAX)
        async with story.stopped_sender():
            await story.until_status("succeeded")
        await story.until_heard_late()
        charges = await story.end()
    assert charges == 1
    assert HEARD_LATE in story.told
    assert "late answer to confirm: succeeded" in story.told


@pytest.mark.slow
async def test_confirm_acts_after_the_other_has_looked(deployment: Deployment) -> None:
    await deployment.set_knobs(
        {
            "fault": "delay",
            "delay_ms": 3000,
            "match": {"operation": "payment_intents.confirm", "first_n": 1},
        }
    )
    async with Wire(deployment) as wire:
        story = Story(deployment, "confirm-acts-after-the-other-has-looked")
        await story.send()
        await until(lambda: wire.seen["confirm"] == 1, ARRIVED_SECONDS_MAX, "the confirm")
        async with story.stopped_sender():
            await story.until_status("succeeded")
            await asyncio.sleep(0.5)
        await story.until_heard_late()
        charges = await story.end()
        print(dict(wire.seen))
    assert charges == 1
    assert HEARD_LATE in story.told


@pytest.mark.slow
async def test_stopped_before_the_create(deployment: Deployment) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def script(passing: Passing) -> web.Response:
        if passing.operation == "create" and passing.number == 1:
            arrived.set()
            await go_on.wait()  # it has not left the sender's machine yet
        return await passing.forward()

    async with Wire(deployment, script) as wire:
        story = Story(deployment, "stopped-before-the-create")
        await story.send()
        await asyncio.wait_for(arrived.wait(), ARRIVED_SECONDS_MAX)
        async with story.stopped_sender():
            await story.until_status("succeeded")
            go_on.set()
            await asyncio.sleep(0.5)
        charges = await story.end()
        print(dict(wire.seen))
    assert charges == 1


async def test_stopped_between_create_and_confirm(deployment: Deployment) -> None:
    arrived = asyncio.Event()

    async def script(passing: Passing) -> web.Response:
        answer = await passing.forward()
        if passing.operation == "create" and passing.number == 1:
            arrived.set()
            await asyncio.sleep(0.3)
        return answer

    async with Wire(deployment, script) as wire:
        story = Story(deployment, "stopped-between-create-and-confirm")
        await story.send()
        await asyncio.wait_for(arrived.wait(), ARRIVED_SECONDS_MAX)
        async with story.stopped_sender():
            await story.until_status("succeeded")
        charges = await story.end()
        print(dict(wire.seen))
    assert charges == 1


@pytest.mark.slow
async def test_withheld_answer_is_cut_after_the_other_has_settled(deployment: Deployment) -> None:
    await deployment.set_knobs(
        {
            "fault": "withhold_after",
            "match": {"operation": "payment_intents.confirm", "first_n": 1},
        }
    )
    async with Wire(deployment):
        story = Story(deployment, "withheld-answer-is-cut-after-the-other-has-settled")
        await story.send()
        begun = time.monotonic()
        while not await story.charges():
            assert time.monotonic() - begun < STATUS_SECONDS_MAX
            await asyncio.sleep(0.05)
        async with story.stopped_sender():
            await story.until_status("succeeded")
            await deployment.clear_knobs()
        charges = await story.end()
    assert charges == 1
    assert "call stripe confirm" in story.told


@pytest.mark.slow
async def test_late_confirm_after_the_other_has_canceled(deployment: Deployment) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def script(passing: Passing) -> web.Response:
        if passing.operation == "confirm":
            arrived.set()
            await go_on.wait()
        return await passing.forward()

    async with Wire(deployment, script) as wire:
        story = Story(
            deployment, "late-confirm-after-the-other-has-canceled", not_after_seconds=4.0
        )
        await story.send()
        await asyncio.wait_for(arrived.wait(), ARRIVED_SECONDS_MAX)
        async with story.stopped_sender():
            await story.until_status("canceled")
            go_on.set()
            await asyncio.sleep(0.5)
        await story.until_heard_late()
        charges = await story.end()
        print(dict(wire.seen))
    assert (charges, (await story.status())[0]) == (0, "canceled")
    assert HEARD_LATE in story.told


@pytest.mark.slow
async def test_late_refusal_of_the_create_while_the_other_confirms(deployment: Deployment) -> None:
    """What a create answered says nothing any more once another one has made the object."""
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
        story = Story(deployment, "late-refusal-of-the-create-while-the-other-confirms")
        await story.send()
        await asyncio.wait_for(arrived.wait(), ARRIVED_SECONDS_MAX)
        async with story.stopped_sender():
            refuse.set()
            await asyncio.wait_for(confirmed.wait(), ARRIVED_SECONDS_MAX)
        await asyncio.sleep(3)
        print(f"before the confirm goes on: {dict(wire.seen)}, {await story.status()}")
        go_on.set()
        charges = await story.end()
        print(dict(wire.seen))
    # The first attempt's object is canceled for good before a second one is opened.
    assert charges == 1

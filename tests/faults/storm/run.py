"""One storm: payments, their webhooks by the million, and what has to hold afterwards."""

import asyncio
import contextlib
import time
from typing import Final

import aiohttp
from msgspec import Struct

from bench.process_times import pss_mb
from strongroom.cli.progress import Bar
from tests.faults.deployment import Deployment
from tests.faults.judged_log import until_signed
from tests.faults.left_over import until_nothing_is_left
from tests.faults.storm.customers import Customers
from tests.faults.storm.front import Front
from tests.faults.storm.sender import Sender
from tests.faults.storm.verdict import findings_of, open_work

DEADLINE_SECONDS: Final = 5.0
BEFORE: Final = 0.5
"""This share of the payments is made before the storm, the others while it lasts."""
LOOK_SECONDS: Final = 0.25
WEIGHED: Final = ("api", "worker")
GROWS_MB_MAX: Final = 64.0
WARM: Final = 0.1
"""From this share of the storm on memory is compared: caches have filled by then."""
QUIET_SECONDS_MAX: Final = 180.0
REFUNDS_SETTLE_SECONDS: Final = 1
AGREES_SECONDS_MAX: Final = 30.0


class Weight(Struct, frozen=True):
    """MB of all processes of a name, once warm and at most afterwards."""

    warm: float
    most: float


class Figures(Struct, frozen=True, kw_only=True):
    """All of one storm. `webhooks` are deliveries that were answered 200."""

    webhooks: int
    events: int
    held_back: int
    payments: int
    refunds: int
    findings: list[str]
    answers: dict[str, int]
    seconds: float
    per_second: float
    memory: dict[str, Weight]


class Scales:
    """Weighs API and worker once a second."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.samples: dict[str, list[float]] = {name: [] for name in WEIGHED}

    async def weigh(self) -> None:
        """Until it is cancelled."""
        while True:
            for name in WEIGHED:
                weight = await asyncio.to_thread(pss_mb, self._deployment.pids(name))
                self.samples[name].append(weight)
            await asyncio.sleep(1.0)

    def told(self) -> dict[str, Weight]:
        """By name."""
        return {
            name: Weight(round(some[int(WARM * len(some))], 1),
                         round(max(some[int(WARM * len(some)) :]), 1))
            for name, some in self.samples.items()
        }  # fmt: skip


async def storm(deployment: Deployment, deliveries: int, payments: int) -> Figures:
    """At least so many deliveries, of the events of so many payments, at one that runs."""
    async with Front(deployment) as front, aiohttp.ClientSession() as session:
        await deployment.set_knobs(refund_settle_seconds=REFUNDS_SETTLE_SECONDS)
        customers = Customers(deployment, session)
        secret = (deployment.home / "secrets" / "stripe_webhook_secret").read_bytes().strip()
        sender = Sender(deployment.ready["api_url"], secret, front.events)
        passing = asyncio.create_task(customers.pass_challenges())
        try:
            earlier = int(BEFORE * payments)
            await customers.buy(range(earlier), at_once)
            await customers.befall()
            await sender.open()
            scales = Scales(deployment)
            seconds = await _rage(sender, customers, scales, deliveries, range(earlier, payments))
            await _until_quiet(deployment)
            findings = await _findings(deployment, customers, front, sender)
        finally:
            customers.over.set()
            sender.close()
            await passing
    memory = scales.told()
    findings += [
        f"the {name} grew from {weight.warm} to {weight.most} MB"
        for name, weight in memory.items()
        if weight.most > weight.warm + GROWS_MB_MAX
    ]
    return Figures(
        webhooks=sender.taken,
        events=len(front.events),
        held_back=front.held_back,
        payments=customers.payments,
        refunds=len(customers.cashiers.refunds),
        findings=findings,
        answers=dict(sender.answers),
        seconds=round(seconds, 1),
        per_second=round(deliveries / seconds, 1),
        memory=memory,
    )


async def at_once(number: int) -> None:
    """Lets each begin when its turn comes."""


async def _rage(
    sender: Sender, customers: Customers, scales: Scales, deliveries: int, numbers: range
) -> float:
    """Until so many deliveries were answered, and the payments of these numbers were made.

    Returns the seconds that the deliveries took.
    """

    async def may_begin(number: int) -> None:
        await sender.until_taken((number - numbers.start) * deliveries // len(numbers))

    bar, begun = Bar("webhooks delivered"), time.monotonic()
    weighing = asyncio.create_task(scales.weigh())
    buying = asyncio.create_task(customers.buy(numbers, may_begin))
    try:
        sender.begin()
        while sender.taken < deliveries:
            bar(sender.taken, deliveries)
            await asyncio.sleep(LOOK_SECONDS)
            sender.check()
            if buying.done():
                await buying
        seconds = time.monotonic() - begun
        bar(deliveries, deliveries)
        await buying
        await sender.end()
    finally:
        bar.end()
        for task in (weighing, buying):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await weighing
    return seconds


async def _until_quiet(deployment: Deployment) -> None:
    begun = time.monotonic()
    while left := await open_work(deployment):
        assert time.monotonic() - begun < QUIET_SECONDS_MAX, f"stuck: {left}"
        await asyncio.sleep(LOOK_SECONDS)


async def _findings(
    deployment: Deployment, customers: Customers, front: Front, sender: Sender
) -> list[str]:
    """What does not hold, once all was delivered once more, and a refund had time to settle."""
    begun = time.monotonic()
    while True:
        if sender.is_behind:
            await sender.round()
            await _until_quiet(deployment)
        await until_signed(deployment)
        await until_nothing_is_left(deployment)
        found = await findings_of(deployment, customers, front, sender)
        if not found or time.monotonic() - begun > AGREES_SECONDS_MAX:
            return found
        await asyncio.sleep(LOOK_SECONDS)

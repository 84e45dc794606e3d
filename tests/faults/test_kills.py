"""kill -9 of everything, again and again, while payments are being sent."""

import asyncio
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment, until
from tests.faults.judge import judge, until_ended
from tests.faults.judged_log import judge_logs, until_signed
from tests.faults.shoppers import Shoppers, orders_of
from tests.plugins.short import share

pytestmark = [pytest.mark.faults, pytest.mark.needs("procfs")]

PAYMENTS = share(2000, 500)
SENDING_SECONDS = share(24, 6)
KILLED = ("api", "worker", "stripe", "postmaster", "worker", "api", "stripe", "postgres")
KILLS = (KILLED * 2)[: share(16, 4)]
PAUSE_SECONDS = (1.0, 2.0)
RECOVERY_SECONDS_MAX = 60
END_SECONDS_MAX = 120


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill -9: what, when, and the task that waits until it is back."""

    what: str
    at_seconds: float
    processes: int
    recovered: "asyncio.Task[float]"


def starts(deployment: Deployment, what: str) -> Callable[[], int]:
    """Counts how often a child has got ready, from what it says itself."""
    name, said = {
        "api": ("api", r'"event": "api_ready"'),
        "worker": ("worker", r'"event": "worker_ready"'),
        "stripe": ("stripe", r"^ready "),
    }.get(what, ("postgres", r"database system is ready to accept connections"))
    return lambda: len(re.findall(said, deployment.log(name), re.MULTILINE))


async def kill(deployment: Deployment, what: str, begun: float) -> Kill:
    await until(lambda: bool(deployment.pids(what)), RECOVERY_SECONDS_MAX, f"{what} to kill")
    ready = starts(deployment, what)
    before = ready()
    pids = deployment.signal(what, signal.SIGKILL)
    back = until(lambda: ready() > before, RECOVERY_SECONDS_MAX, f"{what} to come back")
    return Kill(what, time.monotonic() - begun, len(pids), asyncio.create_task(back))


async def test_kills_while_payments_are_sent(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=2.0)
    shoppers, begun = Shoppers(deployment), time.monotonic()
    orders = orders_of("killed", PAYMENTS)
    sending = asyncio.create_task(
        shoppers.send_all(orders, at_once=128, per_second=PAYMENTS / SENDING_SECONDS)
    )
    kills: list[Kill] = []
    for what in KILLS:
        await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
        kills.append(await kill(deployment, what, begun))
    for each in kills:
        seconds = await each.recovered
        print(
            f"{each.at_seconds:5.1f} s  {each.what} ({each.processes} processes) killed, "
            f"ready again after {seconds:.1f} s"
        )
    await sending
    print(f"sent within {time.monotonic() - begun:.1f} s, answers: {dict(shoppers.answers)}")
    print(f"slowest answer {shoppers.slowest_seconds:.1f} s; refused: {shoppers.refused}")
    print(f"all ended after another {await until_ended(deployment, END_SECONDS_MAX):.1f} s")
    judged = await judge(deployment, shoppers.accepted)
    print(f"{judged.statuses}, {judged.charges} charges, attempts {judged.attempts_most}")
    assert not shoppers.refused
    assert not shoppers.unanswered
    assert shoppers.answers["500"] == 0
    assert judged.statuses == {"succeeded": PAYMENTS}
    print(f"all signed after another {await until_signed(deployment):.1f} s")
    assert sum(log.size for log in await judge_logs(deployment, {})) >= 2 * PAYMENTS

"""kill -9 of sequencer, signer and PostgreSQL, again and again, while payments are being sent."""

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from functools import partial

import pytest

from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment, until
from tests.faults.judge import judge, until_ended
from tests.faults.judged_log import judge_logs, until_signed
from tests.faults.shoppers import Shoppers, orders_of
from tests.plugins.short import share

pytestmark = [pytest.mark.faults, pytest.mark.needs("procfs")]

KILLS = int(os.environ.get("STRONGROOM_TEST_LOG_KILLS") or share(15, 4))
"""200 are what a release is tested by."""
KILLED = ("worker", "signer", "postmaster", "signer", "worker")
"""Each worker has a sequencer in it."""
ORDERS, PER_SECOND = 10, 15
PAUSE_SECONDS = (0.3, 1.2)
BACK_SECONDS_MAX = 60
END_SECONDS_MAX = 180


def is_there(deployment: Deployment, what: str) -> bool:
    return bool(deployment.pids(what))


async def keep_checkpoints(deployment: Deployment, kept: dict[str, list[bytes]]) -> None:
    """What an outsider has copied, now and then: the log must always begin so."""
    while True:
        for folder in (deployment.home / "log").glob("ent_*"):
            note = folder / "checkpoint"
            if note.exists():
                content = note.read_bytes()
                if content not in kept[folder.name][-1:]:
                    kept[folder.name].append(content)
        await asyncio.sleep(0.1)


async def send_until(done: asyncio.Event, shoppers: Shoppers) -> int:
    """Orders without end, at one pace, whatever is killed meanwhile; returns how many."""
    sending: list[asyncio.Task[None]] = []
    while not done.is_set():
        orders = orders_of(f"logged-{len(sending)}", ORDERS)
        sent = shoppers.send_all(orders, at_once=ORDERS, per_second=PER_SECOND)
        sending.append(asyncio.create_task(sent))
        await asyncio.sleep(ORDERS / PER_SECOND)
    await asyncio.gather(*sending)
    return ORDERS * len(sending)


async def test_kills_of_who_writes_the_log(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=2.0)
    kept: dict[str, list[bytes]] = defaultdict(list)
    keeping = asyncio.create_task(keep_checkpoints(deployment, kept))
    shoppers, killed, done = Shoppers(deployment), Counter[str](), asyncio.Event()
    sending, begun = asyncio.create_task(send_until(done, shoppers)), time.monotonic()
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
        what = random.choice(KILLED)
        await until(partial(is_there, deployment, what), BACK_SECONDS_MAX, what)
        killed[what] += len(deployment.signal(what, signal.SIGKILL))
    done.set()
    sent = await sending
    print(f"{dict(killed)} killed in {time.monotonic() - begun:.1f} s, sent {sent}")
    await until_ended(deployment, END_SECONDS_MAX)
    judged = await judge(deployment, shoppers.accepted)
    assert judged.statuses == {"succeeded": sent}
    print(f"all signed after another {await until_signed(deployment):.1f} s")
    keeping.cancel()
    logs = await judge_logs(deployment, kept)
    print(f"{[log.size for log in logs]} entries, {sum(map(len, kept.values()))} older checkpoints")
    assert sum(log.size for log in logs) >= 2 * sent
    assert not [said for said in deployment.complaints() if "log_rewritten" in said]

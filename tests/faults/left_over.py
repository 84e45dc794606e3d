"""What must not be left once all is well again: connections, transactions, leases, jobs, files."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.faults.deployment import Deployment

CONNECTIONS_MAX: Final = {
    "strongroom-api": 26,
    "strongroom-worker": 10,
    "strongroom-bell": 1,
    "strongroom-sequencer": 1,
    "strongroom-log-lag": 1,
    "strongroom-signer": 2,
}
"""What the pools of all processes of a name may hold together, those to the keys included: of the
API two processes run."""
TRANSACTION_SECONDS_MAX: Final = 10.0
FILES_MORE_MAX: Final = 30
"""A process may have so many more files and sockets open than in its beginning."""
GONE_SECONDS_MAX: Final = 60.0
"""Connections to gateways that were opened for a backlog are kept for some time."""
LOOK_SECONDS: Final = 0.25
WATCHED: Final = ("api", "worker", "signer")

CONNECTIONS_SQL: Final = """
SELECT split_part(application_name, '/', 1) AS name, count(*) AS many,
  max(EXTRACT(EPOCH FROM clock_timestamp() - xact_start)) AS seconds
FROM pg_stat_activity WHERE application_name LIKE 'strongroom-%' GROUP BY 1
"""
HELD_SQL: Final = """
SELECT (SELECT count(*) FROM jobs WHERE held) AS jobs,
  (SELECT count(*) FROM refund_jobs WHERE held) AS refund_jobs,
  (SELECT count(*) FROM webhook_events WHERE state = 'received') AS webhooks,
  (SELECT count(*) FROM webhook_deliveries WHERE state = 'waiting') AS deliveries
"""


def open_files(deployment: Deployment) -> Counter[str]:
    """How many files and sockets each kind of process has open, all of a name together."""
    found: Counter[str] = Counter()
    for name in WATCHED:
        for pid in deployment.pids(name):
            found[name] += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return found


async def until_nothing_is_left(deployment: Deployment, before: Counter[str] | None = None) -> None:
    """Raises AssertionError with what does not go away.

    `before` are `open_files` of calm days; without it they are not looked at.
    """
    begun = time.monotonic()
    while left := await _left(deployment, before):
        assert time.monotonic() - begun < GONE_SECONDS_MAX, f"left over: {left}"
        await asyncio.sleep(LOOK_SECONDS)


async def _left(deployment: Deployment, before: Counter[str] | None) -> list[str]:
    found = []
    for name, many, seconds in await deployment.fetch(CONNECTIONS_SQL):
        if many > CONNECTIONS_MAX.get(name, many):
            found.append(f"{many} connections of {name}")
        if seconds is not None and seconds > TRANSACTION_SECONDS_MAX:
            found.append(f"a transaction of {name} that is {seconds:.0f} s old")
    [held] = await deployment.fetch(HELD_SQL)
    found += [f"{many} {what}" for what, many in held.items() if many]
    for name, many in open_files(deployment).items() if before is not None else ():
        if many > before[name] + FILES_MORE_MAX:
            found.append(f"{many} open files of {name}, {before[name]} before")
    return found

"""How many payments were accepted and settled when, and how fast that was: what recovery is."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import asyncpg

from bench.process_times import pss_mb
from tests.faults.deployment import Deployment
from tests.faults.shoppers import Shoppers

SAMPLE_SECONDS: Final = 0.05
MEMORY_SECONDS: Final = 1.0
WINDOW_SECONDS: Final = 1.0
SHARE: Final = 0.9
HOLDS_SECONDS: Final = 3.0
"""So long the rate after the window has to be no lower either, on average."""
LOOK_SECONDS_MAX: Final = 1.0
SETTLED_SQL: Final = "SELECT count(*) FROM payments WHERE status = 'succeeded'"
RESTING: Final = (
    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)  # fmt: skip


class Point(NamedTuple):
    """At a moment, how many had been accepted and how many settled since the start.

    `at` is on the clock of time.monotonic.
    """

    at: float
    accepted: int
    settled: int


class Memory(NamedTuple):
    """Proportional set size at a moment, in MB, of all processes of the API and of the worker."""

    at: float
    api: float
    worker: float


def at(points: Sequence[Point], moment: float) -> Point:
    """The last point that is not later; the first one, where all are."""
    return points[max(0, bisect_right(points, moment, key=lambda point: point.at) - 1)]


def rate(points: Sequence[Point], begun: float, ended: float) -> float:
    """Settled a second between two moments."""
    return (at(points, ended).settled - at(points, begun).settled) / (ended - begun)


def back_after(points: Sequence[Point], fault: float, before: float) -> float | None:
    """Seconds from a fault to the end of the first window of one second that settles as fast again.

    As fast is 90 % of `before`, and what follows has to hold it. Windows begin after the fault.
    0.0 where no window was slower; None where it did not come back while there were points.
    """
    slow = False
    enough = SHARE * before
    for point in points:
        if point.at - WINDOW_SECONDS < fault:
            continue
        if rate(points, point.at - WINDOW_SECONDS, point.at) < enough:
            slow = True
        elif slow and _holds(points, point.at, enough):
            return point.at - fault
    return None if slow else 0.0


def _holds(points: Sequence[Point], begun: float, enough: float) -> bool:
    ended = min(begun + HOLDS_SECONDS, points[-1].at)
    return ended - begun < WINDOW_SECONDS or rate(points, begun, ended) >= enough


@dataclass(slots=True)
class Watch:
    """Looks, all the time, from outside: by a connection of its own and what clients were told."""

    deployment: Deployment
    shoppers: Shoppers
    points: list[Point] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def begin(self) -> None:
        """From now on there are points."""
        self._tasks = [asyncio.create_task(self._count()), asyncio.create_task(self._weigh())]

    async def end(self) -> None:
        """No more points."""
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def until(self, condition: Callable[[Point], bool], seconds_max: float) -> float | None:
        """The moment of the first new point of which it holds; None where none came in time.

        Raises what has ended the watch, if anything has.
        """
        begun, seen = time.monotonic(), len(self.points)
        while time.monotonic() - begun < seconds_max:
            for task in self._tasks:
                if task.done():
                    task.result()
            for point in self.points[seen:]:
                if condition(point):
                    return point.at
            seen = len(self.points)
            await asyncio.sleep(SAMPLE_SECONDS)
        return None

    async def _count(self) -> None:
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        while True:
            try:
                if connection is None:
                    connection = await asyncpg.connect(
                        self.deployment.database_url(),
                        timeout=LOOK_SECONDS_MAX,
                        command_timeout=LOOK_SECONDS_MAX,
                        server_settings={"search_path": "strongroom"},
                    )
                settled = await connection.fetchval(SETTLED_SQL)
                accepted = len(self.shoppers.accepted)
                self.points.append(Point(time.monotonic(), accepted, settled))
            except RESTING:  # while the database is away nothing is settled, as far as one sees
                if connection is not None:
                    connection.terminate()
                    connection = None
                if self.points:
                    accepted = len(self.shoppers.accepted)
                    self.points.append(Point(time.monotonic(), accepted, self.points[-1].settled))
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _weigh(self) -> None:
        while True:
            with suppress(OSError):  # one that ends while it is weighed
                weighed = [pss_mb(self.deployment.pids(name)) for name in ("api", "worker")]
                self.memory.append(Memory(time.monotonic(), *weighed))
            await asyncio.sleep(MEMORY_SECONDS)

"""The bell of a worker process: one look for all its lanes whether something is due in any.

A lane without work would otherwise look for itself many times a second, in a transaction of three
round trips, and there are a dozen. The bell asks for all of them in one statement, over a session
of its own, and a lane for which something is due claims it then.

Nothing rests on it. A lane that has heard nothing for a while looks all the same, and while the
bell cannot ask, each looks at its own pace.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from strongroom.clock import Clock
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, connect_pool
from strongroom.errors import described

BELL_SECONDS: Final = 0.05
UNRUNG_SECONDS_MAX: Final = 2.0
"""After so long a lane looks although it heard nothing."""
FAILED_WAIT_SECONDS: Final = 1.0
LOOK_SECONDS_MAX: Final = 0.5
LOCK_TIMEOUT: Final = "200ms"
"""A table that somebody holds, or a look that takes long, must not make all lanes wait."""

log = structlog.get_logger()


class Lane:
    """One kind of work, and how it rests when there is none."""

    def __init__(self, bell: "NoBell") -> None:
        self._bell, self._due = bell, asyncio.Event()

    async def rest(self, seconds: float) -> None:
        """Until something may be due: when the bell rings, or after `seconds` where none does."""
        try:
            async with asyncio.timeout(UNRUNG_SECONDS_MAX if self._bell.rings else seconds):
                await self._due.wait()
        except TimeoutError:
            return  # it looks all the same
        self._due.clear()

    def wake(self) -> None:
        """Something is due, or it is time to stop: its rest is over."""
        self._due.set()


class NoBell:
    """Nobody looks: each lane does by itself, at its own pace."""

    rings = False
    """Whether what is due is told, as far as the last look knew."""

    def lane(self, due: str) -> Lane:  # noqa: ARG002 - nobody asks
        """A lane that sleeps."""
        return Lane(self)


NO_BELL: Final = NoBell()


class Bell(NoBell):
    """Looks every BELL_SECONDS what is due in these buckets, and wakes the lanes that it is of."""

    def __init__(self, url: str, clock: Clock, buckets: Sequence[int]) -> None:
        self._url, self._clock, self._buckets = url, clock, list(buckets)
        self._lanes: list[tuple[str, Lane]] = []

    def lane(self, due: str) -> Lane:
        """A lane, and the statement that has a row if something is due: of buckets, and a time."""
        self._lanes.append((due, lane := Lane(self)))
        return lane

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again."""
        pool = await connect_pool(
            self._url,
            size_max=1,
            application="strongroom-bell",
            # It looks at each moment for the same, by the same keys: it is planned once.
            settings={
                "strongroom.buckets": ",".join(map(str, self._buckets)),
                "plan_cache_mode": "force_generic_plan",
                "lock_timeout": LOCK_TIMEOUT,
            },
        )
        try:
            while True:
                try:
                    await self._ring(pool)
                    self.rings = True
                except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                    self.rings = False
                    log.warning("bell_silent", error=type(error).__name__)
                except Exception as fault:  # noqa: BLE001 - the lanes look by themselves
                    self.rings = False
                    log.error("bell_silent", **described(fault))
                await asyncio.sleep(BELL_SECONDS if self.rings else FAILED_WAIT_SECONDS)
        finally:
            self.rings = False
            pool.terminate()

    async def _ring(self, pool: asyncpg.Pool) -> None:
        looks = ", ".join(f"EXISTS (\n{due}\n)" for due, _ in self._lanes)
        found = await pool.fetchval(
            f"SELECT ARRAY[{looks}]", self._buckets, self._clock.now(), timeout=LOOK_SECONDS_MAX
        )
        for (_, lane), is_due in zip(self._lanes, found, strict=True):
            if is_due:
                lane.wake()

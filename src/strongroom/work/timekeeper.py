"""Whether a machine's clock goes with the database's, by which all our processes are compared.

What is due, lapsed or already listed is judged by the clock of the worker that looks. One that goes
ahead takes over leases while their holders still ask the gateway, voids holds that are good, and
holds the present for listed before it has come. Such a worker ends at once, as if it were killed,
and does not begin again until the clocks agree.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, Self

import asyncpg
import structlog

from strongroom.clock import Clock
from strongroom.config import ConfigurationError
from strongroom.database import UNREACHABLE

DIFFERENCE_MAX: Final = timedelta(seconds=2)
"""Machines that keep time by NTP differ by milliseconds. Two workers that differ by so much, one in
each sense, may take a lease over while its holder's last call is under way: keys at gateways, and
looks before anything is sent again, keep that from charging twice."""
MILLISECOND: Final = timedelta(milliseconds=1)
LOOK_SECONDS: Final = 1.0
LOOK_SECONDS_MAX: Final = 5.0

log = structlog.get_logger()


class ClockDiffers(ConfigurationError):
    """Clock of machine and of database are too far apart: `ahead`, negative for behind."""

    def __init__(self, ahead: timedelta) -> None:
        seconds = ahead.total_seconds()
        super().__init__(
            f"the clock of this machine is {abs(seconds):.1f} s "
            f"{'ahead of' if seconds > 0 else 'behind'} the database's. Nothing is worked on by "
            "it: let both keep time by NTP, and start again."
        )
        self.ahead = ahead


class Asked(Protocol):
    """A pool of connections, or one."""

    async def fetchval(self, query: str) -> Any:
        """The first value of the first row."""
        ...


async def ahead(database: Asked, clock: Clock) -> timedelta:
    """How far `clock` is at least ahead of the database's; negative where it is behind.

    Zero as far as the time that question and answer took explains it. Raises what the database
    raises.
    """
    before = clock.now()
    theirs: datetime = await database.fetchval("SELECT clock_timestamp()")
    after = clock.now()
    return max(before - theirs, timedelta()) or min(after - theirs, timedelta())


class Timekeeper:
    """Compares the clocks for as long as its process lasts."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock

    @classmethod
    async def agreeing(cls, pool: asyncpg.Pool, clock: Clock) -> Self:
        """Of clocks that agree. Raises ClockDiffers, and what the database raises."""
        timekeeper = cls(pool, clock)
        await timekeeper.look()
        return timekeeper

    async def look(self) -> None:
        """Raises ClockDiffers when they are more than DIFFERENCE_MAX apart."""
        async with asyncio.timeout(LOOK_SECONDS_MAX):
            found = await ahead(self._pool, self._clock)
        if abs(found) > DIFFERENCE_MAX:
            raise ClockDiffers(found)

    async def run(self) -> None:
        """Looks every LOOK_SECONDS until it is cancelled. Raises ClockDiffers."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except UNREACHABLE as error:
                log.warning("clock_not_compared", error=type(error).__name__)
            except ClockDiffers as differs:
                log.error("clock_differs", milliseconds=differs.ahead // MILLISECOND)
                raise

"""What a gauge needs of the database, read now and then beside everything else."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

import asyncpg
from prometheus_client.core import Metric

from strongroom.clock import monotonic_seconds
from strongroom.database import UNREACHABLE

SHARE_OF_TIME: Final = 0.02
"""A reading that takes long comes less often: it is at it for this part of the time at most."""


class Readings(ABC):
    """Reads again and again from `start` to `close`; what fails is tried again at the next."""

    every_seconds: float
    """Between two readings."""

    def __init__(self) -> None:
        self._read_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to read in the running loop."""
        self._task = asyncio.create_task(self._read_forever())

    async def close(self) -> None:
        """Stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def read(self) -> None:
        """One reading. Raises what the database raises."""
        await self._take()
        self._read_at = monotonic_seconds()

    def is_older_than(self, seconds: float) -> bool:
        """Whether the last reading is, or there was none: no value is better than an old one."""
        return self._read_at is None or monotonic_seconds() - self._read_at > seconds

    @abstractmethod
    def collect(self) -> Iterator[Metric]:
        """What the last reading showed, for the library's collector."""

    @abstractmethod
    async def _take(self) -> None:
        """Reads, and keeps what it has read only when all of it is there."""

    @abstractmethod
    def _tell(self, error: str) -> None:
        """Writes the line of the log for a reading that could not be done."""

    async def _read_forever(self) -> None:
        while True:
            started = monotonic_seconds()
            try:
                await self.read()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                self._tell(type(error).__name__)
            took = monotonic_seconds() - started
            await asyncio.sleep(max(self.every_seconds, took / SHARE_OF_TIME))

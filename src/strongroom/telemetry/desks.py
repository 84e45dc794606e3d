"""A desk that is watched: the same work, with claims timed and what is in flight counted."""

from collections.abc import Sequence
from typing import Generic, TypeVar
from uuid import UUID

from strongroom.clock import monotonic_seconds
from strongroom.telemetry.port import NoTelemetry
from strongroom.work.worker import Desk

Item = TypeVar("Item")


class WatchedDesk(Generic[Item]):
    """Hands everything on to `desk`, and tells `telemetry` of it."""

    def __init__(
        self, lane: str, desk: Desk[Item], telemetry: NoTelemetry, *, in_flight_max: int
    ) -> None:
        self.prefix = desk.prefix
        self._lane = lane
        self._desk = desk
        self._telemetry = telemetry
        self._in_flight = 0
        telemetry.watch("strongroom_in_flight", lane, lambda: self._in_flight)
        telemetry.watch("strongroom_in_flight_max", lane, lambda: in_flight_max)

    def start(self) -> None:
        """As the desk."""
        self._desk.start()

    async def drain(self) -> None:
        """As the desk."""
        await self._desk.drain()

    async def claim(self, most: int) -> Sequence[Item]:
        """As the desk."""
        started = monotonic_seconds()
        items = await self._desk.claim(most)
        self._telemetry.claimed(self._lane, items, monotonic_seconds() - started)
        return items

    async def set_aside(self) -> Sequence[UUID]:
        """As the desk."""
        return await self._desk.set_aside()

    async def advance(self, item: Item, lease_ends: float) -> None:
        """As the desk."""
        self._in_flight += 1
        try:
            await self._desk.advance(item, lease_ends)
        finally:
            self._in_flight -= 1

"""The worker's loop: claims what is due and advances it, bounded in flight, until it is drained."""

import asyncio
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from strongroom.database import HELD_UP, SERIALIZATION_FAILURES, UNREACHABLE
from strongroom.errors import described
from strongroom.ids import Prefix, to_text
from strongroom.work.bell import NO_BELL, Lane
from strongroom.work.calls import Calls

CLAIM_MAX: Final = 256
IN_FLIGHT_MAX: Final = 1024
IDLE_WAIT_SECONDS: Final = 0.05
DATABASE_WAIT_SECONDS: Final = 0.5
CAREFUL_CLAIMS: Final = 2 * CLAIM_MAX
"""Claims of one item each that follow on a claim that failed."""
DRAIN_SECONDS_MAX: Final = 30.0
"""After `stop` no call begins that could last longer than this; whoever takes over goes on."""

Item = TypeVar("Item")

log = structlog.get_logger()


class Desk(Protocol[Item]):
    """One kind of work: what is due of it, and how one item of it is advanced."""

    prefix: Prefix
    """Of the ids of what is worked on."""

    def start(self) -> None:
        """Starts its writers in the running loop."""
        ...

    async def drain(self) -> None:
        """Waits until all that was learnt is written."""
        ...

    async def claim(self, most: int) -> Sequence[Item]:
        """Leases up to `most` due items; raises what the database raises."""
        ...

    async def set_aside(self) -> Sequence[UUID]:
        """Leases the item that is due first and does nothing for it; returns its id."""
        ...

    async def advance(self, item: Item, lease_ends: float) -> None:
        """Does what is to be done for one item, as long as the lease allows another call."""
        ...


class Worker(Generic[Item]):
    """Does what is due at one desk, bounded in flight, until it is drained."""

    def __init__(
        self,
        desk: Desk[Item],
        calls: Calls,
        *,
        in_flight_max: int = IN_FLIGHT_MAX,
        claim_max: int = CLAIM_MAX,
        lane: Lane | None = None,
    ) -> None:
        self._desk = desk
        self._calls = calls
        self._in_flight_max = in_flight_max
        self._claim_max = claim_max
        self._lane = Lane(NO_BELL) if lane is None else lane
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._stopping = False
        self._careful = 0

    async def run(self) -> None:
        """Works until `stop` is called, then finishes what was claimed."""
        self._desk.start()
        self._calls.start()
        while not self._stopping:
            room = min(self._in_flight_max - len(self._tasks), self._claim_max)
            if room < min(self._claim_max, self._in_flight_max) // 2:
                self._room.clear()
                await self._room.wait()
                continue
            lease_ends = self._calls.lease_ends()
            claimed = await self._claim(room)
            if claimed is None:
                continue
            for item in claimed:
                task = asyncio.create_task(self._desk.advance(item, lease_ends))
                self._tasks.add(task)
                task.add_done_callback(self._task_done)
            if not claimed or (len(claimed) < room // 2 and not self._careful):
                await self._lane.rest(IDLE_WAIT_SECONDS)
        await self._finish()

    async def _claim(self, room: int) -> Sequence[Item] | None:
        """What is due; None when nothing could be claimed for now.

        One item whose claim fails by itself must not hold up the others: after such a failure
        claims are of one, and the one that fails again is set aside until its lease ends.
        """
        most = 1 if self._careful else room
        try:
            claimed = await self._desk.claim(most)
        except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
            log.warning("claim_failed", error=type(error).__name__)
            if isinstance(error, HELD_UP):  # most likely one row, which somebody holds
                await self._be_careful()
            else:
                await asyncio.sleep(DATABASE_WAIT_SECONDS)
            return None
        except Exception as fault:  # noqa: BLE001 - whatever it is, the others must go on
            log.error("claim_failed", **described(fault))
            await self._be_careful()
            return None
        self._careful = max(0, self._careful - 1)
        return claimed

    async def _be_careful(self) -> None:
        if self._careful:
            await self._set_aside()
        self._careful = CAREFUL_CLAIMS

    async def _set_aside(self) -> None:
        try:
            aside = await self._desk.set_aside()
        except Exception as fault:  # noqa: BLE001 - it is tried again with the next claim
            log.error("set_aside_failed", **described(fault))
            await asyncio.sleep(DATABASE_WAIT_SECONDS)
            return
        log.error("set_aside", ids=[to_text(self._desk.prefix, one) for one in aside])

    def stop(self) -> None:
        """Claims nothing more; `run` returns when what is in flight has ended."""
        self._stopping = True
        self._calls.stop_after(DRAIN_SECONDS_MAX)
        self._room.set()
        self._lane.wake()

    async def _finish(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._calls.close()
        await self._desk.drain()

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # The lease lapses by itself and the item is looked at again.
            log.error("advance_failed", **described(error))

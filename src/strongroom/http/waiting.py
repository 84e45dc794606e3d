"""`Prefer: wait=N`: one batched look per process serves everyone who waits."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

import asyncpg
import structlog

from strongroom.database import UNREACHABLE
from strongroom.errors import described
from strongroom.http.bodies import wait_seconds
from strongroom.http.exchange import Asked
from strongroom.work.lasting import lasting, let_go

LOOK_SECONDS: Final = 0.1
WAITERS_MAX: Final = 10_000

log = structlog.get_logger()


class Settling(Protocol):
    """What can be waited for: a payment, a refund."""

    @property
    def legal_entity_id(self) -> UUID:
        """Whose it is."""
        ...

    @property
    def status(self) -> str:
        """`processing` for as long as there is something to wait for."""
        ...


Thing = TypeVar("Thing", bound=Settling)


def status_of(thing: Settling, *, replayed: bool) -> int:
    """202 while something is to be waited for; else 201 for a new thing, 200 for a replay."""
    return 202 if thing.status == "processing" else 200 if replayed else 201


class Waiting(Generic[Thing]):
    """Holds requests until their payment, or refund, leaves `processing`, or their time is up.

    `read` gives the things as they now are, by id; `id_of` is a thing's id.
    """

    def __init__(
        self,
        read: Callable[[Mapping[UUID, UUID]], Awaitable[list[Thing]]],
        id_of: Callable[[Thing], UUID],
    ) -> None:
        self._read = read
        self._id_of = id_of
        self._waiters: dict[UUID, list[tuple[UUID, asyncio.Future[Thing]]]] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the look in the running loop."""
        self._task = lasting(self._look_forever())

    async def close(self) -> None:
        """Lets everyone go with what they have."""
        await let_go(self._task)
        for waiters in self._waiters.values():
            for _, future in waiters:
                future.cancel()

    async def preferred(self, asked: Asked, thing: Thing) -> tuple[Thing, list[tuple[str, str]]]:
        """The thing after the wait that the caller prefers, and the headers that say so."""
        seconds = wait_seconds(asked)
        if not seconds:
            return thing, []
        return await self.settled(thing, seconds), [("preference-applied", f"wait={seconds}")]

    async def settled(self, thing: Thing, seconds: int) -> Thing:
        """The thing once it is not `processing`, or as given when the time is up."""
        if thing.status != "processing" or seconds <= 0 or self._count >= WAITERS_MAX:
            return thing
        future: asyncio.Future[Thing] = asyncio.get_running_loop().create_future()
        one, entry = self._id_of(thing), (thing.legal_entity_id, future)
        self._waiters.setdefault(one, []).append(entry)
        self._count += 1
        self._wake.set()
        try:
            await asyncio.wait([future], timeout=seconds)
            return future.result() if future.done() and not future.cancelled() else thing
        finally:
            self._count -= 1
            waiters = self._waiters[one]
            waiters.remove(entry)
            if not waiters:
                del self._waiters[one]

    async def _look_forever(self) -> None:
        while True:
            if not self._waiters:
                self._wake.clear()
                await self._wake.wait()
            await asyncio.sleep(LOOK_SECONDS)
            wanted = {one: waiters[0][0] for one, waiters in self._waiters.items()}
            try:
                found = await self._read(wanted)
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("waiting_look_failed", error=type(error).__name__)
                continue
            except Exception as fault:  # noqa: BLE001 - what cannot be read is waited for in vain
                log.error("waiting_look_failed", **described(fault))
                continue
            for thing in found:
                if thing.status != "processing":
                    for _, future in self._waiters.get(self._id_of(thing), []):
                        if not future.done():
                            future.set_result(thing)

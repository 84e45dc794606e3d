"""Blocking calls in a bounded number of threads, for a caller that does not wait for ever.

An executor of the standard library will not do: it waits for its threads when the process ends, so
that one call that hangs would keep it from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from strongroom.errors import InvariantBroken

T = TypeVar("T")

LANES: Final = 8
"""Calls at once, where nothing else is asked for."""
WAITING_MAX: Final = 64
"""Callers in line for a lane; more are turned away at once."""


class LanesFull(Exception):
    """All lanes are taken, and the line is as long as it may be, or the wait was."""


class Lanes:
    """So many threads at most. A call whose caller gave up keeps its lane until it ends by itself.

    Nobody waits longer for a lane than `wait_seconds`, where that is given.
    """

    def __init__(
        self,
        lanes: int = LANES,
        waiting_max: int = WAITING_MAX,
        *,
        wait_seconds: float | None = None,
        name: str = "strongroom-kms",
    ) -> None:
        self._free = asyncio.Semaphore(lanes)
        self._waiting_max, self._wait_seconds, self._name = waiting_max, wait_seconds, name
        self._waiting = 0

    async def run(self, call: Callable[[], T]) -> T:
        """What `call`, which must not raise, returns. Raises LanesFull."""
        if self._free.locked() and self._waiting >= self._waiting_max:
            raise LanesFull
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise LanesFull from None
        finally:
            self._waiting -= 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def end(given: list[T]) -> None:
            self._free.release()
            if answer.done():
                return
            if given:
                answer.set_result(given[0])
            else:
                answer.set_exception(InvariantBroken("a blocking call raised"))

        def work() -> None:
            given: list[T] = []
            try:
                given.append(call())
            finally:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(end, given)

        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except RuntimeError:  # the machine gives no more threads
            self._free.release()
            raise LanesFull from None
        return await answer

"""Deadlines of many calls, watched by one task: a timer for each would cost more than the call."""

import asyncio
from typing import Any, Final

from strongroom.clock import monotonic_seconds
from strongroom.work.lasting import lasting, let_go

SWEEP_SECONDS: Final = 0.1


class Deadlines:
    """Tells who waits for a task whether it ended in time; the task itself goes on.

    All deadlines of one instance are equally long, so they are met in the order of their start.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[bool], float] = {}
        self._overdue: list[asyncio.Future[bool]] = []
        self._begun = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the sweep in the running loop."""
        self._task = lasting(self._sweep_forever())

    async def close(self) -> None:
        """Stops the sweep."""
        await let_go(self._task)

    async def met(self, task: "asyncio.Task[Any]", deadline: float) -> bool:
        """True when `task` has ended; False at `deadline`, on the clock of monotonic_seconds.

        After a pause of the whole process the answer may be there already, so an overdue task is
        given one more sweep, in which it is read first.
        """
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[ended] = deadline
        self._begun.set()
        task.add_done_callback(lambda _: None if ended.done() else ended.set_result(True))
        try:
            return await ended
        finally:
            self._waiting.pop(ended, None)

    async def _sweep_forever(self) -> None:
        while True:
            if not self._waiting and not self._overdue:
                self._begun.clear()
                await self._begun.wait()
            await asyncio.sleep(SWEEP_SECONDS)
            for future in self._overdue:
                if not future.done():
                    future.set_result(False)
            self._overdue = []
            now = monotonic_seconds()
            for future, deadline in self._waiting.items():
                if deadline > now:
                    break
                self._overdue.append(future)
            for future in self._overdue:
                self._waiting.pop(future, None)

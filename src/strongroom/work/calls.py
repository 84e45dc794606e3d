"""Calls to gateways: each with a deadline, and listened to for a while after it."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

import structlog

from strongroom.clock import Clock, monotonic_seconds
from strongroom.errors import described
from strongroom.gateways.lines import Lines, Operation
from strongroom.gateways.port import Account
from strongroom.payments.states import Call, NotSent
from strongroom.work.deadlines import Deadlines

LATE_MAX: Final = 512
"""Calls past their deadline that are still listened to."""
LATE_SECONDS: Final = 90.0
LEASE_OVER_DEADLINE: Final = 2.5
"""The lease is this many deadlines long: one to make the object, one to confirm it, and slack."""

Heard = TypeVar("Heard")

log = structlog.get_logger()


class Calls:
    """What one worker asks of gateways; all its calls have the same deadline.

    Who calls takes a place on one of `lines` first, or has `ask` take it.
    """

    def __init__(self, clock: Clock, deadline: timedelta, lines: Lines | None = None) -> None:
        self.clock = clock
        self.lines = Lines() if lines is None else lines
        self._deadline_seconds = deadline.total_seconds()
        self._deadlines = Deadlines()
        self._late: set[asyncio.Task[None]] = set()
        self._ends = math.inf

    def start(self) -> None:
        """Starts the watch over deadlines in the running loop."""
        self._deadlines.start()

    @property
    def lease(self) -> timedelta:
        """How long a lease has to be for the calls that are made under it."""
        return timedelta(seconds=self._deadline_seconds) * LEASE_OVER_DEADLINE

    def lease_ends(self) -> float:
        """When a lease that begins now will end, on the clock of monotonic_seconds."""
        return monotonic_seconds() + self._deadline_seconds * LEASE_OVER_DEADLINE

    def stop_after(self, seconds: float) -> None:
        """No call begins that could last longer than this from now."""
        self._ends = min(self._ends, monotonic_seconds() + seconds)

    def has_time(self, lease_ends: float) -> bool:
        """Whether one more call fits into the lease."""
        return monotonic_seconds() + self._deadline_seconds <= min(lease_ends, self._ends)

    async def close(self) -> None:
        """Stops listening."""
        for task in self._late:
            task.cancel()
        if self._late:
            await asyncio.wait(self._late)
        await self._deadlines.close()

    async def ask(
        self,
        account: Account,
        operation: Operation,
        request: Coroutine[Any, Any, tuple[Heard, Call]],
        silence: Heard,
    ) -> tuple[Heard | NotSent, Call]:
        """As `listen`, on the account's line for it; NotSent, and no call, where that has none."""
        place = self.lines.take(account, operation)
        if isinstance(place, str):
            request.close()
            now = self.clock.now()
            return NotSent(place), Call(
                operation=operation, started_at=now, duration_ms=0.0, outcome=place
            )
        with place:
            answer, call = await self.listen(request, silence, operation)
            place.answered(answer)
        return answer, call

    async def listen(
        self,
        request: Coroutine[Any, Any, tuple[Heard, Call]],
        silence: Heard,
        operation: str,
        late: Callable[[Any, Call], Awaitable[object]] | None = None,
    ) -> tuple[Heard, Call]:
        """The gateway's answer, or `silence` at the deadline; `late` hears what comes after it."""
        started_at, started = self.clock.now(), monotonic_seconds()
        task = asyncio.create_task(request)
        if await self._deadlines.met(task, started + self._deadline_seconds):
            return task.result()
        if late is not None and len(self._late) < LATE_MAX:
            listener = asyncio.create_task(self._listen_on(task, late))
            self._late.add(listener)
            listener.add_done_callback(self._late.discard)
        else:
            task.cancel()
        duration_ms = round((monotonic_seconds() - started) * 1000, 3)
        return silence, Call(
            operation=operation, started_at=started_at, duration_ms=duration_ms, outcome="no_answer"
        )

    async def _listen_on(
        self,
        task: asyncio.Task[tuple[Heard, Call]],
        late: Callable[[Any, Call], Awaitable[object]],
    ) -> None:
        try:
            async with asyncio.timeout(LATE_SECONDS):
                answer, call = await task
            await late(answer, call)
        except Exception as error:  # noqa: BLE001 - looks go on at their own pace: nothing is lost
            log.warning("late_answer_not_heard", **described(error))

"""The worker of a process: claims what is due, calls gateways, and hands answers to the engine."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, TypeVar

import structlog
from msgspec.structs import replace

from strongroom.clock import Clock, monotonic_seconds
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE
from strongroom.errors import described
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.port import Account, Gateway, Prepared
from strongroom.ids import to_text
from strongroom.payments.engine import Claimed, Engine
from strongroom.payments.states import (
    Answer,
    Answered,
    Attempt,
    Call,
    CancelObject,
    Look,
    NotSent,
    Payment,
    Send,
    Unknown,
)
from strongroom.work.deadlines import Deadlines

CLAIM_MAX: Final = 256
IN_FLIGHT_MAX: Final = 1024
IDLE_WAIT_SECONDS: Final = 0.05
DATABASE_WAIT_SECONDS: Final = 0.5
CAREFUL_CLAIMS: Final = 2 * CLAIM_MAX
"""Claims of one payment each that follow on a claim that failed."""
LATE_MAX: Final = 512
"""Calls past their deadline that are still listened to."""
LATE_SECONDS: Final = 90.0
DRAIN_SECONDS_MAX: Final = 30.0
"""After `stop` no call begins that could last longer than this; whoever takes over goes on."""
LEASE_OVER_DEADLINE: Final = 2.5
"""The lease is this many deadlines long: one to make the object, one to confirm it, and slack."""

Heard = TypeVar("Heard")

log = structlog.get_logger()


class Worker:
    """Does what is due, bounded in flight, until it is drained."""

    def __init__(
        self,
        engine: Engine,
        gateways: Mapping[str, Gateway],
        accounts: Accounts,
        clock: Clock,
        *,
        deadline: timedelta,
        in_flight_max: int = IN_FLIGHT_MAX,
        claim_max: int = CLAIM_MAX,
    ) -> None:
        self._engine = engine
        self._gateways = gateways
        self._accounts = accounts
        self._clock = clock
        self._deadline_seconds = deadline.total_seconds()
        self._lease_seconds = self._deadline_seconds * LEASE_OVER_DEADLINE
        self._in_flight_max = in_flight_max
        self._claim_max = claim_max
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._deadlines = Deadlines()
        self._room = asyncio.Event()
        self._stopping = False
        self._careful = 0
        self._drain_ends = math.inf

    async def run(self) -> None:
        """Works until `stop` is called, then finishes what was claimed."""
        self._engine.start()
        self._deadlines.start()
        while not self._stopping:
            room = min(self._in_flight_max - len(self._tasks), self._claim_max)
            if room < min(self._claim_max, self._in_flight_max) // 2:
                self._room.clear()
                await self._room.wait()
                continue
            claim_started = monotonic_seconds()
            claimed = await self._claim(room)
            if claimed is None:
                continue
            lease_ends = claim_started + self._lease_seconds
            for item in claimed:
                task = asyncio.create_task(self._advance(item, lease_ends))
                self._tasks.add(task)
                task.add_done_callback(self._task_done)
            if not claimed or (len(claimed) < room // 2 and not self._careful):
                await asyncio.sleep(IDLE_WAIT_SECONDS)
        await self._finish()

    async def _claim(self, room: int) -> list[Claimed] | None:
        """What is due; None when nothing could be claimed for now.

        One payment whose claim fails by itself must not hold up the others: after such a failure
        claims are of one, and the one that fails again is set aside until its lease ends.
        """
        most = 1 if self._careful else room
        try:
            claimed = await self._engine.claim(most)
        except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
            log.warning("claim_failed", error=type(error).__name__)
            await asyncio.sleep(DATABASE_WAIT_SECONDS)
            return None
        except Exception as fault:  # noqa: BLE001 - whatever it is, the others must go on
            log.error("claim_failed", **described(fault))
            if self._careful:
                await self._set_aside()
            self._careful = CAREFUL_CLAIMS
            return None
        self._careful = max(0, self._careful - 1)
        return claimed

    async def _set_aside(self) -> None:
        try:
            aside = await self._engine.set_aside()
        except Exception as fault:  # noqa: BLE001 - it is tried again with the next claim
            log.error("set_aside_failed", **described(fault))
            await asyncio.sleep(DATABASE_WAIT_SECONDS)
            return
        log.error("set_aside", payments=[to_text("pay", one) for one in aside])

    def stop(self) -> None:
        """Claims nothing more; `run` returns when what is in flight has ended."""
        self._stopping = True
        self._drain_ends = min(self._drain_ends, monotonic_seconds() + DRAIN_SECONDS_MAX)
        self._room.set()

    async def _finish(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._late:
            task.cancel()
        if self._late:
            await asyncio.wait(self._late)
        await self._deadlines.close()
        await self._engine.drain()

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # The lease lapses by itself and the payment is looked at again.
            log.error("advance_failed", **described(error))

    async def _advance(self, claimed: Claimed, lease_ends: float) -> None:
        """Does what is to be done for one payment, as long as the lease allows another call."""
        payment, attempt = claimed.payment, claimed.attempt
        effect: object = claimed.effect
        account = await self._accounts.get(payment.legal_entity_id, attempt.gateway_account_id)
        gateway = self._gateways[attempt.gateway]
        while isinstance(effect, Send | Look | CancelObject):
            if monotonic_seconds() + self._deadline_seconds > min(lease_ends, self._drain_ends):
                return
            if isinstance(effect, Send) and gateway.staged and attempt.gateway_object_id is None:
                prepared = await self._prepare(claimed, account, gateway)
                if prepared is None:
                    return
                attempt = prepared
                continue
            if isinstance(effect, Send) and self._clock.now() >= payment.not_after:
                answered = self._too_late(attempt, claimed.tries)
            else:
                answered = await self._call(effect, account, gateway, payment, attempt, claimed)
            committed = await self._engine.settle(payment, answered, claimed.lease)
            payment, effect = committed.payment, committed.effect

    async def _prepare(
        self, claimed: Claimed, account: Account, gateway: Gateway
    ) -> Attempt | None:
        """The attempt with its committed object id, or None when it is not to be sent now."""
        attempt = claimed.attempt
        answer, call = await self._listen(
            gateway.prepare(account, attempt), NotSent("no_answer"), "create"
        )
        if isinstance(answer, Prepared):
            if not await self._engine.commit_object_id(claimed, answer.object_id, call):
                return None
            return replace(attempt, gateway_object_id=answer.object_id)
        await self._engine.settle(
            claimed.payment,
            Answered(attempt=attempt, answer=answer, call=call, asked="send", tries=claimed.tries),
            claimed.lease,
        )
        return None

    def _too_late(self, attempt: Attempt, tries: int) -> Answered:
        """The time to send has passed while the gateway's object was made: nothing is sent."""
        call = Call(
            operation="send",
            started_at=self._clock.now(),
            duration_ms=0.0,
            outcome="not_sent_in_time",
        )
        answer = NotSent("not_sent_in_time")
        return Answered(attempt=attempt, answer=answer, call=call, asked="send", tries=tries)

    async def _call(
        self,
        effect: Send | Look | CancelObject,
        account: Account,
        gateway: Gateway,
        payment: Payment,
        attempt: Attempt,
        claimed: Claimed,
    ) -> Answered:
        tries, lease = claimed.tries, claimed.lease
        asked: Literal["send", "look", "cancel"]
        if isinstance(effect, Send):
            asked, request = "send", gateway.send(account, attempt)
        elif isinstance(effect, Look):
            asked, request = "look", gateway.look(account, attempt)
        else:
            asked, request = "cancel", gateway.cancel(account, attempt)

        def answered(answer: Answer, call: Call) -> Answered:
            return Answered(attempt=attempt, answer=answer, call=call, asked=asked, tries=tries)

        def late(answer: Answer, call: Call) -> Awaitable[object]:
            return self._engine.settle(payment, answered(answer, call), lease)

        answer, call = await self._listen(request, Unknown("no_answer"), asked, late)
        return answered(answer, call)

    async def _listen(
        self,
        request: Coroutine[Any, Any, tuple[Heard, Call]],
        silence: Heard,
        operation: str,
        late: Callable[[Any, Call], Awaitable[object]] | None = None,
    ) -> tuple[Heard, Call]:
        """The gateway's answer, or `silence` at the deadline; `late` hears what comes after it."""
        started_at, started = self._clock.now(), monotonic_seconds()
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

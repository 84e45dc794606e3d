"""Self-clocking batches: what arrives while a commit is under way goes into the next one.

No timer. A few writers take turns; each flush is one transaction over many items. A bounded queue
with a share per owner, so that one legal entity cannot starve another. What needs a row that
somebody else holds leaves the batch and waits aside (aside.py); the writers go on.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

import structlog

from strongroom.clock import monotonic_seconds
from strongroom.database import DATA_FAULTS, HELD_UP, SERIALIZATION_FAILURES, UNREACHABLE
from strongroom.errors import InvariantBroken, described
from strongroom.telemetry.port import NO_BATCH_TELEMETRY, BatchTelemetry
from strongroom.work.aside import Aside
from strongroom.work.lasting import lasting, let_go

BATCH_MAX: Final = 512
QUEUE_MAX: Final = 8192
SHARE_MAX: Final = QUEUE_MAX // 2
SERIALIZATION_RETRIES_MAX: Final = 8
RERUN_SECONDS: Final = 12.0
RERUN_WAIT_SECONDS: Final = 0.05
RERUN_WAIT_SECONDS_MAX: Final = 1.0

Item = TypeVar("Item")
Result = TypeVar("Result")

Told = Callable[[Result | None, Exception | None], None]
"""Hears how an item ended: its result and None, or None and the error."""

log = structlog.get_logger()


class QueueFull(Exception):
    """The queue, or the owner's share of it, is full; nothing was taken."""


class OutcomeOfCommitUnknown(Exception):
    """Running the batch again, and at last this item alone, did not succeed in time."""


class Refused(Exception):
    """The database refused this one item; `__cause__` is its error of SQLSTATE class 22 or 23."""


class Batcher(Generic[Item, Result]):
    """Gathers items and hands them to `flush` in batches of at most `batch_max`.

    `flush` is one transaction: given items it returns as many results in order, or raises and has
    done nothing, or its COMMIT's answer was lost. It must bear being run again with the same
    items, in other company. `rerun_seconds` bounds how long that is tried. Items of one `key`
    need the same row: while one of them waits for it, later ones join it.
    """

    def __init__(  # noqa: PLR0913 - limits with defaults, each for a test to set
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        owner: Callable[[Item], Hashable],
        key: Callable[[Item], Hashable] = id,
        writers: int = 2,
        batch_max: int = BATCH_MAX,
        queue_max: int = QUEUE_MAX,
        share_max: int = SHARE_MAX,
        rerun_seconds: float = RERUN_SECONDS,
        telemetry: BatchTelemetry = NO_BATCH_TELEMETRY,
    ) -> None:
        self._telemetry = telemetry
        telemetry.watch(lambda: self._queued + self._aside.count)
        self._flush = flush
        self._owner = owner
        self._writers = writers
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._share_max = share_max
        self._rerun_seconds = rerun_seconds
        self._queues: dict[Hashable, deque[tuple[Item, Told[Result]]]] = {}
        self._queued = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._in_flight = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._aside: Aside[tuple[Item, Told[Result]]] = Aside(
            self._run,
            lambda batch: _fail(batch, OutcomeOfCommitUnknown()),
            self._look_whether_idle,
            owner=lambda one: owner(one[0]),
            key=lambda one: key(one[0]),
            batch_max=batch_max,
        )

    def start(self) -> None:
        """Starts the writers in the running loop."""
        self._tasks = [lasting(self._write()) for _ in range(self._writers)]

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queues an item; the future ends with its result, Refused or OutcomeOfCommitUnknown.

        Raises QueueFull. Cancelling the future does not take the item back.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def told(result: Result | None, error: Exception | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        self.put(item, told)
        return future

    def put(self, item: Item, told: "Told[Result]") -> None:
        """Queues an item; `told` hears once of its result or its error. Raises QueueFull."""
        owner = self._owner(item)
        queue = self._queues.get(owner)
        if self._queued >= self._queue_max or (queue and len(queue) >= self._share_max):
            raise QueueFull
        if self._aside.count and self._room(owner) < 1:
            raise QueueFull
        if queue is None:
            queue = self._queues[owner] = deque()
        queue.append((item, told))
        self._queued += 1
        self._wake.set()
        self._idle.clear()

    def put_all(self, items: Sequence[tuple[Item, "Told[Result]"]]) -> int:
        """Queues items of one owner, as far as there is room; returns how many, from the first on.

        The `told` of each that was taken hears as after `put`; of the others it hears nothing.
        """
        if not items:
            return 0
        owner = self._owner(items[0][0])
        queue = self._queues.get(owner) or deque()
        taken = items[: max(0, self._room(owner))]
        if taken:
            queue.extend(taken)
            self._queues[owner] = queue
            self._queued += len(taken)
            self._wake.set()
            self._idle.clear()
        return len(taken)

    def _room(self, owner: Hashable) -> int:
        """How many more items of this owner fit; what waits aside takes room up as well."""
        share = len(self._queues.get(owner, ())) + self._aside.count_of(owner)
        return min(self._queue_max - self._queued - self._aside.count, self._share_max - share)

    async def drain(self) -> None:
        """Waits until all that was queued is written, then stops the writers."""
        await self._idle.wait()
        await let_go(*self._tasks)

    async def _write(self) -> None:
        while True:
            while not self._queued:
                self._wake.clear()
                await self._wake.wait()
            batch = self._take()
            self._in_flight += len(batch)
            until = monotonic_seconds() + self._rerun_seconds
            try:
                free = self._aside.without_known(batch, until) if self._aside.count else batch
                held = await self._run(free, until) if free else ()
                if held:
                    log.warning("batch_held_up", batch=self._telemetry.name, items=len(held))
                    self._aside.add(held, until)
            finally:
                self._in_flight -= len(batch)
                self._look_whether_idle()

    def _look_whether_idle(self) -> None:
        if not self._queued and not self._in_flight and not self._aside.count:
            self._idle.set()

    def _take(self) -> list[tuple[Item, "Told[Result]"]]:
        """Up to `batch_max` items, an equal share from each owner that has some waiting."""
        batch: list[tuple[Item, Told[Result]]] = []
        while self._queues and len(batch) < self._batch_max:
            share = max(1, (self._batch_max - len(batch)) // len(self._queues))
            for owner in list(self._queues):
                queue = self._queues.pop(owner)
                most = min(share, len(queue), self._batch_max - len(batch))
                batch.extend(queue.popleft() for _ in range(most))
                if queue:
                    self._queues[owner] = queue  # to the end: others come first next time
        self._queued -= len(batch)
        return batch

    async def _run(
        self, batch: Sequence[tuple[Item, "Told[Result]"]], until: float
    ) -> Sequence[tuple[Item, "Told[Result]"]]:
        """Brings items to their end, but for those it returns: somebody holds a row of these."""
        try:
            results = await self._flush_surely([item for item, _ in batch], until)
        except HELD_UP:
            return batch
        except OutcomeOfCommitUnknown as unknown:
            _fail(batch, unknown)
        except Exception as fault:  # noqa: BLE001 - one item is at fault, and the others must live
            if len(batch) > 1:
                middle = len(batch) // 2
                held = await self._run(batch[:middle], until)
                return [*held, *await self._run(batch[middle:], until)]
            if isinstance(fault, DATA_FAULTS):
                refused = Refused()
                refused.__cause__ = fault
                _fail(batch, refused)
            elif isinstance(fault, SERIALIZATION_FAILURES):
                log.warning("item_contended", **described(fault))
                _fail(batch, OutcomeOfCommitUnknown())
            else:
                log.error("item_failed", **described(fault))
                _fail(batch, fault)
        else:
            if len(results) != len(batch):
                _fail(batch, InvariantBroken("a flush answered for another number of items"))
                return ()
            for (_, told), result in zip(batch, results, strict=True):
                _tell(told, result, None)
        return ()

    async def _flush_surely(self, items: Sequence[Item], until: float) -> Sequence[Result]:
        """Runs the batch, again after a serialization failure or a database out of reach.

        Raises the failure where it never gets through: then one item may be at fault.
        """
        serialization_failures = 0
        wait = RERUN_WAIT_SECONDS
        while True:
            started = monotonic_seconds()
            try:
                results = await self._flush(items)
            except SERIALIZATION_FAILURES:
                serialization_failures += 1
                if serialization_failures > SERIALIZATION_RETRIES_MAX:
                    raise
                await asyncio.sleep(random.uniform(0, 0.01) * serialization_failures)  # noqa: S311
            except UNREACHABLE as error:
                if isinstance(error, (*DATA_FAULTS, *HELD_UP)):
                    raise
                log.warning(
                    "batch_rerun",
                    batch=self._telemetry.name,
                    error=type(error).__name__,
                    items=len(items),
                )
                if monotonic_seconds() + wait > until:
                    raise OutcomeOfCommitUnknown from error
                await asyncio.sleep(wait)
                wait = min(wait * 2, RERUN_WAIT_SECONDS_MAX)
            else:
                seconds = monotonic_seconds() - started
                self._telemetry.written(items, results, seconds)
                log.info(
                    "batch_written",
                    batch=self._telemetry.name,
                    items=len(items),
                    milliseconds=round(seconds * 1000, 1),
                )
                return results


def _fail(batch: Sequence[tuple[Item, "Told[Result]"]], error: Exception) -> None:
    for _, told in batch:
        _tell(told, None, error)


def _tell(told: "Told[Result]", result: Result | None, error: Exception | None) -> None:
    try:
        told(result, error)
    except Exception as fault:  # noqa: BLE001 - one listener must not cost the others their word
        log.error("listener_failed", **described(fault))

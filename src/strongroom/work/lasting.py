"""Parts that last as long as their process, which ends at once when one of them ends unasked.

A process that has lost a part looks alive, and does nothing of that kind for ever: payments would
be claimed again and again, and never settled. It bears kill -9 at any moment, so it ends instead,
and who supervises it starts it anew with all its parts.
"""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog

from strongroom.errors import described

EXIT_STATUS: Final = 1

Result = TypeVar("Result")

log = structlog.get_logger()


class Parts:
    """What lasts of this process, and whether the process ends with it."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.end_process = False


PARTS: Final = Parts()


def lasting(work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Begins a part: it goes on until it has done its work and returns, or is let go.

    Anything else that ends it is logged, and ends a process that runs `with_its_parts`.
    """
    task = asyncio.create_task(work, name=getattr(work, "__qualname__", None))
    PARTS.tasks.add(task)
    task.add_done_callback(_ended)
    return task


async def let_go(*parts: "asyncio.Task[Any] | None") -> None:
    """Cancels parts that are not needed any more, and waits for their end; None never began."""
    begun = [part for part in parts if part is not None]
    PARTS.tasks.difference_update(begun)
    for part in begun:
        part.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


async def with_its_parts(process: Coroutine[Any, Any, None]) -> None:
    """Runs a process to its end, which comes with EXIT_STATUS when a part of it ends unasked.

    Nothing is drained then, for that may wait for the part that has gone.
    """
    PARTS.end_process = True
    try:
        await process
    finally:
        PARTS.end_process = False
        PARTS.tasks.clear()


def _ended(part: "asyncio.Task[Any]") -> None:
    if part not in PARTS.tasks:
        return
    PARTS.tasks.discard(part)
    error = asyncio.CancelledError() if part.cancelled() else part.exception()
    if error is None:
        return
    try:
        log.error("part_ended", operation=part.get_name(), **described(error))
    finally:
        if PARTS.end_process:
            # No exception: the loop's runner would wait for every task and thread that it ends.
            os._exit(EXIT_STATUS)

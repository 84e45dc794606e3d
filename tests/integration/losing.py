"""`python -m tests.integration.losing WHAT WORDS…`: `strongroom WORDS` that loses parts of it.

WHAT is the name of a part: SIGUSR1 cancels one of that name. Or it is `each:` and the names of all
parts: once these are there, each is cancelled in turn, with a process that lives on, and a line of
JSON tells what was found.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from unittest.mock import patch

import uvloop

from strongroom.cli import main
from strongroom.clock import monotonic_seconds
from strongroom.work.lasting import PARTS

FOUND_SECONDS_MAX = 120
LOOK_SECONDS = 0.02
BESIDE = frozenset({"MetricsPage._serve", "Readings._read_forever"})
"""What lives as long, and may end: payments do not stop for numbers about them."""

ENDING = "TextStore.seal_from_then_on"
"""A part that has done its work soon."""
ALONE = frozenset({"Event.wait", "Server.listen", "Submitter.run"})
"""What others wait for, or what waits for others: these are lost in a process of their own."""

Work = Coroutine[Any, Any, None]


async def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = monotonic_seconds() + FOUND_SECONDS_MAX
    while not condition():
        if monotonic_seconds() > deadline:
            print(json.dumps({"waited in vain for": str(what())}), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(LOOK_SECONDS)


def name_of(task: "asyncio.Task[Any]") -> str:
    return str(getattr(task.get_coro(), "__qualname__", ""))


def parts(name: str) -> list["asyncio.Task[Any]"]:
    return [task for task in PARTS.tasks if task.get_name() == name]


def has(ended: list[int], number: int) -> bool:
    return len(ended) == number


def lose(name: str) -> None:
    parts(name)[0].cancel()


async def lose_each(names: list[str], ours: set["asyncio.Task[Any]"]) -> None:
    """Cancels each part that is there, those within others first; then it ends the process."""
    ended: list[int] = []
    await until(lambda: all(map(parts, names)), lambda: [n for n in names if not parts(n)])
    with patch("os._exit", ended.append):
        there = asyncio.all_tasks() - ours

        def others() -> set[str]:
            lasting = {task for task in PARTS.tasks if name_of(task) != ENDING}
            return {name_of(task) for task in there - lasting if not task.done()} - BESIDE

        await until(lambda: not others(), others)  # what does one thing and ends is no part
        found = sorted(PARTS.tasks, key=lambda task: name_of(task).endswith(".run"))
        lost = [task for task in found if name_of(task) not in ALONE]
        for number, task in enumerate(lost, start=1):
            task.cancel()
            await until(partial(has, ended, number), partial(name_of, task))
    told = {"parts": sorted(map(name_of, found)), "lost": sorted(map(name_of, lost))}
    print(json.dumps(told | {"ended": ended}), flush=True)
    os._exit(0)


def losing(what: str) -> Callable[[Work], None]:
    async def beside(process: Work) -> None:
        loop, names = asyncio.get_running_loop(), what.removeprefix("each:").split(",")
        if what.startswith("each:"):
            ours = asyncio.all_tasks()
            ours.add(loop.create_task(lose_each(names, ours)))
        else:
            loop.add_signal_handler(signal.SIGUSR1, lose, what)
        await process

    def run(process: Work) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(beside(process))

    return run


if __name__ == "__main__":
    with patch("uvloop.run", losing(sys.argv[1])):
        sys.exit(main(sys.argv[2:]))

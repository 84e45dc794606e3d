"""Parts that last: an end that nobody asked for is told, and ends the process; others are not."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from strongroom.work import lasting as module
from strongroom.work.lasting import EXIT_STATUS, PARTS, lasting, let_go, with_its_parts

END_SECONDS_MAX = 60


class Bug(Exception):
    """Nobody expects it."""


async def for_ever() -> None:
    await asyncio.Event().wait()


async def broken() -> None:
    raise Bug("4242424242424242")


async def done() -> int:
    return 7


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses with which the process would have ended."""
    found: list[int] = []
    monkeypatch.setattr("os._exit", found.append)
    return found


async def settle(task: "asyncio.Task[object]") -> None:
    """Until a task has ended, and whoever wanted to know it does."""
    await asyncio.wait([task])
    await asyncio.sleep(0)


def told(lines: Sequence[Mapping[str, object]]) -> list[tuple[object, object]]:
    assert all(line["event"] == "part_ended" for line in lines)
    return [(line["operation"], line["error"]) for line in lines]


async def within(work: Callable[[], "asyncio.Task[None]"]) -> None:
    """A process with this part, whose end it does not notice by itself."""
    await settle(work())


@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_part_that_is_cancelled_is_told_and_ends_its_process(has_begun, exits):
    async def process() -> None:
        part = lasting(for_ever())
        if has_begun:
            await asyncio.sleep(0)
        part.cancel()
        await settle(part)

    with capture_logs() as lines:
        await with_its_parts(process())
    assert told(lines) == [("for_ever", "CancelledError")]
    assert exits == [EXIT_STATUS]


async def test_a_part_that_raises_is_told_without_its_words_and_ends_its_process(exits):
    with capture_logs() as lines:
        await with_its_parts(within(lambda: lasting(broken())))
    [line] = lines
    assert (line["operation"], line["error"], line["log_level"]) == ("broken", "Bug", "error")
    assert line["where"][-1].startswith("test_lasting.py:")
    assert "4242" not in str(line)
    assert exits == [EXIT_STATUS]


async def test_a_process_ends_also_where_its_log_is_gone(exits, monkeypatch):
    class Gone:
        def error(self, *_: object, **__: object) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(module, "log", Gone())
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await with_its_parts(within(lambda: lasting(broken())))
    assert exits == [EXIT_STATUS]


async def test_a_part_that_has_done_its_work_is_no_loss(exits):
    async def process() -> None:
        part = lasting(done())
        await settle(part)
        assert part.result() == 7

    with capture_logs() as lines:
        await with_its_parts(process())
    assert (lines, exits) == ([], [])


async def test_what_is_let_go_is_cancelled_and_waited_for_and_not_told(exits):
    ended: list[str] = []

    async def slow() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0.01)
            ended.append("slow")

    async def process() -> None:
        parts = [lasting(slow()), lasting(for_ever()), lasting(done())]
        await asyncio.sleep(0)
        await let_go(*parts)
        assert [part.done() for part in parts] == [True] * 3
        await asyncio.sleep(0)
        await let_go(*parts)  # once more does no harm
        await let_go()

    with capture_logs() as lines:
        await with_its_parts(process())
    assert (lines, exits, ended) == ([], [], ["slow"])


async def test_a_part_that_fails_while_it_is_let_go_is_no_loss(exits):
    async def sulky() -> None:
        try:
            await for_ever()
        finally:
            raise Bug

    async def process() -> None:
        part = lasting(sulky())
        await asyncio.sleep(0)
        await let_go(part)
        await asyncio.sleep(0)

    with capture_logs() as lines:
        await with_its_parts(process())
    assert (lines, exits) == ([], [])


async def test_where_no_process_stands_behind_it_the_end_is_told_only(exits):
    with capture_logs() as lines:
        await settle(lasting(broken()))
    assert told(lines) == [("broken", "Bug")]
    assert exits == []


async def test_a_process_that_has_ended_by_itself_tells_of_no_part(exits):
    """Its loop cancels what is left; what it ended by must not drown in that."""
    left: list[asyncio.Task[None]] = []

    async def process() -> None:
        left.append(lasting(for_ever()))
        await asyncio.sleep(0)
        raise Bug

    with capture_logs() as lines:
        with pytest.raises(Bug):
            await with_its_parts(process())
        left[0].cancel()
        await settle(left[0])
    assert (lines, exits) == ([], [])
    assert not PARTS.end_process


async def test_a_part_that_nobody_holds_goes_on(exits):
    ran = asyncio.Event()

    async def waits() -> None:
        await asyncio.get_running_loop().create_future()  # which nobody else holds

    async def process() -> None:
        _ = lasting(waits())
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
        assert [part.get_name().rpartition(".")[2] for part in PARTS.tasks] == ["waits"]
        ran.set()
        await let_go(*PARTS.tasks)

    PARTS.tasks.clear()
    with capture_logs() as lines:
        await with_its_parts(process())
    assert ran.is_set()
    assert (lines, exits) == ([], [])


STUCK = """
import asyncio, threading, time
from strongroom.telemetry.logs import set_up_logs
from strongroom.work.lasting import lasting, with_its_parts

async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def part():
    await asyncio.sleep(0.1)
    raise ValueError

async def process():
    other = asyncio.create_task(stubborn())
    thread = asyncio.create_task(asyncio.to_thread(time.sleep, 3600))
    lost = lasting(part())
    await asyncio.Event().wait()

set_up_logs()
asyncio.run(with_its_parts(process()))
"""


def test_nothing_that_goes_on_holds_the_end_up():
    """Neither what does not mind being cancelled, nor a thread, nor who waits for the part."""
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, check=False,
        timeout=END_SECONDS_MAX,
    )  # fmt: skip
    assert ended.returncode == EXIT_STATUS
    assert '"event": "part_ended"' in ended.stderr
    assert '"operation": "part"' in ended.stderr
    assert len(ended.stderr.splitlines()) == 1

"""Blocking calls take a bounded number of threads, and hold nobody who does not want to wait."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from strongroom.errors import InvariantBroken
from strongroom.vault.lanes import LANES, WAITING_MAX, Lanes, LanesFull


async def test_so_many_run_so_many_wait_and_more_are_turned_away():
    lanes, gate = Lanes(), threading.Event()
    running, most = 0, 0
    lock = threading.Lock()

    def call() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(60)
        with lock:
            running -= 1
        return 1

    tasks = [asyncio.create_task(lanes.run(call)) for _ in range(LANES + WAITING_MAX)]
    await asyncio.sleep(0.05)
    before = time.monotonic()
    for _ in range(10):
        with pytest.raises(LanesFull):
            await lanes.run(call)
    assert time.monotonic() - before < 10
    gate.set()
    assert await asyncio.gather(*tasks) == [1] * len(tasks)
    assert most == LANES
    assert await lanes.run(call) == 1


async def test_a_lane_whose_caller_gave_up_is_free_when_its_call_ends():
    lanes, gate = Lanes(), threading.Event()
    for _ in range(LANES):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await lanes.run(lambda: gate.wait(60))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await lanes.run(lambda: True)
    gate.set()
    async with asyncio.timeout(30):
        assert await lanes.run(lambda: True)


async def test_who_leaves_the_line_leaves_his_place():
    lanes, gate = Lanes(), threading.Event()
    tasks = [asyncio.create_task(lanes.run(lambda: gate.wait(60))) for _ in range(LANES)]
    await asyncio.sleep(0.02)
    for _ in range(2 * WAITING_MAX):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await lanes.run(lambda: True)
    gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_call_that_raises_is_a_bug_and_frees_its_lane():
    lanes = Lanes()
    for _ in range(LANES + 1):
        with pytest.raises(InvariantBroken):
            await lanes.run(lambda: 1 // 0)


def test_a_call_that_hangs_keeps_no_process_from_ending():
    script = (
        "import asyncio, time; from strongroom.vault.lanes import Lanes\n"
        "async def main():\n"
        "    try:\n"
        "        async with asyncio.timeout(0.1): await Lanes().run(lambda: time.sleep(60))\n"
        "    except TimeoutError: print('gave up')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=50, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("gave up\n", "")

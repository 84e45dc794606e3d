"""Deadlines of many calls, watched by one task: in time, overdue, and after a pause of it all."""

import asyncio
import socket
import threading
import time

import pytest

from strongroom.clock import monotonic_seconds
from strongroom.work.deadlines import SWEEP_SECONDS, Deadlines

SOON = 0.15
LONG = 30.0


@pytest.fixture
async def deadlines():
    made = Deadlines()
    made.start()
    yield made
    await made.close()


def pause(seconds: float) -> None:
    """The whole process stands still."""
    time.sleep(seconds)


def after(seconds: float) -> float:
    return monotonic_seconds() + seconds


async def answer_in(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "answer"


async def test_what_ends_in_time_is_met_at_once(deadlines):
    began = monotonic_seconds()
    task = asyncio.create_task(answer_in(0.01))
    assert await deadlines.met(task, after(LONG))
    assert task.result() == "answer"
    assert monotonic_seconds() - began < LONG / 2


async def test_what_has_ended_before_is_met_also_past_its_deadline(deadlines):
    task = asyncio.create_task(answer_in(0))
    await task
    assert await deadlines.met(task, after(-1))


async def test_what_fails_or_is_cancelled_has_ended(deadlines):
    async def fails() -> None:
        raise ValueError("no")

    failing, cancelled = asyncio.create_task(fails()), asyncio.create_task(answer_in(LONG))
    cancelled.cancel()
    assert await deadlines.met(failing, after(LONG))
    assert await deadlines.met(cancelled, after(LONG))
    with pytest.raises(ValueError, match="no"):
        failing.result()


async def test_what_is_overdue_is_told_and_goes_on(deadlines):
    deadline = after(SOON)
    task = asyncio.create_task(answer_in(SOON + 25 * SWEEP_SECONDS))
    assert not await deadlines.met(task, deadline)
    assert deadline <= monotonic_seconds() < deadline + 20 * SWEEP_SECONDS
    assert not task.done()
    assert await task == "answer"


async def test_each_of_many_is_told_by_itself(deadlines):
    deadline = after(2 * SWEEP_SECONDS)
    tasks = [asyncio.create_task(answer_in(0.01 if n % 2 else LONG)) for n in range(400)]
    later = asyncio.create_task(answer_in(6 * SWEEP_SECONDS))
    waits = [deadlines.met(task, deadline) for task in tasks]
    *told, last = await asyncio.gather(*waits, deadlines.met(later, after(LONG)))
    assert told == [bool(n % 2) for n in range(400)]
    assert last
    for task in tasks:
        task.cancel()


async def test_who_waits_no_more_leaves_nothing_behind(deadlines):
    task = asyncio.create_task(answer_in(LONG))
    waits = [asyncio.create_task(deadlines.met(task, after(SOON))) for _ in range(3)]
    await asyncio.sleep(0)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    assert not deadlines._waiting
    task.cancel()
    await asyncio.sleep(3 * SWEEP_SECONDS)  # the sweep lives on
    assert await deadlines.met(asyncio.create_task(answer_in(0)), after(LONG))


async def over_the_network(answers_after: float) -> tuple[str, threading.Thread, socket.socket]:
    """Waits for an answer that another process would send; several steps of the loop to read."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def answer() -> None:
        time.sleep(answers_after)
        theirs.sendall(b"answer\n")

    thread = threading.Thread(target=answer)
    thread.start()
    reader, writer = await asyncio.open_connection(sock=ours)
    line = (await reader.readline()).decode().strip()
    writer.close()
    return line, thread, theirs


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.6, 0.9])
async def test_an_answer_that_came_while_all_stood_still_is_read_first(deadlines, offset):
    await asyncio.sleep(offset * SWEEP_SECONDS)
    deadline = after(3 * SWEEP_SECONDS)
    task = asyncio.create_task(over_the_network(SWEEP_SECONDS))
    waiting = asyncio.create_task(deadlines.met(task, deadline))
    await asyncio.sleep(0.01)
    pause(8 * SWEEP_SECONDS)  # far past the deadline; the answer has come meanwhile
    assert monotonic_seconds() > deadline
    assert await waiting
    line, thread, theirs = task.result()
    assert line == "answer"
    thread.join()
    theirs.close()


async def test_after_a_pause_one_more_sweep_is_given_and_no_more(deadlines):
    task = asyncio.create_task(answer_in(LONG))
    waiting = asyncio.create_task(deadlines.met(task, after(SOON)))
    await asyncio.sleep(0)
    pause(SOON + 3 * SWEEP_SECONDS)
    resumed = monotonic_seconds()
    assert not await waiting
    assert 0.5 * SWEEP_SECONDS < monotonic_seconds() - resumed < 20 * SWEEP_SECONDS
    task.cancel()

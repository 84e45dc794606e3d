"""Parts of ours that are lost, and what is not lost by it: writers, watches, loops that look."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from strongroom.access import api_keys
from strongroom.access.api_keys import ApiKeys, Credential, _Kept
from strongroom.clock import SystemClock
from strongroom.gateways.port import Account
from strongroom.gateways.rests import Rests
from strongroom.http.waiting import Waiting
from strongroom.payments.states import Payment
from strongroom.work.aside import Aside
from strongroom.work.batch import Batcher
from strongroom.work.deadlines import Deadlines
from strongroom.work.lasting import EXIT_STATUS, PARTS, lasting, let_go, with_its_parts
from tests.unit.examples import payment
from tests.unit.test_lasting import END_SECONDS_MAX, Bug, exits, settle, told

__all__ = ["exits"]


Flush = Callable[[Sequence[int]], Awaitable[Sequence[int]]]


def a_batcher(flush: Flush, writers: int = 1) -> "Batcher[int, int]":
    made: Batcher[int, int] = Batcher(flush, owner=lambda _: "owner", writers=writers)
    made.start()
    return made


def named(name: str) -> "asyncio.Task[object]":
    [found] = [part for part in PARTS.tasks if part.get_name() == name]
    return found


@pytest.fixture(autouse=True)
def no_parts_of_others():
    PARTS.tasks.clear()
    yield
    assert not PARTS.tasks


async def test_a_writer_that_is_cancelled_in_the_middle_of_a_flush_ends_its_process(exits):
    begun = asyncio.Event()

    async def flush(items: Sequence[int]) -> Sequence[int]:
        begun.set()
        await asyncio.Event().wait()
        return items

    async def process() -> None:
        batcher = a_batcher(flush)
        batcher.put(1, lambda *_: None)
        await begun.wait()
        writer = named("Batcher._write")
        writer.cancel()
        await settle(writer)

    with capture_logs() as lines:
        await with_its_parts(process())
    assert told(lines) == [("Batcher._write", "CancelledError")]
    assert exits == [EXIT_STATUS]


async def test_a_batcher_that_drains_loses_no_part(exits):
    async def flush(items: Sequence[int]) -> Sequence[int]:
        return items

    async def process() -> None:
        batcher = a_batcher(flush, writers=3)
        assert await batcher.submit(1) == 1
        await batcher.drain()

    with capture_logs() as lines:
        await with_its_parts(process())
    assert [line["event"] for line in lines] == ["batch_written"]
    assert exits == []


async def test_a_waiter_that_is_cancelled_costs_the_others_in_its_batch_nothing():
    going = asyncio.Event()

    async def flush(items: Sequence[int]) -> Sequence[int]:
        await going.wait()
        return [item * 2 for item in items]

    batcher = a_batcher(flush)

    async def ask(item: int) -> int:
        return await batcher.submit(item)

    asking = [asyncio.create_task(ask(item)) for item in range(10)]
    await asyncio.sleep(0.01)
    for task in asking[::3]:
        task.cancel()
    going.set()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    for item, end in enumerate(ends):
        if item % 3:
            assert end == item * 2
        else:
            assert isinstance(end, asyncio.CancelledError)
    await batcher.drain()


async def test_who_tries_what_waits_aside_ends_its_process_when_it_is_cancelled(exits):
    tried = asyncio.Event()

    async def run(entries: Sequence[int], _: float) -> Sequence[int]:
        tried.set()
        return entries  # somebody holds it

    async def process() -> None:
        aside: Aside[int] = Aside(
            run, lambda _: None, lambda: None, owner=lambda _: 1, key=lambda one: one, batch_max=8
        )
        aside.add([1], asyncio.get_running_loop().time() + 3600)
        await tried.wait()
        trying = named("Aside._try")
        trying.cancel()
        await settle(trying)

    with capture_logs() as lines:
        await with_its_parts(process())
    assert told(lines) == [("Aside._try", "CancelledError")]
    assert exits == [EXIT_STATUS]


async def test_a_watch_over_deadlines_that_ends_ends_its_process(exits):
    async def process() -> None:
        deadlines = Deadlines()
        deadlines.start()
        sweeping = named("Deadlines._sweep_forever")
        sweeping.cancel()
        await settle(sweeping)
        await deadlines.close()

    with capture_logs() as lines:
        await with_its_parts(process())
    assert told(lines) == [("Deadlines._sweep_forever", "CancelledError")]
    assert exits == [EXIT_STATUS]


# What one bad row must not do: end a process again and again.


class FailingThenGood:
    """What reads, or writes; it fails at first, in a way that nobody expects."""

    def __init__(self, good: object) -> None:
        self.good, self.asked = good, 0

    async def __call__(self, _: object) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise Bug
        return self.good


async def test_who_waits_is_served_after_a_look_that_failed(exits):
    thing = payment(status="succeeded")

    async def process() -> None:
        read = FailingThenGood([thing])
        waiting: Waiting[Payment] = Waiting(read, lambda one: one.payment_id)
        waiting.start()
        found = await waiting.settled(replace(thing, status="processing"), END_SECONDS_MAX)
        assert (found, read.asked) == (thing, 2)
        await waiting.close()

    with capture_logs() as lines:
        await with_its_parts(process())
    assert [(line["event"], line["error"]) for line in lines] == [("waiting_look_failed", "Bug")]
    assert exits == []


async def test_keys_are_checked_again_after_a_check_that_failed(exits, monkeypatch):
    monkeypatch.setattr(api_keys, "CHECK_SECONDS", 0.001)
    checked = asyncio.Event()

    async def process() -> None:
        keys = ApiKeys(None, "dev")  # type: ignore[arg-type]
        one = payment().payment_id
        keys._kept[one] = _Kept(
            b"", Credential(one, one, frozenset(), "key"), revoked=False, checked=0
        )
        read = FailingThenGood({})
        monkeypatch.setattr(keys, "_read", read)
        keys.start()
        async with asyncio.timeout(END_SECONDS_MAX):
            while keys._kept:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        checked.set()
        assert read.asked == 2
        await keys.close()

    with capture_logs() as lines:
        await with_its_parts(process())
    assert checked.is_set()
    assert [(line["event"], line["error"]) for line in lines] == [("keys_not_checked", "Bug")]
    assert exits == []


async def test_rests_are_told_after_one_that_cannot_be(exits, monkeypatch):
    written = asyncio.Event()

    async def process() -> None:
        rests = Rests(None, SystemClock())  # type: ignore[arg-type]
        write = FailingThenGood(None)
        monkeypatch.setattr(rests, "_write", write)
        running = lasting(rests.run())
        account = Account(
            legal_entity_id=payment().legal_entity_id,
            gateway_account_id=payment().payment_id,
            gateway="stripe", environment="stand_in", base_url=None,
        )  # fmt: skip
        async with asyncio.timeout(END_SECONDS_MAX):
            while write.asked < 2:
                rests.told(account, "send", 1.0)
                await asyncio.sleep(0.001)
        written.set()
        await let_go(running)

    with capture_logs() as lines:
        await with_its_parts(process())
    assert written.is_set()
    assert [(line["event"], line["error"]) for line in lines] == [("rests_not_told", "Bug")]
    assert exits == []

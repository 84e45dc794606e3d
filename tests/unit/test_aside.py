"""What needs a row that somebody else holds waits alone; nobody else does."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.clock import monotonic_seconds
from strongroom.database import lock_timeout
from strongroom.work.aside import TRY_LOCK_TIMEOUT
from strongroom.work.batch import (
    RERUN_SECONDS,
    Batcher,
    OutcomeOfCommitUnknown,
    QueueFull,
    Refused,
    Told,
)

Item = tuple[str, int, int]
"""Owner, row, number."""
LOCK_SECONDS = 0.02
OTHERS_SECONDS_MAX = RERUN_SECONDS / 2
"""Who waited for what is held would be told no sooner than after RERUN_SECONDS."""


class Rows:
    """Writes items to rows; where one of them is held, nothing is written, after a while."""

    def __init__(self, *held: int, bad: frozenset[int] = frozenset()) -> None:
        self.held = set(held)
        self.bad = bad
        self.error: type[Exception] = asyncpg.LockNotAvailableError
        self.batches: list[list[Item]] = []
        self.patience: list[str | None] = []
        self.written: list[int] = []
        self.at_once_max = 0
        self._at_once = 0

    async def flush(self, items: Sequence[Item]) -> list[int]:
        self.batches.append(list(items))
        self.patience.append(lock_timeout.get(None))
        self._at_once += 1
        self.at_once_max = max(self.at_once_max, self._at_once)
        try:
            if self.held & {row for _, row, _ in items}:
                await asyncio.sleep(LOCK_SECONDS)
                raise self.error
            await asyncio.sleep(0)
        finally:
            self._at_once -= 1
        if any(number in self.bad for _, _, number in items):
            raise asyncpg.CheckViolationError
        self.written += [number for _, _, number in items]
        return [number * 2 for _, _, number in items]


def batcher(rows: Rows, **options) -> Batcher[Item, int]:
    made: Batcher[Item, int] = Batcher(
        rows.flush,
        owner=lambda item: item[0],
        key=lambda item: item[1],
        **({"writers": 1} | options),
    )
    made.start()
    return made


@pytest.mark.parametrize("error", [asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError])
async def test_only_the_one_whose_row_is_held_waits(error):
    rows = Rows(7)
    rows.error = error
    one = batcher(rows)
    futures = [one.submit(("ab"[row % 2], row, row)) for row in range(50)]
    held = futures.pop(7)
    async with asyncio.timeout(OTHERS_SECONDS_MAX):
        await asyncio.gather(*futures)
        # The writer goes on, in batches.
        later = [one.submit(("a", row, row)) for row in range(50, 70)]
        assert await asyncio.gather(*later) == [row * 2 for row in range(50, 70)]
        assert rows.batches[-1] == [("a", row, row) for row in range(50, 70)]
    assert not held.done()
    assert rows.at_once_max <= 3
    rows.held.clear()
    assert await held == 14
    assert sorted(rows.written) == list(range(70))
    await one.drain()


async def test_alone_little_patience_is_shown_and_in_batches_as_much_as_ever():
    rows = Rows(0)
    one = batcher(rows, rerun_seconds=0.1)
    with pytest.raises(OutcomeOfCommitUnknown):
        await one.submit(("a", 0, 0))
    await one.submit(("a", 1, 1))
    assert rows.patience[0] is rows.patience[-1] is None
    assert set(rows.patience[1:-1]) == {TRY_LOCK_TIMEOUT}
    await one.drain()


async def test_who_waits_in_vain_is_told_that_the_outcome_is_not_known():
    rows = Rows(3)
    one = batcher(rows, rerun_seconds=0.4)
    began = monotonic_seconds()
    futures = [one.submit(("a", row, row)) for row in range(5)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert 0.1 < monotonic_seconds() - began < RERUN_SECONDS / 2
    assert isinstance(results.pop(3), OutcomeOfCommitUnknown)
    assert results == [0, 2, 4, 8]
    rows.held.clear()
    assert await one.submit(("a", 3, 9)) == 18
    await one.drain()


async def test_what_comes_later_for_a_held_row_joins_the_first_and_holds_up_no_batch():
    rows = Rows(0)
    one = batcher(rows, batch_max=4)
    first = one.submit(("a", 0, 0))
    await asyncio.sleep(2 * LOCK_SECONDS)
    tries = len(rows.batches)
    later = [one.submit(("a", 0, number)) for number in range(1, 9)]
    others = [one.submit(("a", number, number)) for number in range(9, 17)]
    await asyncio.gather(*others)
    for batch in rows.batches[tries:]:
        assert len({row == 0 for _, row, _ in batch}) == 1, "it went with others"
    rows.held.clear()
    assert await asyncio.gather(first, *later) == [number * 2 for number in range(9)]
    assert rows.written[-9:] == list(range(9))  # in the order of arrival
    assert [len(batch) for batch in rows.batches[-3:]] == [4, 4, 1]
    await one.drain()


async def test_what_joins_late_has_its_full_time():
    rows = Rows(0)
    one = batcher(rows, rerun_seconds=2.0)
    first = one.submit(("a", 0, 0))
    await asyncio.sleep(1.0)
    second = one.submit(("a", 0, 1))
    with pytest.raises(OutcomeOfCommitUnknown):
        await first
    assert not second.done()
    rows.held.clear()
    assert await second == 2
    await one.drain()


async def test_an_owner_with_many_held_rows_is_in_nobody_elses_way():
    rows = Rows(*range(200))
    one = batcher(rows)
    loud = [one.submit(("loud", row, row)) for row in range(200)]
    quiet = [one.submit(("quiet", row, row)) for row in range(200, 210)]
    async with asyncio.timeout(OTHERS_SECONDS_MAX):
        await asyncio.gather(*quiet)
    assert not any(future.done() for future in loud)
    # The owner's own that are free do not wait for those that are not.
    rows.held.remove(150)
    rows.held.add(300)
    async with asyncio.timeout(OTHERS_SECONDS_MAX):
        more = [one.submit(("loud", row, row)) for row in (300, 301, 302)]
        await asyncio.gather(*more[1:])
    rows.held.clear()
    await asyncio.gather(*loud, more[0])
    await one.drain()


async def test_when_a_whole_table_was_held_all_are_through_in_few_batches():
    rows = Rows(*range(300))
    one = batcher(rows, writers=2, batch_max=128)
    futures = [one.submit(("a", row, row)) for row in range(300)]
    await asyncio.sleep(10 * LOCK_SECONDS)
    tries = len(rows.batches)
    rows.held.clear()
    await asyncio.gather(*futures)
    assert len(rows.batches) - tries < 16
    await one.drain()


async def test_what_waits_alone_takes_up_room_in_the_queue_and_in_its_owners_share():
    rows = Rows(0)
    one = batcher(rows, queue_max=6, share_max=4)
    waiting = [one.submit(("a", 0, number)) for number in range(3)]
    await asyncio.sleep(2 * LOCK_SECONDS)
    taken: list[Told[int]] = [lambda *_: None] * 3
    assert one.put_all([(("a", 1, 3), told) for told in taken]) == 1
    with pytest.raises(QueueFull):
        one.put(("a", 1, 4), taken[0])
    assert one.put_all([(("b", 1, 5), told) for told in taken]) == 2
    with pytest.raises(QueueFull):
        one.put(("c", 1, 6), taken[0])
    rows.held.clear()
    await asyncio.gather(*waiting)
    assert await asyncio.gather(*(one.submit(("a", 0, number)) for number in range(4)))
    await one.drain()


async def test_draining_waits_for_those_that_wait_alone():
    rows = Rows(0)
    one = batcher(rows)
    held = one.submit(("a", 0, 0))
    draining = asyncio.create_task(one.drain())
    await asyncio.sleep(0.2)
    assert not draining.done()
    rows.held.clear()
    await draining
    assert held.result() == 0


async def test_a_bad_item_under_a_held_row_is_refused_alone():
    rows = Rows(0, bad=frozenset({2}))
    one = batcher(rows)
    futures = [one.submit(("a", 0, number)) for number in range(5)]
    await asyncio.sleep(2 * LOCK_SECONDS)
    rows.held.clear()
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(results.pop(2), Refused)
    assert results == [0, 2, 6, 8]
    await one.drain()


@settings(max_examples=30, deadline=None)
@given(
    st.frozensets(st.integers(0, 15)),
    st.frozensets(st.integers(0, 47)),
    st.integers(1, 48),
    st.booleans(),
)
def test_whatever_is_held_everyone_is_told_once(held, bad, most, freed):
    told: list[tuple[int, int | None, Exception | None]] = []

    async def run() -> None:
        rows = Rows(*held, bad=bad)
        one = batcher(rows, batch_max=most, writers=2, rerun_seconds=0.2 if not freed else 30.0)
        for number in range(48):
            item = ("abc"[number % 3], number // 3, number)
            one.put(item, lambda *how, number=number: told.append((number, *how)))
        if freed:
            await asyncio.sleep(2 * LOCK_SECONDS)
            rows.held.clear()
        await one.drain()

    asyncio.run(run())
    assert sorted(number for number, *_ in told) == list(range(48))
    for number, result, error in told:
        if isinstance(error, OutcomeOfCommitUnknown):
            assert held, "nothing was in its way"
            assert not freed
        elif number in bad:
            assert isinstance(error, Refused)
        else:
            assert (result, error) == (number * 2, None)
            assert freed or number // 3 not in held

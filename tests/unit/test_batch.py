"""Batches that clock themselves: nothing lost, nobody starved, the bad ones found alone."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from strongroom.errors import InvariantBroken
from strongroom.work.batch import Batcher, OutcomeOfCommitUnknown, QueueFull, Refused, Told

Item = tuple[str, int]
SECRET = "failing row contains (4242)"


class Database:
    """Takes what it is given; told which items it refuses and how often it is away."""

    def __init__(
        self,
        *,
        bad: frozenset[int] = frozenset(),
        away: int = 0,
        fault: type[Exception] = asyncpg.CheckViolationError,
        gone: type[Exception] = ConnectionResetError,
    ) -> None:
        self.bad = bad
        self.away = away
        self.fault = fault
        self.gone = gone
        self.asked: list[list[Item]] = []
        self.written: list[Item] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def flush(self, items: Sequence[Item]) -> list[int]:
        self.asked.append(list(items))
        await self.gate.wait()
        if self.away:
            self.away -= 1
            raise self.gone
        if any(number in self.bad for _, number in items):
            raise self.fault(SECRET)
        self.written.extend(items)
        return [number * 2 for _, number in items]


def batcher(database: Database, **options) -> Batcher[Item, int]:
    made: Batcher[Item, int] = Batcher(
        database.flush, owner=lambda item: item[0], **({"writers": 1} | options)
    )
    made.start()
    return made


async def test_what_comes_during_a_commit_goes_into_the_next_one():
    database = Database()
    database.gate.clear()
    one = batcher(database)
    first = one.submit(("a", 0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [one.submit(("a", number)) for number in range(1, 50)]
    database.gate.set()
    assert await asyncio.gather(first, *rest) == [number * 2 for number in range(50)]
    assert [len(items) for items in database.asked] == [1, 49]
    await one.drain()


@settings(max_examples=60, deadline=None)
@given(st.frozensets(st.integers(0, 63)), st.integers(1, 64))
def test_exactly_the_bad_ones_are_refused(bad, most):
    async def run() -> None:
        database = Database(bad=bad)
        one = batcher(database, batch_max=most)
        futures = [one.submit(("a", number)) for number in range(64)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        for number, result in enumerate(results):
            assert isinstance(result, Refused) if number in bad else result == number * 2
        assert sorted(number for _, number in database.written) == sorted(set(range(64)) - bad)
        await one.drain()

    asyncio.run(run())


async def test_each_owner_gets_its_share():
    database = Database()
    one = batcher(database, batch_max=10)
    many = [one.submit(("loud", number)) for number in range(100)]
    few = [one.submit(("quiet", number)) for number in range(3)]
    await asyncio.gather(*few)
    assert sum(owner == "quiet" for owner, _ in database.asked[0]) == 3
    assert len(database.asked[0]) == 10
    await asyncio.gather(*many)
    await one.drain()


async def test_queue_and_share_are_bounded():
    database = Database()
    database.gate.clear()
    one = batcher(database, queue_max=6, share_max=4)
    futures = [one.submit(("a", number)) for number in range(4)]
    with pytest.raises(QueueFull):
        futures.append(one.submit(("a", 9)))
    futures += [one.submit(("b", number)) for number in range(2)]
    with pytest.raises(QueueFull):
        futures.append(one.submit(("c", 9)))
    database.gate.set()
    await asyncio.gather(*futures)
    assert len(database.written) == 6
    await one.drain()


async def test_a_lost_connection_reruns_the_same_items():
    database = Database(away=2)
    one = batcher(database)
    futures = [one.submit(("a", number)) for number in range(5)]
    assert await asyncio.gather(*futures) == [0, 2, 4, 6, 8]
    assert database.asked[0] == database.asked[1] == database.asked[2]
    await one.drain()


async def test_a_serialization_failure_is_told_to_nobody_and_reruns_the_same_items():
    """40001 and 40P01 are no fault of an item: the batch is not halved for them."""
    for fault in (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
        database = Database(away=3, gone=fault)
        one = batcher(database)
        futures = [one.submit(("a", number)) for number in range(5)]
        assert await asyncio.gather(*futures) == [0, 2, 4, 6, 8]
        assert [len(items) for items in database.asked] == [5, 5, 5, 5]
        await one.drain()


async def test_a_database_that_stays_away_is_an_unknown_outcome():
    one = batcher(Database(away=10**6), rerun_seconds=0.1)
    with pytest.raises(OutcomeOfCommitUnknown):
        await one.submit(("a", 1))
    await one.drain()


async def test_a_waiter_that_hangs_up_takes_nothing_back():
    database = Database()
    database.gate.clear()
    one = batcher(database)
    first, second = one.submit(("a", 1)), one.submit(("a", 2))
    first.cancel()
    database.gate.set()
    assert await second == 4
    assert ("a", 1) in database.written
    await one.drain()


async def test_draining_writes_what_was_taken_in():
    database = Database()
    one = batcher(database, batch_max=2)
    futures = [one.submit(("a", number)) for number in range(9)]
    await one.drain()
    assert len(database.written) == 9
    assert all(future.done() for future in futures)


async def test_a_writer_survives_a_bug():
    database = Database()
    one = batcher(database)
    database.bad = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        await one.submit(("a", 1))
    database.bad = frozenset()
    assert await one.submit(("a", 2)) == 4
    await one.drain()


FAULTS = (
    KeyError,
    ValueError,
    RecursionError,
    InvariantBroken,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedColumnError,
    asyncpg.InternalServerError,
)


@pytest.mark.parametrize("fault", FAULTS)
async def test_any_exception_halves_the_batch_and_only_the_bad_item_hears_it(fault):
    database = Database(bad=frozenset({7}), fault=fault)
    one = batcher(database)
    with capture_logs() as logged:
        futures = [one.submit(("a", number)) for number in range(64)]
        results = await asyncio.gather(*futures, return_exceptions=True)
    heard = results.pop(7)
    assert type(heard) is fault  # as it was: the database did not refuse the item
    assert results == [number * 2 for number in range(64) if number != 7]
    assert sorted(number for _, number in database.written) == [*range(7), *range(8, 64)]
    assert len(database.asked) < 16  # found by halving, not by one at a time
    [line] = [line for line in logged if line["event"] == "item_failed"]
    assert line["error"] == fault.__name__
    assert SECRET not in str(logged)
    assert await one.submit(("a", 70)) == 140
    await one.drain()


async def test_an_item_that_never_gets_through_costs_the_others_nothing():
    """Whatever makes a transaction with it fail with 40001, each time."""
    database = Database(bad=frozenset({7}), fault=asyncpg.SerializationError)
    one = batcher(database)
    with capture_logs() as logged:
        futures = [one.submit(("a", number)) for number in range(16)]
        results = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(results.pop(7), OutcomeOfCommitUnknown)
    assert results == [number * 2 for number in range(16) if number != 7]
    [line] = [line for line in logged if line["event"] == "item_contended"]
    assert line["error"] == "SerializationError"
    assert SECRET not in str(logged)
    assert await one.submit(("a", 70)) == 140
    await one.drain()


@settings(max_examples=40, deadline=None)
@given(st.frozensets(st.integers(0, 31)), st.integers(1, 32), st.sampled_from(FAULTS))
def test_who_put_an_item_is_told_once_how_it_ended(bad, most, fault):
    told: dict[int, list[tuple[int | None, Exception | None]]] = {
        number: [] for number in range(32)
    }

    async def run() -> None:
        one = batcher(Database(bad=bad, fault=fault), batch_max=most)
        for number, heard in told.items():
            one.put(("a", number), lambda *how, heard=heard: heard.append(how))
        await one.drain()

    asyncio.run(run())
    for number, heard in told.items():
        [(result, error)] = heard
        if number in bad:
            assert result is None
            assert type(error) is fault
        else:
            assert (result, error) == (number * 2, None)


async def test_a_full_queue_tells_nobody_and_takes_nothing():
    database = Database()
    database.gate.clear()
    one = batcher(database, queue_max=1)
    told: list[object] = []
    one.put(("a", 1), lambda *how: told.append(how))
    with pytest.raises(QueueFull):
        one.put(("b", 2), lambda *how: told.append(how))
    database.gate.set()
    await one.drain()
    assert (told, database.written) == ([(2, None)], [("a", 1)])


async def test_of_many_put_at_once_the_first_that_fit_are_taken():
    database = Database()
    database.gate.clear()
    one = batcher(database, queue_max=7, share_max=5)
    told: list[int | None] = []

    def items(owner: str, *numbers: int) -> list[tuple[Item, Told[int]]]:
        return [((owner, number), lambda result, _: told.append(result)) for number in numbers]

    assert one.put_all([]) == 0
    assert one.put_all(items("a", 1, 2, 3)) == 3
    assert one.put_all(items("a", 4, 5, 6, 7)) == 2  # its share is full
    assert one.put_all(items("a", 8)) == 0
    assert one.put_all(items("b", 9, 10, 11)) == 2  # the queue is full
    with pytest.raises(QueueFull):
        one.put(("c", 12), lambda *_: None)
    database.gate.set()
    await one.drain()
    assert sorted(number for _, number in database.written) == [1, 2, 3, 4, 5, 9, 10]
    assert sorted(filter(None, told)) == [2, 4, 6, 8, 10, 18, 20]

"""A bounded memory: by age, by number, and with the timer of the loop."""

import asyncio

import pytest

from strongroom.vault.kept import Kept


class Now:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


async def test_an_age_may_count_from_before_it_was_put(now):
    kept: Kept[str, int] = Kept(seconds=60, now=now)
    kept.put("read", 1, since=now() - 17)
    assert kept.get_with_age("read") == (1, 17)
    now.seconds += 42.9
    assert kept.get("read") == 1
    now.seconds += 0.1
    assert kept.get("read") is None
    kept.clear()


async def test_what_took_longer_than_it_is_kept_is_not_kept(now):
    kept: Kept[str, int] = Kept(seconds=60, now=now)
    kept.put("read", 1, since=now() - 60)
    assert kept.get("read") is None
    kept.clear()


async def test_the_oldest_goes_first_in_whatever_order_they_came(now):
    kept: Kept[str, int] = Kept(most=3, now=now)
    kept.put("b", 2, since=now() - 20)
    kept.put("c", 3)
    kept.put("a", 1, since=now() - 30)
    kept.put("d", 4, since=now() - 10)
    assert [kept.get(name) for name in "abcd"] == [None, 2, 3, 4]
    kept.put("b", 5)
    kept.put("e", 6)
    assert [kept.get(name) for name in "bcde"] == [5, 3, None, 6]
    kept.clear()


async def test_what_is_not_asked_for_again_goes_by_itself():
    kept: Kept[str, int] = Kept(seconds=3)
    kept.put("young", 1)
    kept.put("old", 2, since=kept.now() - 2.7)

    async def until_left(count: int) -> None:
        async with asyncio.timeout(30):
            while len(kept) > count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)

    await until_left(1)
    assert len(kept) == 1, "the timer was set for the other one"
    assert kept.get("young") == 1
    await until_left(0)
    assert len(kept) == 0

"""While a KMS is down, one caller at a time finds out whether it is up again."""

import asyncio

import pytest

from strongroom.vault.breaker import REST_SECONDS, Breaker
from strongroom.vault.errors import KmsKeyDisabled, KmsUnavailable


class Down:
    """A breaker before something that answers as told, and a clock that stands still."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.asked = 0
        self.error: Exception | None = KmsUnavailable("down")
        self.hold: asyncio.Event | None = None
        self.breaker = Breaker(lambda: self.seconds)

    async def _ask(self) -> str:
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return "answer"

    async def call(self) -> str:
        return await self.breaker.call(self._ask)


@pytest.fixture
def down() -> Down:
    return Down()


async def test_after_a_failure_nobody_asks_for_a_while(down):
    for _ in range(10):
        with pytest.raises(KmsUnavailable):
            await down.call()
    assert down.asked == 1
    down.seconds += REST_SECONDS - 0.001
    with pytest.raises(KmsUnavailable, match="a moment ago"):
        await down.call()
    assert down.asked == 1
    down.seconds += 0.002
    with pytest.raises(KmsUnavailable, match="down"):
        await down.call()
    assert down.asked == 2


async def test_then_one_asks_and_the_others_do_not_wait_for_it(down):
    with pytest.raises(KmsUnavailable):
        await down.call()
    down.seconds += REST_SECONDS
    down.hold = asyncio.Event()
    down.error = None
    probe = asyncio.create_task(down.call())
    await asyncio.sleep(0)
    for _ in range(10):
        with pytest.raises(KmsUnavailable, match="a moment ago"):
            await down.call()
    assert down.asked == 2
    down.hold.set()
    assert await probe == "answer"
    assert [await down.call() for _ in range(3)] == ["answer"] * 3


@pytest.mark.parametrize("error", [KmsKeyDisabled("disabled"), ValueError("a bug")])
async def test_a_refusal_is_an_answer_and_a_bug_is_no_failure(down, error):
    down.error = error
    for _ in range(3):
        with pytest.raises(type(error)):
            await down.call()
    assert down.asked == 3


async def test_a_probe_that_is_refused_ends_the_rest(down):
    with pytest.raises(KmsUnavailable):
        await down.call()
    down.seconds += REST_SECONDS
    down.error = KmsKeyDisabled("disabled")
    for _ in range(2):
        with pytest.raises(KmsKeyDisabled):
            await down.call()
    assert down.asked == 3


async def test_a_probe_whose_caller_leaves_makes_room_for_the_next(down):
    with pytest.raises(KmsUnavailable):
        await down.call()
    down.seconds += REST_SECONDS
    down.hold = asyncio.Event()
    probe = asyncio.create_task(down.call())
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    down.hold, down.error = None, None
    assert await down.call() == "answer"


async def test_calls_under_way_together_each_get_their_own_answer(down):
    down.hold, down.error = asyncio.Event(), None
    calls = [asyncio.create_task(down.call()) for _ in range(5)]
    await asyncio.sleep(0)
    assert down.asked == 5
    down.hold.set()
    assert await asyncio.gather(*calls) == ["answer"] * 5

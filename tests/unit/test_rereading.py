"""What the server breaks off for the sake of another is read again, and is no fault of ours."""

import asyncpg
import pytest

from strongroom.database import READS_MAX, rereading
from strongroom.errors import Unavailable
from strongroom.http.asking import problem_of

BROKEN_OFF = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,
)


@pytest.mark.parametrize("error", BROKEN_OFF)
async def test_a_read_is_done_again(error: type[asyncpg.PostgresError]) -> None:
    tries = 0

    @rereading
    async def read() -> str:
        nonlocal tries
        tries += 1
        if tries < READS_MAX:
            raise error
        return "rows"

    assert await read() == "rows"
    assert tries == READS_MAX


@pytest.mark.parametrize("error", BROKEN_OFF)
async def test_it_is_not_done_for_ever(error: type[asyncpg.PostgresError]) -> None:
    tries = 0

    @rereading
    async def read() -> None:
        nonlocal tries
        tries += 1
        raise error

    with pytest.raises(error):
        await read()
    assert tries == READS_MAX


@pytest.mark.parametrize("error", BROKEN_OFF)
def test_a_caller_may_ask_again(error: type[asyncpg.PostgresError]) -> None:
    """Not every read is done again here: the caller is told that it is safe to."""
    told = problem_of(error())
    assert isinstance(told, Unavailable)
    assert (told.status, told.code, told.retry_safe) == (503, "database_unavailable", True)

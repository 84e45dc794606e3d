"""What a log may say of an error: never its message."""

import asyncpg
import msgspec
import pytest

from strongroom.errors import FRAMES_LOGGED, InvariantBroken, described

SECRET = "4242424242424242"


def raise_it(error: BaseException, depth: int = 0) -> None:
    if depth:
        raise_it(error, depth - 1)
    raise error


def caught(error: BaseException, depth: int = 0) -> BaseException:
    try:
        raise_it(error, depth)
    except BaseException as heard:  # noqa: BLE001 - any of them
        return heard
    raise AssertionError


def of_the_driver() -> asyncpg.PostgresError:
    error = asyncpg.CheckViolationError(f"failing row contains ({SECRET})")
    error.detail = f"Failing row contains ({SECRET})."
    return error


def with_a_cause() -> ValueError:
    error = ValueError(SECRET)
    error.__cause__ = caught(of_the_driver())
    error.add_note(SECRET)
    return error


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        InvariantBroken(f"payment of {SECRET}"),
        KeyError(SECRET),
        of_the_driver(),
        with_a_cause(),
        UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
        KeyboardInterrupt(SECRET),
    ],
)
@pytest.mark.parametrize("depth", [0, 3, 40])
def test_it_never_holds_the_message(error, depth):
    said = described(caught(error, depth))
    assert SECRET not in msgspec.json.encode(said).decode()
    assert SECRET not in repr(said)
    assert set(said) == {"error", "where"}
    assert said["error"] == type(error).__name__


def test_it_says_where_innermost_last():
    said = described(caught(ValueError("x"), 40))
    where = said["where"]
    assert isinstance(where, list)
    assert len(where) == FRAMES_LOGGED
    innermost = raise_it.__code__.co_firstlineno + 3
    assert where[-1] == f"test_errors.py:{innermost}"
    assert all("/" not in place for place in where)


def test_what_was_never_raised_comes_from_nowhere():
    assert described(ValueError(SECRET)) == {"error": "ValueError", "where": []}

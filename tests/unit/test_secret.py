"""What a secret says of itself: nothing, in whatever way it is asked."""

import copy
import json
import pickle
from collections.abc import Callable

import msgspec
import pytest

from strongroom.vault.secret import SHOWN, Secret

CONTENT = "canary-7f3a"
SECRET = Secret(CONTENT)

WAYS_TO_SHOW: dict[str, Callable[[Secret], str]] = {
    "str": str,
    "repr": repr,
    "format": format,
    "f-string": lambda one: f"{one}",
    "f-string with a width": lambda one: f"{one:>40}",
    "f-string with =": lambda one: f"{one=}",
    "str.format": "{}".format,
    "percent": lambda one: "%s %r" % (one, one),  # noqa: UP031 - one of the ways
    "in a list": lambda one: str([one, (one,), {"a": one}]),
    "of an exception": lambda one: repr(ValueError(one)),
}
WAYS_TO_TAKE_APART: dict[str, Callable[[Secret], object]] = {
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "json": json.dumps,
    "msgspec": msgspec.json.encode,
    "iter": list,
    "hash": hash,
    "bytes": bytes,
}


@pytest.mark.parametrize("way", WAYS_TO_SHOW)
def test_it_is_not_shown(way: str) -> None:
    shown = WAYS_TO_SHOW[way](SECRET)
    assert SHOWN in shown
    assert CONTENT not in shown


@pytest.mark.parametrize("way", WAYS_TO_TAKE_APART)
def test_it_is_not_taken_apart(way: str) -> None:
    with pytest.raises(TypeError) as refused:
        WAYS_TO_TAKE_APART[way](SECRET)
    assert CONTENT not in str(refused.value)


def test_it_comes_out_by_one_way_alone() -> None:
    assert SECRET.reveal() == CONTENT.encode()
    assert SECRET.reveal_text() == CONTENT
    assert not hasattr(SECRET, "__dict__")


@pytest.mark.parametrize(
    ("other", "same"),
    [(Secret(CONTENT.encode()), True), (Secret(CONTENT + "x"), False), (Secret(""), False)],
)
def test_two_are_compared(other: Secret, same: bool) -> None:
    assert (other == SECRET) is same


def test_it_equals_no_text() -> None:
    assert SECRET != CONTENT
    assert CONTENT.encode() != SECRET
    assert SECRET
    assert not Secret(b"")

"""What the page of checkout is told when something breaks: no more than is known."""

import asyncio
import time
from typing import Any, cast

import msgspec
import pytest

from strongroom.checkout.paying import Paying
from strongroom.checkout.reports import Reports
from strongroom.checkout.site import Site, place_of, secret_in
from strongroom.clock import SystemClock
from strongroom.errors import Conflict, InvariantBroken
from strongroom.work.batch import OutcomeOfCommitUnknown, QueueFull


class Broken:
    """Breaks at the first step, as a later one would."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def link(self, token: str) -> None:
        """Breaks."""
        raise self._error


def told(error: Exception) -> dict[str, Any]:
    site = Site(
        cast(Paying, Broken(error)),
        cast(Reports, None),
        clock=SystemClock(),
        mode="dev",
        url="http://pay.example",
    )
    headers = [
        (b"host", b"pay.example"),
        (b"origin", b"http://pay.example"),
        (b"content-type", b"application/json"),
    ]
    scope = {"type": "http", "method": "POST", "path": "/pay/x.y/tries", "headers": headers}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(site(cast(Any, scope), cast(Any, receive), cast(Any, send)))
    return cast(dict[str, Any], msgspec.json.decode(sent[1]["body"]))


@pytest.mark.parametrize(
    ("error", "is_sure"),
    [
        (OutcomeOfCommitUnknown(), False),
        (ConnectionResetError(), False),
        (InvariantBroken("x"), False),
        (QueueFull(), True),
        (Conflict("payment_is_over"), True),
    ],
)
def test_that_no_money_was_taken_is_said_only_where_that_is_known(error, is_sure):
    message = told(error)["message"]
    assert ("No money was taken" in message) == is_sure
    assert ("do not know" in message) != is_sure


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:50123", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:ffff::1]:443", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_an_address_stands_for_a_line(address: str, place: str) -> None:
    assert place_of(address) == place


SECRET = "s" * 43


@pytest.mark.parametrize(
    ("cookies", "secret"),
    [
        (f"strongroom_link={SECRET}", SECRET),
        (f"a=b; strongroom_link={SECRET}; c=d", SECRET),
        (f"a;;=;strongroom_link={SECRET}", SECRET),
        (f"strongroom_link={SECRET}; strongroom_link=other", SECRET),
        (f"xstrongroom_link={SECRET}", ""),
        ("", ""),
        ("strongroom_link", ""),
        ("strongroom_link=\xff", "\ufffd"),
    ],
)
def test_the_cookie_is_found_among_others(cookies: str, secret: str) -> None:
    assert secret_in(cookies.encode("latin-1")) == secret


@pytest.mark.parametrize("cookies", [b"=" * 60_000 + b"\\", b'strongroom_link="' + b"\\!" * 30_000])
def test_no_cookie_takes_long_to_read(cookies: bytes) -> None:
    """The library's reader takes the square of the length, and nobody is served meanwhile."""
    begun = time.process_time()
    for _ in range(20):
        secret_in(cookies)
    assert time.process_time() - begun < 1

"""What the page of checkout is told when something breaks: no more than is known."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from strongroom.checkout.paying import Paying
from strongroom.checkout.reports import Reports
from strongroom.checkout.site import Site, place_of
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

"""A share of the storm, and that its verdict finds what it is there to find."""

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from strongroom.webhooks.inbox import NO_BODY
from tests.faults.conftest import MakeDeployment
from tests.faults.storm.__main__ import told
from tests.faults.storm.front import Event
from tests.faults.storm.run import DEADLINE_SECONDS, storm
from tests.faults.storm.sender import Sender
from tests.faults.storm.verdict import stored_once
from tests.plugins.short import share

DELIVERIES = share(20_000, 2000)
PAYMENTS = share(200, 40)
ENDED = {"state": "applied", "reason": None, "kind": "refund.created", "received_at": 1000.0}
STRIPE = Event("stripe", b"", b"{}", b"\1" * 32, "evt_a", 1000.1)
BRAINTREE = Event("braintree", b"", b"x", b"\2" * 32, "", 1000.1)
ROWS = [
    {"gateway": "stripe", "gateway_event_id": "evt_a", "body_digest": b"\1" * 32, **ENDED},
    {"gateway": "braintree", "gateway_event_id": "bt_b", "body_digest": b"\2" * 32, **ENDED},
]


@pytest.mark.faults
@pytest.mark.needs("procfs")
async def test_a_share_of_the_storm(deploy: MakeDeployment) -> None:
    figures = await storm(deploy(deadline_seconds=DEADLINE_SECONDS), DELIVERIES, PAYMENTS)
    print(told(figures))
    assert figures.findings == []
    assert figures.webhooks >= DELIVERIES
    assert figures.answers == {"200": figures.webhooks}
    assert figures.payments == PAYMENTS
    assert figures.refunds
    assert 0 < figures.held_back < figures.events


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ([{}, {}], []),
        ([None, {}], ["event evt_a is stored 0 times"]),
        ([{}, None], [f"event {'02' * 32} is stored 0 times"]),
        ([{}, {"body_digest": b"\3" * 32}], [f"event {'02' * 32} is stored 0 times"]),
        ([{"body_digest": b"\3" * 32}, {}], ["event evt_a is stored with another digest"]),
        ([{"body_digest": NO_BODY}, {}], []),
        ([{"received_at": 1000.2}, {}], ["event evt_a was answered 200 before it was stored"]),
        ([{"state": "received"}, {}], ["refund.created evt_a: received None"]),
        ([{"state": "parked", "reason": "no_reference"}, {}], []),
        ([{"state": "parked", "reason": "other_object"}, {}],
         ["refund.created evt_a: parked other_object"]),
    ],
)  # fmt: skip
def test_what_is_not_stored_as_it_came_is_found(
    changes: list[dict[str, Any] | None], finding: list[str]
) -> None:
    rows = [row | change for row, change in zip(ROWS, changes, strict=True) if change is not None]
    assert stored_once([STRIPE, BRAINTREE], rows) == finding


def test_an_event_that_nobody_took_is_found() -> None:
    waiting = dataclasses.replace(STRIPE, taken_at=None)
    assert stored_once([waiting], ROWS[:1]) == ["event evt_a was never answered 200"]


async def test_what_is_not_answered_200_is_counted_by_its_name() -> None:
    answers = iter([(200, {}), (503, {"code": "queue_full"}), (200, {}), (400, {"code": "x"})])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await reader.readuntil(b"\r\n\r\n")) and b"Stripe-Signature: t=" in head:
            await reader.readexactly(len(STRIPE.body))
            status, problem = next(answers, (0, {}))
            if not status:
                break
            body = json.dumps(problem).encode()
            writer.write(
                b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
            )
        writer.close()

    event = dataclasses.replace(STRIPE, head=b"POST / HTTP/1.1\r\n")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        sender = Sender(f"http://127.0.0.1:{port}", b"whsec_x", [event], connections=1)
        await sender.open()
        sender.begin()
        await sender.until_taken(2)
        await sender.end()
        sender.begin()
        await sender.end()
        with pytest.raises(AssertionError, match="queue_full"):
            sender.check()
    assert sender.answers == {
        "200": 2, "503 queue_full": 1, "400 x": 1, "not answered: NoneType": 1,
    }  # fmt: skip

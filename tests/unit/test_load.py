"""The load generator's parts: requests, answers in pieces, latencies, and what is counted."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.load.callers import ANSWER_BYTES_MAX, Callers, Connection
from strongroom.load.followed import FOLLOWED_MAX, Followed
from strongroom.load.orders import Orders
from strongroom.load.run import Latencies

KEY = "sr_dev_key_%_"


def asked(request: bytes) -> tuple[list[str], Any]:
    """The lines of the head, and the body of the length that the head states."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    [length] = [line.partition(": ")[2] for line in lines if line.startswith("Content-Length")]
    assert int(length) == len(body)
    return lines, json.loads(body)


def test_every_request_is_for_payments_that_nobody_asked_for_before():
    single, bulk = Orders("h:1", KEY), Orders("h:1", KEY, bulk=3, instrument=False)
    keys, references = set(), set()
    for _ in range(2000):
        lines, body = asked(single.next())
        assert lines[0] == "POST /v1/payments HTTP/1.1"
        assert f"Authorization: Bearer {KEY}" in lines
        keys |= {line for line in lines if line.startswith("Idempotency-Key: ")}
        references.add(body["merchant_reference"])
        lines, body = asked(bulk.next())
        assert lines[0] == "POST /v1/payments/bulk HTTP/1.1"
        assert not any(line.startswith("Idempotency-Key") for line in lines)
        assert all("instrument" not in item for item in body["payments"])
        keys |= {item["idempotency_key"] for item in body["payments"]}
        references |= {item["merchant_reference"] for item in body["payments"]}
    assert len(keys) == len(references) == 8000


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True


def connected(callers: Callers) -> tuple[Connection, Transport]:
    connection, transport = Connection(callers), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    connection.send()
    return connection, transport


def answer(status: int, body: bytes = b"{}", length: str = "Content-Length") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{length}: {len(body)}\r\n\r\n".encode() + body


def results(*statuses: int) -> bytes:
    return json.dumps({"results": [{"index": 0, "status": s} for s in statuses]}).encode()


@given(st.data())
async def test_an_answer_in_any_pieces_is_one_answer(data):
    callers = Callers(Orders("h:1", KEY))
    connection, transport = connected(callers)
    for number in range(3):
        left = answer(202, b"x" * data.draw(st.integers(0, 40)), data.draw(st.sampled_from(
            ["content-length", "Content-Length"])))  # fmt: skip
        while left:
            size = data.draw(st.integers(1, len(left)))
            assert len(transport.written) == number + 1
            connection.data_received(left[:size])
            left = left[size:]
    assert (callers.accepted, callers.failed, len(callers.latencies)) == (3, 0, 3)


async def test_a_bulk_is_counted_by_item():
    callers = Callers(Orders("h:1", KEY, bulk=4))
    connection, _ = connected(callers)
    whole = b'{"results":[' + b'{"index":0,"status":202,"replayed":false,"payment":{}},' * 4
    for said in (
        answer(200, whole),
        answer(200, results(202, 201, 503, 409)),
        answer(503),
        answer(413),
    ):
        connection.data_received(said)
    assert callers.statuses == {"202": 5, "201": 1, "503": 5, "409": 1, "413": 4}
    assert (callers.accepted, callers.failed, callers.sent) == (6, 10, 20)


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (ANSWER_BYTES_MAX + 1)], ids=["no length", "long"]
)
async def test_what_is_no_answer_of_strongroom_closes_the_connection(said):
    callers = Callers(Orders("h:1", KEY))
    connection, transport = connected(callers)
    connection.data_received(said)
    assert transport.closed
    callers.ending = True
    connection.connection_lost(None)
    assert callers.statuses == {"lost": 1}
    assert callers.quiet.is_set()
    assert not connection.is_open


def test_followed_payments_are_looked_at_in_turns_until_they_come_to_rest():
    followed = Followed("h:1", KEY)
    ids = [f"pay_{number:026}" for number in range(FOLLOWED_MAX + 1)]
    for one in ids:
        followed.take(answer(202, b'{"id":"%b"}' % one.encode()))
    assert followed.moving == FOLLOWED_MAX
    connection = Connection(followed)
    assert not followed.may_send(connection)  # no time has passed
    followed.allow(1.0)
    for state in ("processing", "succeeded"):
        assert followed.may_send(connection)
        asked = followed.request().split()[1].decode().rpartition("/")[2]
        body = json.dumps({"id": asked, "status": state, "more": 1}).encode()
        followed.answered("200", answer(200, body), 0.0)
    assert followed.moving == FOLLOWED_MAX - 1
    assert followed.counts() == {"processing": FOLLOWED_MAX - 1, "succeeded": 1}
    followed.request()
    followed.answered("503", answer(503), 0.0)
    assert followed.may_send(connection)
    followed.request()
    followed.answered("403", answer(403), 0.0)
    assert followed.refused == "403"
    assert not followed.may_send(connection)


@given(st.lists(st.floats(1e-4, 100), min_size=1))
def test_latencies_are_kept_to_about_a_percent(seconds):
    latencies = Latencies()
    latencies.add(seconds)
    assert latencies.percentile_ms(1.0) == pytest.approx(max(seconds) * 1000, rel=0.011)
    assert latencies.percentile_ms(0.0) == pytest.approx(min(seconds) * 1000, rel=0.011)
    assert Latencies().percentile_ms(0.5) == 0.0

"""The HTTP server says in our own form what it cannot take."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from strongroom.errors import Invalid, Unauthenticated
from strongroom.http import server
from strongroom.http.card_guard import CLEAR_BODY, GUARD, CardGuard
from strongroom.http.exchange import BODY_BYTES_MAX, Asked, Reply
from strongroom.http.front_door import Application, FrontDoor, Receive, Scope, Send, write_reply
from strongroom.http.traffic import Traffic
from strongroom.local.ports import LOOPBACK, free_ports

SECONDS_MAX = 30


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await write_reply(send, Reply(200, b"{}"))


class Counting(CardGuard):
    """How often it looked at a head alone, and which bodies it judged."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.bodies: list[bytes] = []

    def is_plainly_clear(self, scope: Mapping[str, Any], body: bytes) -> bool:
        is_clear = super().is_plainly_clear(scope, body)
        if is_clear:
            self.bodies.append(body)
        return is_clear

    def check_body(self, body: bytes) -> None:
        self.bodies.append(body)
        super().check_body(body)

    def refusal_of_head(self, scope: Mapping[str, Any]) -> Invalid | None:
        self.looks += 1
        return super().refusal_of_head(scope)


class Reading:
    """An application that reads a body to its end, and keeps what headers there are then."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[bytes, bytes]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.seen.append(list(scope["headers"]))
        await hello(scope, receive, send)


class Taking:
    """Operations behind the front door that take whatever comes."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def create(self, asked: Asked) -> Reply:
        self.taken.append(asked.body)
        return Reply(201, b"{}")

    async def bulk(self, asked: Asked) -> Reply:
        return await self.create(asked)

    async def check_caller(self, _asked: Asked, _scope: str) -> None:
        """Every caller is good."""


@asynccontextmanager
async def serving(
    application: Application = hello,
    guard: CardGuard = GUARD,
    front_paths: frozenset[str] = frozenset(),
) -> AsyncIterator[int]:
    """The port of a server; without an application it answers every request with 200."""
    port = free_ports(1)
    ready = asyncio.Event()
    traffic = Traffic(application, guard=guard, front_paths=front_paths)
    running = server.Server(traffic, LOOPBACK, port, on_ready=ready.set)
    task = asyncio.create_task(running.listen())
    try:
        async with asyncio.timeout(SECONDS_MAX):
            await ready.wait()
        yield port
    finally:
        running.stop()
        await task


async def exchange(port: int, request: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Status line, headers and body of the answer; the connection is over then."""
    async with asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(request)
        received = await reader.read()
        writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    assert headers[b"content-length"] == b"%d" % len(body)
    return first, headers, body


ONE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_problem_document(request_bytes: bytes) -> None:
    async with serving() as port:
        first, headers, body = await exchange(port, request_bytes)
    assert first == b"HTTP/1.1 400 Bad Request"
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    assert headers[b"x-request-id"].startswith(b"req_")
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert json.loads(body)["code"] == "request_malformed"


async def test_a_connection_too_many_is_told_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 1)
    async with serving() as port:
        assert (await exchange(port, ONE))[0] == b"HTTP/1.1 200 OK"
        _, first = await asyncio.open_connection(LOOPBACK, port)
        asking = ONE.replace(b"Host: x", b"Host: x\r\nX-Request-Id: mine")
        status, headers, body = await exchange(port, asking)
        assert status.startswith(b"HTTP/1.1 503 ")
        assert headers[b"retry-after"] == b"1"
        assert headers[b"x-request-id"] == b"mine"
        assert json.loads(body)["code"] == "too_many_connections"
        assert json.loads(body)["retry_safe"] is True
        first.close()
        await first.wait_closed()
        assert (await exchange(port, ONE))[0] == b"HTTP/1.1 200 OK"


CARD = b"4111111111111111"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
TRAILERS = b"Idempotency-Key: %b\r\nAuthorization: Bearer x\r\n\r\n" % CARD


@pytest.mark.parametrize("together", [True, False], ids=["together", "later"])
async def test_trailers_are_no_headers(together: bool) -> None:
    """Nobody has looked at them, and whoever filters requests in front of us sees none."""
    reading = Reading()
    pieces = [CHUNKED, b"2\r\n{}\r\n", b"0\r\n", TRAILERS]
    async with serving(reading) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        for piece in [b"".join(pieces)] if together else pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0 if together else 0.05)
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    names = [[name for name, _ in headers] for headers in reading.seen]
    assert names == [[b"host", b"connection", b"transfer-encoding"]]


async def test_trailers_without_an_end_are_not_kept() -> None:
    async with serving(Reading()) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(CHUNKED + b"0\r\n" + b"a: b\r\n" * 5_000 + b"\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert list(server._TRAILERS) == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%b HTTP/1.1\r\nHost: x\r\n" % CARD,
        b"GET /?a=%b HTTP/1.1\r\nHost: x\r\n" % CARD,
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: order-%b\r\n" % CARD,
        b"GET / HTTP/1.1\r\nHost: x\r\nX-%b: 1\r\n" % CARD,
    ],
    ids="path query value name".split(),
)
async def test_a_head_with_a_card_number_is_refused_at_once(head: bytes) -> None:
    reading, guard = Reading(), Counting()
    async with serving(reading, guard) as port:
        for _ in range(2):
            first, headers, body = await exchange(port, head + b"Connection: close\r\n\r\n")
            assert first == b"HTTP/1.1 422 Unprocessable Entity"
            assert json.loads(body)["code"] == "card_number_refused"
            assert headers[b"x-request-id"].startswith(b"req_")
            assert CARD not in body
    assert (reading.seen, guard.looks) == ([], 2)


async def test_of_requests_that_come_together_each_is_looked_at_once() -> None:
    reading, guard = Reading(), Counting()
    good = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    bad = b"GET / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: %b\r\n\r\n" % CARD
    async with serving(reading, guard) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(good + bad + good + bad + ONE)
        answers = await reader.read()
        writer.close()
    found = [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]]
    assert found == [b"200", b"422", b"200", b"422", b"200"]
    assert (len(reading.seen), guard.looks) == (3, 5)


async def test_so_many_requests_may_wait_for_the_one_before_them() -> None:
    """Each that waits is kept: a client that sends without an end is let go, and fills nothing."""
    reading, request = Reading(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(reading) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(request * server.PIPELINE_MAX + ONE)
        assert (await reader.read()).count(b"HTTP/1.1 200 ") == server.PIPELINE_MAX + 1
        writer.close()
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(request * 3_000)
        with suppress(ConnectionResetError):
            # No answer of its own: it would be taken for that of the first.
            assert b"HTTP/1.1 400 " not in await reader.read()
        writer.close()
    assert len(reading.seen) < 3 * server.PIPELINE_MAX


async def test_what_is_not_http_after_a_request_is_not_the_answer_to_it() -> None:
    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2)
        await hello(_scope, _receive, send)

    async with serving(slow) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nhello\r\n\r\n")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("piece", [b"", b"x"])
async def test_a_body_that_does_not_come_after_its_answer_holds_no_connection(
    monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS_MAX", 0.5)
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    async with serving() as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(request)
        assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 ")
        writer.write(piece)
        assert await reader.read() == b""  # closed, long before an idle connection is
        writer.close()


async def test_a_body_that_comes_after_its_answer_leaves_the_connection_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS_MAX", 0.5)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    async with serving() as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        for _ in range(2):
            writer.write(head)
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 ")
            writer.write(b"x" * 10)
            await asyncio.sleep(1)
        writer.write(ONE)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


class Strict(Taking):
    """It knows no caller."""

    async def check_caller(self, _asked: Asked, _scope: str) -> None:
        raise Unauthenticated("api_key_invalid")


async def test_of_a_bulk_whose_key_is_no_good_no_more_is_kept_than_of_a_single_request() -> None:
    strict = Strict()
    door = FrontDoor(strict, hello)  # type: ignore[arg-type]
    head = b"POST /v1/payments/bulk HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    async with serving(door, front_paths=door.paths) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(head % (BODY_BYTES_MAX * 10) + b" " * (BODY_BYTES_MAX + 1))
        # The rest of the body has not come, and never will.
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()
    assert strict.taken == []


async def test_a_head_that_no_server_looked_at_is_looked_at_all_the_same() -> None:
    reading, guard = Reading(), Counting()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    for value in (b"key-1", CARD):
        scope = {
            "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"",
            "headers": [(b"idempotency-key", value)],
        }  # fmt: skip
        await Traffic(reading, guard=guard)(scope, receive, send)
    assert [one["status"] for one in sent if "status" in one] == [200, 422]
    assert (len(reading.seen), guard.looks) == (1, 2)


def _create(body: bytes) -> bytes:
    head = b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


async def _answered(guard: CardGuard, *pieces: bytes) -> tuple[list[bytes], list[bytes]]:
    """The statuses for what is sent in these pieces, and the bodies that got through."""
    taking = Taking()
    door = FrontDoor(taking, hello, guard)  # type: ignore[arg-type]
    async with serving(door, guard, door.paths) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)  # so that it is read by itself
        writer.write(ONE)
        answers = await reader.read()
        writer.close()
    found = [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]]
    assert found.pop() == b"200"
    return found, taking.taken


async def test_a_body_is_looked_at_once_in_however_many_pieces_it_comes() -> None:
    body, large = b'{"amount":1}', b"[" + b" " * BODY_BYTES_MAX
    whole, guard = _create(body), Counting()
    for pieces in ([whole], [whole[:-4], whole[-4:]], [whole[:20], whole[20:]], [whole + whole]):
        guard.bodies.clear()
        statuses, taken = await _answered(guard, *pieces)
        assert taken == guard.bodies == [body] * len(statuses)
        assert set(statuses) == {b"201"}
    guard.bodies.clear()
    assert await _answered(guard, _create(large)) == ([b"413"], [])
    assert guard.bodies == []


async def test_a_body_with_a_card_number_is_refused_in_however_many_pieces_it_comes() -> None:
    good, bad = _create(b'{"amount":1}'), _create(b'{"amount":%b}' % CARD)
    guard = Counting()
    for pieces, statuses in (
        ([bad], [b"422"]),
        ([bad[:-4], bad[-4:]], [b"422"]),
        ([good + bad + good], [b"201", b"422", b"201"]),
        ([bad, good], [b"422", b"201"]),
    ):
        assert await _answered(guard, *pieces) == (
            statuses,
            [b'{"amount":1}'] * statuses.count(b"201"),
        )


async def test_another_body_than_that_which_was_found_clear_is_looked_at() -> None:
    taking, sent = Taking(), list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b'{"amount":%b}' % CARD}

    scope = {
        "type": "http", "method": "POST", "path": "/v1/payments", "raw_path": b"/v1/payments",
        "query_string": b"", "headers": [], CLEAR_BODY: b'{"amount":1}',
    }  # fmt: skip
    await FrontDoor(taking, hello)(scope, receive, send)  # type: ignore[arg-type]
    assert [one["status"] for one in sent if "status" in one] == [422]
    assert taking.taken == []

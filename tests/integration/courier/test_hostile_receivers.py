"""Receivers that are strangers: whatever they answer, it ends, it is small, and it says nothing."""

import asyncio
import gzip
import logging
import random
import socket
import ssl
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import aiohttp
import pytest
from structlog.testing import capture_logs

from strongroom.webhooks import courier as module
from strongroom.webhooks.courier import HEADER_BYTES_MAX, HEADERS_MAX, Courier, Delivered
from strongroom.webhooks.signatures import BODY_BYTES_MAX, Message, new_secret
from tests.integration.courier.receivers import (
    LOOPBACK,
    Behave,
    dripping,
    endless,
    receiving,
    resetting,
    sending,
    silent,
    status,
)

CANARY = "canary-7b1f"
SECRETS = [new_secret(), new_secret()]
TLS = ssl.create_default_context()
DEADLINE_SECONDS = 0.5
SECONDS_MAX = 60.0
MEMORY_BYTES_MAX = 12_000_000
OUTCOMES = {
    "delivered", "answered", "redirected", "timed_out", "tls_failed", "unreachable",
    "malformed_answer",
}  # fmt: skip

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
BOMB = gzip.compress(gzip.compress(b"\0" * 200_000_000))


async def deliver(
    url: str, *, seconds: float = 20, body: bytes = b'{"a": 1}', secrets=SECRETS
) -> Delivered:
    courier = Courier(loopback_allowed=True, seconds=seconds, tls=TLS)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            message = Message(id="evt_1", at=datetime.now(UTC), body=body)
            return await courier.deliver(url, message, secrets)
    finally:
        await courier.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The sockets that were opened."""
    made: list[socket.socket] = []
    opened = module.new_socket

    def recorded(family: int, kind: int, protocol: int) -> socket.socket:
        made.append(opened(family, kind, protocol))
        return made[-1]

    monkeypatch.setattr(module, "new_socket", recorded)
    return made


@pytest.mark.parametrize(
    "behave",
    [
        silent,
        dripping(b"", b"\r\n"),
        dripping(b"HTTP/1.1 200 ", b"O"),
        dripping(HEAD + b"a: b", b"b"),
        dripping(HEAD, b"a: b\r\n", seconds=0.1),
        dripping(b"", b"HTTP/1.1 102 X\r\n\r\n", seconds=0.2),
    ],
    ids=["silent", "before", "status", "value", "headers", "interim"],
)
async def test_a_slow_answer_is_over_at_the_deadline(behave, sockets):
    async with receiving(behave) as receiver:
        delivered = await deliver(receiver.url, seconds=DEADLINE_SECONDS)
        assert (delivered.outcome, delivered.status) == ("timed_out", None)
        assert DEADLINE_SECONDS * 0.9 < delivered.seconds < SECONDS_MAX
        await until(lambda: receiver.open == 0 and sockets[0].fileno() == -1)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\xff\xfe garbage \x80",
        b"\x16\x03\x01\x00\x05hello",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"220 mail ESMTP\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 -200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 99999999999999999999 OK\r\n\r\n",
        b"HTTP/9.9.9 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        HEAD + b"no colon\r\n\r\n",
        HEAD + b": no name\r\n\r\n",
        HEAD + b"a b: c\r\n\r\n",
        HEAD + b"a: b\0c\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: x\r\n\r\n",
        HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
        HEAD + b"content-length: 99999999999999999999999\r\n\r\n",
        HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
    ids=lambda answer: ascii(answer)[2:30],
)
async def test_what_is_no_answer_is_malformed(answer):
    async with receiving(answer) as receiver:
        delivered = await deliver(receiver.url)
    assert (delivered.outcome, delivered.status) == ("malformed_answer", None)


@pytest.mark.parametrize(
    "behave",
    [
        endless(HEAD + b"a: ", b"b"),
        endless(HEAD, b"x" * 1000),
        endless(HEAD, b"a: b\r\n"),
        endless(HEAD, b"a" * 100 + b": " + b"b" * 4000 + b"\r\n"),
        endless(HEAD + b"a: b\r\n", b" folded\r\n"),
        endless(b"HTTP/1.1 200 ", b"O"),
        endless(b"", b"\0"),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        endless(b"", b"HTTP/1.1 103 X\r\nlink: " + b"x" * 2000 + b"\r\n\r\n"),
    ],
    ids="value name headers large_headers folds status zeros interim large_interim".split(),
)
async def test_a_flood_is_cut_off_long_before_the_deadline(behave, sockets):
    async with receiving(behave) as receiver:
        tracemalloc.start()
        try:
            delivered = await deliver(receiver.url, seconds=SECONDS_MAX)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (delivered.outcome, delivered.status) == ("malformed_answer", None)
        assert peak < MEMORY_BYTES_MAX
        await until(lambda: receiver.open == 0 and sockets[0].fileno() == -1)


async def test_headers_have_a_largest_number_and_size():
    most = [f"a{number}: b" for number in range(HEADERS_MAX - 1)]
    longest = "a: " + "b" * (HEADER_BYTES_MAX - 10)
    for headers, passes in (
        (most, True), ([*most, "c: d", "e: f"], False),
        ([longest] * 20, True), ([longest + "b" * 20], False),
    ):  # fmt: skip
        async with receiving(status(200, *headers)) as receiver:
            delivered = await deliver(receiver.url)
        assert (delivered.outcome == "delivered") == passes
        assert passes or delivered.outcome == "malformed_answer"


@pytest.mark.parametrize(
    "behave",
    [
        endless(HEAD + b"\r\n", b"x"),
        endless(HEAD + b"content-length: 1000000000000\r\n\r\n", b"x"),
        endless(CHUNKED, b"5\r\nhello\r\n"),
        endless(CHUNKED + b"5;", b"x"),
        endless(CHUNKED + b"0\r\n", b"a: b\r\n"),
        sending(status(200, "content-encoding: gzip", body=BOMB)),
        endless(HEAD + b"content-encoding: gzip\r\n\r\n", BOMB),
        endless(HEAD + b"content-encoding: br, deflate, zstd, x\r\n\r\n", b"x"),
        dripping(HEAD + b"content-length: 10\r\n\r\n", b"x", seconds=0.2),
        sending(HEAD + b"content-length: 10\r\n\r\nx"),
        sending(HEAD + b"\r\n"),
    ],
    ids="plain length chunks extension trailer bomb bombs encodings drip cut none".split(),
)
async def test_a_body_is_not_read_however_it_comes(behave, sockets):
    async with receiving(behave) as receiver:
        tracemalloc.start()
        try:
            delivered = await deliver(receiver.url, seconds=SECONDS_MAX)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert delivered.seconds < SECONDS_MAX / 2
        assert peak < MEMORY_BYTES_MAX
        # A body that is broken in the same packet as its head may have spoilt both.
        assert (delivered.outcome, delivered.status) in (
            ("delivered", 200),
            ("malformed_answer", None),
        )
        await until(lambda: receiver.open == 0 and sockets[0].fileno() == -1)


async def test_a_bomb_is_never_unpacked(monkeypatch):
    """The body that came with the head is as it was sent."""
    seen: list[bytes] = []
    close = aiohttp.ClientResponse.close

    def looked_at(self) -> None:
        seen.append(bytes(b"".join(self.content._buffer)))
        close(self)

    monkeypatch.setattr(aiohttp.ClientResponse, "close", looked_at)
    packed = gzip.compress(b"\0" * 1000)
    async with receiving(status(200, "content-encoding: gzip", body=packed)) as receiver:
        assert (await deliver(receiver.url)).outcome == "delivered"
    assert seen[0] in (packed, b"")


@pytest.mark.parametrize(
    "behave",
    [sending(b""), sending(b"HTTP/1.1 2"), sending(HEAD), sending(HEAD + b"a: b"), resetting],
    ids=["at_once", "status", "headers", "header", "reset"],
)
async def test_a_connection_that_ends_before_the_answer_is_unreachable(behave):
    async with receiving(behave) as receiver:
        delivered = await deliver(receiver.url)
    assert (delivered.outcome, delivered.status) == ("unreachable", None)
    assert receiver.connections == 1


async def test_an_upgrade_is_an_answer_like_another():
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    )
    async with receiving(endless(answer, b"x")) as receiver:
        delivered = await deliver(receiver.url)
    assert (delivered.outcome, delivered.status) == ("answered", 101)


async def test_a_receiver_that_takes_nothing_holds_no_socket(sockets, monkeypatch):
    """What was not sent yet is thrown away, not waited for."""
    opened = module.new_socket

    def narrow(family: int, kind: int, protocol: int) -> socket.socket:
        made = opened(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return made

    monkeypatch.setattr(module, "new_socket", narrow)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 3600.0)  # the kernel would wait as long
    with socket.socket() as deaf:  # the kernel takes the connection, and nobody reads it
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.bind((LOOPBACK, 0))
        deaf.listen()
        url = f"http://{LOOPBACK}:{deaf.getsockname()[1]}/"
        delivered = await deliver(url, seconds=DEADLINE_SECONDS, body=b"x" * BODY_BYTES_MAX)
        assert delivered.outcome == "timed_out"
        await until(lambda: sockets[0].fileno() == -1)


async def test_an_answer_before_the_message_was_read_counts():
    async def early(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(status(413))
        await writer.drain()
        await asyncio.sleep(SECONDS_MAX)

    async with receiving(early, reads=False) as receiver:
        delivered = await deliver(receiver.url, body=b"x" * BODY_BYTES_MAX)
    assert (delivered.outcome, delivered.status) == ("answered", 413)


async def test_a_delivery_that_is_cancelled_ends_its_connection(sockets):
    async with receiving(silent) as receiver:
        task = asyncio.create_task(deliver(receiver.url))
        await until(lambda: len(receiver.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: receiver.open == 0 and sockets[0].fileno() == -1)


def spoilt(rng: random.Random) -> bytes:
    """A good answer, and what chance made of it."""
    answer = bytearray(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n"
        b"set-cookie: a=b; Domain=x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(answer))
        match rng.randrange(4):
            case 0:
                answer[at] = rng.randrange(256)
            case 1:
                del answer[at : at + rng.randint(1, 20)]
            case 2:
                answer[at:at] = rng.randbytes(rng.randint(1, 20))
            case _:
                answer[at:at] = answer[at : at + 40] * rng.randint(1, 50)
        if not answer:
            return b"\r\n"
    return bytes(answer)


async def test_no_answer_that_chance_makes_raises_anything():
    rng = random.Random(20261129)
    answers = iter([spoilt(rng) for _ in range(300)])

    async def next_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await sending(next(answers))(reader, writer)

    seen = set()
    async with receiving(next_one) as receiver:
        for _ in range(300):
            delivered = await deliver(receiver.url)
            assert delivered.outcome in OUTCOMES
            assert (delivered.status is not None) == (
                delivered.outcome in ("delivered", "answered", "redirected")
            )
            seen.add(delivered.outcome)
    assert seen >= {"redirected", "malformed_answer"}


def leaks() -> Iterator[tuple[str, Behave]]:
    headers = f"x: {CANARY}", f"set-cookie: {CANARY}[]=\x01", f"set-cookie: a={CANARY}; Expires=x"
    yield "answered", sending(status(500, *headers, body=CANARY.encode()))
    yield "redirected", sending(status(302, f"location: https://{CANARY}.example/"))
    yield "malformed_answer", sending(f"HTTP/1.1 {CANARY}\r\n\r\n".encode())
    yield "malformed_answer", sending(HEAD + f"{CANARY} {CANARY}\r\n\r\n".encode())
    yield "unreachable", sending(f"HTTP/1.1 200 {CANARY}".encode())
    yield "timed_out", dripping(HEAD, f"x: {CANARY}\r\n".encode(), seconds=0.1)


async def test_nothing_of_an_answer_or_of_the_message_is_logged_or_returned(caplog):
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    told = []
    with capture_logs() as lines:
        for outcome, behave in leaks():
            seconds = 2 if outcome == "timed_out" else SECONDS_MAX / 2
            async with receiving(behave) as receiver:
                url = f"{receiver.url}/{CANARY}"
                delivered = await deliver(url, seconds=seconds, body=f'"{CANARY}"'.encode())
            assert delivered.outcome == outcome
            told.append(repr(delivered))
    # What asyncio says of the receivers themselves, which run here too, is none of ours.
    told += [line.getMessage() for line in caplog.records if line.name != "asyncio"]
    told.append(str(lines))
    for one in told:
        assert CANARY not in one
        for secret in SECRETS:
            assert secret.reveal_text() not in one


async def test_a_client_that_breaks_is_told_without_its_words(monkeypatch):
    """An error of a library may hold the request with its signatures."""

    async def broken(_self, *_args, headers, **_kwargs):
        raise ValueError(f"cannot send {headers} {CANARY}")

    monkeypatch.setattr(aiohttp.ClientSession, "_request", broken)
    with capture_logs() as lines:
        delivered = await deliver("http://localhost/")
    assert (delivered.outcome, delivered.status) == ("malformed_answer", None)
    (line,) = lines
    assert (line["event"], line["error"]) == ("webhook_answer_odd", "ValueError")
    assert CANARY not in str(line)
    assert "v1," not in str(line)

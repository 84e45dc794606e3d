"""The HTTP server says in our own form what it cannot take."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from strongroom.http import server
from strongroom.http.exchange import Reply
from strongroom.http.front_door import Receive, Scope, Send, write_reply
from strongroom.http.traffic import Traffic
from strongroom.local.ports import LOOPBACK, free_ports

SECONDS_MAX = 30


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await write_reply(send, Reply(200, b"{}"))


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """The port of a server that answers every request with 200."""
    port = free_ports(1)
    ready = asyncio.Event()
    running = server.Server(Traffic(hello), LOOPBACK, port, on_ready=ready.set)
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

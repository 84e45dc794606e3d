"""The HTTP server keeps nothing without an end, and no connection for who does not read."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest

from strongroom.errors import Missing
from strongroom.http import server
from strongroom.http.exchange import BODY_BYTES_MAX, Reply
from strongroom.http.front_door import Application, FrontDoor, Receive, Scope, Send, write_reply
from strongroom.local.ports import LOOPBACK
from tests.integration.test_server import CHUNKED, SECONDS_MAX, Reading, Taking, hello, serving

LARGE_BYTES = 16 * 1024 * 1024
ENDLESS = {
    "a trailer": b"0\r\nx: " + b"a" * 1000,
    "trailers": b"0\r\n" + b"a: b\r\n" * 100,
    "an extension of a chunk": b"2;x=" + b"a" * 1000,
}


@pytest.mark.parametrize("application", [hello, Reading()], ids=["answered early", "reading"])
@pytest.mark.parametrize("endless", ENDLESS)
async def test_what_has_no_end_after_the_head_is_broken_off(
    application: Application, endless: str
) -> None:
    """The parser keeps what is not finished, and copies all of it for each piece that comes."""
    sent = 0
    async with serving(application) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(CHUNKED.replace(b"Connection: close\r\n", b"") + ENDLESS[endless])
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"a" * 1024)
                await writer.drain()
                await asyncio.sleep(0.001)
                sent += 1024
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.0001):
                        await reader.read(1024)
        writer.close()
    assert sent < 16 * server.BARREN_BYTES_MAX


class Hooks:
    """It knows no gateway account."""

    def gateway_of(self, _raw_path: bytes) -> tuple[str, str]:
        return "stripe", "gwa_nobody"

    def is_challenge(self, _gateway: str, _method: str) -> bool:
        return False

    async def check_account(self, _gateway: str, _account: str) -> None:
        raise Missing("webhook_account_unknown")


async def test_no_more_is_kept_of_a_webhook_for_an_account_that_nobody_has() -> None:
    nobody: Any = Hooks()
    door = FrontDoor(Taking(), hello, hooks=nobody)  # type: ignore[arg-type]
    head = b"POST /webhooks/stripe/gwa_nobody HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    async with serving(door, front_paths=door.paths) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(head % (4 * BODY_BYTES_MAX) + b" " * (BODY_BYTES_MAX + 1))
        assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
        writer.close()


async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
    await write_reply(send, Reply(200, b"x" * LARGE_BYTES))


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
async def test_who_reads_no_answer_holds_no_connection(
    monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    monkeypatch.setattr(server, "UNREAD_SECONDS_MAX", 0.5)
    lost, is_over = server.BoundedProtocol.connection_lost, asyncio.Event()

    def connection_lost(protocol: server.BoundedProtocol, exc: Exception | None) -> None:
        lost(protocol, exc)
        is_over.set()

    monkeypatch.setattr(server.BoundedProtocol, "connection_lost", connection_lost)
    async with serving(large) as port, asyncio.timeout(SECONDS_MAX):
        with socket.create_connection((LOOPBACK, port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n")
            await is_over.wait()


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
async def test_who_reads_slowly_gets_all_of_it(
    monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    """However often the server looks whether it is still being read meanwhile."""
    monkeypatch.setattr(server, "UNREAD_SECONDS_MAX", 0.25)
    looks, look = 0, server.BoundedProtocol._look_at_reader

    def counted(protocol: server.BoundedProtocol, before: int) -> None:
        nonlocal looks
        looks += 1
        look(protocol, before)

    monkeypatch.setattr(server.BoundedProtocol, "_look_at_reader", counted)
    async with serving(large) as port, asyncio.timeout(SECONDS_MAX):
        reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=64 * 1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n")
        got = 0
        while got < LARGE_BYTES:
            got += len(await reader.readexactly(min(256 * 1024, LARGE_BYTES - got)))
            await asyncio.sleep(0.04)
        writer.close()
    assert looks > 2

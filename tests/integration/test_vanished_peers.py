"""A host that is gone says nothing: whoever talked to it finds out, at both ends of a connection.

Its silence is real: the kernel is told to forget a socket without a word, as a power cut would.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import uvloop

from strongroom.database import (
    SILENT_IDLE_SECONDS,
    SILENT_PROBE_SECONDS,
    SILENT_PROBES_MAX,
    UNREACHABLE,
    connect_pool,
)

TCP_REPAIR = 19
"""A socket that is closed while it is under repair sends nothing (tcp(7) leaves it out)."""
SILENT_SECONDS = SILENT_IDLE_SECONDS + SILENT_PROBES_MAX * SILENT_PROBE_SECONDS
FOUND_OUT_SECONDS_MAX = SILENT_SECONDS + 15
ASKED_SECONDS = 4 * SILENT_SECONDS
OF_US = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"

pytestmark = [pytest.mark.slow, pytest.mark.needs("root", "linux")]


QUIET_SECONDS = 0.5
"""What was said is acknowledged by then: bytes that are sent again would find out at once."""


def forget(transport: Any) -> None:
    """The connection is gone at this end, and the other is not told; needs CAP_NET_ADMIN."""
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as gone:
        gone.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    transport.abort()


def transport_of(connection: Any) -> Any:
    """What a connection of the pool runs over."""
    return connection._con._transport


@asynccontextmanager
async def relay(url: str) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """The database by another address, and its connections to those who came by it."""
    parts, near = urlsplit(url), []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                writer.write(piece)

    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near.append(writer)
        there, far = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(reader, far), pump(there, writer))

    server = await asyncio.start_server(come, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    before = parts.netloc.rpartition(":")[0]
    try:
        yield urlunsplit(parts._replace(netloc=f"{before}:{port}")), near
    finally:
        server.close()


async def test_a_database_whose_host_is_gone_is_noticed_before_any_deadline(
    database_url: str,
) -> None:
    async with relay(database_url) as (url, near):
        pool = await connect_pool(url, size_max=1, application="test")
        async with pool.acquire() as connection:
            asked = asyncio.create_task(
                connection.execute(f"SELECT pg_sleep({ASKED_SECONDS})", timeout=ASKED_SECONDS)
            )
            await asyncio.sleep(QUIET_SECONDS)
            begun = time.monotonic()
            forget(near[0].transport)
            done, _ = await asyncio.wait({asked}, timeout=FOUND_OUT_SECONDS_MAX)
            assert done, "it is still waited for"
            assert isinstance(asked.exception(), UNREACHABLE)
            assert time.monotonic() - begun > SILENT_PROBE_SECONDS  # nobody was told
        pool.terminate()


async def test_a_client_whose_host_is_gone_leaves_its_place_at_the_database(
    database_url: str,
) -> None:
    pool = await connect_pool(database_url, size_max=1, application="test")
    connection = await pool.acquire()
    pid = connection.get_server_pid()
    await asyncio.sleep(QUIET_SECONDS)
    forget(transport_of(connection))
    watching = await asyncpg.connect(database_url)
    begun = time.monotonic()
    while await watching.fetchval(OF_US, pid):
        assert time.monotonic() - begun < FOUND_OUT_SECONDS_MAX, "it is still waited for"
        await asyncio.sleep(0.2)
    assert time.monotonic() - begun > SILENT_PROBE_SECONDS  # it was not told
    await watching.close()
    pool.terminate()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_ends_look_for_each_other(database_url: str, loop: type) -> None:
    async def look() -> None:
        pool = await connect_pool(database_url, size_max=1, application="test")
        async with pool.acquire() as connection:
            shown = [
                await connection.fetchval(f"SHOW tcp_keepalives_{name}")
                for name in ("idle", "interval", "count")
            ]
            assert shown == ["10", "5", "3"]
            used = transport_of(connection).get_extra_info("socket")
            assert used.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle = used.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            assert idle == SILENT_IDLE_SECONDS
        await pool.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(look())

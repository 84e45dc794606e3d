"""How a stand-in listens: on loopback alone, with bodies of a bounded size."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

BODY_BYTES_MAX = 1024 * 1024
BACKLOG_MAX = 1024
KEEPALIVE_SECONDS = 75.0
SHUTDOWN_SECONDS = 2.0


class NotLoopback(ValueError):
    """The address is not of this machine alone. A stand-in never listens beyond loopback."""


class ConnectionDropped(Exception):
    """The answer is to be left out and the connection cut."""


def loopback_socket(host: str, port: int) -> socket.socket:
    """Bind a socket. Raises NotLoopback for any address that others could reach."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise NotLoopback(f"{host} is not an address") from None
    if not address.is_loopback:
        raise NotLoopback(f"{host} is not a loopback address")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((str(address), port))
    except OSError:
        bound.close()
        raise
    return bound


def url_of(listening: socket.socket) -> str:
    """Where a socket is reached."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def listen(
    listening: socket.socket, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
) -> web.ServerRunner:
    """Begin to accept connections; the runner's ``cleanup`` ends it."""
    server = web.Server(
        answer,
        request_factory=_bounded_request,
        access_log=None,
        keepalive_timeout=KEEPALIVE_SECONDS,
    )
    runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    await web.SockSite(runner, listening, backlog=BACKLOG_MAX).start()
    return runner


async def cut(request: web.BaseRequest) -> web.Response:
    """Cut a connection instead of an answer."""
    if request.transport is not None:
        request.transport.abort()
    # Nothing is left to write to; aiohttp only wants to see a response.
    await asyncio.sleep(0)
    return web.Response()


def _bounded_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    """Make a request whose body may be read up to BODY_BYTES_MAX."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=BODY_BYTES_MAX
    )

"""The listening server: puts the parts together and gives each request to one of them."""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from strongroom_sandbox.clock import Clock
from strongroom_sandbox.faults import Faults, Knobs
from strongroom_sandbox.ledger import Ledger, LedgerRefused
from strongroom_sandbox.stripe.api import Api, ConnectionDropped
from strongroom_sandbox.stripe.books import Books, Change
from strongroom_sandbox.stripe.challenge import Challenges
from strongroom_sandbox.stripe.controls import Controls
from strongroom_sandbox.stripe.shapes import ACTION_PATH, Shapes
from strongroom_sandbox.stripe.timers import come_due

BODY_BYTES_MAX = 1024 * 1024
BACKLOG_MAX = 1024
KEEPALIVE_SECONDS = 75.0
SHUTDOWN_SECONDS = 2.0


class NotLoopback(ValueError):
    """The address is not of this machine alone. A stand-in never listens beyond loopback."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server is started with. ``public_url`` is where a browser finds it, or None."""

    host: str
    port: int
    data: Path
    secret_key: bytes
    knob_token: bytes
    public_url: str | None = None


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


def load(ledger: Ledger) -> Books:
    """Rebuild the state from the ledger. Raises LedgerRefused."""
    books = Books()
    decoder = msgspec.json.Decoder(Change)
    try:
        for text in ledger.replay():
            change = decoder.decode(text)
            books.apply(change)
            books.apply_key(change)
    except msgspec.DecodeError as error:
        raise LedgerRefused(f"the ledger holds a line of another shape: {error}") from None
    return books


class StandIn:
    """The server. ``start`` returns its URL; ``stop`` ends it and syncs what is left."""

    def __init__(self, settings: Settings) -> None:
        self._socket = loopback_socket(settings.host, settings.port)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._ledger = Ledger(settings.data)
        books, clock, self._faults = load(self._ledger), Clock(), Faults()
        self._books, self._clock = books, clock
        clock.restore(books.clock_offset_seconds, books.latest_time)
        shapes = Shapes(books, (settings.public_url or self.url).rstrip("/"))
        self._api = Api(settings.secret_key, books, self._ledger, clock, self._faults, shapes)
        self._controls = Controls(settings.knob_token, books, self._ledger, clock, self._faults)
        self._challenges = Challenges(books, self._ledger, clock)
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Begin to accept connections."""
        server = web.Server(
            self._answer,
            request_factory=_bounded_request,
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket, backlog=BACKLOG_MAX).start()

    async def stop(self) -> None:
        """Close withheld requests, stop accepting and sync the ledger."""
        self._faults.replace(Knobs())
        if self._runner is not None:
            await self._runner.cleanup()
        await self._ledger.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        # Whatever is asked for is answered by what holds at this moment.
        while (change := come_due(self._books, self._clock.now())) is not None:
            self._books.apply(change)
            self._ledger.append(msgspec.json.encode(change))
        try:
            if path.startswith(ACTION_PATH):
                return await self._challenges.answer(request)
            if path.startswith("/_"):
                return await self._controls.answer(request)
            return await self._api.answer(request)
        except ConnectionDropped:
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

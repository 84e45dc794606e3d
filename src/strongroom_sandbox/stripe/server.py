"""The listening server: puts the parts together and gives each request to one of them."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiohttp import web

from strongroom_sandbox.clock import Clock
from strongroom_sandbox.faults import Faults, Knobs
from strongroom_sandbox.ledger import Ledger, LedgerRefused
from strongroom_sandbox.listening import ConnectionDropped, cut, listen, loopback_socket, url_of
from strongroom_sandbox.stripe.api import Api
from strongroom_sandbox.stripe.books import Books, Change
from strongroom_sandbox.stripe.challenge import Challenges
from strongroom_sandbox.stripe.controls import Controls
from strongroom_sandbox.stripe.elements.server import SCRIPT_HOST, Elements
from strongroom_sandbox.stripe.shapes import ACTION_PATH, Shapes
from strongroom_sandbox.stripe.timers import come_due
from strongroom_sandbox.stripe.webhooks import Webhooks
from strongroom_sandbox.tokens import KeyFile

TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server is started with. ``public_url`` is where a browser finds it, or None.

    With a ``publishable_key`` it serves the browser script as well, on the host SCRIPT_HOST.
    """

    host: str
    port: int
    data: Path
    secret_keys: KeyFile
    knob_token: bytes
    public_url: str | None = None
    webhooks_file: Path | None = None
    publishable_key: bytes | None = None


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
        self.url = url_of(self._socket)
        self._ledger = Ledger(settings.data)
        books, clock, self._faults = load(self._ledger), Clock(), Faults()
        self._books, self._clock = books, clock
        clock.restore(books.clock_offset_seconds, books.latest_time)
        shapes = Shapes(books, (settings.public_url or self.url).rstrip("/"))
        self._api = Api(settings.secret_keys, books, self._ledger, clock, self._faults, shapes)
        self._webhooks = Webhooks(books, shapes, self._ledger, clock, settings.webhooks_file)
        self._controls = Controls(
            settings.knob_token, books, self._ledger, clock, self._faults, self._webhooks
        )
        self._challenges = Challenges(books, self._ledger, clock)
        key = settings.publishable_key
        self._elements = key and Elements(key, books, self._ledger, clock, shapes)
        self._runner: web.ServerRunner | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept connections."""
        self._runner = await listen(self._socket, self._answer)
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Close withheld requests, stop accepting and sync the ledger."""
        self._faults.replace(Knobs())
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        await self._webhooks.close()
        await self._ledger.close()

    async def _tick(self) -> None:
        """What time brings is told by webhooks also when nobody asks for anything."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._come_due()

    def _come_due(self) -> None:
        while (change := come_due(self._books, self._clock.now())) is not None:
            self._books.apply(change)
            self._ledger.append(msgspec.json.encode(change))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        # Whatever is asked for is answered by what holds at this moment.
        self._come_due()
        try:
            if request.host.partition(":")[0] == SCRIPT_HOST:
                return await self._script(request)
            if path.startswith(ACTION_PATH):
                return await self._challenges.answer(request)
            if path.startswith("/_"):
                return await self._controls.answer(request)
            return await self._api.answer(request)
        except ConnectionDropped:
            return await cut(request)

    async def _script(self, request: web.BaseRequest) -> web.StreamResponse:
        if not self._elements:
            return web.Response(status=404)
        return await self._elements.answer(request)

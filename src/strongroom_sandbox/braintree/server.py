"""The listening server: puts the parts together and gives each request to one of them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiohttp import web

from strongroom_sandbox.braintree.api import Api
from strongroom_sandbox.braintree.books import Books, Change
from strongroom_sandbox.braintree.controls import Controls
from strongroom_sandbox.braintree.credentials import Credentials
from strongroom_sandbox.braintree.dropin.server import SCRIPT_HOST, Dropin
from strongroom_sandbox.braintree.scene import Faults, Knobs
from strongroom_sandbox.braintree.timers import come_due
from strongroom_sandbox.braintree.webhooks import Webhooks
from strongroom_sandbox.clock import Clock
from strongroom_sandbox.ledger import Ledger, LedgerRefused
from strongroom_sandbox.listening import ConnectionDropped, cut, listen, loopback_socket, url_of

TICK_SECONDS = 1.0
API_PATH = "/merchants/"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server is started with.

    ``accounts``: merchant account to currency, the default first.
    """

    host: str
    port: int
    data: Path
    credentials: Credentials
    knob_token: bytes
    accounts: Mapping[str, str]
    webhooks_file: Path | None = None


def load(ledger: Ledger) -> Books:
    """Rebuild the state from the ledger. Raises LedgerRefused."""
    books = Books()
    decoder = msgspec.json.Decoder(Change)
    try:
        for text in ledger.replay():
            books.apply(decoder.decode(text))
    except msgspec.DecodeError as error:
        raise LedgerRefused(f"the ledger holds a line of another shape: {error}") from None
    return books


class StandIn:
    """The server. ``start`` begins to answer; ``stop`` ends it and syncs what is left."""

    def __init__(self, settings: Settings) -> None:
        self._socket = loopback_socket(settings.host, settings.port)
        self.url = url_of(self._socket)
        self._ledger = Ledger(settings.data)
        self._books, self._clock, self._faults = load(self._ledger), Clock(), Faults()
        self._clock.restore(self._books.clock_offset_seconds, self._books.latest_time)
        self._api = Api(
            settings.credentials, settings.accounts, self._books, self._ledger, self._clock,
            self._faults, f"http://{SCRIPT_HOST}:{self._socket.getsockname()[1]}",
        )  # fmt: skip
        self._webhooks = Webhooks(
            self._books, settings.credentials, self._ledger, settings.webhooks_file
        )
        self._controls = Controls(
            settings.knob_token, self._api, self._books, self._ledger, self._clock, self._faults,
            self._webhooks,
        )  # fmt: skip
        self._dropin = Dropin(settings.credentials, self._books, self._ledger, self._clock)
        self._ticking: asyncio.Task[None] | None = None
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Begin to accept connections."""
        self._runner = await listen(self._socket, self._answer)
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Close withheld requests, stop accepting and sync the ledger."""
        self._faults.replace(Knobs())
        if self._ticking is not None:
            self._ticking.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._webhooks.close()
        await self._ledger.close()

    def catch_up(self) -> None:
        """Bring about all that time alone has brought."""
        while (change := come_due(self._api.scene())) is not None:
            self._ledger.append(msgspec.json.encode(change))
            self._books.apply(change)

    async def _tick(self) -> None:
        """Let time pass where nobody asks: webhooks are to go out all the same."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.catch_up()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        # Whatever is asked for is answered by what holds at this moment.
        self.catch_up()
        try:
            if request.host.partition(":")[0] == SCRIPT_HOST:
                return await self._dropin.answer(request)
            if request.path.startswith(API_PATH):
                return await self._api.answer(request)
            if request.path.startswith("/_"):
                return await self._controls.answer(request)
            return web.Response(status=404)
        except ConnectionDropped:
            return await cut(request)

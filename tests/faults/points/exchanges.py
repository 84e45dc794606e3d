"""A wire for HTTP between us and a provider, on which a fault strikes at one exchange."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import aiohttp
from aiohttp import web

from tests.faults.points.points import Fault
from tests.faults.wire import forwarded

PASSED_SECONDS_MAX: Final = 30.0
_ONE_OF_MANY: Final = re.compile(r"/(?:[^/]*\d[^/]*|[a-z]+_[A-Za-z]{20,}(?=/|$))")
"""A part of a path with a digit in it names one object, but for the version of an API; so does one
of random letters, among which no digit happens to be."""
_VERSION: Final = re.compile(r"/v\d+(?=/|$)")

Watch = Callable[[str], Awaitable[Fault | None]]


class Exchange(NamedTuple):
    """What was asked."""

    path: str
    headers: dict[str, str]
    body: bytes


class ExchangeWire:
    """Passes requests on to `target`, an origin that may be changed at any time."""

    def __init__(self, name: str, watch: Watch, late_seconds: float) -> None:
        self._name, self._watch, self._late_seconds = name, watch, late_seconds
        self.target, self.is_deaf = "", False
        self.holds: tuple[str, float] | None = None
        """How a path ends whose answers are held back, and for how many seconds."""
        self.kept: list[Exchange] | None = None
        """What was asked, where somebody wants to ask it again."""
        self.on_kill: Callable[[], Awaitable[None]] = _nothing
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None

    async def start(self) -> str:
        """Listens on loopback; returns the origin."""
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=PASSED_SECONDS_MAX),
            connector=aiohttp.TCPConnector(force_close=True),
        )
        server = web.Server(self._serve, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def close(self) -> None:
        """Stops, and breaks what is under way."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if self.is_deaf:  # taken, and forgotten
            return web.Response(status=200)
        return await asyncio.shield(asyncio.ensure_future(self._exchange(request, body)))

    async def _exchange(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        if self.kept is not None:
            self.kept.append(Exchange(request.path_qs, dict(request.headers), body))
        fault = await self._watch(f"{self._name} {request.method} {place_of(request.path)}")
        if fault in (Fault.KILL_BEFORE, Fault.DROP_BEFORE):
            return await self._broken(request, fault)
        try:
            assert self._session is not None
            answer = await forwarded(self._session, request, body, self.target)
        except (aiohttp.ClientError, OSError):
            return await self._broken(request, None)
        if fault in (Fault.KILL_AFTER, Fault.DROP_AFTER):
            return await self._broken(request, fault)
        if fault is Fault.ERROR_AFTER:
            return web.Response(status=500, text="the provider is unwell")
        if self.holds is not None and request.path.endswith(self.holds[0]):
            await asyncio.sleep(self.holds[1])
        if fault is Fault.LATE:
            await asyncio.sleep(self._late_seconds)
        return answer

    async def _broken(self, request: web.BaseRequest, fault: Fault | None) -> web.Response:
        if fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER):
            await self.on_kill()
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)


async def _nothing() -> None:
    """Where nobody listens."""


def place_of(path: str) -> str:
    """The path without what names one object."""
    versions = _VERSION.sub("/version", path)
    return _ONE_OF_MANY.sub("/{}", versions)

"""A wire between our worker and the stand-in, which a test can hold, cut and answer on its own."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import web

from tests.faults.deployment import Deployment

HOP_BY_HOP: Final = frozenset({"transfer-encoding", "connection", "keep-alive", "host"})
PASSED_SECONDS_MAX: Final = 60.0
STEPS: Final = ("confirm", "cancel")
SERVER_ERROR: Final = '{"error": {"type": "api_error", "message": "The gateway is unwell."}}'


@dataclass(slots=True)
class Passing:
    """One request on the wire: the `number`-th of its operation, counted from 1."""

    operation: str
    number: int
    forward: Callable[[], Awaitable[web.Response]]


Script = Callable[[Passing], Awaitable[web.Response]]


async def pass_on(passing: Passing) -> web.Response:
    """The script of a wire that does nothing."""
    return await passing.forward()


def server_error() -> web.Response:
    """A 500 given before the request was looked at: nothing is kept under its key."""
    return web.Response(status=500, text=SERVER_ERROR, content_type="application/json")


async def forwarded(
    session: aiohttp.ClientSession, request: web.BaseRequest, body: bytes, origin: str
) -> web.Response:
    """What the server at `origin` answers to a request, with the bytes of its body."""
    headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
    async with session.request(
        request.method, origin + request.path_qs, data=body, headers=headers
    ) as reply:
        kept = {k: v for k, v in reply.headers.items() if k.lower() not in HOP_BY_HOP}
        kept.pop("Content-Length", None)
        return web.Response(status=reply.status, body=await reply.read(), headers=kept)


@dataclass(slots=True)
class Wire:
    """Use as an asynchronous context, before the first payment: the account points to it."""

    deployment: Deployment
    script: Script = pass_on
    seen: Counter[str] = field(default_factory=Counter)
    _session: aiohttp.ClientSession | None = None
    _runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            auto_decompress=False, timeout=aiohttp.ClientTimeout(total=PASSED_SECONDS_MAX)
        )
        self._runner = web.ServerRunner(
            web.Server(self._answer, access_log=None), shutdown_timeout=0.1
        )
        await self._runner.setup()
        # The same port each time: a worker remembers the account's address for some seconds.
        site = web.TCPSite(self._runner, "127.0.0.1", self.deployment.wire_port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.deployment.wire_port = port
        await self.deployment.fetch(
            "UPDATE gateway_accounts SET base_url = $1", f"http://{host}:{port}"
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        last = request.path.rpartition("/")[2]
        operation = last if last in STEPS else "create" if request.method == "POST" else "retrieve"
        self.seen[operation] += 1

        async def forward() -> web.Response:
            assert self._session is not None
            return await forwarded(
                self._session, request, body, self.deployment.ready["stripe_url"]
            )

        return await asyncio.shield(
            asyncio.ensure_future(self.script(Passing(operation, self.seen[operation], forward)))
        )

"""A merchant's server for webhooks, on loopback: it checks signatures as receivers do."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

Answering = Callable[[dict[str, Any]], int]


def takes(_: dict[str, Any]) -> int:
    return 204


class Receiver:
    """What came, in order, each checked; `answering` says with which status it is answered.

    What is refused is not checked: a server that fails does not get so far. Nor is anything of an
    `unchecked` one, as where a test's clock stands on another day than the library's.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.answering: Answering = takes
        self.port, self.unchecked = 0, False
        self.held_by: asyncio.Event | None = None
        self.tried: list[str] = []
        self.taken: list[dict[str, Any]] = []
        self.ids: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        message = await request.json()
        self.tried.append(request.headers["webhook-id"])
        if self.held_by is not None:
            await self.held_by.wait()
        status = self.answering(message)
        if status < 300:
            if not self.unchecked:
                assert Webhook(self.secret).verify(body, dict(request.headers)) == message
            self.ids.append(request.headers["webhook-id"])
            self.taken.append(message)
        return web.Response(status=status)

    def forget(self) -> None:
        """Nothing has come yet."""
        for heard in (self.tried, self.taken, self.ids):
            heard.clear()

    def sequences(self) -> dict[str, list[int]]:
        """By subject, the sequence numbers in the order in which they were taken."""
        found: dict[str, list[int]] = defaultdict(list)
        for message in self.taken:
            found[message["data"]["id"]].append(message["data"]["sequence"])
        return dict(found)


@asynccontextmanager
async def receiving(secret: str = "") -> AsyncIterator[Receiver]:
    """A receiver at work; it ends with the block."""
    receiver = Receiver(secret)
    application = web.Application()
    application.router.add_post("/hooks", receiver.hook)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.port = runner.addresses[0][1]
        yield receiver
    finally:
        await runner.cleanup()

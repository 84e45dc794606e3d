"""Between the stand-ins and the API: keeps each genuine delivery, and holds some of them back."""

import json
import random
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import web

from tests.faults.deployment import Deployment

PASSES: Final = 0.5
"""This share of the deliveries comes by the usual way; the others only by the storm."""
BODY_BYTES_MAX: Final = 256 * 1024
GATEWAYS: Final = ("stripe", "braintree")


@dataclass(slots=True)
class Event:
    """What a gateway delivers, as often as it likes.

    `head` are the lines of the request that are the same each time, but for Stripe's signature.
    `digest` is what has to be stored; `taken_at`, in Unix
    seconds, is when it was answered 200 for the first time.
    """

    gateway: str
    head: bytes
    body: bytes
    digest: bytes
    event_id: str
    taken_at: float | None = None

    def taken(self) -> None:
        """It was answered 200."""
        if self.taken_at is None:
            self.taken_at = time.time()


class Front:
    """Registered in the API's place with both stand-ins. Use as an asynchronous context."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._runner = web.ServerRunner(web.Server(self._answer))
        self._session = aiohttp.ClientSession()
        self._known: dict[bytes, Event] = {}
        self.events: list[Event] = []
        self.passed: list[int] = []
        """Statuses of what came by the usual way."""
        self.held_back = 0

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        _, port, *_ = self._runner.addresses[0]
        for gateway in GATEWAYS:
            register(self._deployment.home / "run" / f"{gateway}_webhooks.json", port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, asked: web.BaseRequest) -> web.StreamResponse:
        body = await asked.content.read(BODY_BYTES_MAX)
        event = self._kept(asked, body)
        if random.random() >= PASSES:
            self.held_back += 1
            return web.Response()
        headers = {
            name: asked.headers[name]
            for name in ("Content-Type", "Stripe-Signature")
            if name in asked.headers
        }
        url = self._deployment.ready["api_url"] + asked.path
        async with self._session.post(url, data=body, headers=headers) as answer:
            await answer.read()
            self.passed.append(answer.status)
            if answer.status == 200:
                event.taken()
            return web.Response(status=answer.status)

    def _kept(self, asked: web.BaseRequest, body: bytes) -> Event:
        if body in self._known:  # a stand-in that was not answered in time has come again
            return self._known[body]
        host = urlsplit(self._deployment.ready["api_url"]).netloc
        head = (
            f"POST {asked.path} HTTP/1.1\r\nHost: {host}\r\n"
            f"Content-Type: {asked.headers['Content-Type']}\r\nContent-Length: {len(body)}\r\n"
        ).encode()
        if "/stripe/" in asked.path:
            event = Event("stripe", head, body, sha256(body).digest(), json.loads(body)["id"])
        else:
            [payload] = parse_qs(body.decode())["bt_payload"]
            event = Event("braintree", head, body, sha256(payload.encode()).digest(), "")
        self._known[body] = event
        self.events.append(event)
        return event


def register(file: Path, port: int) -> None:
    """Has a stand-in send its webhooks to this port; it reads the file again when it changes."""
    told = json.loads(file.read_text())
    [endpoint] = told["endpoints"]
    endpoint["url"] = f"http://127.0.0.1:{port}{urlsplit(endpoint['url']).path}"
    file.write_text(json.dumps(told))

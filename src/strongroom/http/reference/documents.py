"""Serves the OpenAPI document and the page: made once, when first asked for, then plain bytes."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.http.exchange import JSON, Reply
from strongroom.http.reference.operation import HTML_TYPE

FRESH_SECONDS: Final = 300
"""How long a cache may give it on without asking; a new version may come with any restart."""


class _Made(Struct, frozen=True):
    body: bytes
    etag: str
    content_type: str
    headers: tuple[tuple[str, str], ...]


class ServedDocuments:
    """The documents of one process. They are the same for everybody and hold no secret."""

    def __init__(self) -> None:
        self._made: dict[str, _Made] = {}
        self._making = asyncio.Lock()

    async def openapi(self, etag: str | None) -> Reply:
        """The OpenAPI document; 304 without a body for a caller who has it."""
        return self._reply(await self._once("openapi", _make_openapi), etag)

    async def page(self, etag: str | None) -> Reply:
        """The page for readers; 304 without a body for a caller who has it."""
        return self._reply(await self._once("page", _make_page), etag)

    async def _once(self, name: str, make: Callable[[], _Made]) -> _Made:
        async with self._making:
            made = self._made.get(name)
            if made is None:
                # In a thread: payments go on while the templates are loaded.
                made = self._made[name] = await asyncio.to_thread(make)
        return made

    def _reply(self, made: _Made, etag: str | None) -> Reply:
        headers = (("etag", made.etag), ("cache-control", f"public, max-age={FRESH_SECONDS}"))
        if etag is not None and _names(etag, made.etag):
            return Reply(304, b"", headers, made.content_type)
        return Reply(200, made.body, headers + made.headers, made.content_type)


def _names(wanted: str, etag: str) -> bool:
    """Whether If-None-Match (RFC 9110, 13.1.2) names the tag; weak tags compare equal there."""
    parts = [part.strip().removeprefix("W/") for part in wanted.split(",")]
    return etag in parts or parts == ["*"]


def _make_openapi() -> _Made:
    from strongroom.http.reference.openapi import make_openapi

    return _of(msgspec.json.encode(make_openapi()), JSON)


def _make_page() -> _Made:
    # Jinja2 is loaded for the first reader, not at start.
    from strongroom.http.reference.page import make_page

    page, policy = make_page()
    return _of(page.encode(), HTML_TYPE, ("content-security-policy", policy))


def _of(body: bytes, content_type: str, *headers: tuple[str, str]) -> _Made:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return _Made(body, etag, content_type, headers)

"""The front door: raw ASGI that takes accept requests and webhooks, and hands on everything else.

A framework costs several times the work of the whole accept path per request, so the hot
operations, create and its bulk, are read by hand here. Litestar serves the same operations for the
OpenAPI and as the plain way; a test holds both equal. Webhooks of gateways stand here alone: no
caller of the API ever sends one.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

from msgspec import structs

from strongroom.errors import Invalid, Problem, TooLarge, Unavailable
from strongroom.http import webhooks
from strongroom.http.asking import answer
from strongroom.http.bodies import BULK_BYTES_MAX
from strongroom.http.bulk import BULK_PATH
from strongroom.http.card_guard import CLEAR_BODY, GUARD, CardGuard
from strongroom.http.exchange import (
    BODY_BYTES_MAX,
    BODY_SECONDS_MAX,
    Asked,
    Reply,
    problem_reply,
    read_headers,
)
from strongroom.http.listing import CREATE_PATH
from strongroom.http.payments import PaymentOperations

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

_ENCODED_SLASH: Final = re.compile("%2f", re.IGNORECASE)
FIXED_HEADERS: Final = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


class FrontDoor:
    """An ASGI application: POST /v1/payments, its bulk and webhooks here, the rest in `plain`."""

    def __init__(
        self,
        operations: PaymentOperations,
        plain: Application,
        guard: CardGuard = GUARD,
        hooks: webhooks.WebhookOperations | None = None,
    ) -> None:
        self._plain, self._guard, self._hooks = plain, guard, hooks
        self._check_caller = operations.check_caller
        self._here: Final = {
            CREATE_PATH: (operations.create, BODY_BYTES_MAX),
            BULK_PATH: (operations.bulk, BULK_BYTES_MAX),
        }
        """By path, what answers a POST, and how large its body may be."""

    @property
    def paths(self) -> frozenset[str]:
        """What is answered here."""
        return frozenset(self._here)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and b"%" in scope["raw_path"]:
            scope["path"] = decoded(scope["raw_path"])
        if (
            scope["type"] != "http"
            or scope["path"] not in self._here
            or scope["method"] != "POST"
            or scope["query_string"]
        ):
            await self._elsewhere(scope, receive, send)
            return
        try:
            operation, bytes_max = self._here[scope["path"]]
            headers = read_headers(scope["headers"])
            method, path = "POST", scope["path"]

            def check_caller() -> Awaitable[None]:
                bare = Asked(method=method, path=path, body=b"", **headers)
                return self._check_caller(bare, "payments:write")

            body = await read_all(receive, bytes_max, check_caller)
            asked = Asked(method=method, path=path, body=body, **headers)
            if body != scope.get(CLEAR_BODY):
                self._guard.check_body(body)
        except Problem as problem:
            await write_reply(send, problem_reply(problem))
            return
        await write_reply(send, await operation(asked))

    async def _elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        hooks = self._hooks
        named = None
        if hooks and scope["type"] == "http" and scope["path"].startswith(webhooks.PREFIX):
            named = hooks.gateway_of(scope["raw_path"])
        if hooks is None or named is None:
            await self._plain(scope, receive, send)
            return
        scope["path_template"] = webhooks.ROUTE
        if hooks.is_challenge(named[0], scope["method"]):
            await write_reply(send, await answer(hooks.prove, *named, scope["query_string"]))
            return
        if scope["method"] != "POST":
            refusal = problem_reply(Invalid("method_not_allowed"))
            allowed = "GET, POST" if hooks.is_challenge(named[0], "GET") else "POST"
            await write_reply(send, structs.replace(refusal, headers=(("allow", allowed),)))
            return
        try:
            body = await read_all(
                receive, webhooks.BODY_BYTES_MAX, lambda: hooks.check_account(*named)
            )
        except Problem as problem:
            await write_reply(send, problem_reply(problem))
            return
        await write_reply(send, await answer(hooks.receive, *named, scope["headers"], body))


def decoded(raw_path: bytes) -> str:
    """The path with its percent-encoding undone, but for slashes.

    An encoded slash is a part of a segment (RFC 3986, 2.2): a filter in front of us sees it as one,
    so it must not choose another route here.
    """
    return unquote(_ENCODED_SLASH.sub("%252F", raw_path.decode("ascii")))


async def read_all(
    receive: Callable[[], Awaitable[Any]],
    bytes_max: int,
    check_caller: Callable[[], Awaitable[object]] | None = None,
) -> bytes:
    """The whole body, in which no card number was looked for yet.

    Raises TooLarge beyond `bytes_max`, without reading on; and Unavailable when it has not come
    within BODY_SECONDS_MAX: a client that stalls must not hold a connection, or a stop, for ever.

    A body that is larger than a single request needs takes memory, and to look at it takes a while
    in which nobody is served. So `check_caller` is called before more than BODY_BYTES_MAX is kept:
    whose key is no good is refused, by whatever it raises.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await _read_all(receive, bytes_max, check_caller)
    except TimeoutError:
        raise Unavailable("body_too_slow", seconds=f"{BODY_SECONDS_MAX:.0f}") from None


async def _read_all(
    receive: Callable[[], Awaitable[Any]],
    bytes_max: int,
    check_caller: Callable[[], Awaitable[object]] | None,
) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body") and len(body) <= min(bytes_max, BODY_BYTES_MAX):
        return body
    parts, size = [body], len(body)
    while size <= bytes_max:
        if size > BODY_BYTES_MAX and check_caller is not None:
            await check_caller()
            check_caller = None
        if not message.get("more_body"):
            break
        message = await receive()
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
    if size > bytes_max:
        raise body_too_large(bytes_max)
    return b"".join(parts)


def body_too_large(bytes_max: int = BODY_BYTES_MAX) -> TooLarge:
    """The refusal of a body beyond the limit."""
    return TooLarge("body_too_large", most=bytes_max)


async def write_reply(send: Send, reply: Reply) -> None:
    """Sends a Reply as two ASGI messages."""
    headers = [
        (b"content-type", reply.content_type.encode()),
        (b"content-length", b"%d" % len(reply.body)),
        *FIXED_HEADERS,
    ]
    for name, value in reply.headers:
        headers.append((name.encode(), value.encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})

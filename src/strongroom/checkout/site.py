"""The page's own origin: an ASGI application that answers nothing else.

Whoever has a link's address has its rights, so the address is the only credential; a request that
changes something must come from the page itself (Origin), as JSON, and names the try that it means.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct, field

from strongroom.checkout.card_looks import NotSeen
from strongroom.checkout.limits import TooManyTries
from strongroom.checkout.links import Link, read_token
from strongroom.checkout.paying import NoSuchLink, OutOfStep, Paying
from strongroom.checkout.policy import fixed_headers, page_headers
from strongroom.checkout.rendering import ASSETS, Asset, new_nonce, page_of, plain_page
from strongroom.checkout.reports import BODY_BYTES_MAX as REPORT_BYTES_MAX
from strongroom.checkout.reports import Reports
from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.errors import Invalid, Problem
from strongroom.http.asking import problem_of
from strongroom.http.card_guard import GUARD, CardGuard
from strongroom.http.front_door import Receive, Scope, Send, read_all
from strongroom.ids import to_text

BODY_BYTES_MAX: Final = 4 * 1024
ADDRESS_CHARACTERS_MAX: Final = 64
FAULTS: Final = 500
"""Below that a request was refused for what it is, before anything was done."""
NOTHING_DONE: Final = ("queue_full", "log_window_exceeded")
LOOKUPS_MAX: Final = 16
"""Links that are looked up at once: anybody can ask for some that do not exist."""
FOREVER: Final = b"public, max-age=31536000, immutable"
HTML: Final = b"text/html; charset=utf-8"
JSON: Final = b"application/json"
COOKIE: Final = "strongroom_link"
"""Holds a link's secret for the way back from the bank, whose address must not hold it."""
_LINK_UNKNOWN: Final = "This link is not valid. Ask for a new one, and open it as it was sent."
_WAY_LOST: Final = "Please go back to the page on which you began to pay: it shows what it came to."
_LATER: Final = "The payment could not be sent just now. No money was taken. Please try again."
_UNSURE: Final = (
    "We do not know yet whether your payment was sent. Please reload this page before you try "
    "again: it shows what it has come to."
)
_RELOAD: Final = "This page is out of date. Please reload it."
_WAIT: Final = "Too many cards were tried from here. No money was taken. Try again in {} minutes."
_OTHER_CARD: Final = (
    "This card was tried too often today. No money was taken. Please use another card."
)
SOON_SECONDS: Final = 5
"""When to try again what a gateway did not answer."""

log = structlog.get_logger()


class TryAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """What the page sends: the try that it means, whose fields it showed, and their token."""

    token: str
    account: str
    number: int = field(name="try")


class Key(Struct, frozen=True):
    """What starts the card fields; None while a worker makes it."""

    key: str | None


class Told(Struct, frozen=True, omit_defaults=True):
    """What the page is told where nothing was tried."""

    code: str
    message: str
    retry_after_seconds: int | None = None


_decode: Final = msgspec.json.Decoder(TryAsked).decode


class Site:
    """Serves the page. `url` is its origin; `proxies` are those that may tell of an address.

    `integrity` has by gateway the digest that its script must have, where one is known.
    """

    def __init__(
        self,
        paying: Paying,
        reports: Reports,
        *,
        clock: Clock,
        mode: Mode,
        url: str,
        proxies: Sequence[str] = (),
        integrity: Mapping[str, str] | None = None,
        guard: CardGuard = GUARD,
    ) -> None:
        self._paying, self._reports, self._clock, self._guard = paying, reports, clock, guard
        self._origin, self._host = url.encode(), urlsplit(url).netloc.encode()
        self._fixed, self._proxies = fixed_headers(mode), frozenset(proxies)
        self._integrity = integrity or {}
        self._is_secure = urlsplit(url).scheme == "https"
        self._lookups = asyncio.Semaphore(LOOKUPS_MAX)
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            await self._answer(scope, receive, send)
        except NoSuchLink:
            await self._plain(send, 404, "Link not valid", _LINK_UNKNOWN)
        except OutOfStep:
            await self._json(send, 409, Told("out_of_step", _RELOAD))
        except TooManyTries as limit:
            seconds = limit.retry_after_seconds
            message = _OTHER_CARD if limit.is_card else _WAIT.format(-(-seconds // 60))
            await self._later(send, 429, Told("too_many_tries", message, seconds))
        except NotSeen:
            await self._later(send, 503, Told("gateway_unavailable", _LATER, SOON_SECONDS))
        except Exception as error:  # noqa: BLE001 - no bug may leave a customer without an answer
            problem = problem_of(error)
            log.info("checkout_refused", reason=problem.code)
            # What is under way when something breaks may be on disk all the same.
            is_sure = problem.status < FAULTS or problem.code in NOTHING_DONE
            told = Told(problem.code, _LATER if is_sure else _UNSURE)
            await self._json(send, problem.status, told)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, parts = scope["method"], scope["path"].split("/")[1:]
        headers = dict(scope["headers"])
        match method, parts:
            case "GET", ["livez" | "readyz"]:
                await self._ready(scope, send)
                return
            case "GET", ["assets", _, _]:
                await self._asset(scope, send, ASSETS.get(scope["path"]))
                return
            case _ if headers.get(b"host") != self._host:
                # Another name for this server: a page there would be of another origin.
                await self._plain(send, 421, "Wrong address", _LINK_UNKNOWN)
            case "GET", ["pay", token]:
                scope["path_template"] = "/pay/{link}"
                await self._page(send, token, await self._link(token))
            case "GET", ["pay", token, "state"]:
                scope["path_template"] = "/pay/{link}/state"
                standing = await self._paying.standing(await self._link(token))
                await self._json(send, 200, standing)
            case "GET", ["pay", token, "key"]:
                scope["path_template"] = "/pay/{link}/key"
                key = await self._paying.key(await self._link(token))
                await self._json(send, 200, Key(key))
            case "POST", ["pay", token, "tries"]:
                scope["path_template"] = "/pay/{link}/tries"
                await self._try(scope, receive, send, token)
            case "GET", ["back", payment]:
                scope["path_template"] = "/back/{payment}"
                await self._back(send, payment, headers.get(b"cookie", b""))
            case "POST", ["reports", token]:
                scope["path_template"] = "/reports/{payment}"
                await self._report(receive, send, token)
            case _:
                await self._plain(send, 404, "Not found", "There is nothing at this address.")

    async def _link(self, token: str) -> Link:
        async with self._lookups:
            return await self._paying.link(token)

    async def _page(self, send: Send, token: str, link: Link) -> None:
        shown, nonce = await self._paying.show(link), new_nonce()
        payment_text = to_text("pay", link.payment_id)
        seconds = max(0, int((link.expires_at - self._clock.now()).total_seconds())) + 3600
        cookie = (
            f"{COOKIE}={token.partition('.')[2]}; Path=/back/{payment_text}; Max-Age={seconds}; "
            f"HttpOnly; SameSite=Lax{'; Secure' if self._is_secure else ''}"
        )
        page = None if shown.chosen is None else shown.chosen.page
        headers = [
            *page_headers(nonce, f"/reports/{payment_text}", page),
            (b"set-cookie", cookie.encode()),
        ]
        await self._send(send, 200, HTML, page_of(shown, nonce, self._integrity), headers)

    async def _try(self, scope: Scope, receive: Receive, send: Send, token: str) -> None:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if headers.get(b"origin") != self._origin or kind != JSON:
            raise NoSuchLink
        body = await read_all(receive, BODY_BYTES_MAX)
        self._guard.check_body(body)
        link = await self._link(token)
        try:
            asked = _decode(body)
        except (msgspec.MsgspecError, RecursionError):
            raise Invalid("request_malformed") from None
        address = client_address(scope, headers, self._proxies)
        standing = await self._paying.pay(link, asked.number, asked.account, asked.token, address)
        await self._json(send, 202, standing)

    async def _back(self, send: Send, payment_text: str, cookies: bytes) -> None:
        """From the bank to the page; without the cookie the page cannot be found."""
        token = f"{payment_text}.{secret_in(cookies)}"
        try:
            link = await self._link(token)
        except NoSuchLink:
            await self._plain(send, 200, "Nearly there", _WAY_LOST)
            return
        try:
            await self._paying.customer_is_back(link)
        except Problem as problem:
            log.info("checkout_refused", reason=problem.code)  # a look comes by itself as well
        await self._send(send, 303, HTML, b"", [(b"location", f"/pay/{token}".encode())])

    async def _report(self, receive: Receive, send: Send, payment_text: str) -> None:
        body = await read_all(receive, REPORT_BYTES_MAX)
        named = read_token(f"{payment_text}.{'x' * 43}")
        if named is not None and self._reports.takes_one():
            async with self._lookups:
                link = await self._paying.link_of(named[0])
            if link is not None:
                with contextlib.suppress(ValueError):  # no report: there is nothing to keep
                    await self._reports.keep(link, body, self._clock.now())
        await self._send(send, 204, b"text/plain", b"")

    async def _ready(self, scope: Scope, send: Send) -> None:
        scope["path_template"] = scope["path"]
        status = 503 if self.draining and scope["path"] == "/readyz" else 200
        await self._send(send, status, b"text/plain", b"")

    async def _asset(self, scope: Scope, send: Send, asset: Asset | None) -> None:
        if asset is None:
            await self._plain(send, 404, "Not found", "There is nothing at this address.")
            return
        scope["path_template"] = "/assets/{digest}/{name}"
        headers = [(name, value) for name, value in self._fixed if name != b"cache-control"]
        headers += [
            (b"cache-control", FOREVER),
            (b"content-type", asset.content_type.encode()),
            (b"content-length", b"%d" % len(asset.content)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": asset.content})

    async def _plain(self, send: Send, status: int, title: str, message: str) -> None:
        nonce = new_nonce()
        headers = page_headers(nonce, "/reports/none", None)
        await self._send(send, status, HTML, plain_page(title, message, nonce), headers)

    async def _later(self, send: Send, status: int, told: Told) -> None:
        more = [(b"retry-after", b"%d" % (told.retry_after_seconds or 0))]
        await self._json(send, status, told, more)

    async def _json(
        self, send: Send, status: int, value: object, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        await self._send(send, status, JSON, msgspec.json.encode(value), headers)

    async def _send(
        self,
        send: Send,
        status: int,
        kind: bytes,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        every = [
            *self._fixed,
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            *headers,
        ]
        await send({"type": "http.response.start", "status": status, "headers": every})
        await send({"type": "http.response.body", "body": body})


class Unread:
    """Around everything: no page of ours reads a query, and what is not read needs no check.

    A gateway adds ids to the address that it sends a customer back to, of which one in hundreds
    would look like a card number.
    """

    def __init__(self, application: object) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, without its query."""
        if scope["type"] == "http":
            scope["query_string"] = b""
        await self._application(scope, receive, send)  # type: ignore[operator]


def client_address(scope: Scope, headers: dict[bytes, bytes], proxies: frozenset[str]) -> str:
    """Where a request comes from: what a trusted proxy saw last, else the other end."""
    client = scope.get("client")
    address = str(client[0]) if client else ""
    if address in proxies:
        told = headers.get(b"x-forwarded-for", b"").rpartition(b",")[2].strip()
        address = told.decode("ascii", "replace")[:ADDRESS_CHARACTERS_MAX] or address
    return place_of(address)


def place_of(address: str) -> str:
    """What tries are counted of: an IPv4 address, or the 64 bits of an IPv6 one that a line has.

    A port is left out; what is no address stands for itself.
    """
    bare = address.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def back_url(checkout_url: str, payment_id: UUID) -> str:
    """Where the bank sends the customer back to; no secret stands in it."""
    return f"{checkout_url}/back/{to_text('pay', payment_id)}"


def secret_in(cookies: bytes) -> str:
    """Of our cookie; anything else there is passed over, in one go however it is made."""
    for cookie in cookies.split(b";"):
        name, _, value = cookie.strip(b" \t").partition(b"=")
        if name == COOKIE.encode():
            return value.decode("ascii", "replace")
    return ""

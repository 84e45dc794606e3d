"""Serves the script and its card frame on an origin of their own, and makes payment methods.

A shop's page loads `/v3/` from here. The card field that this puts into the page is a frame of this
origin, so what is typed there is out of the page's reach; the frame sends it here, to its own
origin, and the page is given the id of a payment method. What was entered is never kept.
"""

from importlib import resources
from typing import Final

import msgspec
from aiohttp import web

from strongroom_sandbox.clock import Clock
from strongroom_sandbox.ledger import Ledger
from strongroom_sandbox.stripe.books import Books, Change, Method
from strongroom_sandbox.stripe.elements.numbers import method_of_number
from strongroom_sandbox.stripe.errors import Refusal, invalid
from strongroom_sandbox.stripe.form import Tree, pairs_of, tree_of
from strongroom_sandbox.stripe.outcome import new_id
from strongroom_sandbox.stripe.shapes import Shapes
from strongroom_sandbox.tokens import same_token

SCRIPT_HOST: Final = "js.stripe.localhost"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
FORM_BYTES_MAX: Final = 8192
METHODS_PATH: Final = "/v1/payment_methods"
JAVASCRIPT: Final = "text/javascript"
FILES: Final = {
    "/v3/": ("stripe.js", JAVASCRIPT),
    "/v3/card.html": ("card.html", "text/html"),
    "/v3/card.js": ("card.js", JAVASCRIPT),
    "/v3/card.css": ("card.css", "text/css"),
}
"""By path, the file and its type. The card frame may stand in anybody's page, as Stripe's may."""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
ACCEPTED: Final = {
    "type": None,
    "key": None,
    "card": ("number", "exp_month", "exp_year", "cvc"),
}
"""What a request for a payment method may hold; anything else is refused, as Stripe refuses it."""

encode = msgspec.json.Encoder().encode


class Elements:
    """What the origin of the script answers, with one publishable key."""

    def __init__(
        self, publishable_key: bytes, books: Books, ledger: Ledger, clock: Clock, shapes: Shapes
    ) -> None:
        self._publishable_key = publishable_key
        self._books, self._ledger, self._clock, self._shapes = books, ledger, clock, shapes
        folder = resources.files("strongroom_sandbox.stripe.elements")
        self._files = {
            path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in FILES.items()
        }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve a file, or make a payment method for the frame."""
        found = self._files.get(request.path)
        if found is not None and request.method == "GET":
            content, kind = found
            return web.Response(body=content, content_type=kind, charset="utf-8", headers=HEADERS)
        if request.path == METHODS_PATH and request.method == "POST":
            return await self._make_method(request)
        return web.Response(status=404, headers=HEADERS)

    async def _make_method(self, request: web.BaseRequest) -> web.Response:
        try:
            tree = await _tree(request)
            key = tree.get("key")
            if not isinstance(key, str) or not same_token(self._publishable_key, key):
                raise invalid("Invalid API Key provided.", status=401)
            method = self._method(tree)
        except Refusal as refusal:
            body = self._shapes.answer_error(refusal.body, None)
            return _json(refusal.status, encode(body))
        change = Change(time=self._clock.now(), methods=[method])
        self._books.apply(change)
        self._ledger.append(encode(change))
        await self._ledger.durable()
        return _json(200, encode(self._shapes.method(method)))

    def _method(self, tree: Tree) -> Method:
        for name, value in tree.items():
            parts = ACCEPTED.get(name)
            if name not in ACCEPTED or isinstance(value, dict) != (parts is not None):
                raise _unknown(name)
            for part in value if isinstance(value, dict) else ():
                if parts is None or part not in parts:
                    raise _unknown(f"{name}[{part}]")
        if tree.get("type") != "card":
            raise invalid("This stand-in makes payment methods of type card.", param="type")
        card = tree.get("card")
        given = {} if not isinstance(card, dict) else card
        number, month, year, code = (
            _text(given, part) for part in ("number", "exp_month", "exp_year", "cvc")
        )
        now = self._clock.now()
        name = method_of_number(number, month, year, code, now)
        return Method(id=new_id("pm"), card=name, created=now)


def _text(given: Tree, part: str) -> str:
    value = given.get(part)
    return value if isinstance(value, str) else ""


async def _tree(request: web.BaseRequest) -> Tree:
    """Read the form. Raises Refusal; only the frame itself, on this origin, is answered."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if site != "same-origin" or request.content_type != FORM_TYPE:
        raise invalid("Card data is taken from the card frame alone.", status=403)
    body = await request.content.read(FORM_BYTES_MAX + 1)
    if len(body) > FORM_BYTES_MAX:
        raise invalid("The form is too large.", status=413)
    try:
        return tree_of(pairs_of(body.decode()))
    except UnicodeDecodeError:
        raise invalid("The parameters cannot be read as form-encoded UTF-8 text.") from None


def _unknown(name: str) -> Refusal:
    return invalid(
        f"Received unknown parameter: {name[:100]}", param=name[:100], code="parameter_unknown"
    )


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)

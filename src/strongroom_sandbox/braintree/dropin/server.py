"""Serves the script and its frames on an origin of their own, and makes nonces of what is typed.

A shop's page loads the script from here and starts it with a client token. The fields are a frame
of this origin, so what is typed there is out of the page's reach; the frame sends it here, and the
page is given a nonce. A 3D Secure challenge is another frame of this origin: its outcome comes from
there, never from the page. What was entered is never kept.
"""

import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import msgspec
from aiohttp import web

from strongroom_sandbox.braintree.books import NONCE_SECONDS, Books, Change, Nonce
from strongroom_sandbox.braintree.cards import Card, ThreeDSecure
from strongroom_sandbox.braintree.credentials import Credentials
from strongroom_sandbox.braintree.currencies import FORM
from strongroom_sandbox.braintree.dropin.numbers import Lookup, WrongCard, entered
from strongroom_sandbox.braintree.scene import new_id
from strongroom_sandbox.braintree.vault import account_of_pass
from strongroom_sandbox.clock import Clock
from strongroom_sandbox.ledger import Ledger

SCRIPT_HOST: Final = "js.braintree.localhost"
BODY_BYTES_MAX: Final = 8192
CHALLENGES_MAX: Final = 10_000
CHALLENGE_SECONDS: Final = 15 * 60
JAVASCRIPT: Final = "text/javascript"
PATH: Final = "/web/dropin/1/"
FILES: Final = {
    PATH + "js/dropin.js": ("dropin.js", JAVASCRIPT),
    PATH + "fields.html": ("fields.html", "text/html"),
    PATH + "fields.js": ("fields.js", JAVASCRIPT),
    PATH + "fields.css": ("fields.css", "text/css"),
    PATH + "challenge.html": ("challenge.html", "text/html"),
    PATH + "challenge.js": ("challenge.js", JAVASCRIPT),
}
"""By path, the file and its type. The frames may stand in anybody's page, as Braintree's may."""
CALL: Final = re.compile(
    r"/merchants/(?P<merchant>[A-Za-z0-9_-]{1,64})/client_api/v1"
    r"/(?P<what>payment_methods|challenges)/(?P<id>[A-Za-z0-9_-]{1,64})"
    r"(?:/(?P<act>three_d_secure/lookup|result))?"
)
ANSWER: Final = re.compile(re.escape(PATH) + r"challenges/(?P<token>[a-f0-9]{32})")
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Json = dict[str, Any]


class Fields(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What is typed."""

    number: str
    expiration_month: str
    expiration_year: str
    cvv: str

    def __repr__(self) -> str:
        return "Fields(…)"


class Entry(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A card to be made a nonce of."""

    authorization_fingerprint: str
    credit_card: Fields


class Asking(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A nonce to be looked up for 3D Secure; the amount is what the customer agrees to."""

    authorization_fingerprint: str
    amount: str | None = None
    outcome: str | None = None


class Answered(msgspec.Struct, forbid_unknown_fields=True):
    """What the customer did at the bank."""

    outcome: str


@dataclass(slots=True)
class Challenge:
    """A customer who is asked by the bank; forgotten with the process."""

    card: Card
    amount: str | None
    account: str
    until: int
    outcome: str | None = None


class Refusal(Exception):
    """Answered with a status and words that the script shows."""

    def __init__(self, status: int, message: str, field: Mapping[str, str] | None = None) -> None:
        self.status, self.field = status, field
        super().__init__(message)


class Dropin:
    """What the origin of the script answers."""

    def __init__(
        self, credentials: Credentials, books: Books, ledger: Ledger, clock: Clock
    ) -> None:
        self._credentials = credentials
        self._books, self._ledger, self._clock = books, ledger, clock
        self._challenges: OrderedDict[str, Challenge] = OrderedDict()
        self._lookups: OrderedDict[str, Lookup] = OrderedDict()
        folder = resources.files("strongroom_sandbox.braintree.dropin")
        self._files = {
            path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in FILES.items()
        }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve a file, or what a frame asks for."""
        found = self._files.get(request.path)
        if found is not None and request.method == "GET":
            content, kind = found
            # A page that holds the script to its digest has to be let read it.
            headers = HEADERS | {"Access-Control-Allow-Origin": "*"}
            return web.Response(body=content, content_type=kind, charset="utf-8", headers=headers)
        if request.method != "POST":
            return web.Response(status=404, headers=HEADERS)
        try:
            body = await self._asked(request)
        except Refusal as refusal:
            told: Json = {"error": {"message": str(refusal)}, "fieldErrors": []}
            if refusal.field is not None:
                of_card = {"field": "creditCard", "fieldErrors": [dict(refusal.field)]}
                told["fieldErrors"] = [of_card]
            return _json(refusal.status, told)
        await self._ledger.durable()
        return _json(200, body)

    async def _asked(self, request: web.BaseRequest) -> Json:
        # Only the frames themselves, on this origin, are answered.
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if site != "same-origin" or request.content_type != "application/json":
            raise Refusal(403, "Card data is taken from the card fields alone.")
        body = await request.content.read(BODY_BYTES_MAX + 1)
        if len(body) > BODY_BYTES_MAX:
            raise Refusal(413, "The request is too large.")
        answered = ANSWER.fullmatch(request.path)
        try:
            if answered is not None:
                return self._bank(answered["token"], msgspec.json.decode(body, type=Answered))
            call = CALL.fullmatch(request.path)
            if call is None or call["merchant"] != self._credentials.merchant_id:
                raise Refusal(404, "Not found.")
            match call["what"], call["id"], call["act"]:
                case "payment_methods", "credit_cards", None:
                    return self._enter(msgspec.json.decode(body, type=Entry))
                case "payment_methods", nonce, "three_d_secure/lookup":
                    return self._look_up(nonce, msgspec.json.decode(body, type=Asking))
                case "challenges", token, "result":
                    return self._result(token, msgspec.json.decode(body, type=Asking))
                case _:
                    raise Refusal(404, "Not found.")
        except msgspec.MsgspecError:
            # Not the decoder's words: they may show what was typed.
            raise Refusal(422, "The request cannot be read.") from None

    def _account(self, fingerprint: str) -> str:
        account = account_of_pass(self._credentials.pass_keys(), fingerprint, self._clock.now())
        if account is None:
            raise Refusal(403, "Authorization is invalid.")
        return account

    def _enter(self, entry: Entry) -> Json:
        self._account(entry.authorization_fingerprint)
        typed = entry.credit_card
        try:
            found = entered(
                typed.number,
                typed.expiration_month,
                typed.expiration_year,
                typed.cvv,
                self._clock.now(),
            )
        except WrongCard as wrong:
            field = {"field": wrong.field, "code": wrong.code, "message": str(wrong)}
            raise Refusal(422, "Credit card is invalid", field) from None
        nonce = self._mint(found.card, None)
        self._lookups[nonce.id] = found.lookup
        if len(self._lookups) > CHALLENGES_MAX:
            self._lookups.popitem(last=False)
        return {"creditCards": [_method(nonce)]}

    def _look_up(self, nonce_id: str, asking: Asking) -> Json:
        account = self._account(asking.authorization_fingerprint)
        if asking.amount is None or FORM.fullmatch(asking.amount) is None:
            raise Refusal(422, "amount is required for 3D Secure.")
        held = self._books.nonces.get(nonce_id)
        now = self._clock.now()
        lookup = self._lookups.pop(nonce_id, None)
        if held is None or held.consumed or held.created < now - NONCE_SECONDS or lookup is None:
            raise Refusal(404, "Unknown or expired payment_method_nonce.")
        used = msgspec.structs.replace(held, consumed=True)
        if lookup is not Lookup.CHALLENGE:
            info = _info(lookup, asking.amount, account)
            return {"paymentMethod": _method(self._mint(held.card, info, used)), "challenge": None}
        self._record(Change(time=now, nonces=[used]))
        token = secrets.token_hex(16)
        self._challenges[token] = Challenge(
            held.card, asking.amount, account, now + CHALLENGE_SECONDS
        )
        if len(self._challenges) > CHALLENGES_MAX:
            self._challenges.popitem(last=False)
        return {"paymentMethod": None, "challenge": token}

    def _bank(self, token: str, answered: Answered) -> Json:
        challenge = self._challenges.get(token)
        if challenge is None or challenge.until < self._clock.now() or challenge.outcome:
            raise Refusal(404, "This page is no longer valid.")
        if answered.outcome not in ("passed", "failed"):
            raise Refusal(422, "The request cannot be read.")
        challenge.outcome = answered.outcome
        return {}

    def _result(self, token: str, asking: Asking) -> Json:
        self._account(asking.authorization_fingerprint)
        challenge = self._challenges.pop(token, None)
        if challenge is None:
            raise Refusal(404, "Unknown challenge.")
        # What the page says of it counts for nothing: the bank was told, or it was not.
        passed = challenge.outcome == "passed"
        lookup = Lookup.FRICTIONLESS if passed else Lookup.FAILED
        info = _info(lookup, challenge.amount, challenge.account)
        return {"paymentMethod": _method(self._mint(challenge.card, info))}

    def _mint(self, card: Card, info: ThreeDSecure | None, used: Nonce | None = None) -> Nonce:
        now = self._clock.now()
        made = Nonce(
            id=f"tokencc_bf_{new_id()}_{new_id()}", card=card, created=now, three_d_secure=info
        )
        self._record(Change(time=now, nonces=[made] if used is None else [used, made]))
        return made

    def _record(self, change: Change) -> None:
        self._ledger.append(msgspec.json.encode(change))
        self._books.apply(change)


def _info(lookup: Lookup, amount: str | None, account: str) -> ThreeDSecure:
    match lookup:
        case Lookup.NOT_ENROLLED:
            status, enrolled, shifted, possible = "lookup_not_enrolled", "N", False, False
        case Lookup.FRICTIONLESS:
            status, enrolled, shifted, possible = "authenticate_successful", "Y", True, True
        case _:
            status, enrolled, shifted, possible = "authenticate_failed", "Y", False, True
    return ThreeDSecure(
        status=status,
        enrolled=enrolled,
        liability_shifted=shifted,
        liability_shift_possible=possible,
        amount=amount,
        merchant_account=account,
        authentication_id=secrets.token_hex(12),
    )


def _method(nonce: Nonce) -> Json:
    info = nonce.three_d_secure
    shown: Json = {
        "type": "CreditCard",
        "nonce": nonce.id,
        "details": {
            "bin": nonce.card.bin,
            "lastTwo": nonce.card.last4[-2:],
            "lastFour": nonce.card.last4,
            "cardType": nonce.card.brand,
        },
        "threeDSecureInfo": None,
    }
    if info is not None:
        shown["threeDSecureInfo"] = {
            "status": info.status,
            "enrolled": info.enrolled,
            "liabilityShifted": info.liability_shifted,
            "liabilityShiftPossible": info.liability_shift_possible,
            "threeDSecureVersion": info.version,
        }
    return shown


def _json(status: int, body: Json) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers=HEADERS,
    )

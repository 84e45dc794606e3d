"""One request of Braintree's API from its headers to its answer.

The order is credentials, route, parameters, api_request_key, operation. Nothing is answered before
the ledger has synced all that the answer rests on, reads included.
"""

import asyncio
import base64
import binascii
import hashlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from strongroom_sandbox.braintree import shapes, vault
from strongroom_sandbox.braintree.books import Books, Change, Key, Transaction
from strongroom_sandbox.braintree.cards import text_of
from strongroom_sandbox.braintree.credentials import Credentials
from strongroom_sandbox.braintree.errors import Invalid, Refused, as_tree, flaw
from strongroom_sandbox.braintree.operations import Operation, route
from strongroom_sandbox.braintree.scene import Faults, Outcome, Scene
from strongroom_sandbox.braintree.signatures import CLIENT_TOKEN, checked
from strongroom_sandbox.braintree.wire import Group, Items, Tree, Unreadable, document, read
from strongroom_sandbox.clock import Clock
from strongroom_sandbox.faults import Fault, Rule, Target
from strongroom_sandbox.ledger import Ledger, LedgerFull
from strongroom_sandbox.listening import ConnectionDropped

KEY_CHARACTERS_MAX = 255
BEFORE = frozenset(
    (
        Fault.WITHHOLD_BEFORE, Fault.DROP_BEFORE, Fault.ERROR_500_BEFORE, Fault.ERROR_429,
        Fault.ERROR_503,
    )
)  # fmt: skip
STATUSES = {Fault.ERROR_429: 429, Fault.ERROR_503: 503, Fault.ERROR_500_BEFORE: 500}
FAILED = ("processor_declined", "gateway_rejected", "failed")
"""Statuses of a new sale that are told of as errors."""
XML = "application/xml"
encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Reply:
    """An answer about to be written."""

    status: int
    root: str = ""
    tree: Any = None


@dataclass(slots=True)
class Call:
    """A request that is authenticated and routed."""

    operation: Operation
    object_id: str
    method: str
    path: str
    params: Tree
    rule: Rule | None = None
    key: str | None = None

    def fingerprint(self) -> str:
        """Digest what must be equal when a key is used again."""
        same = {name: value for name, value in self.params.items() if name != "api_request_key"}
        text = msgspec.json.encode((self.method, self.path, same), order="deterministic")
        return hashlib.blake2b(text, digest_size=16).hexdigest()

    def struck_by(self, fault: Fault) -> bool:
        """Tell whether a knob wants this fault for the request."""
        return self.rule is not None and self.rule.fault is fault


class Api:
    """The API of one merchant."""

    def __init__(
        self, credentials: Credentials, accounts: Mapping[str, str], books: Books, ledger: Ledger,
        clock: Clock, faults: Faults, script_url: str,
    ) -> None:  # fmt: skip
        self._credentials = credentials
        self._accounts = accounts
        self._books = books
        self._ledger = ledger
        self._clock = clock
        self._faults = faults
        self._script_url = script_url
        self._in_flight: set[str] = set()

    def scene(self, key: str | None = None, *, stays_open: bool = False) -> Scene:
        """The moment that it is."""
        now, knobs = self._clock.now(), self._faults.own
        return Scene(self._books, now, self._accounts, knobs, key, stays_open)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request under ``/merchants/``. Raises ConnectionDropped if a knob says so."""
        rule: Rule | None = None
        try:
            reply, rule = await self._reply(request)
        except Refused as refused:
            reply = Reply(refused.status)
        except Invalid as invalid:
            reply = _invalid(invalid)
        await self._ledger.durable()
        if rule is not None:
            await self._withhold_after(rule)
            reply = _wrong(reply, rule.fault)
        body = b"" if reply.tree is None else document(reply.root, reply.tree)
        if rule is not None and rule.fault is Fault.MALFORMED:
            return web.Response(status=200, body=body[: len(body) // 2], content_type=XML)
        return web.Response(status=reply.status, body=body, content_type=XML)

    async def _reply(self, request: web.BaseRequest) -> tuple[Reply, Rule | None]:
        path, _, query = request.raw_path.partition("?")
        merchant, _, below = path.removeprefix("/merchants/").partition("/")
        self._check_credentials(request, merchant)
        if request.method == "POST" and below == "client_token":
            return await self._client_token(request), None
        routed = route(request.method, "/" + below)
        if routed is None:
            raise Refused(404)
        params = await _params(request, routed[0])
        object_id = _page_number(query) if routed[0].paged else routed[1]
        call = Call(routed[0], object_id, request.method, path, params)
        rule = call.rule = self._strike(call)
        if rule is not None and rule.fault in BEFORE:
            return await self._fail_before(rule), None
        if routed[0].signature is not None:
            checked(params, routed[0].signature)
        key = params.get("api_request_key") if routed[0].keyed else None
        if key is None:
            await self._delay(call)
            reply = self._execute(call)
        else:
            reply = await self._once(call, key)
        if call.struck_by(Fault.ERROR_500_AFTER):
            reply = Reply(500)
        return reply, rule

    async def _client_token(self, request: web.BaseRequest) -> Reply:
        rule = self._faults.strike(Target("client_token.generate", {}))
        if rule is not None and rule.fault in BEFORE:
            return await self._fail_before(rule)
        root, given = _parsed(await request.read())
        if root != "client_token":
            raise Refused(400)
        params = checked(given, CLIENT_TOKEN)
        value = vault.client_token(
            self.scene(), params, self._credentials.merchant_id, self._credentials.pass_keys()[0],
            self._script_url,
        )  # fmt: skip
        return Reply(201, "client_token", {"value": value})

    async def _once(self, call: Call, key: str) -> Reply:
        """Under an api_request_key: the same request makes the same transaction."""
        if len(key) > KEY_CHARACTERS_MAX:
            raise flaw("api_request_key", "915230", "API request key is too long.")
        if not self._faults.own.api_request_keys:
            raise flaw("api_request_key", "915231", "API request keys are not allowed.")
        if key in self._in_flight:
            raise flaw("api_request_key", "915233", "API request key is in flight.")
        fingerprint = call.fingerprint()
        known = self._books.key(key, self._clock.now())
        if known is not None:
            return self._again(known, fingerprint)
        call.key = key
        self._in_flight.add(key)
        try:
            await self._delay(call)
            reply = self._execute(call)
            await self._ledger.durable()
        finally:
            self._in_flight.discard(key)
        return reply

    def _again(self, known: Key, fingerprint: str) -> Reply:
        if known.fingerprint != fingerprint:
            raise flaw(
                "api_request_key", "915232",
                "API request key can be reused only with the same request.",
            )  # fmt: skip
        if known.failed == "validation":
            raise flaw("api_request_key", "915234", "The request with this key had failed.")
        if known.transaction is None:
            raise flaw("api_request_key", "915235", "The request with this key met a server error.")
        return self._told(self._books.transactions[known.transaction])

    def _execute(self, call: Call) -> Reply:
        scene = self.scene(call.key, stays_open=call.struck_by(Fault.PROCESSING))
        if call.struck_by(Fault.ERROR_500_SAVED):
            self._keep(call, Change(time=scene.now), failed="server_error")
            return Reply(500)
        try:
            self._ledger.check_room()
            outcome = call.operation.act(scene, call.object_id, call.params)
        except LedgerFull:
            raise Refused(503) from None
        except Invalid as invalid:
            change = Change(time=scene.now)
            if any(each.code in ("91521", "91512") for each in invalid.flaws):
                change.over_asked = call.object_id
            self._keep(call, change, failed="validation")
            raise
        try:
            self._keep(call, outcome.change, made=outcome.transaction)
            return self._shown(outcome)
        except Exception:  # noqa: BLE001 - whatever it was, memory would be ahead of the ledger
            self._ledger.abandon(traceback.format_exc())

    def _keep(
        self, call: Call, change: Change, *, made: str | None = None, failed: str | None = None
    ) -> None:
        """Record a change, with the key of its request. Nothing waits in between."""
        if call.key is not None:
            change.key = Key(
                key=call.key,
                fingerprint=call.fingerprint(),
                created=change.time,
                transaction=made,
                failed=failed,
            )
        if not change.is_empty():
            self._ledger.append(encode(change))
            self._books.apply(change)

    def _shown(self, outcome: Outcome) -> Reply:
        if outcome.transaction is not None:
            return self._told(self._books.transactions[outcome.transaction])
        if outcome.show is None:
            return Reply(outcome.status)
        return Reply(outcome.status, outcome.root, outcome.show(self._books))

    def _told(self, one: Transaction) -> Reply:
        shown = shapes.transaction(self._books, one)
        if one.status not in FAILED:
            return Reply(200, "transaction", shown)
        message = text_of(one.response) if one.response else f"Gateway Rejected: {one.rejection}"
        content = {"errors": {"errors": Items("error", [])}, "message": message}
        return Reply(422, "api_error_response", content | {"transaction": shown})

    def _check_credentials(self, request: web.BaseRequest, merchant: str) -> None:
        scheme, _, offered = request.headers.get("Authorization", "").partition(" ")
        try:
            plain = base64.b64decode(offered, validate=True) if scheme == "Basic" else b""
        except (binascii.Error, ValueError):
            plain = b""
        if not self._credentials.accepts(merchant, plain):
            raise Refused(401)

    def _strike(self, call: Call) -> Rule | None:
        if not self._faults.knobs.rules:
            return None
        given, about = call.params, {}
        one = self._books.transactions.get(call.object_id)
        names = [given.get("payment_method_nonce"), given.get("payment_method_token")]
        if one is not None:
            about = {"order_id": one.order_id, "merchant_account_id": one.merchant_account}
            names += [one.nonce, one.token]
        asked = given.get("order_id")
        order = asked.get("is") if isinstance(asked, dict) else asked
        about |= {"order_id": order} if isinstance(order, str) else {}
        account = given.get("merchant_account_id")
        about |= {"merchant_account_id": account} if isinstance(account, str) else {}
        metadata = {name: value for name, value in about.items() if value is not None}
        methods = tuple(name for name in names if isinstance(name, str))
        return self._faults.strike(Target(call.operation.name, metadata, methods))

    async def _delay(self, call: Call) -> None:
        if call.rule is not None and call.rule.fault is Fault.DELAY:
            await asyncio.sleep(call.rule.delay_ms / 1000)

    async def _fail_before(self, rule: Rule) -> Reply:
        if rule.fault is Fault.WITHHOLD_BEFORE:
            await self._faults.withhold(rule)
        if rule.fault in (Fault.WITHHOLD_BEFORE, Fault.DROP_BEFORE):
            raise ConnectionDropped
        return Reply(STATUSES[rule.fault])

    async def _withhold_after(self, rule: Rule) -> None:
        if rule.fault is Fault.WITHHOLD_AFTER:
            await self._faults.withhold(rule)
        if rule.fault in (Fault.WITHHOLD_AFTER, Fault.DROP_AFTER):
            raise ConnectionDropped


async def _params(request: web.BaseRequest, operation: Operation) -> Tree:
    """The parameters of a request, from below the element that they belong in."""
    body = await request.read()
    if not body:
        return {}
    root, given = _parsed(body)
    if root != operation.root or not isinstance(given, dict | None):
        raise Refused(400)
    return given or {}


def _page_number(query: str) -> str:
    number = dict(parse_qsl(query)).get("page", "1")
    if not (number.isascii() and number.isdigit() and 0 < int(number[:9]) == int(number)):
        raise Refused(400)
    return number


def _parsed(body: bytes) -> tuple[str, Any]:
    try:
        return read(body)
    except Unreadable as unreadable:
        raise Refused(400, str(unreadable)) from None


def _invalid(invalid: Invalid) -> Reply:
    message = "\n".join(each.message for each in invalid.flaws)
    content = {"errors": as_tree(invalid.flaws), "message": message}
    return Reply(422, "api_error_response", content)


def _wrong(reply: Reply, fault: Fault) -> Reply:
    """Another amount or currency in each transaction of an answer that is right otherwise."""
    if fault not in (Fault.WRONG_AMOUNT, Fault.WRONG_CURRENCY):
        return reply
    return Reply(reply.status, reply.root, _spoilt(reply.tree, fault, in_one=reply.root))


def _spoilt(tree: Any, fault: Fault, in_one: str) -> Any:
    if isinstance(tree, Group):
        return Group([(name, _spoilt(held, fault, name)) for name, held in tree.pairs])
    if not isinstance(tree, dict):
        return tree
    if in_one != "transaction":
        return {name: _spoilt(held, fault, name) for name, held in tree.items()}
    if fault is Fault.WRONG_AMOUNT:
        return tree | {"amount": str(Decimal(tree["amount"]) + 1)}
    other = "USD" if tree["currency_iso_code"] != "USD" else "EUR"
    return tree | {"currency_iso_code": other}

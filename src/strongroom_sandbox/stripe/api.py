"""One request of Stripe's API from its headers to its answer.

The order is Stripe's: credentials, rate limit, idempotency key, parameters, operation. Nothing
is answered before the ledger has synced all that the answer rests on, reads included.
"""

import asyncio
import base64
import binascii
import hashlib
import traceback
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from strongroom_sandbox.clock import Clock
from strongroom_sandbox.faults import Fault, Faults, Rule, Target
from strongroom_sandbox.ledger import Ledger, LedgerFull
from strongroom_sandbox.listening import ConnectionDropped
from strongroom_sandbox.stripe.books import Books, Change, Key
from strongroom_sandbox.stripe.errors import ErrorBody, Refusal, api_error, invalid
from strongroom_sandbox.stripe.form import Tree, pairs_of, tree_of
from strongroom_sandbox.stripe.operations import Operation, route
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id, refused
from strongroom_sandbox.stripe.params import FORMER_TYPES, TYPES
from strongroom_sandbox.stripe.shapes import Shapes
from strongroom_sandbox.tokens import KeyFile

API_VERSION = "2026-10-28.endive"
KEY_CHARACTERS_MAX = 255
VERSION_CHARACTERS_MAX = 64
FORM_TYPE = "application/x-www-form-urlencoded"
BEFORE = frozenset(
    (
        Fault.WITHHOLD_BEFORE, Fault.DROP_BEFORE, Fault.ERROR_500_BEFORE, Fault.ERROR_429,
        Fault.ERROR_503,
    )
)  # fmt: skip
SERVER_ERROR = "An error occurred on the provider's side."

Json = dict[str, Any]
encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Reply:
    """An answer about to be written."""

    status: int
    body: Json
    replayed: bool = False
    should_retry: bool | None = None


@dataclass(slots=True)
class Call:
    """A request that is authenticated and routed."""

    operation: Operation
    object_id: str
    method: str
    path: str
    pairs: list[tuple[str, str]]
    tree: Tree
    rule: Rule | None = None

    def fingerprint(self) -> str:
        """Digest what must be equal when an idempotency key is used again."""
        text = encode((self.method, self.path, sorted(self.pairs)))
        return hashlib.blake2b(text, digest_size=16).hexdigest()

    def struck_by(self, fault: Fault) -> bool:
        """Tell whether a knob wants this fault for the request."""
        return self.rule is not None and self.rule.fault is fault


class Api:
    """The API of one account, the one of its secret keys."""

    def __init__(
        self, secret_keys: KeyFile, books: Books, ledger: Ledger, clock: Clock, faults: Faults,
        shapes: Shapes,
    ) -> None:  # fmt: skip
        self._secret_keys = secret_keys
        self._books = books
        self._ledger = ledger
        self._clock = clock
        self._faults = faults
        self._shapes = shapes
        self._in_flight: set[str] = set()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request under ``/v1/``. Raises ConnectionDropped when a knob says so."""
        try:
            reply, rule = await self._reply(request)
        except Refusal as refusal:
            reply, rule = self._refusal(refusal), None
        await self._ledger.durable()
        body = encode(reply.body)
        if rule is not None:
            body = await self._spoilt(reply, body, rule)
        return web.Response(status=reply.status, body=body, headers=_headers(request, reply))

    async def _reply(self, request: web.BaseRequest) -> tuple[Reply, Rule | None]:
        self._check_credentials(request)
        path, _, query = request.raw_path.partition("?")
        routed = route(request.method, path) if request.raw_path.isascii() else None
        if routed is None:
            raise invalid(
                f"Unrecognized request URL ({request.method}: {quote(path[:200])}).", status=404
            )
        pairs = pairs_of(await _form(request) if request.method == "POST" else query)
        tree = tree_of(pairs)
        if self._faults.knobs.former_parameters and FORMER_TYPES in tree:
            tree[TYPES] = tree.pop(FORMER_TYPES)
        call = Call(*routed, request.method, path, pairs, tree)
        rule = call.rule = self._strike(call)
        if rule is not None and rule.fault in BEFORE:
            return await self._fail_before(rule), None
        if request.method != "POST":
            if call.struck_by(Fault.DELAY) and rule is not None:
                await asyncio.sleep(rule.delay_ms / 1000)
            outcome = self._act(call, call.operation.read(call.tree), None)
            self._books.apply(outcome.change)
            self._record(outcome.change)
            return self._shown(outcome), rule
        return await self._post(call, request.headers.get("Idempotency-Key")), rule

    async def _post(self, call: Call, key: str | None) -> Reply:
        if key is None:
            return await self._execute(call, None, "")
        if not 0 < len(key) <= KEY_CHARACTERS_MAX or not key.isascii():
            raise invalid(f"Idempotency keys have 1 to {KEY_CHARACTERS_MAX} ASCII characters.")
        fingerprint = call.fingerprint()
        if key in self._in_flight:
            raise _conflict()
        saved = self._books.key(key, self._clock.now())
        if saved is not None:
            if saved.fingerprint != fingerprint:
                raise _mismatch()
            return self._replay(saved)
        self._in_flight.add(key)
        try:
            reply = await self._execute(call, key, fingerprint)
            await self._ledger.durable()
        finally:
            self._in_flight.discard(key)
        return reply

    async def _execute(self, call: Call, key: str | None, fingerprint: str) -> Reply:
        command = call.operation.read(call.tree)
        if call.rule is not None and call.rule.fault is Fault.DELAY:
            await asyncio.sleep(call.rule.delay_ms / 1000)
        if call.struck_by(Fault.ERROR_500_SAVED):
            error = api_error(500, SERVER_ERROR)
            outcome = Outcome(Change(time=self._clock.now()), None, error.body, 500)
        else:
            outcome = self._act(call, command, key)
        try:
            return self._commit(call, outcome, key, fingerprint)
        except Exception:  # noqa: BLE001 - whatever it was, memory would be ahead of the ledger
            self._ledger.abandon(traceback.format_exc())

    def _commit(self, call: Call, outcome: Outcome, key: str | None, fingerprint: str) -> Reply:
        # The state first: the answer shows charges and methods of this very change. No other
        # request sees it earlier, for nothing waits between here and the ledger.
        self._books.apply(outcome.change)
        reply = self._shown(outcome)
        if call.struck_by(Fault.ERROR_500_AFTER):
            reply = self._refusal(api_error(500, SERVER_ERROR))
        if key is not None:
            outcome.change.key = self._saved(outcome, reply, key, fingerprint)
            self._books.apply_key(outcome.change)
        self._record(outcome.change)
        return reply

    def _act(self, call: Call, command: object, key: str | None) -> Outcome:
        knobs, stays = self._faults.knobs, call.struck_by(Fault.PROCESSING)
        lag, settle = knobs.search_lag_seconds, knobs.refund_settle_seconds
        scene = Scene(self._books, self._clock.now(), key, lag, settle, stays)
        try:
            self._ledger.check_room()
            return call.operation.act(scene, call.object_id, command, self._shapes)
        except LedgerFull:
            raise api_error(503, "Too much waits for the disk.") from None
        except Refusal as refusal:
            return refused(refusal, scene)

    def _record(self, change: Change) -> None:
        if not change.is_empty():
            self._ledger.append(encode(change))

    def _shown(self, outcome: Outcome) -> Reply:
        return Reply(outcome.status, self._body(outcome, outcome.expand) or outcome.body or {})

    def _body(self, told: Outcome | Key, expand: tuple[str, ...] = ()) -> Json | None:
        # Expanded objects are looked up, so they are in the state by the time of the answer.
        if told.error is not None:
            return self._shapes.answer_error(told.error, told.intent)
        if told.intent is not None:
            return self._shapes.intent(told.intent, expand)
        if told.refund is not None:
            return self._shapes.refund(told.refund, expand)
        return None

    def _saved(self, outcome: Outcome, reply: Reply, key: str, fingerprint: str) -> Key:
        """Build the record that replays this answer, without writing an object twice."""
        plain = outcome.body is None and not outcome.expand and outcome.status == reply.status
        change = outcome.change
        # The same choice as in Books.apply_key: a line with intents shows the last of them.
        last = change.intents[-1:] or change.refunds[-1:]
        changed = bool(last) and last[0] is (outcome.intent or outcome.refund)
        again = plain and not changed
        return Key(
            key=key,
            fingerprint=fingerprint,
            created=self._clock.now(),
            status=reply.status,
            error=outcome.error if plain else None,
            intent=outcome.intent if again else None,
            refund=outcome.refund if again else None,
            shows_changed=plain and changed,
            raw=None if plain else encode(reply.body).decode(),
        )

    def _replay(self, saved: Key) -> Reply:
        body: Json | None = None
        if saved.raw is not None:
            body = msgspec.json.decode(saved.raw)
        return Reply(saved.status, body or self._body(saved) or {}, replayed=True)

    def _refusal(self, refusal: Refusal) -> Reply:
        intent = self._books.intents.get(refusal.intent_id or "")
        retry = True if refusal.status == 409 else None
        return Reply(
            refusal.status, self._shapes.answer_error(refusal.body, intent), should_retry=retry
        )

    def _check_credentials(self, request: web.BaseRequest) -> None:
        scheme, _, offered = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                offered = base64.b64decode(offered, validate=True).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                offered = ""
        elif scheme.lower() != "bearer":
            offered = ""
        if not self._secret_keys.accepts(offered.strip()):
            message = "Invalid API Key provided." if offered else "You did not provide an API key."
            raise invalid(message, status=401)

    def _strike(self, call: Call) -> Rule | None:
        if not self._faults.knobs.rules:
            return None
        given = call.tree.get("metadata")
        metadata = {k: v for k, v in given.items() if isinstance(v, str)} if isinstance(
            given, dict
        ) else {}  # fmt: skip
        methods = [value for value in (call.tree.get("payment_method"),) if isinstance(value, str)]
        books, object_id = self._books, call.object_id
        refund = books.refunds.get(object_id)
        if refund is not None:
            metadata, object_id = refund.metadata | metadata, refund.payment_intent
        # A refund is made, and looked for, by what it gives back.
        charge = books.charges.get(str(call.tree.get("charge")))
        asked = charge.payment_intent if charge else str(call.tree.get("payment_intent"))
        intent = books.intents.get(object_id or asked)
        if intent is not None:
            metadata = intent.metadata | metadata
            held = books.methods.get(intent.payment_method or "")
            methods += [] if held is None else [held.id, held.card]
        return self._faults.strike(Target(call.operation.name, metadata, tuple(methods)))

    async def _fail_before(self, rule: Rule) -> Reply:
        match rule.fault:
            case Fault.WITHHOLD_BEFORE:
                await self._faults.withhold(rule)
                raise ConnectionDropped
            case Fault.DROP_BEFORE:
                raise ConnectionDropped
            case Fault.ERROR_429:
                error = ErrorBody(
                    type="invalid_request_error", code="rate_limit", message="Too many requests."
                )
                return self._refusal(Refusal(429, error))
            case Fault.ERROR_503:
                return self._refusal(api_error(503, "The service is unavailable."))
            case _:
                return self._refusal(api_error(500, SERVER_ERROR))

    async def _spoilt(self, reply: Reply, body: bytes, rule: Rule) -> bytes:
        """Spoil an answer whose effect is already durable."""
        match rule.fault:
            case Fault.WITHHOLD_AFTER:
                await self._faults.withhold(rule)
                raise ConnectionDropped
            case Fault.DROP_AFTER:
                raise ConnectionDropped
            case Fault.MALFORMED:
                reply.status = 200
                return body[: len(body) // 2]
            case Fault.WRONG_AMOUNT if "amount" in reply.body:
                return encode(reply.body | {"amount": reply.body["amount"] + 1})
            case Fault.WRONG_CURRENCY if "currency" in reply.body:
                other = "usd" if reply.body["currency"] != "usd" else "eur"
                return encode(reply.body | {"currency": other})
            case _:
                return body


async def _form(request: web.BaseRequest) -> str:
    body = await request.read()
    if body and request.content_type != FORM_TYPE:
        raise invalid(f"Send parameters as {FORM_TYPE}.")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise invalid("The parameters cannot be read as form-encoded UTF-8 text.") from None


def _headers(request: web.BaseRequest, reply: Reply) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Request-Id": new_id("req"),
        "Stripe-Version": request.headers.get("Stripe-Version", API_VERSION)[
            :VERSION_CHARACTERS_MAX
        ],
    }
    key = request.headers.get("Idempotency-Key")
    if key is not None and request.method == "POST":
        headers["Idempotency-Key"] = key[:KEY_CHARACTERS_MAX]
    if reply.replayed:
        headers["Idempotent-Replayed"] = "true"
    if reply.should_retry is not None:
        headers["Stripe-Should-Retry"] = "true" if reply.should_retry else "false"
    elif reply.status in (400, 402) or (reply.status == 500 and reply.replayed):
        headers["Stripe-Should-Retry"] = "false"
    return headers


def _conflict() -> Refusal:
    error = ErrorBody(
        type="invalid_request_error",
        code="idempotency_key_in_use",
        message="Another request with this idempotency key is in progress. Try again later.",
    )
    return Refusal(409, error)


def _mismatch() -> Refusal:
    error = ErrorBody(
        type="idempotency_error",
        message="Keys for idempotent requests can only be used with the same parameters "
        "they were first used with.",
    )
    return Refusal(400, error)

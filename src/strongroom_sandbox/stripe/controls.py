"""What a test may do behind Stripe's back, with a token: fault knobs, ledger reads, the clock."""

from collections import Counter
from typing import Any

import msgspec
from aiohttp import web

from strongroom_sandbox.clock import ADVANCE_SECONDS_MAX, Clock
from strongroom_sandbox.faults import Faults, Knobs
from strongroom_sandbox.ledger import Ledger
from strongroom_sandbox.stripe.attempt import settle_late
from strongroom_sandbox.stripe.books import Books, Change, Charge
from strongroom_sandbox.stripe.errors import Refusal
from strongroom_sandbox.stripe.form import pairs_of, tree_of
from strongroom_sandbox.stripe.outcome import Scene
from strongroom_sandbox.stripe.params import Params
from strongroom_sandbox.tokens import same_token

TOKEN_HEADER = "X-Knob-Token"  # noqa: S105 - the name of a header
PAGE_LIMIT_DEFAULT = 100
PAGE_LIMIT_MAX = 10_000
KINDS = ("taken", "held", "declined", "all")

Json = dict[str, Any]


class ClockMove(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_clock."""

    advance_seconds: int


class Settlement(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_settle, for an intent that a knob left in ``processing``."""

    payment_intent: str
    succeed: bool


class Controls:
    """Serves /_knobs, /_ledger/…, /_clock and /_settle."""

    def __init__(
        self, token: bytes, books: Books, ledger: Ledger, clock: Clock, faults: Faults
    ) -> None:
        self._token = token
        self._books = books
        self._ledger = ledger
        self._clock = clock
        self._faults = faults

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer 403 without the token, 400 for what cannot be read, else JSON."""
        if not same_token(self._token, request.headers.get(TOKEN_HEADER)):
            return _json(403, {"error": "the knob token is missing or wrong"})
        try:
            status, body = await self._route(request)
        except (msgspec.DecodeError, ValueError) as error:
            return _json(400, {"error": str(error)})
        except Refusal as refusal:
            return _json(400, {"error": refusal.body.message})
        await self._ledger.durable()
        return _json(status, body)

    async def _route(self, request: web.BaseRequest) -> tuple[int, object]:
        path, _, query = request.raw_path.partition("?")
        match request.method, path:
            case "GET", "/_knobs":
                return 200, self._faults.knobs
            case "PUT", "/_knobs":
                self._faults.replace(msgspec.json.decode(await request.read(), type=Knobs))
                return 200, self._faults.knobs
            case "DELETE", "/_knobs":
                self._faults.replace(Knobs())
                return 200, self._faults.knobs
            case "GET", "/_ledger/charges":
                return 200, self._charges(query)
            case "GET", "/_ledger/summary":
                return 200, self._summary()
            case "GET", "/_clock":
                return 200, {"now": self._clock.now(), "offset": self._clock.offset_seconds}
            case "POST", "/_clock":
                return 200, self._move(msgspec.json.decode(await request.read(), type=ClockMove))
            case "POST", "/_settle":
                return 200, self._settle(msgspec.json.decode(await request.read(), type=Settlement))
            case _:
                return 404, {"error": "no such control"}

    def _charges(self, query: str) -> Json:
        """Page through charges, oldest first; by default those that took money."""
        params = Params(
            tree_of(pairs_of(query)),
            ("payment_intent", "metadata", "limit", "starting_after", "kind"),
        )
        limit = params.integer("limit") or PAGE_LIMIT_DEFAULT
        if not 1 <= limit <= PAGE_LIMIT_MAX:
            raise ValueError(f"limit must be from 1 to {PAGE_LIMIT_MAX}")
        intent_id, after = params.text("payment_intent"), params.text("starting_after")
        wanted, kind = params.metadata() or {}, params.choice("kind", KINDS) or "taken"
        books = self._books
        charges = list(books.charges.values()) if intent_id is None else books.charges_of(intent_id)
        found: list[Charge] = []
        skipping = after is not None
        for charge in charges:
            if skipping:
                skipping = charge.id != after
                continue
            if _is_kind(charge, kind) and wanted.items() <= charge.metadata.items():
                found.append(charge)
                if len(found) > limit:
                    break
        data = [_entry(charge) for charge in found[:limit]]
        return {"data": data, "has_more": len(found) > limit}

    def _summary(self) -> Json:
        books = self._books
        taken = [charge for charge in books.charges.values() if charge.captured]
        sums: Counter[str] = Counter()
        for charge in taken:
            sums[charge.currency] += charge.amount_captured
        return {
            "intents": Counter(intent.status for intent in books.intents.values()),
            "charges": len(taken),
            "sums": sums,
            "withheld": self._faults.withheld,
            "syncs": self._ledger.syncs,
            "now": self._clock.now(),
        }

    def _settle(self, settlement: Settlement) -> Json:
        intent = self._books.intents.get(settlement.payment_intent)
        if intent is None:
            raise ValueError("no such intent")
        scene = Scene(self._books, self._clock.now(), intent.confirm_key)
        outcome = settle_late(scene, intent, succeeds=settlement.succeed)
        self._books.apply(outcome.change)
        self._ledger.append(msgspec.json.encode(outcome.change))
        return {"status": self._books.intents[intent.id].status}

    def _move(self, move: ClockMove) -> Json:
        if not 0 <= move.advance_seconds <= ADVANCE_SECONDS_MAX:
            raise ValueError(f"advance_seconds must be from 0 to {ADVANCE_SECONDS_MAX}")
        offset = self._clock.offset_seconds + move.advance_seconds
        # The offset is durable: a restart must not bring expired keys back to life.
        change = Change(time=self._clock.now(), clock_offset_seconds=offset)
        self._ledger.append(msgspec.json.encode(change))
        self._books.apply(change)
        self._clock.offset_seconds = offset
        return {"now": self._clock.now(), "offset": offset}


def _is_kind(charge: Charge, kind: str) -> bool:
    match kind:
        case "taken":
            return charge.captured
        case "held":
            return charge.paid and not charge.captured
        case "declined":
            return not charge.paid
        case _:
            return True


def _entry(charge: Charge) -> Json:
    return {
        "id": charge.id,
        "payment_intent": charge.payment_intent,
        "amount": charge.amount_captured if charge.captured else charge.amount,
        "currency": charge.currency,
        "metadata": charge.metadata,
        "time": charge.created if charge.captured_at is None else charge.captured_at,
        "idempotency_key": charge.idempotency_key,
        "payment_method": charge.payment_method,
        "customer": charge.customer,
        "taken": charge.captured,
    }


def _json(status: int, body: object) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )

"""What a test may do behind Stripe's back, with a token: fault knobs, ledger reads, the clock."""

from typing import Any

import msgspec
from aiohttp import web

from strongroom_sandbox.clock import ADVANCE_SECONDS_MAX, Clock
from strongroom_sandbox.faults import Faults, Knobs
from strongroom_sandbox.ledger import Ledger
from strongroom_sandbox.stripe import audit, refunds
from strongroom_sandbox.stripe.attempt import settle_late
from strongroom_sandbox.stripe.books import Books, Change
from strongroom_sandbox.stripe.errors import Refusal
from strongroom_sandbox.stripe.outcome import Scene
from strongroom_sandbox.tokens import same_token

TOKEN_HEADER = "X-Knob-Token"  # noqa: S105 - the name of a header

Json = dict[str, Any]


class ClockMove(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_clock."""

    advance_seconds: int


class Settlement(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_settle: an intent that a knob left in ``processing``, or a refund.

    A refund that is ``pending`` can go either way, one that has succeeded can only fail.
    """

    succeed: bool
    payment_intent: str | None = None
    refund: str | None = None
    failure_reason: str = "unknown"


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
                return 200, audit.charges(self._books, query)
            case "GET", "/_ledger/refunds":
                return 200, audit.refunds(self._books, query)
            case "GET", "/_ledger/summary":
                return 200, audit.summary(self._books) | self._about_itself()
            case "GET", "/_clock":
                return 200, {"now": self._clock.now(), "offset": self._clock.offset_seconds}
            case "POST", "/_clock":
                return 200, self._move(msgspec.json.decode(await request.read(), type=ClockMove))
            case "POST", "/_settle":
                return 200, self._settle(msgspec.json.decode(await request.read(), type=Settlement))
            case _:
                return 404, {"error": "no such control"}

    def _about_itself(self) -> Json:
        return {
            "withheld": self._faults.withheld,
            "syncs": self._ledger.syncs,
            "now": self._clock.now(),
        }

    def _settle(self, settlement: Settlement) -> Json:
        change = self._settled(settlement)
        self._books.apply(change)
        self._ledger.append(msgspec.json.encode(change))
        return {"status": (change.intents[-1:] or change.refunds[-1:])[0].status}

    def _settled(self, settlement: Settlement) -> Change:
        if settlement.failure_reason not in refunds.FAILURE_REASONS:
            raise ValueError(f"a failure_reason is one of {', '.join(refunds.FAILURE_REASONS)}")
        intent = self._books.intents.get(settlement.payment_intent or "")
        if intent is not None:
            scene = Scene(self._books, self._clock.now(), intent.confirm_key)
            return settle_late(scene, intent, succeeds=settlement.succeed).change
        refund = self._books.refunds.get(settlement.refund or "")
        if refund is None:
            raise ValueError("no such intent or refund")
        status = "succeeded" if settlement.succeed else "failed"
        reason = None if settlement.succeed else settlement.failure_reason
        scene = Scene(self._books, self._clock.now())
        return refunds.settle(scene, refund, status, reason).change

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


def _json(status: int, body: object) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )

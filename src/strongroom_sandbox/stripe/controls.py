"""What a test may do behind Stripe's back, with a token: fault knobs, ledger reads, the clock."""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from strongroom_sandbox.clock import ADVANCE_SECONDS_MAX, Clock
from strongroom_sandbox.deliveries import Registered
from strongroom_sandbox.faults import Faults, Knobs
from strongroom_sandbox.ledger import Ledger
from strongroom_sandbox.stripe import audit, disputes, payouts, refunds, tax_transactions
from strongroom_sandbox.stripe.attempt import settle_late
from strongroom_sandbox.stripe.books import Books, Change
from strongroom_sandbox.stripe.cards import CARDS
from strongroom_sandbox.stripe.errors import Refusal
from strongroom_sandbox.stripe.outcome import Scene
from strongroom_sandbox.stripe.webhooks import Webhooks
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


class Opening(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_disputes: one is opened on a charge, or ``dispute`` changes its status.

    ``amount`` and ``currency`` are the charge's unless given.
    """

    payment_intent: str | None = None
    dispute: str | None = None
    amount: Annotated[int, msgspec.Meta(ge=1)] | None = None
    currency: str | None = None
    reason: str = "fraudulent"
    status: str = "needs_response"


class Replacing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_cards: the bank replaces a saved card, and the gateway follows."""

    payment_method: str
    card: str
    exp_year: Annotated[int, msgspec.Meta(ge=2030, le=2099)] = 2040


class Paying(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_payouts: all that the balance in ``currency`` holds is paid out.

    It arrives after so many days of the clock, and fails so many after that, if ever.
    """

    currency: str
    arrives_days: Annotated[int, msgspec.Meta(ge=0, le=30)] = 2
    fails_days: Annotated[int, msgspec.Meta(ge=0, le=30)] | None = None


class Controls:
    """Serves /_knobs, /_webhooks, /_ledger/…, /_clock, /_settle and the bank's own doings.

    Those are /_disputes, /_payouts and /_cards.
    """

    def __init__(
        self,
        token: bytes,
        books: Books,
        ledger: Ledger,
        clock: Clock,
        faults: Faults,
        webhooks: Webhooks,
    ) -> None:
        self._webhooks = webhooks
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
        if path == "/_webhooks":
            return await self._register(request)
        match request.method, path:
            case "GET", "/_knobs":
                return 200, self._faults.knobs
            case "PUT", "/_knobs":
                self._faults.replace(msgspec.json.decode(await request.read(), type=Knobs))
                return 200, self._faults.knobs
            case "DELETE", "/_knobs":
                self._faults.replace(Knobs())
                return 200, self._faults.knobs
            case "GET", _ if path.startswith("/_ledger/"):
                return self._audited(path.removeprefix("/_ledger/"), query)
            case "GET", "/_clock":
                return 200, {"now": self._clock.now(), "offset": self._clock.offset_seconds}
            case "POST", "/_clock":
                return 200, self._move(msgspec.json.decode(await request.read(), type=ClockMove))
            case "POST", "/_settle":
                return 200, self._settle(msgspec.json.decode(await request.read(), type=Settlement))
            case "POST", "/_disputes" | "/_payouts" | "/_cards":
                return 200, self._at_the_bank(path, await request.read())
            case _:
                return 404, {"error": "no such control"}

    def _audited(self, what: str, query: str) -> tuple[int, object]:
        match what:
            case "charges":
                return 200, audit.charges(self._books, query)
            case "refunds":
                return 200, audit.refunds(self._books, query)
            case "tax":
                return 200, tax_transactions.ledger(self._books)
            case "summary":
                return 200, audit.summary(self._books) | self._about_itself()
            case _:
                return 404, {"error": "no such control"}

    async def _register(self, request: web.BaseRequest) -> tuple[int, object]:
        match request.method:
            case "PUT":
                self._webhooks.replace(msgspec.json.decode(await request.read(), type=Registered))
            case "DELETE":
                self._webhooks.replace(None)
            case "GET":
                pass
            case _:
                return 404, {"error": "no such control"}
        return 200, self._webhooks.about()

    def _about_itself(self) -> Json:
        return {
            "withheld": self._faults.withheld,
            "syncs": self._ledger.syncs,
            "now": self._clock.now(),
        }

    def _settle(self, settlement: Settlement) -> Json:
        change = self._settled(settlement)
        self._write(change)
        return {"status": (change.intents[-1:] or change.refunds[-1:])[0].status}

    def _at_the_bank(self, path: str, body: bytes) -> Json:
        if path == "/_disputes":
            return self._dispute(msgspec.json.decode(body, type=Opening))
        if path == "/_cards":
            return self._replace_card(msgspec.json.decode(body, type=Replacing))
        return self._pay_out(msgspec.json.decode(body, type=Paying))

    def _replace_card(self, replacing: Replacing) -> Json:
        method = self._books.methods.get(replacing.payment_method)
        if method is None or method.customer is None or replacing.card not in CARDS:
            raise ValueError("no such card, or no such payment method of a customer")
        fields = {"card": replacing.card, "exp_year": replacing.exp_year}
        replaced = msgspec.structs.replace(method, **fields)
        self._write(Change(time=self._clock.now(), methods=[replaced]))
        return {"id": replaced.id, "card": replaced.card}

    def _dispute(self, opening: Opening) -> Json:
        if opening.reason not in disputes.REASONS or opening.status not in disputes.STATUSES:
            raise ValueError("no such reason or status of disputes")
        scene = Scene(self._books, self._clock.now())
        if opening.dispute is not None:
            dispute = disputes.turned(
                scene.now, disputes.find(scene, opening.dispute), opening.status
            )
        else:
            intent = self._books.intents.get(opening.payment_intent or "")
            charge = self._books.charges.get((intent and intent.latest_charge) or "")
            if charge is None:
                raise ValueError("no such intent, or no charge of it")
            dispute = disputes.opened(
                scene,
                charge,
                amount=opening.amount,
                currency=opening.currency,
                reason=opening.reason,
                status=opening.status,
            )
        self._write(Change(time=scene.now, disputes=[dispute]))
        return {"id": dispute.id, "status": dispute.status}

    def _pay_out(self, paying: Paying) -> Json:
        scene = Scene(self._books, self._clock.now())
        payout = payouts.made(scene, paying.currency, paying.arrives_days, paying.fails_days)
        self._write(Change(time=scene.now, payouts=[payout]))
        return {"id": payout.id, "amount": payout.amount, "items": payout.items}

    def _write(self, change: Change) -> None:
        self._books.apply(change)
        self._ledger.append(msgspec.json.encode(change))

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

"""What a test may do behind Braintree's back, with a token: knobs, ledger reads, clock, nonces."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec.structs import replace

from strongroom_sandbox.braintree import audit, disbursements, disputes
from strongroom_sandbox.braintree.api import Api
from strongroom_sandbox.braintree.books import Books, Change, Nonce, Transaction
from strongroom_sandbox.braintree.cards import FAKE_NONCES, ThreeDSecure
from strongroom_sandbox.braintree.sale import answered, ended
from strongroom_sandbox.braintree.scene import Faults, Knobs, new_id
from strongroom_sandbox.braintree.settling import settled_as
from strongroom_sandbox.braintree.webhooks import Webhooks
from strongroom_sandbox.clock import ADVANCE_SECONDS_MAX, Clock
from strongroom_sandbox.deliveries import Registered
from strongroom_sandbox.ledger import Ledger
from strongroom_sandbox.tokens import same_token

TOKEN_HEADER = "X-Knob-Token"  # noqa: S105 - the name of a header

Json = dict[str, Any]


class ClockMove(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_clock."""

    advance_seconds: int


class Minting(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_nonces: a nonce for one use, like one of the sandbox's (``like``).

    ``decline`` is the processor's code for it, ``sca`` has the issuer ask for authentication.
    """

    like: str = "fake-valid-visa-nonce"
    decline: str | None = None
    rejection: str | None = None
    sca: bool = False
    three_d_secure: ThreeDSecure | None = None


class Settlement(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_settle: what becomes of a transaction.

    One that a knob left ``authorizing`` is answered by its issuer; one that is submitted or
    settling is settled, or declined.
    """

    transaction: str
    succeed: bool = True


class Opening(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_disputes: one is opened on a sale, or ``dispute`` changes its status.

    ``amount``, in the minor unit, and ``currency`` are the sale's unless given; ``won`` is how much
    of one that is won comes back, all of it unless given.
    """

    transaction: str | None = None
    dispute: str | None = None
    amount: Annotated[int, msgspec.Meta(ge=1)] | None = None
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Za-z]{3}$")] | None = None
    won: Annotated[int, msgspec.Meta(ge=0)] | None = None
    kind: str = "chargeback"
    reason: str = "fraud"
    status: str = "open"


class Paying(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_disbursements: all that waits in an account, or the default, is paid out.

    With ``disbursement``, that one is returned by the bank.
    """

    merchant_account: str | None = None
    disbursement: str | None = None
    exception: str = "bank_rejected"
    follow_up: str = "update_funding_information"


class Challenge(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /_webhooks/challenge."""

    url: Annotated[str, msgspec.Meta(pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\])[:/]")]
    text: str


class Controls:
    """Serves /_knobs, /_nonces, /_ledger/…, /_clock, /_settle, /_disputes, /_disbursements.

    And /_webhooks, with /_webhooks/check and /_webhooks/challenge.
    """

    def __init__(
        self,
        token: bytes,
        api: Api,
        books: Books,
        ledger: Ledger,
        clock: Clock,
        faults: Faults,
        webhooks: Webhooks,
    ) -> None:
        self._webhooks = webhooks
        self._token = token
        self._api = api
        self._books = books
        self._ledger = ledger
        self._clock = clock
        self._faults = faults
        self._commands: dict[str, tuple[Any, Callable[[Any], Json]]] = {
            "/_clock": (ClockMove, self._move),
            "/_nonces": (Minting, self._mint),
            "/_settle": (Settlement, self._settle),
            "/_disputes": (Opening, self._dispute),
            "/_disbursements": (Paying, self._pay_out),
        }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer 403 without the token, 400 for what cannot be read, else JSON."""
        if not same_token(self._token, request.headers.get(TOKEN_HEADER)):
            return _json(403, {"error": "the knob token is missing or wrong"})
        try:
            status, body = await self._route(request)
        except (msgspec.DecodeError, ValueError) as error:
            return _json(400, {"error": str(error)})
        await self._ledger.durable()
        return _json(status, body)

    async def _route(self, request: web.BaseRequest) -> tuple[int, object]:
        path, _, query = request.raw_path.partition("?")
        if path.startswith("/_webhooks"):
            return await self._about_webhooks(request, path)
        match request.method, path:
            case "PUT", "/_knobs":
                self._faults.replace(msgspec.json.decode(await request.read(), type=Knobs))
                return 200, self._faults.own
            case "DELETE", "/_knobs":
                self._faults.replace(Knobs())
                return 200, self._faults.own
            case "GET", _:
                return self._shown(path, query)
            case "POST", _ if path in self._commands:
                kind, act = self._commands[path]
                return 200, act(msgspec.json.decode(await request.read(), type=kind))
            case _:
                return 404, {"error": "no such control"}

    def _shown(self, path: str, query: str) -> tuple[int, object]:
        match path:
            case "/_knobs":
                return 200, self._faults.own
            case "/_ledger/charges":
                return 200, audit.charges(self._books, query)
            case "/_ledger/refunds":
                return 200, audit.refunds(self._books, query)
            case "/_ledger/disputes":
                return 200, {"data": list(self._books.disputes.values())}
            case "/_ledger/disbursements":
                return 200, {"data": list(self._books.disbursements.values())}
            case "/_ledger/summary":
                return 200, audit.summary(self._books) | self._about_itself()
            case "/_clock":
                return 200, {"now": self._clock.now(), "offset": self._clock.offset_seconds}
            case _:
                return 404, {"error": "no such control"}

    async def _about_webhooks(self, request: web.BaseRequest, path: str) -> tuple[int, object]:
        body = await request.read()
        match request.method, path:
            case "PUT", "/_webhooks":
                self._webhooks.replace(msgspec.json.decode(body, type=Registered))
            case "DELETE", "/_webhooks":
                self._webhooks.replace(None)
            case "GET", "/_webhooks":
                pass
            case "POST", "/_webhooks/check":
                self._webhooks.check()
            case "POST", "/_webhooks/challenge":
                asked = msgspec.json.decode(body, type=Challenge)
                status, text = await self._webhooks.challenge(asked.url, asked.text)
                return 200, {"status": status, "text": text}
            case _:
                return 404, {"error": "no such control"}
        return 200, self._webhooks.about()

    def _dispute(self, opening: Opening) -> Json:
        known = disputes.KINDS, disputes.REASONS, disputes.STATUSES
        if any(
            word not in words
            for word, words in zip(
                (opening.kind, opening.reason, opening.status), known, strict=True
            )
        ):
            raise ValueError("no such kind, reason or status of disputes")
        scene = self._api.scene()
        if opening.dispute is not None:
            if opening.dispute not in self._books.disputes:
                raise ValueError("no such dispute")
            held = self._books.disputes[opening.dispute]
            turned = disputes.turned(held, opening.status, scene.now)
            if opening.won is not None:
                turned = replace(turned, won=opening.won)
            change = Change(time=scene.now, disputes=[turned])
        else:
            sold = self._books.transactions.get(opening.transaction or "")
            if sold is None or sold.kind != "sale" or not sold.taken:
                raise ValueError("no such sale, or nothing was taken by it")
            amount = opening.amount or sold.amount
            change = disputes.opened(scene, sold, amount, opening.kind, opening.reason)
            if opening.currency is not None:
                currency = opening.currency.upper()
                change.disputes = [replace(one, currency=currency) for one in change.disputes]
        self._record(change)
        return {"id": change.disputes[0].id, "status": change.disputes[0].status}

    def _pay_out(self, paying: Paying) -> Json:
        scene = self._api.scene()
        if paying.disbursement is not None:
            made = self._books.disbursements.get(paying.disbursement)
            if made is None or not made.success:
                raise ValueError("no such disbursement, or it was returned already")
            change = disbursements.returned(scene, made, paying.exception, paying.follow_up)
        else:
            account = paying.merchant_account or next(iter(scene.accounts))
            if account not in scene.accounts:
                raise ValueError("no such merchant account")
            found = disbursements.paid(scene, account)
            if found is None:
                raise ValueError("nothing waits to be paid out")
            change = found
        self._record(change)
        one = change.disbursements[0]
        return {"id": one.id, "amount": one.amount, "transactions": one.transactions}

    def _about_itself(self) -> Json:
        return {
            "withheld": self._faults.withheld,
            "syncs": self._ledger.syncs,
            "now": self._clock.now(),
        }

    def _mint(self, minting: Minting) -> Json:
        if minting.like not in FAKE_NONCES:
            raise ValueError("like is one of the sandbox's nonces")
        card, info = FAKE_NONCES[minting.like]
        card = replace(
            card,
            decline=minting.decline or card.decline,
            rejection=minting.rejection or card.rejection,
            sca=minting.sca,
        )
        info = minting.three_d_secure or info
        made = Nonce(
            id=f"tokencc_{new_id()}_{new_id()}",
            card=card,
            created=self._clock.now(),
            three_d_secure=info,
        )
        self._record(Change(time=self._clock.now(), nonces=[made]))
        return {"nonce": made.id}

    def _settle(self, settlement: Settlement) -> Json:
        one = self._books.transactions.get(settlement.transaction)
        if one is None:
            raise ValueError("no such transaction")
        made = self._settled(one, succeed=settlement.succeed)
        self._record(Change(time=self._clock.now(), transactions=[made]))
        return {"status": made.status}

    def _settled(self, one: Transaction, *, succeed: bool) -> Transaction:
        scene = self._api.scene()
        match one.status:
            case "authorizing" if succeed:
                return answered(scene, replace(one, updated=scene.now))
            case "authorizing":
                return ended(one, "processor_declined", scene.now, response="2000")
            case "submitted_for_settlement" | "settling" | "settlement_pending" | "settled":
                status = "settled" if succeed else "settlement_declined"
                return settled_as(scene, one, status, scene.now)
            case _:
                raise ValueError(f"a transaction that is {one.status} stays so")

    def _move(self, move: ClockMove) -> Json:
        if not 0 <= move.advance_seconds <= ADVANCE_SECONDS_MAX:
            raise ValueError(f"advance_seconds must be from 0 to {ADVANCE_SECONDS_MAX}")
        offset = self._clock.offset_seconds + move.advance_seconds
        # The offset is durable: a restart must not bring expired nonces back to life.
        self._record(Change(time=self._clock.now(), clock_offset_seconds=offset))
        self._clock.offset_seconds = offset
        return {"now": self._clock.now(), "offset": offset}

    def _record(self, change: Change) -> None:
        self._ledger.append(msgspec.json.encode(change))
        self._books.apply(change)


def _json(status: int, body: object) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )

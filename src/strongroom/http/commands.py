"""The operations that ask something of a payment that exists: confirm, capture, cancel."""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.clock import Clock
from strongroom.customers.methods import Methods, NoConsent, NoSuchMethod, NotReady
from strongroom.errors import (
    Conflict,
    Invalid,
    InvariantBroken,
    Missing,
    Problem,
    no_such_payment,
)
from strongroom.gateways.routing import Facts, Market, Token
from strongroom.http import bodies
from strongroom.http.asking import (
    answer,
    authorise,
    held_back,
    method_id_of,
    payment_id_of,
)
from strongroom.http.exchange import Asked, Reply
from strongroom.http.instruments import Instruments
from strongroom.http.listing import CREATE_PATH
from strongroom.http.payments import payment_reply
from strongroom.http.waiting import Waiting
from strongroom.ids import to_text
from strongroom.log.window import NoWindow
from strongroom.payments.commands import (
    Commander,
    Denied,
    Done,
    KeyTaken,
    NoSuchPayment,
    Order,
    Outcome,
)
from strongroom.payments.idempotency import fingerprint
from strongroom.payments.states import (
    CancelAsked,
    CaptureAsked,
    Command,
    CustomerReturned,
    InstrumentBrought,
    NotPossible,
    Payment,
)
from strongroom.payments.texts import TextStore, texts_of
from strongroom.payments.ways import without_tokens
from strongroom.vault.errors import SubjectDestroyed

_confirm_decoder: Final = msgspec.json.Decoder(bodies.ConfirmPayment)
_capture_decoder: Final = msgspec.json.Decoder(bodies.CapturePayment)
_cancel_decoder: Final = msgspec.json.Decoder(bodies.CancelPayment)


class CommandOperations:
    """What can be asked of a payment over HTTP; each method answers with a Reply, always."""

    def __init__(
        self,
        *,
        clock: Clock,
        keys: ApiKeys,
        instruments: Instruments,
        commander: Commander,
        texts: TextStore,
        waiting: Waiting[Payment],
        methods: Methods,
        window: NoWindow,
    ) -> None:
        self._methods, self._window = methods, window
        self._clock = clock
        self._keys = keys
        self._instruments = instruments
        self._commander = commander
        self._texts = texts
        self._waiting = waiting

    async def confirm(self, asked: Asked, payment_text: str) -> Reply:
        """POST /v1/payments/{id}/confirm."""
        return await answer(self._confirm, asked, payment_text)

    async def capture(self, asked: Asked, payment_text: str) -> Reply:
        """POST /v1/payments/{id}/capture."""
        return await answer(self._capture, asked, payment_text)

    async def cancel(self, asked: Asked, payment_text: str) -> Reply:
        """POST /v1/payments/{id}/cancel."""
        return await answer(self._cancel, asked, payment_text)

    async def _confirm(self, asked: Asked, payment_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        body = bodies.decode(asked, _confirm_decoder, bodies.fields_of(bodies.ConfirmPayment))
        bodies.check_instrument(body.instrument)
        bodies.check_return_url(body.return_url)
        bodies.check_one_instrument(body)
        instrument = body.instrument
        saved: Token | Problem | None = None
        if body.payment_method is not None:
            saved = await self._saved(credential, body.payment_method, body)
        market: Market | None = None
        if instrument is not None or isinstance(saved, Token):
            market = await self._instruments.market(credential.legal_entity_id)
        held = await held_back(self._window, credential.legal_entity_id)

        def wish(payment: Payment) -> Command:
            if isinstance(saved, Problem):
                raise saved
            if market is None:
                return CustomerReturned()  # what the customer has done is looked at, no more
            if held is not None:
                raise held
            if saved is not None:
                return self._by_saved(market, payment, saved, body)
            return self._brought(market, payment, instrument, body.return_url)

        return await self._carry_out(
            asked, credential, payment_text, "confirm", bodies.stable_fields(body), wish
        )

    async def _saved(
        self, credential: Credential, method_text: str, body: bodies.ConfirmPayment
    ) -> Token | Problem:
        """The saved instrument, or why it cannot pay; a repeat does not ask."""
        try:
            saving, token = await self._methods.payable(
                credential.legal_entity_id, method_id_of(method_text), off_session=body.off_session
            )
        except NoSuchMethod:
            return Missing("payment_method_not_found")
        except NotReady:
            return Conflict("payment_method_not_ready")
        except NoConsent:
            return Conflict("consent_missing")
        except SubjectDestroyed:
            return Conflict("customer_erased")
        except Missing as unknown:
            return unknown
        return Token(saving.gateway, token, saving.gateway_account_id)

    def _by_saved(
        self, market: Market, payment: Payment, token: Token, body: bodies.ConfirmPayment
    ) -> Command:
        """What is saved, at its account; no other account can take it."""
        facts = _facts(payment, off_session=body.off_session, saves=True)
        found = self._instruments.plan_for_saved(market, facts, token)
        [way] = found.ways
        return InstrumentBrought(
            way.gateway, way.gateway_account_id, token.token, body.return_url, route=found
        )

    def _brought(
        self,
        market: Market,
        payment: Payment,
        instrument: bodies.Instrument | None,
        return_url: str | None,
    ) -> Command:
        """The instrument at its account: one that the payment waits for, where there is one."""
        if instrument is None:
            raise InvariantBroken("nothing was brought")
        wanted = next((way for way in payment.ways if way.gateway == instrument.gateway), None)
        if wanted is not None and instrument.account is None:
            at = to_text("gwa", wanted.gateway_account_id)
            instrument = replace(instrument, account=at)
        found = self._instruments.plan(market, _facts(payment), instrument)
        first, *others = found.ways
        if first.token is None:
            raise InvariantBroken("an instrument without a token")
        known = {way.gateway_account_id for way in others}
        kept = (way for way in payment.ways if way.gateway_account_id not in known)
        others += without_tokens(kept)
        return InstrumentBrought(
            first.gateway, first.gateway_account_id, first.token, return_url, tuple(others), found
        )

    async def _capture(self, asked: Asked, payment_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        body = bodies.decode(asked, _capture_decoder, bodies.fields_of(bodies.CapturePayment))
        if body.amount is not None:
            bodies.check_amount(body.amount)
        held = await held_back(self._window, credential.legal_entity_id)

        def wish(payment: Payment) -> Command:
            if held is not None:
                raise held
            if body.amount is not None and payment.gateway is not None:
                self._instruments.check_part(payment.gateway, body.amount, payment.currency)
            return CaptureAsked(body.amount)

        return await self._carry_out(
            asked, credential, payment_text, "capture", {"amount": body.amount}, wish
        )

    async def _cancel(self, asked: Asked, payment_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        bodies.decode(asked, _cancel_decoder, bodies.fields_of(bodies.CancelPayment))
        return await self._carry_out(
            asked, credential, payment_text, "cancel", {}, lambda _: CancelAsked()
        )

    async def _carry_out(
        self,
        asked: Asked,
        credential: Credential,
        payment_text: str,
        name: str,
        stable_fields: object,
        wish: Callable[[Payment], Command],
    ) -> Reply:
        path = f"{CREATE_PATH}/{payment_text}/{name}"
        order = Order(
            legal_entity_id=credential.legal_entity_id,
            payment_id=payment_id_of(payment_text),
            idempotency_key=bodies.check_idempotency_key(asked.idempotency_key),
            operation="payments." + name,
            fingerprint=fingerprint("POST", path, stable_fields),
            actor=credential.actor,
            at=self._clock.now(),
            wish=wish,
        )
        # First what the answer needs: what cannot be answered is not done.
        opened = await self._texts.read(order.legal_entity_id, [order.payment_id])
        done = done_or_raise(await self._commander.carry_out(order))
        texts = texts_of(done.payment, opened)
        return await payment_reply(
            asked, done.payment, texts, self._waiting, replayed=done.replayed, created=False
        )


def _facts(payment: Payment, *, off_session: bool = False, saves: bool = False) -> Facts:
    """What rules ask of a payment that exists; its customer's country is not kept."""
    return Facts(
        legal_entity_id=payment.legal_entity_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        capture=payment.capture,
        off_session=off_session,
        saves=saves,
    )


def done_or_raise(outcome: Outcome) -> Done:
    """What was done; anything else is raised as the problem that it is."""
    match outcome:
        case Done():
            return outcome
        case NoSuchPayment():
            raise no_such_payment()
        case KeyTaken():
            raise Invalid("idempotency_key_reused")
        case Denied(why):
            raise Conflict(why.code) if isinstance(why, NotPossible) else why

"""The operations that ask something of a payment that exists: confirm, capture, cancel."""

from collections.abc import Callable
from typing import Final

import msgspec

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.clock import Clock
from strongroom.errors import Conflict, Invalid, no_such_payment
from strongroom.gateways.port import Account
from strongroom.http import bodies
from strongroom.http.asking import answer, authorise, payment_id_of
from strongroom.http.exchange import Asked, Reply
from strongroom.http.instruments import Instruments, account_missing
from strongroom.http.listing import CREATE_PATH
from strongroom.http.payments import payment_reply
from strongroom.http.waiting import Waiting
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
        waiting: Waiting[Payment],
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._instruments = instruments
        self._commander = commander
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
        instrument = body.instrument
        account: Account | None = None
        if instrument is not None:
            account = await self._instruments.find(credential.legal_entity_id, instrument.gateway)

        def wish(payment: Payment) -> Command:
            if instrument is None:
                return CustomerReturned()
            if account is None:
                raise account_missing(instrument.gateway)
            self._instruments.check_amount(account.gateway, payment.amount_minor, payment.currency)
            return InstrumentBrought(
                account.gateway, account.gateway_account_id, instrument.token, body.return_url
            )

        return await self._carry_out(
            asked, credential, payment_text, "confirm", bodies.stable_fields(body), wish
        )

    async def _capture(self, asked: Asked, payment_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        body = bodies.decode(asked, _capture_decoder, bodies.fields_of(bodies.CapturePayment))
        if body.amount is not None:
            bodies.check_amount(body.amount)

        def wish(payment: Payment) -> Command:
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
        done = done_or_raise(await self._commander.carry_out(order))
        return await payment_reply(
            asked, done.payment, self._waiting, replayed=done.replayed, created=False
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

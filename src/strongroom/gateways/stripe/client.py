"""The Stripe adapter: create the PaymentIntent unconfirmed, commit its id, confirm it by id.

Nothing moves money before the confirm, and a PaymentIntent takes money at most once, so whatever
happens in between can be learnt by retrieving it (docs.stripe.com/payments/paymentintents).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import stripe
from stripe import PaymentIntent, PaymentIntentService, RequestOptions, StripeClient

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.port import Account, Credentials, MerchantAccount, Prepared
from strongroom.gateways.stripe.connections import Ask, Connections
from strongroom.gateways.stripe.metadata import ATTEMPT, PAYMENT
from strongroom.gateways.stripe.money import from_stripe, to_stripe
from strongroom.gateways.stripe.reading import read_error, read_intent
from strongroom.gateways.stripe.refunds import (
    PAGE_SIZE,
    PAGES_MAX,
    is_ours,
    read_refund,
    read_refund_error,
    refund_parameters,
)
from strongroom.ids import to_text
from strongroom.payments.refunds import Absent, Refund, RefundAnswer, Refused, Several
from strongroom.payments.states import (
    Answer,
    Attempt,
    Call,
    Declined,
    Mismatched,
    NotSent,
    Payment,
    Unknown,
)
from strongroom.payments.ways import charge_token

CHARGE: Final = ("latest_charge",)
"""What is expanded for a hold: its end stands in the charge."""

Intents = Callable[[PaymentIntentService], Awaitable[PaymentIntent]]


class StripeGateway:
    """One adapter for all of a process's Stripe accounts."""

    staged = True
    per_currency = False

    def __init__(
        self,
        clock: Clock,
        credentials: Credentials,
        default_return_url: str,
        *,
        mode: Mode,
    ) -> None:
        self._connections = Connections(clock, credentials, mode)
        self._default_return_url = default_return_url

    def parameters(
        self,
        payment: Payment,
        merchant_account: MerchantAccount | None = None,
        *,
        saves: bool = False,
    ) -> Mapping[str, Any]:
        """Parameters of create and confirm; references only, no personal data."""
        del merchant_account  # Stripe's accounts take all currencies
        create: dict[str, Any] = {
            "amount": to_stripe(payment.amount_minor, payment.currency),
            "currency": payment.currency.lower(),
            "payment_method": payment.instrument_token,
            "allowed_payment_method_types": ["card"],
            "metadata": {
                PAYMENT: to_text("pay", payment.payment_id),
                ATTEMPT: str(payment.attempt_no),
                "merchant_reference": payment.merchant_reference,
            },
        }
        confirm: dict[str, Any] = {"return_url": payment.return_url or self._default_return_url}
        saved = charge_token(payment.instrument_token)
        if saved is not None:
            create |= {"customer": saved.gateway_customer, "payment_method": saved.token}
            if saved.away is not None:
                confirm["off_session"] = True
        elif saves:
            # Without a customer here: it is attached afterwards, as Stripe's reference says.
            create["setup_future_usage"] = "off_session"
        if payment.capture == "manual":
            create["capture_method"] = "manual"
            confirm["expand"] = [*CHARGE]
        return {"create": create, "confirm": confirm}

    async def prepare(self, account: Account, attempt: Attempt) -> tuple[Prepared | Answer, Call]:
        """Creates the PaymentIntent unconfirmed. NotSent when that failed: no money can move."""
        answer, call, intent = await self._ask(
            "create",
            account,
            attempt,
            lambda intents: intents.create_async(
                attempt.parameters["create"],
                {"idempotency_key": attempt.gateway_key + "_create"},
            ),
        )
        if isinstance(answer, Unknown) and answer.why != "idempotency_mismatch":
            fresh = call.http_status is not None and call.http_status >= 500
            return NotSent(answer.why, fresh_key=fresh), call
        if isinstance(answer, Declined):
            return Declined(answer.decline, answer.raw_code, object_open=False), call
        if intent is None or isinstance(answer, Mismatched):
            return answer, call
        return Prepared(intent.id), call

    async def send(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """Confirms the PaymentIntent by its id."""
        answer, call, _ = await self._ask(
            "confirm",
            account,
            attempt,
            lambda intents: intents.confirm_async(
                attempt.gateway_object_id or "",
                attempt.parameters["confirm"],
                {"idempotency_key": attempt.gateway_key + "_confirm"},
            ),
        )
        return answer, call

    async def look(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """Retrieves the PaymentIntent; anything but the object itself leaves it Unknown."""
        object_id = attempt.gateway_object_id
        if object_id is None:
            call = self._connections.without_asking("retrieve", "no_object_id")
            return Unknown("no_object_id"), call
        held = attempt.parameters.get("create", {}).get("capture_method") == "manual"
        answer, call, intent = await self._ask(
            "retrieve",
            account,
            attempt,
            lambda intents: intents.retrieve_async(
                object_id, {"expand": [*CHARGE]} if held else {}
            ),
        )
        return (answer if intent is not None else Unknown(call.outcome)), call

    async def cancel(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """Cancels the PaymentIntent; when it was faster, answers with what it has become."""
        answer, call, _ = await self._ask(
            "cancel",
            account,
            attempt,
            lambda intents: intents.cancel_async(
                attempt.gateway_object_id or "",
                {"cancellation_reason": "abandoned"},
                self._own_key(attempt, "cancel"),
            ),
        )
        if isinstance(answer, Declined):
            return Unknown("cancel_refused"), call
        return answer, call

    async def capture(
        self, account: Account, attempt: Attempt, amount_minor: int
    ) -> tuple[Answer, Call]:
        """Captures the PaymentIntent, which is possible once; the rest of the hold is released.

        Canceled when it was canceled before, be it that the hold had expired.
        """
        amount = to_stripe(amount_minor, attempt.currency)
        if from_stripe(amount, attempt.currency) != amount_minor:
            call = self._connections.without_asking("capture", "amount_not_representable")
            return Declined("config_error", call.outcome, object_open=True), call
        answer, call, _ = await self._ask(
            "capture",
            account,
            attempt,
            lambda intents: intents.capture_async(
                attempt.gateway_object_id or "",
                {"amount_to_capture": amount, "expand": [*CHARGE]},
                self._own_key(attempt, "capture"),
            ),
        )
        return answer, call

    def refund_parameters(
        self, payment: Payment, attempt: Attempt, refund: Refund
    ) -> Mapping[str, Any]:
        """Parameters of the refund; references only, no personal data."""
        return refund_parameters(payment, attempt, refund)

    async def refund(self, account: Account, refund: Refund) -> tuple[RefundAnswer, Call]:
        """Makes the Refund, under a key of its own that never changes."""
        parameters = refund.parameters
        if parameters is None:
            call = self._connections.without_asking("refund", "parameters_missing")
            return NotSent(call.outcome), call
        if from_stripe(parameters["amount"], refund.currency) != refund.amount_minor:
            call = self._connections.without_asking("refund", "amount_not_representable")
            return Refused(call.outcome), call
        answer, call, _ = await self._connections.ask(
            account,
            Ask(
                "refund",
                lambda client: client.v1.refunds.create_async(
                    parameters,  # type: ignore[arg-type] # as committed
                    {"idempotency_key": refund.gateway_key},
                ),
                lambda found: read_refund(found, refund),
                read_refund_error,
            ),
        )
        return answer, call

    async def look_at_refund(self, account: Account, refund: Refund) -> tuple[RefundAnswer, Call]:
        """Retrieves the Refund, or looks for our reference among the payment's Refunds."""
        object_id = refund.gateway_object_id
        if object_id is None:
            return await self._find_refund(account, refund)
        ask: Ask[stripe.Refund, RefundAnswer] = Ask(
            "retrieve_refund",
            lambda client: client.v1.refunds.retrieve_async(object_id),
            lambda found: read_refund(found, refund),
            read_refund_error,
        )
        heard = await self._connections.ask(account, ask)
        answer, call, found = heard
        return (answer if found is not None else Unknown(_why(answer))), call

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        await self._connections.close()

    async def _find_refund(self, account: Account, refund: Refund) -> tuple[RefundAnswer, Call]:
        """Absent when all of the payment's Refunds were seen and none bears our reference."""
        intent_id = (refund.parameters or {}).get("payment_intent")
        if intent_id is None:
            call = self._connections.without_asking("list_refunds", "no_object_id")
            return Unknown(call.outcome), call

        async def all_of_them(client: StripeClient) -> list[stripe.Refund] | None:
            seen: list[stripe.Refund] = []
            asked: dict[str, Any] = {"payment_intent": intent_id, "limit": PAGE_SIZE}
            for _ in range(PAGES_MAX):
                page = await client.v1.refunds.list_async(asked)  # type: ignore[arg-type]
                seen += page.data
                if not page.has_more:
                    return seen
                asked["starting_after"] = page.data[-1].id
            return None

        def read(seen: list[stripe.Refund] | None) -> RefundAnswer:
            if seen is None:
                return Unknown("too_many_refunds")
            ours = [found for found in seen if is_ours(found, refund)]
            if len(ours) > 1:
                return Several(len(ours))
            return read_refund(ours[0], refund) if ours else Absent()

        answer, call, seen = await self._connections.ask(
            account, Ask("list_refunds", all_of_them, read, read_refund_error)
        )
        return (answer if seen is not None else Unknown(_why(answer))), call

    def _own_key(self, attempt: Attempt, operation: str) -> RequestOptions:
        """For what is idempotent by itself: a 500 stored under one key would be repeated for a
        day.
        """
        return {
            "idempotency_key": f"{attempt.gateway_key}_{operation}_{self._connections.moment()}"
        }

    async def _ask(
        self, operation: str, account: Account, attempt: Attempt, request: Intents
    ) -> tuple[Answer, Call, PaymentIntent | None]:
        return await self._connections.ask(
            account,
            Ask(
                operation,
                lambda client: request(client.v1.payment_intents),
                lambda intent: read_intent(intent, attempt),
                lambda error: read_error(error, attempt),
            ),
        )


def _why(answer: RefundAnswer) -> str:
    """Why a look brought no object."""
    match answer:
        case NotSent() | Unknown() | Refused():
            return answer.why
        case _:
            return "gateway_error"

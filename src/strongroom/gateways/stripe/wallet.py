"""Saved cards at Stripe: a Customer without personal data, and a SetupIntent for each card.

The SetupIntent is made unconfirmed, its id is committed, then it is confirmed by that id, so that
whatever happens in between can be learnt by retrieving it (docs.stripe.com/api/setup_intents).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import stripe
from stripe import PaymentIntent, SetupIntent, SetupIntentService, StripeError
from stripe.params import SetupIntentCreateParams

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.customers.saving import Card, Detached, Made, Saved, Saving, SavingAnswer
from strongroom.gateways.port import Account, Credentials
from strongroom.gateways.stripe.connections import Ask, Connections
from strongroom.gateways.stripe.declines import classify
from strongroom.gateways.stripe.errors import code_of, unanswered
from strongroom.gateways.stripe.metadata import METHOD
from strongroom.gateways.stripe.reading import next_action_of
from strongroom.ids import to_text
from strongroom.payments.states import (
    ActionRequired,
    Call,
    Canceled,
    Declined,
    NotSent,
    Unknown,
)

EXPAND: Final = ("payment_method",)
UNEXPECTED: Final = "setup_intent_unexpected_state"
AUTHENTICATION_FAILED: Final = "setup_intent_authentication_failure"

Setups = Callable[[SetupIntentService], Awaitable[SetupIntent]]


class StripeWallet:
    """One adapter for all of a process's Stripe accounts."""

    def __init__(
        self, clock: Clock, credentials: Credentials, default_return_url: str, *, mode: Mode
    ) -> None:
        self._connections = Connections(clock, credentials, mode)
        self._default_return_url = default_return_url

    async def make_customer(
        self, account: Account, customer_id: UUID, key: str
    ) -> tuple[Made | NotSent | Unknown, Call]:
        """Makes a Customer that holds our id and nothing else."""
        answer, call, _ = await self._connections.ask(
            account,
            Ask(
                "create_customer",
                lambda client: client.v1.customers.create_async(
                    {"metadata": {"strongroom_customer": to_text("cus", customer_id)}},
                    {"idempotency_key": key},
                ),
                lambda found: _made(found.id),
                lambda error: (unanswered(error) or Unknown(code_of(error)), None),
            ),
        )
        return answer, call

    async def prepare(
        self, account: Account, saving: Saving, gateway_customer: str
    ) -> tuple[Made | SavingAnswer, Call]:
        """Creates the SetupIntent unconfirmed: nothing is saved yet."""
        asked: SetupIntentCreateParams = {
            "customer": gateway_customer,
            "payment_method": saving.offered,
            "allowed_payment_method_types": ["card"],
            "usage": "off_session",
            "metadata": {METHOD: to_text("pm", saving.payment_method_id)},
        }
        answer, call, found = await self._ask(
            "create_setup",
            account,
            saving,
            lambda setups: setups.create_async(
                asked, {"idempotency_key": saving.gateway_key + "_create"}
            ),
        )
        if found is not None:
            return _made(found.id), call
        return answer, call

    async def keep(
        self, account: Account, saving: Saving, gateway_customer: str
    ) -> tuple[SavingAnswer, Call]:
        """Attaches what the PaymentIntent was paid with, which was set up by paying.

        docs.stripe.com/api/payment_intents/create, setup_future_usage: without a customer it can
        be attached after the payment.
        """
        paid, call, _ = await self._connections.ask(
            account,
            Ask(
                "retrieve",
                lambda client: client.v1.payment_intents.retrieve_async(
                    saving.setup_object or "", {"expand": [*EXPAND]}
                ),
                lambda found: _paid_with(found, saving, gateway_customer),
                read_setup_error,
            ),
        )
        if not isinstance(paid, Made):
            refused = isinstance(paid, Declined) and paid.object_open  # not by the object itself
            return (Unknown(call.outcome) if refused else paid), call
        answer, call, _ = await self._connections.ask(
            account,
            Ask(
                "attach",
                lambda client: client.v1.payment_methods.attach_async(
                    paid.object_id,
                    {"customer": gateway_customer},
                    # Idempotent by itself: what is attached is seen before it is asked again.
                    {
                        "idempotency_key": f"{saving.gateway_key}_attach_"
                        f"{self._connections.moment()}"
                    },
                ),
                _saved,
                read_setup_error,
            ),
        )
        return answer, call

    async def save(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """Confirms the SetupIntent by its id."""
        answer, call, _ = await self._ask(
            "confirm_setup",
            account,
            saving,
            lambda setups: setups.confirm_async(
                saving.setup_object or "",
                {
                    "return_url": saving.return_url or self._default_return_url,
                    "expand": [*EXPAND],
                },
                {"idempotency_key": saving.gateway_key + "_confirm"},
            ),
        )
        return answer, call

    async def look(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """Retrieves the SetupIntent; anything but the object itself leaves it Unknown."""
        answer, call, found = await self._ask(
            "retrieve_setup",
            account,
            saving,
            lambda setups: setups.retrieve_async(saving.setup_object or "", {"expand": [*EXPAND]}),
        )
        return (answer if found is not None else Unknown(call.outcome)), call

    async def cancel(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """Cancels the SetupIntent; where it cannot be any more, a look tells what was faster."""
        answer, call, _ = await self._ask(
            "cancel_setup",
            account,
            saving,
            lambda setups: setups.cancel_async(
                saving.setup_object or "",
                {"cancellation_reason": "abandoned", "expand": [*EXPAND]},
                # Idempotent by itself: a 500 stored under one key would be repeated for a day.
                {"idempotency_key": f"{saving.gateway_key}_cancel_{self._connections.moment()}"},
            ),
        )
        if answer == Unknown(UNEXPECTED):
            return await self.look(account, saving)
        return (Unknown("cancel_refused") if isinstance(answer, Declined) else answer), call

    async def detach(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """Detaches the PaymentMethod; what Stripe does not know, or not as saved, is detached."""
        answer, call, _ = await self._connections.ask(
            account,
            Ask(
                "detach",
                lambda client: client.v1.payment_methods.detach_async(
                    saving.token or "",
                    {},
                    {
                        "idempotency_key": f"{saving.gateway_key}_detach_"
                        f"{self._connections.moment()}"
                    },
                ),
                _detached,
                _read_detach_error,
            ),
        )
        if isinstance(answer, Declined):
            return await self._look_at_method(account, saving)
        return answer, call

    async def look_at_saved(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """Retrieves the PaymentMethod: banks replace cards, and Stripe follows."""
        answer, call, _ = await self._connections.ask(
            account,
            Ask(
                "retrieve_method",
                lambda client: client.v1.payment_methods.retrieve_async(saving.token or ""),
                lambda found: Detached() if found.customer is None else _saved(found),
                _read_detach_error,
            ),
        )
        return (Unknown(answer.raw_code) if isinstance(answer, Declined) else answer), call

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        await self._connections.close()

    async def _look_at_method(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        answer, call, _ = await self._connections.ask(
            account,
            Ask(
                "retrieve_method",
                lambda client: client.v1.payment_methods.retrieve_async(saving.token or ""),
                _detached,
                _read_detach_error,
            ),
        )
        return (Unknown(answer.raw_code) if isinstance(answer, Declined) else answer), call

    async def _ask(
        self, operation: str, account: Account, saving: Saving, request: Setups
    ) -> tuple[SavingAnswer, Call, SetupIntent | None]:
        return await self._connections.ask(
            account,
            Ask(
                operation,
                lambda client: request(client.v1.setup_intents),
                lambda found: read_setup(found, saving),
                read_setup_error,
            ),
        )


def read_setup(found: SetupIntent, saving: Saving) -> SavingAnswer:
    """What a SetupIntent says about the payment method that it belongs to."""
    object_id: Any = found.id
    if not isinstance(object_id, str) or saving.setup_object not in (None, object_id):
        return Unknown("another_object")
    match str(found.status):
        case "succeeded":
            return _saved(found.payment_method)
        case "requires_action":
            return ActionRequired(next_action_of(found))
        case "canceled":
            return Canceled()
        case "requires_confirmation":
            return NotSent("not_confirmed_yet")
        case "requires_payment_method":
            failure = found.last_setup_error
            if failure is None:
                return NotSent("instrument_missing_at_gateway")
            return _declined(getattr(failure, "code", None), getattr(failure, "decline_code", None))
        case _:
            return Unknown("unexpected_status")


def _paid_with(found: PaymentIntent, saving: Saving, gateway_customer: str) -> Made | SavingAnswer:
    """What a PaymentIntent was paid with: Saved where it is the customer's already."""
    if found.id != saving.setup_object or str(found.status) not in (
        "succeeded",
        "requires_capture",
    ):
        return Unknown("another_object")
    method: Any = found.payment_method
    owner = getattr(method, "customer", None)
    if owner is None:
        return _made(getattr(method, "id", None))
    if owner == gateway_customer:
        return _saved(method)
    return Declined("config_error", "of_another_customer", object_open=False)


def read_setup_error(error: StripeError) -> tuple[SavingAnswer, None]:
    """What an error of the SDK says about saving a card."""
    unknown = unanswered(error)
    if unknown is not None:
        return unknown, None
    body = error.error
    code = getattr(body, "code", None) or error.code
    if isinstance(error, stripe.CardError) or error.http_status == 402:
        return _declined(code, getattr(body, "decline_code", None)), None
    if code == UNEXPECTED:
        return Unknown(UNEXPECTED), None  # a look tells
    if getattr(body, "param", None) == "payment_method":
        return Declined("invalid_instrument", code_of(error), object_open=True), None
    return Declined("config_error", code_of(error), object_open=True), None


def _declined(code: str | None, decline_code: str | None) -> Declined:
    if code == AUTHENTICATION_FAILED:
        return Declined("authentication_failed", code, object_open=True)
    return classify(code, decline_code, None, object_open=True)


def _saved(method: Any) -> SavingAnswer:
    if isinstance(method, str):
        return Saved(method, None)
    owner: Any = getattr(method, "customer", None)
    owner = owner if isinstance(owner, str) else getattr(owner, "id", None)
    if method.type != "card":
        return Saved(str(method.id), None, owner)
    card: Any = getattr(method, "card", None)
    try:
        shown = Card(
            brand=str(card.brand),
            last4=str(card.last4),
            exp_month=int(card.exp_month),
            exp_year=int(card.exp_year),
        )
        return Saved(str(method.id), shown, owner)
    except (AttributeError, TypeError, ValueError):
        return Unknown("malformed_method")


def _made(object_id: Any) -> Made | Unknown:
    if not isinstance(object_id, str) or not object_id:
        return Unknown("malformed_object")
    return Made(object_id)


def _detached(found: stripe.PaymentMethod) -> SavingAnswer:
    return Detached() if found.customer is None else Unknown("still_attached")


def _read_detach_error(error: StripeError) -> tuple[SavingAnswer, None]:
    unknown = unanswered(error)
    if unknown is not None:
        return unknown, None
    if error.http_status == 404 and code_of(error) == "resource_missing":
        return Detached(known=False), None
    return Declined("config_error", code_of(error), object_open=True), None

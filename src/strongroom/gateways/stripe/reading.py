"""What a PaymentIntent, or an error about one, says about the attempt that it belongs to."""

from datetime import UTC, datetime
from typing import Any

import stripe
from stripe import PaymentIntent, SetupIntent, StripeError

from strongroom.gateways.stripe.declines import classify, declined
from strongroom.gateways.stripe.errors import code_of, unanswered
from strongroom.gateways.stripe.money import from_stripe
from strongroom.payments.states import (
    ActionRequired,
    Answer,
    Approved,
    Attempt,
    Authorized,
    Canceled,
    Declined,
    Mismatched,
    NotSent,
    Pending,
    Unknown,
)


def read_intent(intent: PaymentIntent, attempt: Attempt) -> Answer:
    """What a PaymentIntent says about the attempt that it belongs to."""
    known = attempt.gateway_object_id
    object_id: Any = intent.id
    if not isinstance(object_id, str) or not object_id or known not in (None, object_id):
        return Unknown("another_object")
    currency, status = intent.currency.upper(), str(intent.status)
    amount_minor = from_stripe(intent.amount, currency)
    if (amount_minor, currency) != (attempt.amount_minor, attempt.currency):
        return Mismatched(amount_minor or 0, currency)
    match status:
        case "succeeded":
            received = from_stripe(intent.amount_received, currency)
            return Approved(received if received is not None else -1, currency)
        case "requires_capture":
            held = from_stripe(intent.amount_capturable, currency)
            if held != attempt.amount_minor:
                return Mismatched(held or 0, currency)
            return Authorized(held, currency, _capture_before(intent))
        case "requires_action":
            return ActionRequired(next_action_of(intent))
        case "processing":
            return Pending()
        case "canceled":
            return Canceled()
        case "requires_payment_method":
            failure = intent.last_payment_error
            if failure is None:
                return NotSent("instrument_missing_at_gateway", fresh_key=True)
            return declined(failure, object_open=True)
        case "requires_confirmation":
            return NotSent("not_confirmed_yet")
        case _:
            return Unknown("unexpected_status")


def read_error(error: StripeError, attempt: Attempt) -> tuple[Answer, PaymentIntent | None]:
    """What an error of the SDK says, and the PaymentIntent inside it, if there is one."""
    unknown = unanswered(error)
    if unknown is not None:
        return unknown, None
    body = error.error
    code = getattr(body, "code", None) or error.code
    intent = getattr(body, "payment_intent", None)
    if isinstance(error, stripe.CardError) or error.http_status == 402:
        said = getattr(body, "decline_code", None), getattr(body, "advice_code", None)
        return classify(code, *said, object_open=True), None
    if code == "payment_intent_unexpected_state" and isinstance(intent, PaymentIntent):
        return read_intent(intent, attempt), intent
    if code == "resource_missing" and getattr(body, "param", None) == "payment_method":
        return Declined("invalid_instrument", code, object_open=True), None
    return Declined("config_error", code_of(error), object_open=True), None


def _capture_before(intent: PaymentIntent) -> datetime | None:
    """When the hold ends, if the charge came with the intent and says it."""
    details = getattr(intent.latest_charge, "payment_method_details", None)
    seconds = getattr(getattr(details, "card", None), "capture_before", None)
    if not isinstance(seconds, int):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError):
        return None


def next_action_of(intent: PaymentIntent | SetupIntent) -> dict[str, Any]:
    """What its customer has to do; nothing of it but an address is handed on."""
    action = intent.next_action
    if action is not None and action.type == "redirect_to_url":
        redirect = action.redirect_to_url
        return {"type": "redirect_to_url", "url": redirect.url if redirect else None}
    return {"type": action.type if action is not None else "unknown"}

"""Trying to take the money of an intent: 3D Secure, decline, hold or charge."""

from dataclasses import dataclass

from msgspec.structs import replace

from strongroom_sandbox.stripe.books import Books, Change, Charge, Intent, Method
from strongroom_sandbox.stripe.cards import (
    AUTHENTICATE,
    CARDS,
    PROCESSING,
    Decline,
    asks_for_action,
)
from strongroom_sandbox.stripe.disputes import by_card
from strongroom_sandbox.stripe.errors import ErrorBody, invalid, missing_resource, unexpected_state
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id, new_secret

HOLD_SECONDS = 7 * 24 * 3600  # docs.stripe.com/payments/place-a-hold-on-a-payment-method
INCOMPATIBLE = "payment_intent_incompatible_payment_method"


@dataclass(frozen=True, slots=True)
class Terms:
    """How one confirmation is to be made; nothing of it outlives the attempt."""

    off_session: bool = False
    error_on_requires_action: bool = False


def resolve_method(scene: Scene, offered: str) -> tuple[Method, bool]:
    """Find a payment method, or make one from a documented test id. Returns (method, is new).

    Raises Refusal ``resource_missing`` (400) for an unknown id.
    """
    if offered in CARDS:
        return Method(id=new_id("pm"), card=offered, created=scene.now), True
    method = scene.books.methods.get(offered)
    if method is None:
        raise missing_resource("PaymentMethod", offered, "payment_method", status=400)
    return method, False


def check_method(method: Method, intent: Intent) -> None:
    """Check that a payment method may pay this intent. Raises Refusal (400).

    A method that is saved to a customer pays for that customer only; one that is not saved pays
    once (docs.stripe.com/payments/payment-methods).
    """
    if "card" not in intent.payment_method_types:
        raise invalid(
            "The payment method's type is none of the intent's payment_method_types.",
            param="payment_method",
            code=INCOMPATIBLE,
        )
    if method.customer is not None and method.customer != intent.customer:
        raise invalid("The payment method belongs to another customer.", param="payment_method")
    if method.customer is None and method.used:
        raise invalid(
            "The payment method was used before without being saved to a customer; "
            "it may not be used again.",
            param="payment_method",
        )


def attempt(scene: Scene, intent: Intent, method: Method, terms: Terms, change: Change) -> Outcome:
    """Confirm an intent with a payment method. Completes ``change`` and returns the outcome."""
    card = CARDS[method.card]
    intent = replace(
        intent,
        payment_method=method.id,
        last_payment_error=None,
        action_token=None,
        confirm_key=scene.key,
    )
    asks = asks_for_action(
        card,
        off_session=terms.off_session,
        set_up=method.set_up,
        requested=intent.request_three_d_secure in ("any", "challenge"),
    )
    if not asks:
        return settle(scene, intent, method, change)
    if terms.off_session:
        return _decline(scene, intent, method, change, AUTHENTICATE)
    if terms.error_on_requires_action:
        error = ErrorBody(
            type="card_error",
            code=AUTHENTICATE.code,
            message=AUTHENTICATE.message,
            payment_method=method.id,
        )
        return _failed(scene, intent, error, change)
    waiting = replace(
        intent, status="requires_action", action_token=new_secret(), updated=scene.now
    )
    return _changed(waiting, change)


def settle(
    scene: Scene, intent: Intent, method: Method, change: Change, *, authenticated: bool = False
) -> Outcome:
    """Send the payment to the card network: a decline, a hold or a charge."""
    if scene.stays_processing:
        return _changed(replace(intent, status="processing", updated=scene.now), change)
    decline = CARDS[method.card].decline
    if decline is not None:
        return _decline(scene, intent, method, change, decline, authenticated=authenticated)
    held_only = intent.capture_method == "manual"
    charge = replace(
        _charge(scene, intent, method),
        paid=True,
        captured=not held_only,
        captured_at=None if held_only else scene.now,
        capture_before=scene.now + HOLD_SECONDS if held_only else None,
        amount_captured=0 if held_only else intent.amount,
        authenticated=authenticated,
    )
    change.charges.append(charge)
    change.disputes += by_card(scene, charge)
    saved = intent.setup_future_usage is not None and intent.customer is not None
    used = replace(
        method,
        used=True,
        customer=intent.customer if saved else method.customer,
        # Without a customer it can be attached to one afterwards (setup_future_usage).
        set_up=method.set_up or intent.setup_future_usage == "off_session",
    )
    if used != method:
        change.methods[:] = [*(kept for kept in change.methods if kept.id != used.id), used]
    done = replace(
        intent,
        status="requires_capture" if held_only else "succeeded",
        amount_capturable=intent.amount if held_only else 0,
        amount_received=0 if held_only else intent.amount,
        latest_charge=charge.id,
        action_token=intent.action_token if authenticated else None,
        updated=scene.now,
    )
    return _changed(done, change)


def settle_late(scene: Scene, intent: Intent, *, succeeds: bool) -> Outcome:
    """End ``processing``: with the outcome of the card, or with a decline."""
    method, change = method_of(scene.books, intent), Change(time=scene.now)
    if intent.status != "processing" or method is None:
        raise unexpected_state(f"The intent has a status of {intent.status}.", intent.id)
    if succeeds:
        return settle(scene, intent, method, change)
    return _decline(scene, intent, method, change, PROCESSING)


def fail_authentication(scene: Scene, intent: Intent, change: Change) -> Outcome:
    """End a 3D Secure challenge that the customer did not pass."""
    error = ErrorBody(
        type="invalid_request_error",
        code="payment_intent_authentication_failure",
        message="The payment method could not be authenticated.",
        payment_method=intent.payment_method,
    )
    return _failed(scene, intent, error, change)


def method_of(books: Books, intent: Intent) -> Method | None:
    """Return the payment method an intent holds, or None."""
    return None if intent.payment_method is None else books.methods[intent.payment_method]


def _charge(scene: Scene, intent: Intent, method: Method) -> Charge:
    return Charge(
        id=new_id("ch"),
        payment_intent=intent.id,
        amount=intent.amount,
        currency=intent.currency,
        created=scene.now,
        payment_method=method.id,
        card=method.card,
        paid=False,
        idempotency_key=intent.confirm_key,
        metadata=intent.metadata,
        customer=intent.customer,
        description=intent.description,
        receipt_email=intent.receipt_email,
        statement_descriptor=intent.statement_descriptor,
        statement_descriptor_suffix=intent.statement_descriptor_suffix,
    )


def _decline(
    scene: Scene,
    intent: Intent,
    method: Method,
    change: Change,
    decline: Decline,
    *,
    authenticated: bool = False,
) -> Outcome:
    charge = _charge(scene, intent, method)
    error = ErrorBody(
        type="card_error",
        code=decline.code,
        message=decline.message,
        decline_code=decline.decline_code,
        advice_code=decline.advice_code,
        network_decline_code=decline.network_decline_code,
        network_advice_code=decline.network_advice_code,
        charge=charge.id,
        payment_method=method.id,
    )
    change.charges.append(
        replace(charge, failure=error, blocked=decline.blocked, authenticated=authenticated)
    )
    return _failed(scene, replace(intent, latest_charge=charge.id), error, change)


def _failed(scene: Scene, intent: Intent, error: ErrorBody, change: Change) -> Outcome:
    failed = replace(
        intent,
        status="requires_payment_method",
        payment_method=None,
        last_payment_error=error,
        updated=scene.now,
    )
    outcome = _changed(failed, change)
    outcome.error, outcome.status = error, 402
    return outcome


def _changed(intent: Intent, change: Change) -> Outcome:
    change.intents.append(intent)
    return Outcome(change, intent)

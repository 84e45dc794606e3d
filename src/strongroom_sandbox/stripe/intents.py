"""PaymentIntent operations that change something (docs.stripe.com/api/payment_intents).

Each has a reading part, which may refuse parameters, and a deciding part, which looks at the
state and returns an outcome. Reading happens before the idempotency key counts as used.
"""

from typing import Any

from msgspec.structs import replace

from strongroom_sandbox.stripe.attempt import (
    attempt,
    check_method,
    method_of,
    resolve_method,
)
from strongroom_sandbox.stripe.books import Change, Intent, Method
from strongroom_sandbox.stripe.currencies import check_amount
from strongroom_sandbox.stripe.disputes import by_card
from strongroom_sandbox.stripe.errors import Refusal, invalid, missing_resource, unexpected_state
from strongroom_sandbox.stripe.intent_params import Confirm, Create, Update
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id, new_secret
from strongroom_sandbox.stripe.params import merged_metadata
from strongroom_sandbox.stripe.refunds import REASONS, release

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = (*CONFIRMABLE, "requires_capture", "processing")
NEEDS_RETURN_URL = (
    "The intent accepts payment methods that may redirect the customer: give a `return_url`, or "
    "create it with `automatic_payment_methods[allow_redirects]` set to `never`."
)


def find(scene: Scene, intent_id: str) -> Intent:
    """Return an intent. Raises Refusal ``resource_missing`` (404)."""
    intent = scene.books.intents.get(intent_id)
    if intent is None:
        raise missing_resource("payment_intent", intent_id[:100], "intent")
    return intent


def create(scene: Scene, command: Create) -> Outcome:
    """Create an intent and, when asked, confirm it at once."""
    intent_id = new_id("pi")
    intent = Intent(
        id=intent_id,
        client_secret=f"{intent_id}_secret_{new_secret()}",
        created=scene.now,
        updated=scene.now,
        amount=command.amount,
        currency=command.currency,
        **command.fields,
    )
    change = Change(time=scene.now)
    method: Method | None = None
    if command.payment_method is not None:
        method = _attach(scene, intent, command.payment_method, change)
        intent = replace(intent, payment_method=method.id, status="requires_confirmation")
    if not command.confirm:
        change.intents.append(intent)
        return Outcome(change, intent)
    if method is None:
        raise _no_method(None)
    _check_return(intent, None)
    return attempt(scene, intent, method, command.terms, change)


def update(scene: Scene, intent_id: str, command: Update) -> Outcome:
    """Change an intent. Money and method only before it is confirmed; notes at any time."""
    intent = find(scene, intent_id)
    change = Change(time=scene.now)
    fields = dict(command.fields)
    if (command.touches_money or command.payment_method) and intent.status not in CONFIRMABLE:
        raise unexpected_state(
            f"The PaymentIntent cannot be updated in this way with a status of {intent.status}.",
            intent.id,
        )
    if command.metadata is not None:
        fields["metadata"] = merged_metadata(intent.metadata, command.metadata)
    updated = replace(intent, **fields, updated=scene.now)
    if command.touches_money:
        check_amount(updated.amount, updated.currency)
        if updated.status == "requires_action":
            # What the customer was asked to authenticate is no longer what would be charged.
            updated = replace(updated, status="requires_confirmation", action_token=None)
    if command.payment_method is not None:
        method = _attach(scene, updated, command.payment_method, change)
        updated = replace(
            updated, payment_method=method.id, status="requires_confirmation", action_token=None
        )
    change.intents.append(updated)
    return Outcome(change, updated)


def confirm(scene: Scene, intent_id: str, command: Confirm) -> Outcome:
    """Confirm an intent with the method given, or the one it holds."""
    intent = find(scene, intent_id)
    if intent.status not in CONFIRMABLE:
        reason = "it has already succeeded" if intent.status == "succeeded" else None
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because "
            f"{reason or f'it has a status of {intent.status}'}.",
            intent.id,
        )
    if command.amount_to_confirm is not None and command.amount_to_confirm != intent.amount:
        raise invalid("The amount to confirm is not the intent's.", param="amount_to_confirm")
    intent = replace(intent, **command.fields, updated=scene.now)
    change = Change(time=scene.now)
    method = method_of(scene.books, intent)
    try:
        if command.payment_method is not None:
            method = _attach(scene, intent, command.payment_method, change)
        if method is None:
            raise _no_method(intent.id)
        check_method(method, intent)
        _check_return(intent, intent.id)
    except Refusal as refusal:
        refusal.intent_id = intent_id
        raise
    return attempt(scene, intent, method, command.terms, change)


def cancel(scene: Scene, intent_id: str, reason: str | None) -> Outcome:
    """Cancel an intent and give a hold free; no money can be taken by it any more."""
    intent = find(scene, intent_id)
    if intent.status not in CANCELABLE:
        raise unexpected_state(
            f"You cannot cancel this PaymentIntent because it has a status of {intent.status}.",
            intent.id,
        )
    change = Change(time=scene.now)
    if intent.status == "requires_capture" and intent.latest_charge is not None:
        held = scene.books.charges[intent.latest_charge]
        released, refund = release(scene, held, reason if reason in REASONS else None)
        change.charges.append(released)
        change.refunds.append(refund)
    canceled = replace(
        intent,
        status="canceled",
        canceled_at=scene.now,
        cancellation_reason=reason,
        amount_capturable=0,
        action_token=None,
        updated=scene.now,
    )
    change.intents.append(canceled)
    return Outcome(change, canceled)


def capture(scene: Scene, intent_id: str, fields: dict[str, Any]) -> Outcome:
    """Take all or a part of a hold; what is not taken is given free (one capture per intent).

    What is given free shows in no sum of the charge.
    """
    intent = find(scene, intent_id)
    if intent.status != "requires_capture" or intent.latest_charge is None:
        raise unexpected_state(
            f"This PaymentIntent could not be captured because it has a status of {intent.status}.",
            intent.id,
        )
    amount = fields.get("amount_to_capture")
    amount = intent.amount_capturable if amount is None else amount
    if amount > intent.amount_capturable:
        refusal = invalid(
            "The payment could not be captured because the requested capture amount is greater "
            "than the amount you can capture for this charge.",
            param="amount_to_capture",
            code="amount_too_large",
        )
        refusal.intent_id = intent.id
        raise refusal
    held = scene.books.charges[intent.latest_charge]
    taken = replace(
        held,
        captured=True,
        captured_at=scene.now,
        amount_captured=amount,
        idempotency_key=scene.key,
        statement_descriptor_suffix=fields.get("statement_descriptor_suffix")
        or held.statement_descriptor_suffix,
    )
    notes = intent.metadata
    if fields.get("metadata") is not None:
        notes = merged_metadata(notes, fields["metadata"])
    captured = replace(
        intent,
        status="succeeded",
        amount_received=amount,
        amount_capturable=0,
        metadata=notes,
        updated=scene.now,
    )
    change = Change(
        time=scene.now, charges=[taken], intents=[captured], disputes=by_card(scene, taken)
    )
    return Outcome(change, captured)


def _attach(scene: Scene, intent: Intent, offered: str, change: Change) -> Method:
    method, is_new = resolve_method(scene, offered)
    check_method(method, intent)
    if is_new:
        change.methods.append(method)
    return method


def _check_return(intent: Intent, intent_id: str | None) -> None:
    """Since API 2023-08-16 redirecting methods are on by default and then need a way back."""
    if intent.redirects == "always" and intent.return_url is None and not intent.uses_sdk:
        refusal = invalid(NEEDS_RETURN_URL, param="return_url")
        refusal.intent_id = intent_id
        raise refusal


def _no_method(intent_id: str | None) -> Refusal:
    refusal = invalid(
        "You cannot confirm this PaymentIntent because it's missing a payment method.",
        code="payment_intent_unexpected_state",
    )
    refusal.intent_id = intent_id
    return refusal

"""Refunds: parameters, the bound by what was captured, and how one ends.

With most test cards a refund succeeds at once and stays so; with two it changes some time later
(docs.stripe.com/testing#refunds).
"""

from dataclasses import dataclass

from msgspec.structs import replace

from strongroom_sandbox.stripe.books import Change, Charge, Intent, Refund
from strongroom_sandbox.stripe.cards import CARDS
from strongroom_sandbox.stripe.disputes import refuse_refund
from strongroom_sandbox.stripe.errors import ErrorBody, Refusal, invalid, missing_resource
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id
from strongroom_sandbox.stripe.params import Params, merged_metadata

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
EXPAND = frozenset(("charge", "payment_intent"))
CREATE = frozenset(("amount", "charge", "payment_intent", "reason", "metadata", "expand"))
UNSUPPORTED = frozenset(
    (
        "currency", "customer", "instructions_email", "origin", "refund_application_fee",
        "reverse_transfer",
    )
)  # fmt: skip
FAILURE_REASONS = (
    "lost_or_stolen_card", "expired_or_canceled_card", "charge_for_pending_refund_disputed",
    "insufficient_funds", "declined", "merchant_request", "unknown",
)  # fmt: skip


@dataclass(slots=True)
class Create:
    """Parameters of create; without ``amount`` all that is left."""

    charge: str | None
    payment_intent: str | None
    amount: int | None
    reason: str | None
    metadata: dict[str, str]
    expand: tuple[str, ...]


def read_create(tree: Tree) -> Create:
    """Read the parameters of create. Raises Refusal (400)."""
    params = Params(tree, CREATE, UNSUPPORTED)
    charge, intent = params.text("charge"), params.text("payment_intent")
    if charge is None and intent is None:
        raise invalid(
            "One of the following params should be provided for this request: payment_intent or "
            "charge.",
            code="parameter_missing",
        )
    amount = params.integer("amount")
    if amount is not None and amount < 1:
        raise invalid(
            "This value must be greater than or equal to 1.",
            param="amount",
            code="parameter_invalid_integer",
        )
    metadata = {key: text for key, text in (params.metadata() or {}).items() if text != ""}
    reason = params.choice("reason", REASONS)
    return Create(charge, intent, amount, reason, metadata, params.expand(EXPAND))


def read_update(tree: Tree) -> tuple[dict[str, str] | None, tuple[str, ...]]:
    """Read the parameters of update: (metadata, expand). Raises Refusal (400)."""
    params = Params(tree, ("metadata", "expand"))
    return params.metadata(), params.expand(EXPAND)


def find(scene: Scene, refund_id: str) -> Refund:
    """Return a refund. Raises Refusal ``resource_missing`` (404)."""
    refund = scene.books.refunds.get(refund_id)
    if refund is None:
        raise missing_resource("refund", refund_id[:100], "id")
    return refund


def create(scene: Scene, command: Create) -> Outcome:
    """Refund a captured charge, never more than is left of it."""
    charge = _charge_of(scene, command)
    disputed = refuse_refund(scene, charge)
    if disputed is not None:
        raise disputed
    left = charge.amount_captured - charge.amount_refunded
    amount = left if command.amount is None else command.amount
    if left == 0 or amount > left:
        return _over_asked(scene, charge, amount, left)
    card = CARDS[charge.card].refunding
    refund = Refund(
        id=new_id("re"),
        charge=charge.id,
        payment_intent=charge.payment_intent,
        amount=amount,
        currency=charge.currency,
        created=scene.now,
        status=card.begins,
        reason=command.reason,
        metadata=command.metadata,
        customer=charge.customer,
        payment_method=charge.payment_method,
        idempotency_key=scene.key,
    )
    if scene.stays_processing:
        refund = replace(refund, status="pending")
    elif card.ends is not None:
        settles_at = scene.now + scene.refund_settle_seconds
        refund = replace(refund, settles_at=settles_at, settles_as=card.ends)
    charge = replace(charge, amount_refunded=charge.amount_refunded + amount)
    return Outcome(Change(time=scene.now, charges=[charge], refunds=[refund]), refund=refund)


def update(scene: Scene, refund_id: str, metadata: dict[str, str] | None) -> Outcome:
    """Change a refund's metadata; nothing else of it can be changed."""
    refund = find(scene, refund_id)
    if metadata is not None:
        refund = replace(refund, metadata=merged_metadata(refund.metadata, metadata))
    return Outcome(Change(time=scene.now, refunds=[refund]), refund=refund)


def cancel(scene: Scene, refund_id: str) -> Outcome:
    """Refuse: only a refund that waits for the customer can be canceled, and cards have none."""
    refund = find(scene, refund_id)
    raise invalid(
        f"The refund cannot be canceled: it has a status of {refund.status}, and only refunds "
        "with a status of requires_action can be."
    )


def settle(scene: Scene, refund: Refund, status: str, failure_reason: str | None) -> Outcome:
    """End a pending refund, or let one fail that had succeeded. Raises Refusal.

    What failed went back to the account's balance and can be asked for anew.
    """
    begun = ("pending",) if status == "succeeded" else ("pending", "succeeded")
    if refund.status not in begun or refund.releases:
        raise invalid(f"The refund has a status of {refund.status}.")
    change = Change(time=scene.now)
    if status == "failed":
        charge = scene.books.charges[refund.charge]
        left = charge.amount_refunded - refund.amount
        change.charges.append(replace(charge, amount_refunded=left))
    ended = replace(
        refund, status=status, failure_reason=failure_reason, settles_at=None, settles_as=None
    )
    change.refunds.append(ended)
    return Outcome(change, refund=ended)


def release(scene: Scene, charge: Charge, reason: str | None) -> tuple[Charge, Refund]:
    """Give a hold free: Stripe shows it as a refund of a charge that was never captured."""
    refund = Refund(
        id=new_id("re"),
        charge=charge.id,
        payment_intent=charge.payment_intent,
        amount=charge.amount,
        currency=charge.currency,
        created=scene.now,
        releases=True,
        reason=reason,
        customer=charge.customer,
        payment_method=charge.payment_method,
    )
    return replace(charge, amount_refunded=charge.amount), refund


def _charge_of(scene: Scene, command: Create) -> Charge:
    books = scene.books
    intent: Intent | None = None
    if command.payment_intent is not None:
        intent = books.intents.get(command.payment_intent)
        if intent is None:
            raise missing_resource("payment_intent", command.payment_intent[:100], "payment_intent")
    charge_id = command.charge or (intent.latest_charge if intent is not None else None)
    charge = books.charges.get(charge_id or "")
    if charge is None and command.charge is not None:
        raise missing_resource("charge", command.charge[:100], "charge")
    if charge is None or not charge.captured:
        raise _nothing_taken(intent, charge)
    if intent is not None and charge.payment_intent != intent.id:
        raise invalid("The charge is not of the payment_intent.", param="charge")
    return charge


def _nothing_taken(intent: Intent | None, charge: Charge | None) -> Refusal:
    intent_id = intent.id if intent is not None else ""
    if charge is not None:
        intent_id = charge.payment_intent
    return invalid(f"This PaymentIntent ({intent_id}) does not have a successful charge to refund.")


def _over_asked(scene: Scene, charge: Charge, amount: int, left: int) -> Outcome:
    if left == 0:
        error = ErrorBody(
            type="invalid_request_error",
            code="charge_already_refunded",
            message=f"Charge {charge.id} has already been refunded.",
        )
    else:
        # Stripe gives no code for this one.
        error = ErrorBody(
            type="invalid_request_error",
            message=f"Refund amount ({amount} {charge.currency}) is greater than unrefunded "
            f"amount on charge ({left} {charge.currency})",
            param="amount",
        )
    change = Change(time=scene.now, over_asked=charge.id)
    return Outcome(change, error=error, status=400)

"""Disputes: how one is opened, answered with evidence, given up, and decided.

In test mode the evidence decides: ``winning_evidence`` or ``losing_evidence`` as
``uncategorized_text`` (docs.stripe.com/testing#disputes). Who lets the deadline pass has lost.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from strongroom_sandbox.stripe.books import Change, Charge
from strongroom_sandbox.stripe.errors import Refusal, invalid, missing_resource
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id
from strongroom_sandbox.stripe.params import Params, merged_metadata
from strongroom_sandbox.stripe.records import Dispute
from strongroom_sandbox.stripe.settlement_shapes import dispute_shape
from strongroom_sandbox.stripe.shapes import Shapes

RESPONSE_SECONDS = 7 * 24 * 3600
EVIDENCE_CHARACTERS_MAX = 150_000
EVIDENCE_TEXT_CHARACTERS_MAX = 20_000
EXPAND = frozenset(("charge", "payment_intent"))
REASONS = (
    "bank_cannot_process", "check_returned", "credit_not_processed", "customer_initiated",
    "debit_not_authorized", "duplicate", "fraudulent", "general", "incorrect_account_details",
    "insufficient_funds", "product_not_received", "product_unacceptable", "subscription_canceled",
    "unrecognized",
)  # fmt: skip
STATUSES = (
    "needs_response", "under_review", "won", "lost", "warning_needs_response",
    "warning_under_review", "warning_closed", "prevented",
)  # fmt: skip
TEXTS = (
    "access_activity_log", "billing_address", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_email_address", "customer_name", "customer_purchase_ip",
    "duplicate_charge_explanation", "duplicate_charge_id", "product_description",
    "refund_policy_disclosure", "refund_refusal_explanation", "service_date", "shipping_address",
    "shipping_carrier", "shipping_date", "shipping_tracking_number", "uncategorized_text",
)  # fmt: skip
FILES = (
    "appeal", "cancellation_policy", "customer_communication", "customer_signature",
    "duplicate_charge_documentation", "enhanced_evidence", "receipt", "refund_policy",
    "service_documentation", "shipping_documentation", "uncategorized_file",
)  # fmt: skip
TAKES_MONEY = frozenset(("needs_response", "under_review", "lost"))
"""While it stands there its amount is not in the merchant's balance."""
OPEN = frozenset(("needs_response", "warning_needs_response"))
BY_CARD: dict[str, tuple[str, str]] = {
    "pm_card_createDispute": ("fraudulent", "needs_response"),
    "pm_card_createDisputeProductNotReceived": ("product_not_received", "needs_response"),
    "pm_card_createDisputeInquiry": ("fraudulent", "warning_needs_response"),
}
DECISIONS = {"winning_evidence": ("won", "warning_closed"), "losing_evidence": ("lost", "lost")}


@dataclass(slots=True)
class Answer:
    """Parameters of update. Without ``submit`` evidence goes to the bank: Stripe's default."""

    evidence: dict[str, str] | None
    submit: bool
    metadata: dict[str, str] | None
    expand: tuple[str, ...]


def read_answer(tree: Tree) -> Answer:
    """Read the parameters of update. Raises Refusal (400)."""
    params = Params(
        tree, ("evidence", "submit", "metadata", "expand"), ("intended_submission_method",)
    )
    given = params.within("evidence", TEXTS, FILES)
    evidence: dict[str, str] | None = None
    if given is not None:
        evidence = {
            name: given.text(name, characters_max=EVIDENCE_TEXT_CHARACTERS_MAX) or ""
            for name in TEXTS
            if name in given
        }
        if sum(map(len, evidence.values())) > EVIDENCE_CHARACTERS_MAX:
            raise invalid(
                f"Evidence has at most {EVIDENCE_CHARACTERS_MAX} characters.", param="evidence"
            )
    submit = params.boolean("submit")
    return Answer(
        evidence, True if submit is None else submit, params.metadata(), params.expand(EXPAND)
    )


def find(scene: Scene, dispute_id: str) -> Dispute:
    """Return a dispute. Raises Refusal ``resource_missing`` (404)."""
    dispute = scene.books.disputes.get(dispute_id)
    if dispute is None:
        raise missing_resource("dispute", dispute_id[:100], "dispute")
    return dispute


def opened(
    scene: Scene,
    charge: Charge,
    *,
    amount: int | None = None,
    currency: str | None = None,
    reason: str = "fraudulent",
    status: str = "needs_response",
) -> Dispute:
    """A new dispute of a captured charge. Raises Refusal for a charge that took nothing."""
    if not charge.captured:
        raise invalid("Only a captured charge can be disputed.")
    due_by = scene.now + RESPONSE_SECONDS
    return Dispute(
        id=new_id("du"),
        charge=charge.id,
        payment_intent=charge.payment_intent,
        amount=charge.amount_captured if amount is None else amount,
        currency=currency or charge.currency,
        created=scene.now,
        due_by=due_by,
        reason=reason,
        status=status,
        turns_at=due_by if status in OPEN else None,
        turns_to="lost" if status == "needs_response" else "warning_closed",
        withdrawn=scene.now if status in TAKES_MONEY else None,
    )


def by_card(scene: Scene, charge: Charge) -> list[Dispute]:
    """The disputes that a test card brings with its charge."""
    if not charge.captured:
        return []
    if charge.card == "pm_card_createMultipleDisputes" and charge.amount_captured > 1:
        half = charge.amount_captured // 2
        rest = charge.amount_captured - half
        return [opened(scene, charge, amount=half), opened(scene, charge, amount=rest)]
    found = BY_CARD.get(charge.card)
    return [] if found is None else [opened(scene, charge, reason=found[0], status=found[1])]


def update(scene: Scene, dispute_id: str, command: Answer, shapes: Shapes) -> Outcome:
    """Stage evidence, or submit it, which can be done once."""
    dispute = find(scene, dispute_id)
    if command.metadata is not None:
        merged = merged_metadata(dispute.metadata, command.metadata)
        dispute = replace(dispute, metadata=merged)
    if command.evidence is not None or command.submit:
        if dispute.status not in OPEN:
            raise _closed(dispute)
        evidence = dispute.evidence | (command.evidence or {})
        evidence = {name: text for name, text in evidence.items() if text}
        dispute = replace(dispute, evidence=evidence)
    if command.submit:
        dispute = _submitted(scene, dispute)
    return _outcome(scene, dispute, command.expand, shapes)


def close(scene: Scene, dispute_id: str, expand: tuple[str, ...], shapes: Shapes) -> Outcome:
    """Give a dispute up: it is lost, for good."""
    dispute = find(scene, dispute_id)
    if dispute.status not in OPEN:
        raise _closed(dispute)
    return _outcome(scene, turned(scene.now, dispute, "lost"), expand, shapes)


def turned(now: int, dispute: Dispute, status: str) -> Dispute:
    """The dispute in another status, with what that does to the balance."""
    takes, took = status in TAKES_MONEY, dispute.withdrawn is not None
    back = took and dispute.reinstated is None and not takes
    return replace(
        dispute,
        status=status,
        withdrawn=now if takes and not took else dispute.withdrawn,
        reinstated=now if back else None if takes else dispute.reinstated,
        past_due=dispute.past_due or (status == "lost" and now >= dispute.due_by),
        turns_at=None,
        turns_to=None,
    )


def retrieve(scene: Scene, dispute_id: str, expand: tuple[str, ...], shapes: Shapes) -> Outcome:
    """Show a dispute."""
    body = dispute_shape(find(scene, dispute_id), shapes, scene.books, expand)
    return Outcome(Change(time=scene.now), body=body)


def refuse_refund(scene: Scene, charge: Charge) -> Refusal | None:
    """Why nothing of the charge can be given back, if so: a bank has already taken it."""
    for dispute in scene.books.disputes_of(charge.id):
        if dispute.status in TAKES_MONEY:
            return invalid(
                f"Charge {charge.id} has been charged back; cannot issue a refund.",
                code="charge_disputed",
            )
    return None


def _submitted(scene: Scene, dispute: Dispute) -> Dispute:
    inquiry = dispute.status.startswith("warning_")
    decided = DECISIONS.get(dispute.evidence.get("uncategorized_text", ""))
    return replace(
        dispute,
        status="warning_under_review" if inquiry else "under_review",
        submission_count=dispute.submission_count + 1,
        turns_at=None if decided is None else scene.now + scene.refund_settle_seconds,
        turns_to=None if decided is None else decided[1 if inquiry else 0],
    )


def _outcome(scene: Scene, dispute: Dispute, expand: tuple[str, ...], shapes: Shapes) -> Outcome:
    body = dispute_shape(dispute, shapes, scene.books, expand)
    return Outcome(Change(time=scene.now, disputes=[dispute]), body=body)


def _closed(dispute: Dispute) -> Refusal:
    return invalid(f"This dispute is already closed: it has a status of {dispute.status}.")

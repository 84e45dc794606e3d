"""Which events a change is told of by, in the form of snapshot events (API 2026-10-28)."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from strongroom_sandbox.stripe.books import Books, Change, Charge, Intent, Method, Refund
from strongroom_sandbox.stripe.records import Dispute, Payout
from strongroom_sandbox.stripe.saved import Setup
from strongroom_sandbox.stripe.saved_shapes import setup_shown
from strongroom_sandbox.stripe.settlement_shapes import dispute_shape, payout_shape
from strongroom_sandbox.stripe.shapes import Json, Shapes

CLOSED = ("won", "lost", "warning_closed", "prevented")
API_VERSION = "2026-10-28.endive"

Told = tuple[str, Callable[[], Json]]
"""The type of an event, and what renders its object once the change is in the books."""

_OF_STATUS = {
    "succeeded": "payment_intent.succeeded",
    "canceled": "payment_intent.canceled",
    "processing": "payment_intent.processing",
    "requires_action": "payment_intent.requires_action",
    "requires_capture": "payment_intent.amount_capturable_updated",
}


def events_of(books: Books, shapes: Shapes, change: Change) -> list[Told]:
    """The events of a change that is not yet in the books, in the order in which they happen."""
    told: list[Told] = []
    for charge in change.charges:
        told += [
            (kind, lambda charge=charge: shapes.charge(charge))  # type: ignore[misc]
            for kind in _of_charge(books.charges.get(charge.id), charge)
        ]
    for method in change.methods:
        told += [
            (kind, lambda one=method: shapes.method(one))  # type: ignore[misc]
            for kind in _of_method(books.methods.get(method.id), method)
        ]
    for setup in change.setups:
        told += [
            (kind, lambda one=setup: _setup_shape(one, shapes, books))  # type: ignore[misc]
            for kind in _of_setup(books.setups.get(setup.id), setup)
        ]
    for refund in change.refunds:
        told += [
            (kind, lambda refund=refund: shapes.refund(refund))  # type: ignore[misc]
            for kind in _of_refund(books.refunds.get(refund.id), refund)
        ]
    for dispute in change.disputes:
        told += [
            (kind, lambda one=dispute: dispute_shape(one, shapes, books))  # type: ignore[misc]
            for kind in _of_dispute(books.disputes.get(dispute.id), dispute)
        ]
    for payout in change.payouts:
        told += [
            (kind, lambda one=payout: payout_shape(one))  # type: ignore[misc]
            for kind in _of_payout(books.payouts.get(payout.id), payout)
        ]
    for intent in change.intents:
        told += [
            (kind, lambda intent=intent: shapes.intent(intent))  # type: ignore[misc]
            for kind in _of_intent(books.intents.get(intent.id), intent)
        ]
    return told


def snapshot(event_id: str, kind: str, shown: Json, created: int) -> Json:
    """The event as it is sent (docs.stripe.com/api/events/object)."""
    return {
        "id": event_id,
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "data": {"object": shown},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }


def thin(event_id: str, kind: str, shown: Json, created: int) -> Json:
    """The event as a thin one (docs.stripe.com/api/v2/core/events/object): no object in it."""
    noun = shown["object"]
    return {
        "id": event_id,
        "object": "v2.core.event",
        "type": f"v1.{kind}",
        "created": datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", ".000Z"),
        "livemode": False,
        "related_object": {
            "id": shown["id"],
            "type": noun,
            "url": f"/v1/{noun}s/{shown['id']}",
        },
    }


def _of_charge(before: Charge | None, charge: Charge) -> Iterator[str]:
    if before is None:
        yield "charge.succeeded" if charge.paid else "charge.failed"
    elif charge.captured and not before.captured:
        yield "charge.captured"
    elif charge.amount_refunded > before.amount_refunded:
        yield "charge.refunded" if charge.captured else "charge.expired"
    elif charge != before:
        yield "charge.updated"


def _of_method(before: Method | None, method: Method) -> Iterator[str]:
    owner = None if before is None else before.customer
    if owner is None and method.customer is not None:
        yield "payment_method.attached"
    elif owner is not None and method.customer is None:
        yield "payment_method.detached"
    elif before is not None and method.card != before.card:
        yield "payment_method.automatically_updated"
    elif before is not None and (before.exp_month, before.exp_year) != (
        method.exp_month,
        method.exp_year,
    ):
        yield "payment_method.updated"


def _setup_shape(setup: Setup, shapes: Shapes, books: Books) -> Json:
    return setup_shown(shapes, setup, books.methods.get(setup.payment_method or ""))


def _of_setup(before: Setup | None, setup: Setup) -> Iterator[str]:
    if before is None:
        yield "setup_intent.created"
    error = setup.last_setup_error
    if error is not None and (before is None or before.last_setup_error != error):
        yield "setup_intent.setup_failed"
    status = None if before is None else before.status
    if status != setup.status and setup.status in ("succeeded", "canceled", "requires_action"):
        yield f"setup_intent.{setup.status}"


def _of_refund(before: Refund | None, refund: Refund) -> Iterator[str]:
    if before is None:
        yield "refund.created"
    elif before != refund:
        yield "refund.failed" if refund.status == "failed" else "refund.updated"


def _of_dispute(before: Dispute | None, dispute: Dispute) -> Iterator[str]:
    if before is None:
        yield "charge.dispute.created"
    elif dispute.status != before.status and dispute.status in CLOSED:
        yield "charge.dispute.closed"
    elif dispute != before:
        yield "charge.dispute.updated"
    if dispute.withdrawn is not None and (before is None or before.withdrawn is None):
        yield "charge.dispute.funds_withdrawn"
    if dispute.reinstated is not None and (before is None or before.reinstated is None):
        yield "charge.dispute.funds_reinstated"


def _of_payout(before: Payout | None, payout: Payout) -> Iterator[str]:
    if before is None:
        yield "payout.created"
    elif payout.status != before.status and payout.status in ("paid", "failed", "canceled"):
        yield f"payout.{payout.status}"
    elif payout != before:
        yield "payout.updated"


def _of_intent(before: Intent | None, intent: Intent) -> Iterator[str]:
    if before is None:
        yield "payment_intent.created"
    failed = intent.last_payment_error is not None
    if failed and (before is None or before.last_payment_error != intent.last_payment_error):
        yield "payment_intent.payment_failed"
    if (before is None or before.status != intent.status) and intent.status in _OF_STATUS:
        yield _OF_STATUS[intent.status]

"""What time alone brings: holds that end uncaptured, refunds whose status changes later."""

from msgspec.structs import replace

from strongroom_sandbox.stripe import disputes, payouts, refunds
from strongroom_sandbox.stripe.books import Books, Change, Charge
from strongroom_sandbox.stripe.cards import CARDS
from strongroom_sandbox.stripe.outcome import Scene

HOLD_ENDED = "expired_uncaptured_charge"


def come_due(books: Books, now: int) -> Change | None:
    """Return the next change that has come due, or None. To be applied before asking again."""
    while (object_id := books.due(now)) is not None:
        scene = Scene(books, now)
        charge = books.charges.get(object_id)
        if object_id in books.disputes or object_id in books.payouts:
            later = _moved(scene, object_id)
            if later is not None:
                return later
            continue
        change = _settle(scene, object_id) if charge is None else _end_hold(scene, charge)
        if change is not None:
            return change
    return None


def _moved(scene: Scene, object_id: str) -> Change | None:
    """A dispute or a payout one step on, unless something else was faster."""
    dispute = scene.books.disputes.get(object_id)
    if dispute is None:
        payout = scene.books.payouts[object_id]
        due = payout.wakes_at is not None and payout.wakes_at <= scene.now
        return payouts.moved(scene, payout) if due else None
    if dispute.turns_to is None or dispute.turns_at is None or dispute.turns_at > scene.now:
        return None
    after = disputes.turned(scene.now, dispute, dispute.turns_to)
    return Change(time=scene.now, disputes=[after])


def _settle(scene: Scene, refund_id: str) -> Change | None:
    refund = scene.books.refunds[refund_id]
    if refund.settles_as is None:
        return None
    reason = None
    if refund.settles_as == "failed":
        card = CARDS[scene.books.charges[refund.charge].card]
        reason = card.refunding.failure_reason
    return refunds.settle(scene, refund, refund.settles_as, reason).change


def _end_hold(scene: Scene, charge: Charge) -> Change | None:
    """Cancel the intent of a hold that was not captured in time.

    docs.stripe.com/payments/place-a-hold-on-a-payment-method; the reasons as Stripe answers them.
    """
    intent = scene.books.intents[charge.payment_intent]
    if intent.status != "requires_capture" or intent.latest_charge != charge.id:
        return None
    released, refund = refunds.release(scene, charge, HOLD_ENDED)
    canceled = replace(
        intent,
        status="canceled",
        canceled_at=charge.capture_before,
        cancellation_reason="automatic",
        amount_capturable=0,
        updated=scene.now,
    )
    return Change(time=scene.now, charges=[released], refunds=[refund], intents=[canceled])

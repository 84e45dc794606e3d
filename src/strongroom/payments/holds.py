"""Money that is held and not taken yet: what a gateway's answers mean then. Pure, part of `decide`.

A hold ends once: captured, canceled, or expired. The gateway's object takes one capture only, so
it may be asked again whenever it says that it still holds the money.
"""

from datetime import datetime, timedelta
from typing import Final, assert_never

from strongroom.payments.moves import close, end, freeze, later
from strongroom.payments.sales import settles_later
from strongroom.payments.states import (
    FINAL,
    ActionRequired,
    Answered,
    Approved,
    Authorized,
    Canceled,
    CancelObject,
    CaptureHold,
    Decision,
    Declined,
    Mismatched,
    NotSent,
    NotShown,
    Payment,
    Pending,
    Rest,
    Schedule,
    Unknown,
    Withheld,
)

HOLD_DEFAULT: Final = timedelta(days=7)
"""Where a gateway names no end (docs.stripe.com/payments/place-a-hold-on-a-payment-method)."""
HOLD_LOOK_EARLIER: Final = timedelta(hours=1)
"""A hold is looked at this long before its end, and at its end."""


def is_held(payment: Payment) -> bool:
    """Whether the gateway said that it holds the money, and nothing final since."""
    if payment.status in FINAL:
        return False
    return payment.status == "authorized" or payment.capture_minor is not None


def hold_begun(payment: Payment, answer: Authorized, answered: Answered, now: datetime) -> Decision:
    """The gateway holds the money; where the payment is closing, the hold is to be canceled."""
    if payment.closing:
        return Decision(payment, later(answered, now))
    if not _fits(payment, answer):
        return freeze(payment, now, "amount_mismatch")
    if payment.capture != "manual":
        return freeze(payment, now, "held_unasked")
    capture_before = answer.capture_before or now + HOLD_DEFAULT
    changed = payment.changed(
        now,
        status="authorized",
        status_reason=None,
        capture_before=capture_before,
        next_action=None,
        decline=None,
    )
    return Decision(changed, _next_look(capture_before, now), "payment.authorized", "approved")


def answered_while_held(payment: Payment, answered: Answered, now: datetime) -> Decision:
    """An answer for a payment of which `is_held` holds, and which is not closing."""
    answer = answered.answer
    match answer:
        case Approved():
            return captured(payment, answer, answered, now)
        case Authorized():
            return _still_held(payment, answer, answered, now)
        case Canceled():
            return _hold_gone(payment, answer, now)
        case Declined():
            if is_over(answer, answered):
                return end(payment, now, "failed", answer.decline, "declined", answer)
            # A refusal of an earlier capture says nothing about the present one.
            now_asked = payment.status == "processing" and answered.asked == "capture"
            if now_asked and answered.capture_minor == payment.capture_minor:
                return _capture_refused(payment, answer, now)
            return Decision(payment, later(answered, now))
        case Unknown():
            if answered.asked != "capture" or payment.status == "outcome_unknown":
                return Decision(payment, later(answered, now))
            changed = payment.changed(
                now, status="outcome_unknown", status_reason="no_answer_from_gateway"
            )
            return Decision(changed, later(answered, now), "payment.outcome_unknown")
        case ActionRequired() | Pending() | NotSent() | Withheld() | NotShown():
            # Of the time before the hold, or nothing was learnt.
            return Decision(payment, later(answered, now))
        case Mismatched():
            return freeze(payment, now, "amount_mismatch")
    assert_never(answer)


def is_over(answer: Declined, answered: Answered) -> bool:
    """Whether the gateway's object itself, of an attempt in one call, says that it takes nothing.

    As where it was captured, and then was not settled.
    """
    is_its_own = not answered.attempt.staged and answered.call.object_id is not None
    return is_its_own and not answer.object_open


def captured(payment: Payment, answer: Approved, answered: Answered, now: datetime) -> Decision:
    """The gateway took money: as much as was asked, or it is a matter for a person."""
    reason, wanted = None, payment.amount_minor
    if payment.capture == "manual":
        if payment.capture_minor is not None:
            wanted = payment.capture_minor
        elif answered.attempt.kind != "authorize":
            return freeze(payment, now, "captured_unasked")
        elif 0 < answer.amount_minor <= payment.amount_minor:
            # By someone at the gateway itself, and within what the customer agreed to.
            reason, wanted = "captured_at_gateway", answer.amount_minor
    if (answer.amount_minor, answer.currency) != (wanted, payment.currency):
        return freeze(payment, now, "amount_mismatch")
    changed = payment.changed(
        now,
        status="succeeded",
        status_reason=reason,
        captured_minor=answer.amount_minor,
        closing=None,
        closing_reason=None,
        next_action=None,
        decline=None,
    )
    effect = Rest() if answer.settled else settles_later(now)
    return Decision(changed, effect, "payment.succeeded", "approved")


def _fits(payment: Payment, answer: Authorized) -> bool:
    return (answer.amount_minor, answer.currency) == (payment.amount_minor, payment.currency)


def _next_look(capture_before: datetime, now: datetime) -> Schedule:
    early = capture_before - HOLD_LOOK_EARLIER
    return Schedule(early if early > now else max(capture_before, now))


def _still_held(
    payment: Payment, answer: Authorized, answered: Answered, now: datetime
) -> Decision:
    if not _fits(payment, answer):
        return freeze(payment, now, "amount_mismatch")
    if payment.capture_minor is not None:
        return _capture_again(payment, answered, now)
    capture_before = answer.capture_before or payment.capture_before or now
    if capture_before <= now:
        # Asked, and past its end: whatever is left of it is given back for certain.
        return close(payment, now, "canceled", "authorization_expired", None, CancelObject())
    if capture_before == payment.capture_before:
        return Decision(payment, _next_look(capture_before, now))
    changed = payment.changed(now, capture_before=capture_before)
    return Decision(changed, _next_look(capture_before, now), "payment.hold_moved")


def _capture_again(payment: Payment, answered: Answered, now: datetime) -> Decision:
    """Looked at just now, and not captured: the capture is asked for again."""
    if answered.asked != "look":
        return Decision(payment, later(answered, now))
    if payment.status == "processing":
        return Decision(payment, CaptureHold())
    changed = payment.changed(
        now, status="processing", status_reason="waiting_for_capture_at_gateway"
    )
    return Decision(changed, CaptureHold(), "payment.processing")


def _capture_refused(payment: Payment, answer: Declined, now: datetime) -> Decision:
    """The hold stands or has gone: the next look tells which."""
    changed = payment.changed(
        now, status="authorized", status_reason="capture_refused", capture_minor=None
    )
    return Decision(
        changed, Schedule(now), "payment.capture_refused", None, answer.decline, answer.raw_code
    )


def _hold_gone(payment: Payment, answer: Canceled, now: datetime) -> Decision:
    ends = payment.capture_before
    expired = answer.expired or (ends is not None and now >= ends - HOLD_LOOK_EARLIER)
    reason = "authorization_expired" if expired else "canceled_at_gateway"
    return end(payment, now, "canceled", reason, "canceled")

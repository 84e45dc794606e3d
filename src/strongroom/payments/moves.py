"""The single moves that a payment can make; `decide` and its parts choose among them. Pure."""

from datetime import datetime, timedelta
from typing import Final, Literal

from strongroom.payments.states import (
    Answered,
    AttemptState,
    Closing,
    Decision,
    Declined,
    Effect,
    Payment,
    Rest,
    Schedule,
)

RETRY_SECONDS: Final = (1, 2, 4, 8, 15, 30)
"""Waits between looks and sends; the last one repeats."""


def freeze(payment: Payment, now: datetime, review: str) -> Decision:
    """Nothing runs for the payment any more until a person has looked."""
    changed = payment.changed(now, status="outcome_unknown", review=review, next_action=None)
    return Decision(changed, Rest(), "payment.frozen", "unknown")


def close(
    payment: Payment,
    now: datetime,
    closing: Closing,
    reason: str,
    answer: Declined | None,
    effect: Effect,
    attempt_state: AttemptState | None = None,
) -> Decision:
    """The gateway's object has to be canceled before the payment may become `closing`."""
    changed = payment.changed(
        now,
        status="processing",
        status_reason="waiting_for_cancel_at_gateway",
        closing=closing,
        closing_reason=reason,
        next_action=None,
    )
    return Decision(
        changed,
        effect,
        "payment.closing",
        attempt_state,
        answer.decline if answer else None,
        answer.raw_code if answer else None,
    )


def end(
    payment: Payment,
    now: datetime,
    status: Literal["failed", "canceled"],
    reason: str,
    attempt_state: AttemptState | None,
    answer: Declined | None = None,
) -> Decision:
    """No charge is possible any more: final, and the merchant reference is free again."""
    changed = payment.changed(
        now,
        status=status,
        status_reason=reason,
        closing=None,
        closing_reason=None,
        next_action=None,
        capture_minor=None,
    )
    return Decision(
        changed,
        Rest(release=True),
        "payment." + status,
        attempt_state,
        answer.decline if answer else None,
        answer.raw_code if answer else None,
    )


def later(answered: Answered, now: datetime) -> Schedule:
    """The same again, after a wait that grows with the tries."""
    step = RETRY_SECONDS[min(answered.tries, len(RETRY_SECONDS)) - 1] if answered.tries else 0
    return Schedule(now + timedelta(seconds=step))

"""Answers that decide nothing any more: the payment moved on, or a person has to look first.

They are recorded, and believed when they say that money moved.
"""

from datetime import datetime

from strongroom.payments.states import (
    FINAL,
    Answered,
    Approved,
    AttemptState,
    Decision,
    Leave,
    Mismatched,
    Payment,
    Rest,
    Unknown,
)


def answered_late(payment: Payment, answered: Answered, now: datetime) -> Decision:
    """The payment moved on before this answer came: it is recorded, and believed if it charges."""
    answer = answered.answer
    review, attempt_state = _late_review(payment, answered)
    if review is not None:
        # What is not at its end gets a status in which nothing more is sent.
        changed = payment.changed(
            now,
            status=payment.status if payment.status in FINAL else "outcome_unknown",
            review=payment.review or review,
            next_action=None,
        )
        return Decision(changed, Rest(), "payment.frozen", attempt_state)
    if isinstance(answer, Unknown):
        return Decision(payment, Leave())
    return Decision(payment.changed(now), Leave(), "attempt.answered_late")


def _late_review(payment: Payment, answered: Answered) -> tuple[str | None, AttemptState | None]:
    """Why a late answer freezes the payment, or None; and what the attempt becomes then."""
    match answered.answer:
        case Mismatched():
            return "amount_mismatch", None
        case Approved(amount_minor, currency):
            same = answered.attempt.attempt_no == payment.attempt_no
            if not (payment.status == "succeeded" and same):
                return "charged_after_" + payment.status, "approved"
            if (amount_minor, currency) != (payment.captured_minor, payment.currency):
                return "amount_mismatch", None
            return None, None
        case _:
            return None, None


def answered_while_frozen(payment: Payment, answered: Answered, now: datetime) -> Decision:
    """A person has to look first: what is learnt is recorded, and moves nothing."""
    answer = answered.answer
    if isinstance(answer, Unknown):
        return Decision(payment, Leave())
    state: AttemptState | None = "approved" if isinstance(answer, Approved) else None
    return Decision(payment.changed(now), Leave(), "attempt.answered_late", state)

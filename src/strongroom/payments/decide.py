"""The one pure function that moves a payment: decide(payment, happening, now) → Decision.

Gateway answers, customer actions and timers are all happenings. There is no I/O here; the time
comes in as a parameter. The rules that keep a payment from being charged twice:

- an attempt is sent again only under its own key, within SAME_KEY_WINDOW of its opening;
- a new attempt opens only after the gateway said that the old one can take no money any more;
- an unknown outcome locks the payment until the gateway's truth is known.
"""

from datetime import datetime, timedelta
from typing import Final, Literal, assert_never

from strongroom.payments.late import answered_late, answered_while_frozen
from strongroom.payments.states import (
    AT_END,
    ActionRequired,
    Answered,
    Approved,
    AttemptState,
    Canceled,
    CancelObject,
    Closing,
    CustomerReturned,
    Decision,
    Declined,
    Due,
    Effect,
    Happening,
    InstrumentBrought,
    Leave,
    Look,
    Mismatched,
    NotPossible,
    NotSent,
    Open,
    Payment,
    Pending,
    Rest,
    Schedule,
    Send,
    Status,
    Unknown,
)

SAME_KEY_WINDOW: Final = timedelta(hours=20)
"""Stripe may forget a key after 24 h (docs.stripe.com/api/idempotent_requests)."""
ATTEMPTS_MAX: Final = 20
HAS_ATTEMPT: Final[frozenset[Status]] = frozenset({"requires_action", "outcome_unknown"})
RESENDS_MAX: Final = 3
RETRY_SECONDS: Final = (1, 2, 4, 8, 15, 30)
"""Waits between looks and sends; the last one repeats."""
POLL_SECONDS: Final = (1, 1, 2, 2, 3, 5, 8, 15)
"""Waits between looks at a payment whose customer has something to do."""


def decide(payment: Payment, happening: Happening, now: datetime) -> Decision:
    """What becomes of `payment`, and what is to be done next.

    Raises NotPossible when a caller asks for what the status does not allow.
    """
    match happening:
        case InstrumentBrought():
            return _instrument_brought(payment, happening, now)
        case CustomerReturned():
            return _customer_returned(payment, now)
        case Due():
            return _due(payment, happening, now)
        case Answered():
            return _answered(payment, happening, now)
    assert_never(happening)


def _instrument_brought(payment: Payment, brought: InstrumentBrought, now: datetime) -> Decision:
    if payment.status != "requires_payment_method" or payment.review:
        raise NotPossible("payment_has_an_instrument")
    if now >= payment.not_after:
        raise NotPossible("not_after_passed")
    changed = payment.changed(
        now,
        status="processing",
        gateway=brought.gateway,
        gateway_account_id=brought.gateway_account_id,
        instrument_token=brought.token,
        return_url=brought.return_url or payment.return_url,
    )
    return Decision(changed, Schedule(now), "payment.instrument_brought")


def _customer_returned(payment: Payment, now: datetime) -> Decision:
    match payment.status:
        case "requires_action":
            return Decision(payment, Schedule(now))
        case "processing" | "outcome_unknown":
            return Decision(payment, Leave())
        case "requires_payment_method":
            raise NotPossible("instrument_missing")
        case "authorized" | "succeeded" | "failed" | "canceled":
            raise NotPossible("payment_is_over")
    assert_never(payment.status)


def _due(payment: Payment, due: Due, now: datetime) -> Decision:
    if payment.review:
        return Decision(payment, Rest())
    unread = due.attempt is None and payment.status not in AT_END
    if unread and (payment.closing or payment.status in HAS_ATTEMPT):
        return Decision(payment, Schedule(now))  # its attempt was not read: nothing can be said
    in_time = now < payment.not_after
    match payment.status:
        case "requires_payment_method":
            if in_time:
                return Decision(payment, Schedule(payment.not_after))
            return _end(payment, now, "canceled", "no_instrument_in_time", None)
        case "processing":
            return _due_while_processing(payment, due, now)
        case "requires_action":
            if in_time:
                return Decision(payment, Look())
            return _close(payment, now, "canceled", "action_not_taken", None, CancelObject())
        case "outcome_unknown":
            return Decision(payment, Look())
        case "authorized" | "succeeded" | "failed" | "canceled":
            return Decision(payment, Rest())
    assert_never(payment.status)


def _due_while_processing(payment: Payment, due: Due, now: datetime) -> Decision:
    attempt = due.attempt
    in_time = now < payment.not_after
    if attempt is None:
        # The attempt that counts was not opened yet, and those before it can take no money.
        if not in_time:
            return _end(payment, now, "canceled", "not_sent_in_time", None)
        if payment.attempt_no > ATTEMPTS_MAX:
            return _end(payment, now, "failed", "gateway_unavailable", None)
        return Decision(payment, Open(payment.attempt_no))
    never_confirmed = attempt.staged and attempt.gateway_object_id is None
    if payment.closing:
        if never_confirmed:
            # No id is committed while a payment is closing, so nothing is there to be canceled.
            return _closed(payment, payment.closing, now, "not_sent")
        return Decision(payment, CancelObject())
    if never_confirmed:
        # Without a committed id it was never confirmed, and never will be.
        if in_time:
            return Decision(payment, Send())
        return _end(payment, now, "canceled", "not_sent_in_time", "not_sent")
    # Opened earlier, by a sender that lost its lease or died: it may have been sent.
    return Decision(payment, Look())


def _answered(payment: Payment, answered: Answered, now: datetime) -> Decision:
    if answered.attempt.attempt_no != payment.attempt_no or payment.status in AT_END:
        return answered_late(payment, answered, now)
    if payment.review:
        return answered_while_frozen(payment, answered, now)
    return _answered_in_time(payment, answered, now)


def _answered_in_time(payment: Payment, answered: Answered, now: datetime) -> Decision:
    answer = answered.answer
    match answer:
        case Approved():
            return _approved(payment, answer, now)
        case Declined():
            if answer.object_open or answered.attempt.staged:  # by another sender, perhaps
                return _close(payment, now, "failed", answer.decline, answer, Schedule(now), "open")
            return _end(payment, now, "failed", answer.decline, "declined", answer)
        case ActionRequired():
            return _action_required(payment, answer, answered, now)
        case Pending():
            if payment.status == "processing" or payment.closing:
                return Decision(payment, _later(answered, now))
            changed = payment.changed(
                now, status="processing", status_reason=None, next_action=None
            )
            return Decision(changed, _later(answered, now), "payment.processing", "open")
        case Canceled():
            return _canceled(payment, now)
        case NotSent():
            return _not_sent(payment, answer, answered, now)
        case Unknown():
            return _unknown(payment, answer, answered, now)
        case Mismatched():
            return _frozen(payment, now, "amount_mismatch")
    assert_never(answer)


def _approved(payment: Payment, answer: Approved, now: datetime) -> Decision:
    if (answer.amount_minor, answer.currency) != (payment.amount_minor, payment.currency):
        return _frozen(payment, now, "amount_mismatch")
    changed = payment.changed(
        now,
        status="succeeded",
        status_reason=None,
        captured_minor=answer.amount_minor,
        closing=None,
        closing_reason=None,
        next_action=None,
    )
    return Decision(changed, Rest(), "payment.succeeded", "approved")


def _frozen(payment: Payment, now: datetime, review: str) -> Decision:
    """Nothing runs for the payment any more until a person has looked."""
    changed = payment.changed(now, status="outcome_unknown", review=review, next_action=None)
    return Decision(changed, Rest(), "payment.frozen", "unknown")


def _action_required(
    payment: Payment, answer: ActionRequired, answered: Answered, now: datetime
) -> Decision:
    if payment.closing:
        return Decision(payment, _later(answered, now))
    if payment.status == "requires_action":
        return Decision(payment, _poll(payment, answered.tries, now))
    changed = payment.changed(
        now, status="requires_action", status_reason=None, next_action=answer.next_action
    )
    return Decision(changed, _poll(payment, 0, now), "payment.action_required", "action_required")


def _canceled(payment: Payment, now: datetime) -> Decision:
    if payment.closing is None:
        return _end(payment, now, "canceled", "canceled_at_gateway", "canceled")
    return _closed(payment, payment.closing, now, "canceled")


def _closed(
    payment: Payment, closing: Closing, now: datetime, attempt_state: AttemptState
) -> Decision:
    """The attempt can take no money any more, so the payment becomes what it was closing for."""
    match closing:
        case "failed":
            reason = payment.closing_reason or "generic_decline"
            return _end(payment, now, "failed", reason, "declined")
        case "canceled":
            reason = payment.closing_reason or "canceled_at_gateway"
            return _end(payment, now, "canceled", reason, attempt_state)
        case "new_attempt":
            changed = payment.changed(
                now,
                status="processing",
                status_reason=payment.closing_reason,
                closing=None,
                closing_reason=None,
                attempt_no=payment.attempt_no + 1,
            )
            return Decision(changed, Schedule(now), "attempt.abandoned", attempt_state)
    assert_never(closing)


def _not_sent(payment: Payment, answer: NotSent, answered: Answered, now: datetime) -> Decision:
    attempt = answered.attempt
    same_key = not answer.fresh_key and now - attempt.opened_at < SAME_KEY_WINDOW
    if payment.closing or payment.status == "requires_action":
        return Decision(payment, _later(answered, now))
    if attempt.gateway_object_id is None:
        if attempt.staged and same_key:
            return Decision(payment, _later(answered, now))
        if attempt.staged:
            # Another sender may have got further meanwhile: what is committed decides.
            return _close(payment, now, "new_attempt", answer.why, None, _later(answered, now))
        changed = payment.changed(
            now,
            status="processing",
            status_reason=answer.why,
            attempt_no=payment.attempt_no + 1,
        )
        return Decision(changed, _later(answered, now), "attempt.abandoned", "not_sent")
    if now >= payment.not_after:
        return _close(payment, now, "canceled", "not_sent_in_time", None, CancelObject())
    if not same_key or (payment.status == "outcome_unknown" and answered.tries > RESENDS_MAX):
        # Not by this key: what the gateway stored under it would only be repeated.
        return _close(payment, now, "new_attempt", answer.why, None, CancelObject())
    if answered.asked != "look":
        return Decision(payment, _later(answered, now))
    # Looked at just now and untouched: send it again, under its own key.
    if payment.status == "outcome_unknown":
        changed = payment.changed(now, status="processing", status_reason=None)
        return Decision(changed, Send(), "payment.processing", "open")
    return Decision(payment, Send())


def _unknown(payment: Payment, answer: Unknown, answered: Answered, now: datetime) -> Decision:
    if payment.closing or payment.status in ("requires_action", "outcome_unknown"):
        return Decision(payment, _later(answered, now))
    if answered.attempt.staged and answered.attempt.gateway_object_id is None:
        # There is no object to look at, so no look would ever end this.
        return _frozen(payment, now, answer.why)
    changed = payment.changed(now, status="outcome_unknown", status_reason="no_answer_from_gateway")
    return Decision(changed, _later(answered, now), "payment.outcome_unknown", "unknown")


def _close(
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


def _end(
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
    )
    return Decision(
        changed,
        Rest(release=True),
        "payment." + status,
        attempt_state,
        answer.decline if answer else None,
        answer.raw_code if answer else None,
    )


def _later(answered: Answered, now: datetime) -> Schedule:
    step = RETRY_SECONDS[min(answered.tries, len(RETRY_SECONDS)) - 1] if answered.tries else 0
    return Schedule(now + timedelta(seconds=step))


def _poll(payment: Payment, tries: int, now: datetime) -> Schedule:
    step = POLL_SECONDS[min(tries, len(POLL_SECONDS) - 1)]
    return Schedule(min(now + timedelta(seconds=step), max(payment.not_after, now)))

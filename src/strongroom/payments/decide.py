"""The one pure function that moves a payment: decide(payment, happening, now) → Decision.

Gateway answers, customer actions and timers are all happenings. There is no I/O here; the time
comes in as a parameter. The rules that keep a payment from being charged twice:

- an attempt is sent again only under its own key, within SAME_KEY_WINDOW of its opening;
- a new attempt opens only after the gateway said that the old one can take no money any more;
- what holds money is captured or canceled, once, on the gateway's word (holds.py);
- an unknown outcome locks the payment until the gateway's truth is known.
"""

from datetime import datetime, timedelta
from typing import Final, assert_never

from msgspec.structs import replace

from strongroom.payments.asked import (
    cancel_asked,
    capture_asked,
    customer_returned,
    instrument_brought,
)
from strongroom.payments.declines import may_go_elsewhere
from strongroom.payments.holds import answered_while_held, captured, hold_begun, is_held
from strongroom.payments.late import answered_late, answered_while_frozen
from strongroom.payments.moves import (
    REPLACED,
    RESTING,
    RETRY_SECONDS,
    after_rest,
    close,
    end,
    freeze,
    go_elsewhere,
    is_away,
    later,
    refusal_of,
    rest,
)
from strongroom.payments.sales import (
    is_believed,
    is_settling,
    sale_not_answered,
    sale_unknown,
    settling,
)
from strongroom.payments.states import (
    FINAL,
    ActionRequired,
    Answered,
    Approved,
    AttemptState,
    Authorized,
    CancelAsked,
    Canceled,
    CancelObject,
    CaptureAsked,
    CaptureHold,
    Closing,
    CustomerReturned,
    Decision,
    Declined,
    Due,
    Happening,
    InstrumentBrought,
    Look,
    Mismatched,
    NotSent,
    NotShown,
    Open,
    Payment,
    Pending,
    Rest,
    Schedule,
    Send,
    Status,
    Unknown,
    Withheld,
)

SAME_KEY_WINDOW: Final = timedelta(hours=20)
"""Stripe may forget a key after 24 h (docs.stripe.com/api/idempotent_requests)."""
ATTEMPTS_MAX: Final = 20
HAS_ATTEMPT: Final[frozenset[Status]] = frozenset({"requires_action", "outcome_unknown"})
CLOSING_OF_ATTEMPT: Final[frozenset[Closing]] = frozenset({"failed", "new_attempt"})
"""A payment closes for these by an attempt's answer only; for a cancel it need not have one."""
RESENDS_MAX: Final = 3
WAITS_BEFORE_ASKING: Final = 4
"""Claims, about a quarter of a minute, before a customer is asked for an instrument elsewhere."""
POLL_SECONDS: Final = (1, 1, 2, 2, 3, 5, 8, 15)
"""Waits between looks at a payment whose customer has something to do."""


def decide(payment: Payment, happening: Happening, now: datetime) -> Decision:
    """What becomes of `payment`, and what is to be done next.

    Raises NotPossible when a caller asks for what the status does not allow.
    """
    match happening:
        case InstrumentBrought():
            return instrument_brought(payment, happening, now)
        case CustomerReturned():
            return customer_returned(payment, now)
        case CaptureAsked():
            return capture_asked(payment, happening, now)
        case CancelAsked():
            return cancel_asked(payment, now)
        case Due():
            return _due(payment, happening, now)
        case Answered():
            return _answered(payment, happening, now)
    assert_never(happening)


def _due(payment: Payment, due: Due, now: datetime) -> Decision:
    if payment.review:
        return Decision(payment, Rest())
    if due.attempt is None and _has_attempt(payment):
        # Its attempt was not read: nothing can be said.
        return Decision(payment, Schedule(now + timedelta(seconds=RETRY_SECONDS[-1])))
    in_time = now < payment.not_after
    match payment.status:
        case "requires_payment_method":
            if in_time:
                return Decision(payment, Schedule(payment.not_after))
            if payment.decline is not None:
                return end(payment, now, "failed", payment.decline.decline, None)
            return end(payment, now, "canceled", "no_instrument_in_time", None)
        case "processing":
            return _due_while_processing(payment, due, now)
        case "requires_action":
            if in_time:
                return Decision(payment, Look())
            return close(payment, now, "canceled", "action_not_taken", None, CancelObject())
        case "outcome_unknown" | "authorized":
            return Decision(payment, Look())
        case "succeeded" if due.attempt is not None and not due.attempt.staged:
            return Decision(payment, Look())
        case "succeeded" | "failed" | "canceled":
            return Decision(payment, Rest())
    assert_never(payment.status)


def _has_attempt(payment: Payment) -> bool:
    return (
        is_held(payment) or payment.status in HAS_ATTEMPT or (payment.closing in CLOSING_OF_ATTEMPT)
    )


def _due_while_processing(payment: Payment, due: Due, now: datetime) -> Decision:
    attempt = due.attempt
    in_time = now < payment.not_after
    if payment.closing and attempt is None:
        return _closed(payment, payment.closing, now, None)
    if attempt is None:
        # The attempt that counts was not opened yet, and those before it can take no money.
        if not in_time:
            return end(payment, now, "canceled", "not_sent_in_time", None)
        if payment.attempt_no > ATTEMPTS_MAX and due.staged:
            return end(payment, now, "failed", "gateway_unavailable", None)
        if due.resting:
            return _resting(payment, due, now)
        return Decision(payment, Open(payment.attempt_no))
    never_confirmed = attempt.staged and attempt.gateway_object_id is None
    if payment.closing:
        if never_confirmed:
            # No id is committed while a payment is closing, so nothing is there to be canceled.
            return _closed(payment, payment.closing, now, "not_sent")
        return Decision(payment, CancelObject())
    if payment.capture_minor is not None:
        return Decision(payment, CaptureHold())
    if never_confirmed:
        # Without a committed id it was never confirmed, and never will be.
        if in_time:
            return Decision(payment, Send())
        return end(payment, now, "canceled", "not_sent_in_time", "not_sent")
    # Opened earlier, by a sender that lost its lease or died: it may have been sent.
    return Decision(payment, Look())


def _resting(payment: Payment, due: Due, now: datetime) -> Decision:
    """Nothing was sent, and its account is not asked for now: it goes elsewhere, or waits."""
    if any(way.token is not None for way in payment.ways):
        return go_elsewhere(payment, now, RESTING)
    if payment.ways and due.tries > WAITS_BEFORE_ASKING:
        return go_elsewhere(payment, now, RESTING)
    return rest(payment, now, _within(payment, after_rest(str(payment.payment_id), due.tries, now)))


def _answered(payment: Payment, answered: Answered, now: datetime) -> Decision:
    if is_settling(payment, answered):
        return settling(payment, answered, now)
    if answered.attempt.attempt_no != payment.attempt_no or payment.status in FINAL:
        return answered_late(payment, answered, now)
    if payment.review:
        return answered_while_frozen(payment, answered, now)
    if is_held(payment) and not payment.closing:
        return answered_while_held(payment, answered, now)
    return _answered_in_time(payment, answered, now)


def _answered_in_time(payment: Payment, answered: Answered, now: datetime) -> Decision:
    answer = answered.answer
    match answer:
        case Approved():
            return captured(payment, answer, answered, now)
        case Authorized():
            return hold_begun(payment, answer, answered, now)
        case Declined():
            return _declined(payment, answer, answered, now)
        case ActionRequired():
            return _action_required(payment, answer, answered, now)
        case Pending():
            waits = payment.status == "processing" or payment.closing
            if waits or not answered.attempt.staged:
                return Decision(payment, later(answered, now))
            changed = payment.changed(
                now, status="processing", status_reason=None, next_action=None
            )
            return Decision(changed, later(answered, now), "payment.processing", "open")
        case Canceled():
            return _canceled(payment, answer, now)
        case NotSent() | Withheld() | Unknown() | NotShown():
            return _nothing_learnt(payment, answer, answered, now)
        case Mismatched():
            return freeze(payment, now, "amount_mismatch")
    assert_never(answer)


def _declined(payment: Payment, answer: Declined, answered: Answered, now: datetime) -> Decision:
    if answered.asked == "capture":
        return Decision(payment, later(answered, now))  # of a hold that is being given up
    if not answered.attempt.staged and not is_believed(payment, answered):
        return sale_unknown(payment, "refused_again", answered, now)
    if payment.closing and answered.call.object_id is None and not answered.attempt.staged:
        return Decision(payment, later(answered, now))  # what is being closed is another's object
    is_known = payment.closing == "failed" or payment.closing_reason == REPLACED
    if is_known and answer.object_open:
        return Decision(payment, later(answered, now))  # it is being canceled for good reason
    elsewhere = _goes_elsewhere(payment, answer, now)
    if answer.object_open or answered.attempt.staged:  # by another sender, perhaps
        closing: Closing = "new_attempt" if elsewhere else "failed"
        return close(payment, now, closing, answer.decline, answer, Schedule(now), "open")
    if elsewhere:
        refused = replace(payment, decline=refusal_of(payment, answer))
        moved = go_elsewhere(refused, now, answer.decline, "declined")
        return replace(moved, decline=answer.decline, raw_code=answer.raw_code)
    return end(payment, now, "failed", answer.decline, "declined", answer)


def _goes_elsewhere(payment: Payment, answer: Declined, now: datetime) -> bool:
    """Whether a decline is not the end: another way is left, and time, and nobody wants it over.

    The bank of a customer who was away may want to see the customer: it waits for that.
    """
    is_wanted = payment.closing in (None, "new_attempt") and now < payment.not_after
    if answer.decline == "authentication_required" and is_away(payment):
        return is_wanted
    return is_wanted and bool(payment.ways) and may_go_elsewhere(answer)


def _action_required(
    payment: Payment, answer: ActionRequired, answered: Answered, now: datetime
) -> Decision:
    if payment.closing:
        return Decision(payment, later(answered, now))
    if payment.status == "requires_action":
        return Decision(payment, _poll(payment, answered.tries, now))
    changed = payment.changed(
        now, status="requires_action", status_reason=None, next_action=answer.next_action
    )
    return Decision(changed, _poll(payment, 0, now), "payment.action_required", "action_required")


def _canceled(payment: Payment, answer: Canceled, now: datetime) -> Decision:
    if payment.closing is None:
        reason = "authorization_expired" if answer.expired else "canceled_at_gateway"
        return end(payment, now, "canceled", reason, "canceled")
    return _closed(payment, payment.closing, now, "canceled")


def _closed(
    payment: Payment, closing: Closing, now: datetime, attempt_state: AttemptState | None
) -> Decision:
    """The attempt can take no money any more, so the payment becomes what it was closing for."""
    match closing:
        case "failed":
            reason = payment.closing_reason or "generic_decline"
            state: AttemptState | None = None if attempt_state is None else "declined"
            return end(payment, now, "failed", reason, state)
        case "canceled":
            reason = payment.closing_reason or "canceled_at_gateway"
            return end(payment, now, "canceled", reason, attempt_state)
        case "new_attempt" if _was_declined(payment) or payment.closing_reason == REPLACED:
            state = "declined" if _was_declined(payment) else attempt_state or "canceled"
            return go_elsewhere(payment, now, payment.closing_reason or "declined", state)
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


def _nothing_learnt(
    payment: Payment,
    answer: NotSent | Withheld | Unknown | NotShown,
    answered: Answered,
    now: datetime,
) -> Decision:
    if not answered.attempt.staged:
        return sale_not_answered(payment, answer, answered, now)
    match answer:
        case NotSent():
            return _not_sent(payment, answer, answered, now)
        case Withheld():
            return _withheld(payment, answer, answered, now)
        case Unknown():
            return _unknown(payment, answer, answered, now)
        case NotShown():  # its object is asked for by id
            return Decision(payment, later(answered, now))
    assert_never(answer)


def _was_declined(payment: Payment) -> bool:
    """Whether the attempt that counts was declined, and closes so that another may be made."""
    return payment.decline is not None and payment.decline.attempt_no == payment.attempt_no


def _not_sent(payment: Payment, answer: NotSent, answered: Answered, now: datetime) -> Decision:
    attempt = answered.attempt
    same_key = not answer.fresh_key and now - attempt.opened_at < SAME_KEY_WINDOW
    if payment.closing or payment.status == "requires_action":
        return Decision(payment, later(answered, now))
    if attempt.gateway_object_id is None:
        if same_key:
            return Decision(payment, later(answered, now))
        # Another sender may have got further meanwhile: what is committed decides.
        return close(payment, now, "new_attempt", answer.why, None, later(answered, now))
    if now >= payment.not_after:
        return close(payment, now, "canceled", "not_sent_in_time", None, CancelObject())
    if not same_key or (payment.status == "outcome_unknown" and answered.tries > RESENDS_MAX):
        # Not by this key: what the gateway stored under it would only be repeated.
        return close(payment, now, "new_attempt", answer.why, None, CancelObject())
    if answered.asked != "look":
        return Decision(payment, later(answered, now))
    # Looked at just now and untouched: send it again, under its own key.
    if payment.status == "outcome_unknown":
        changed = payment.changed(now, status="processing", status_reason=None)
        return Decision(changed, Send(), "payment.processing", "open")
    return Decision(payment, Send())


def _withheld(payment: Payment, answer: Withheld, answered: Answered, now: datetime) -> Decision:
    """Nothing was learnt. What was never sent either leaves no doubt behind when it waits."""
    if not answer.first or payment.closing or payment.status != "processing":
        return Decision(payment, later(answered, now))
    # Its object takes no money before it is confirmed, and a claim finds out about that.
    return rest(payment, now, _within(payment, later(answered, now)))


def _within(payment: Payment, planned: Schedule) -> Schedule:
    """Not after the moment at which the payment ends when nothing is sent."""
    return Schedule(min(planned.run_at, payment.not_after))


def _unknown(payment: Payment, answer: Unknown, answered: Answered, now: datetime) -> Decision:
    if payment.closing or payment.status in ("requires_action", "outcome_unknown"):
        return Decision(payment, later(answered, now))
    if answered.attempt.gateway_object_id is None:
        # There is no object to look at, so no look would ever end this.
        return freeze(payment, now, answer.why)
    changed = payment.changed(now, status="outcome_unknown", status_reason="no_answer_from_gateway")
    return Decision(changed, later(answered, now), "payment.outcome_unknown", "unknown")


def _poll(payment: Payment, tries: int, now: datetime) -> Schedule:
    step = POLL_SECONDS[min(tries, len(POLL_SECONDS) - 1)]
    return Schedule(min(now + timedelta(seconds=step), max(payment.not_after, now)))

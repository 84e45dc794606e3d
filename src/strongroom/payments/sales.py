"""Attempts whose one call moves money, and which are looked up by our reference. Pure, a part of
`decide`.

Nothing is at the gateway before such a call, so what is not known cannot be asked by an id. Its
rules, beside those of `decide`:

- that nothing was sent, or that it was refused without an object, is believed of the first send
  only, and only while nobody can have sent it again;
- what certainly was not sent leaves no trace: it is tried until `not_after`, by attempts that come
  less and less often;
- it is sent again under its own key only from `outcome_unknown`, which is committed before;
- that the gateway shows nothing proves nothing: after SAME_KEY_WINDOW a person has to look;
- money that was taken may still fall through, and nobody tells: it is looked at until it settled.
"""

from datetime import datetime, timedelta
from typing import Final, assert_never

from strongroom.payments.late import answered_late
from strongroom.payments.moves import RESTING, end, freeze, later
from strongroom.payments.states import (
    ActionRequired,
    Answered,
    Approved,
    Authorized,
    Canceled,
    Decision,
    Declined,
    Effect,
    Mismatched,
    NotSent,
    NotShown,
    Payment,
    Pending,
    Rest,
    Schedule,
    Send,
    Unknown,
    Withheld,
)

SAME_KEY_WINDOW: Final = timedelta(hours=20)
"""Well within the 30 days that Braintree remembers a key, and as for every other gateway."""
RARELY_MAX: Final = timedelta(hours=1)
"""What has long been tried in vain waits this long at most."""
AGES_PART: Final = 8
"""What is not shown is looked for again after this part of the time since it was opened, so that
the window needs some sixty looks and not thousands."""
QUICK_ATTEMPTS: Final = 20
NOT_SENT_WAIT: Final = timedelta(seconds=30)
"""By how much longer each attempt past the quick ones waits, where nothing was sent: a gateway, or
a worker, that is busy for a day costs a payment some seventy attempts."""
NOT_FOUND: Final = "not_found_at_gateway"
SETTLEMENT_DECLINED: Final = "settlement_declined"
VOIDED: Final = "voided_at_gateway"
NOT_SETTLED: Final = "not_settled_in_time"
SETTLES_WITHIN: Final = timedelta(days=45)
"""From the attempt's opening, with a hold before it; what takes longer is for a person."""
SETTLING_SECONDS: Final = (60, 600, 3600, 4 * 3600)
"""Waits between looks at money that was taken and has not settled; the last one repeats."""
FOR_A_PERSON: Final = frozenset(
    {"idempotency_mismatch", "several_at_gateway", "taken_unauthenticated"}
)
"""Unknown for reasons that no further look can clear."""


def is_settling(payment: Payment, answered: Answered) -> bool:
    """Whether this is a look at money that was taken by the attempt that counts."""
    attempt = answered.attempt
    return (
        payment.status == "succeeded"
        and payment.review is None
        and not attempt.staged
        and attempt.attempt_no == payment.attempt_no
        and answered.asked == "look"
    )


def settles_later(now: datetime, tries: int = 0) -> Schedule:
    """When it is looked at again."""
    step = SETTLING_SECONDS[min(tries, len(SETTLING_SECONDS) - 1)]
    return Schedule(now + timedelta(seconds=step))


def settling(payment: Payment, answered: Answered, now: datetime) -> Decision:
    """What a look at money that was taken means, of which `is_settling` holds."""
    answer = answered.answer
    match answer:
        case Approved(amount_minor, currency, settled):
            if (amount_minor, currency) != (payment.captured_minor, payment.currency):
                return answered_late(payment, answered, now)
            return Decision(payment, Rest()) if settled else _look_again(payment, answered, now)
        case Declined():
            return _fell_through(payment, SETTLEMENT_DECLINED, now, answer)
        case Canceled():
            if payment.refunded_minor == payment.captured_minor:  # by ours, which was a void then
                return Decision(payment, Rest())
            if payment.left_minor == 0:  # by ours, or not: what is under way has to say so first
                return _look_again(payment, answered, now)
            return _fell_through(payment, VOIDED, now)
        case Mismatched():
            return answered_late(payment, answered, now)
        case Authorized() | ActionRequired() | Pending() | NotSent() | Withheld():
            return _look_again(payment, answered, now)
        case Unknown() | NotShown():
            return _look_again(payment, answered, now)
    assert_never(answer)


def _look_again(payment: Payment, answered: Answered, now: datetime) -> Decision:
    if now - answered.attempt.opened_at >= SETTLES_WITHIN:
        return _fell_through(payment, NOT_SETTLED, now)
    return Decision(payment, settles_later(now, answered.tries))


def _fell_through(
    payment: Payment, review: str, now: datetime, answer: Declined | None = None
) -> Decision:
    """The money that was called taken is not: nothing is undone by a machine."""
    return Decision(
        payment.changed(now, review=review),
        Rest(),
        "payment.frozen",
        None,
        answer.decline if answer else None,
        answer.raw_code if answer else None,
    )


def sale_not_answered(
    payment: Payment,
    answer: NotSent | Withheld | Unknown | NotShown,
    answered: Answered,
    now: datetime,
) -> Decision:
    """What it means that the gateway said nothing of the attempt's object."""
    match answer:
        case NotSent(why):
            return _not_sent(payment, why, answered, now)
        case Withheld():
            return _not_sent(payment, RESTING, answered, now)
        case Unknown(why):
            return sale_unknown(payment, why, answered, now)
        case NotShown():
            return _not_shown(payment, answered, now)
    assert_never(answer)


def _not_sent(payment: Payment, why: str, answered: Answered, now: datetime) -> Decision:
    """Certainly nothing left, this time: the attempt is given up if it never had been sent."""
    if not _is_first_word(payment, answered):
        return Decision(payment, later(answered, now))
    if payment.closing == "canceled":
        reason = payment.closing_reason or "canceled_at_gateway"
        return end(payment, now, "canceled", reason, "not_sent")
    if payment.closing:
        return Decision(payment, later(answered, now))
    changed = payment.changed(
        now, status="processing", status_reason=why, attempt_no=payment.attempt_no + 1
    )
    wait = max(0, changed.attempt_no - QUICK_ATTEMPTS) * NOT_SENT_WAIT
    again = _rarely(answered, now, min(wait, payment.not_after - now))
    return Decision(changed, again, "attempt.abandoned", "not_sent")


def is_believed(payment: Payment, answered: Answered) -> bool:
    """Whether a decline is the attempt's: it names the gateway's object, or nobody sent before."""
    return answered.call.object_id is not None or _is_first_word(payment, answered)


def _is_first_word(payment: Payment, answered: Answered) -> bool:
    """Whether nobody can have sent the attempt again.

    Who does has written `outcome_unknown` before, which is left for `processing` only once the
    gateway has shown the object, or held the money.
    """
    return (
        answered.first
        and answered.attempt.gateway_object_id is None
        and payment.status == "processing"
        and payment.capture_before is None
    )


def sale_unknown(payment: Payment, why: str, answered: Answered, now: datetime) -> Decision:
    """Nobody can say whether the call moved money."""
    if why in FOR_A_PERSON:
        return freeze(payment, now, why)
    if payment.closing or payment.status == "outcome_unknown":
        return Decision(payment, later(answered, now))
    return _now_unknown(payment, now, later(answered, now))


def _rarely(answered: Answered, now: datetime, wait: timedelta) -> Schedule:
    """After that wait, within RARELY_MAX, and no sooner than anything is tried again."""
    return Schedule(max(later(answered, now).run_at, now + min(wait, RARELY_MAX)))


def _not_shown(payment: Payment, answered: Answered, now: datetime) -> Decision:
    """The gateway shows no such object. Under its own key it may be sent again for a while."""
    in_window = now - answered.attempt.opened_at < SAME_KEY_WINDOW
    if not in_window:
        return freeze(payment, now, NOT_FOUND)
    rarely = _rarely(answered, now, (now - answered.attempt.opened_at) / AGES_PART)
    if payment.closing:
        return Decision(payment, rarely)
    again = answered.asked == "look" and now < payment.not_after
    effect: Effect = Send() if again else rarely
    if payment.status == "outcome_unknown":
        return Decision(payment, effect)
    return _now_unknown(payment, now, effect)


def _now_unknown(payment: Payment, now: datetime, effect: Effect) -> Decision:
    changed = payment.changed(now, status="outcome_unknown", status_reason="no_answer_from_gateway")
    return Decision(changed, effect, "payment.outcome_unknown", "unknown")

"""Rules that every decision about a payment keeps; each tells whether it had something to say."""

from datetime import datetime

from strongroom.payments.decide import ATTEMPTS_MAX, SAME_KEY_WINDOW, decide
from strongroom.payments.states import (
    FINAL,
    Answered,
    Approved,
    AtGateway,
    Attempt,
    Canceled,
    Decision,
    Declined,
    Due,
    Happening,
    InstrumentBrought,
    Mismatched,
    NotSent,
    Open,
    Payment,
    Rest,
    Schedule,
    Send,
)


def version_grows_exactly_with_change(
    before: Payment, _: Happening, now: datetime, made: Decision
) -> bool:
    if made.payment is before:
        assert made.kind is None
        assert made.attempt_state is None
        return True
    assert made.payment.version == before.version + 1
    assert made.payment.updated_at == now
    assert made.kind
    return True


def the_end_is_left_by_freezing_only(
    before: Payment, _: Happening, __: datetime, made: Decision
) -> bool:
    if before.status not in FINAL:
        return False
    assert made.payment.status == before.status
    assert made.payment.captured_minor == before.captured_minor
    assert made.payment.review == before.review or before.review is None
    assert not isinstance(made.effect, Open | AtGateway | Schedule)
    return True


def a_review_stops_everything(before: Payment, _: Happening, __: datetime, made: Decision) -> bool:
    if before.review is None:
        return False
    assert made.payment.review == before.review
    assert made.payment.status in (before.status, "outcome_unknown")
    assert not isinstance(made.effect, Open | AtGateway)
    assert made.effect != Rest(release=True)
    return True


def a_new_attempt_needs_that_none_counts_yet(
    before: Payment, happening: Happening, __: datetime, made: Decision
) -> bool:
    if not isinstance(made.effect, Open):
        return False
    assert isinstance(happening, Due)
    assert happening.attempt is None
    assert (before.status, before.closing, before.review) == ("processing", None, None)
    assert made.payment is before
    assert made.effect.attempt_no == before.attempt_no <= ATTEMPTS_MAX
    return True


def the_number_rises_only_past_a_closed_attempt(
    before: Payment, happening: Happening, _: datetime, made: Decision
) -> bool:
    if made.payment.attempt_no == before.attempt_no:
        assert made.kind != "attempt.abandoned"
        return False
    assert made.payment.attempt_no == before.attempt_no + 1
    assert made.kind == "attempt.abandoned"
    assert (made.payment.status, made.payment.closing) == ("processing", None)
    assert isinstance(made.effect, Schedule)
    match happening:
        case Answered(attempt=one, answer=Canceled()):
            assert before.closing == "new_attempt"
            assert made.attempt_state == "canceled"
        case Answered(attempt=one, answer=NotSent()):
            assert not one.staged
            assert one.gateway_object_id is None
            assert made.attempt_state == "not_sent"
        case Due(attempt=one) if one is not None:
            assert before.closing == "new_attempt"
            assert one.staged
            assert one.gateway_object_id is None
            assert made.attempt_state == "not_sent"
        case _:
            raise AssertionError(happening)
    if isinstance(happening, Answered):
        assert one.attempt_no == before.attempt_no
    return True


def nothing_is_sent_too_late(before: Payment, _: Happening, now: datetime, made: Decision) -> bool:
    if not isinstance(made.effect, Send | Open):
        return False
    assert now < before.not_after
    return True


def sent_again_only_under_the_same_key(
    before: Payment, happening: Happening, now: datetime, made: Decision
) -> bool:
    if not isinstance(made.effect, Send) or not isinstance(happening, Answered):
        return False
    assert now - happening.attempt.opened_at < SAME_KEY_WINDOW
    assert happening.asked == "look"
    assert happening.attempt.attempt_no == before.attempt_no == made.payment.attempt_no
    return True


def a_freed_reference_can_charge_no_more(
    _: Payment, __: Happening, ___: datetime, made: Decision
) -> bool:
    if made.effect != Rest(release=True):
        return False
    assert made.payment.status in ("failed", "canceled")
    assert made.payment.review is None
    assert made.payment.captured_minor == 0
    return True


def may_be_taken(payment: Payment, amount_minor: int, of: Attempt) -> bool:
    """Whether an answer that so much was taken is what was wanted."""
    if payment.status == "succeeded":
        return amount_minor == payment.captured_minor
    if payment.capture == "manual" and payment.capture_minor is None:
        by_someone_at_the_gateway = 0 < amount_minor <= payment.amount_minor
        return of.kind == "authorize" and by_someone_at_the_gateway
    return amount_minor == (payment.capture_minor or payment.amount_minor)


def money_is_captured_by_success_only(
    before: Payment, happening: Happening, __: datetime, made: Decision
) -> bool:
    if made.payment.captured_minor == before.captured_minor:
        return False
    assert isinstance(happening, Answered)
    assert isinstance(happening.answer, Approved)
    assert (before.captured_minor, before.status in FINAL) == (0, False)
    assert made.payment.status == "succeeded"
    assert made.payment.captured_minor == happening.answer.amount_minor
    assert may_be_taken(before, made.payment.captured_minor, happening.attempt)
    return True


def failed_and_canceled_need_proof(
    before: Payment, happening: Happening, now: datetime, made: Decision
) -> bool:
    if before.status in FINAL or made.payment.status not in ("failed", "canceled"):
        return False
    match happening:
        case Answered(answer=Canceled()):
            pass
        case Due(attempt=None):
            assert before.status in ("processing", "requires_payment_method")
            over = now >= before.not_after or before.attempt_no > ATTEMPTS_MAX
            assert before.closing == "canceled" or (before.closing is None and over)
        case Answered(answer=Declined(object_open=still_open)):
            assert not still_open
        case Due(attempt=one):
            never_confirmed = one.staged and one.gateway_object_id is None
            nothing_sent = before.status == "requires_payment_method"
            assert never_confirmed or nothing_sent
        case _:
            raise AssertionError(happening)
    assert before.status != "outcome_unknown" or isinstance(happening, Answered)
    return True


def another_amount_always_freezes(
    before: Payment, happening: Happening, _: datetime, made: Decision
) -> bool:
    match happening:
        case Answered(answer=Mismatched()):
            pass
        case Answered(answer=Approved(amount, currency), attempt=of):
            if may_be_taken(before, amount, of) and currency == before.currency:
                return False
        case _:
            return False
    assert made.payment.review
    return True


def an_instrument_moves_only_what_waits_for_one(
    before: Payment, happening: Happening, now: datetime, _: Decision
) -> bool:
    if not isinstance(happening, InstrumentBrought):
        return False
    assert before.status == "requires_payment_method"
    assert now < before.not_after
    return True


def the_same_answer_again_changes_nothing_of_money(
    _: Payment, happening: Happening, now: datetime, made: Decision
) -> bool:
    if not isinstance(happening, Answered) or not isinstance(happening.answer, Approved):
        return False
    again = decide(made.payment, happening, now).payment
    assert again.status == made.payment.status
    assert again.captured_minor == made.payment.captured_minor
    assert again.review == made.payment.review
    return True


RULES = (
    version_grows_exactly_with_change,
    the_end_is_left_by_freezing_only,
    a_review_stops_everything,
    a_new_attempt_needs_that_none_counts_yet,
    the_number_rises_only_past_a_closed_attempt,
    nothing_is_sent_too_late,
    sent_again_only_under_the_same_key,
    a_freed_reference_can_charge_no_more,
    money_is_captured_by_success_only,
    failed_and_canceled_need_proof,
    another_amount_always_freezes,
    an_instrument_moves_only_what_waits_for_one,
    the_same_answer_again_changes_nothing_of_money,
)

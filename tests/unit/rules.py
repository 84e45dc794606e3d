"""Rules that every decision about a payment keeps; each tells whether it had something to say."""

from datetime import datetime

from strongroom.payments.decide import ATTEMPTS_MAX, SAME_KEY_WINDOW, decide
from strongroom.payments.declines import may_go_elsewhere
from strongroom.payments.moves import REPLACED
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
    Look,
    Mismatched,
    NotSent,
    Open,
    Payment,
    Rest,
    Schedule,
    Send,
    Withheld,
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
    before: Payment, happening: Happening, __: datetime, made: Decision
) -> bool:
    if before.status not in FINAL:
        return False
    assert made.payment.status == before.status
    assert made.payment.captured_minor == before.captured_minor
    assert made.payment.review == before.review or before.review is None
    if isinstance(made.effect, Look | Schedule):
        settles_unheard(before, happening)
        return True
    assert not isinstance(made.effect, Open | AtGateway)
    return True


def settles_unheard(before: Payment, happening: Happening) -> None:
    """Of what was taken by one call nobody tells whether it settled: that alone is looked at."""
    assert (before.status, before.review) == ("succeeded", None)
    assert isinstance(happening, Due | Answered)
    assert happening.attempt is not None
    assert not happening.attempt.staged


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
    assert made.effect.attempt_no == before.attempt_no
    assert before.attempt_no <= ATTEMPTS_MAX or not happening.staged
    return True


def the_number_rises_only_past_a_closed_attempt(
    before: Payment, happening: Happening, _: datetime, made: Decision
) -> bool:
    if made.payment.attempt_no == before.attempt_no:
        assert made.kind != "attempt.abandoned"
        return False
    assert made.payment.attempt_no == before.attempt_no + 1
    elsewhere = made.kind in ("payment.rerouted", "payment.instrument_wanted")
    assert elsewhere or made.kind == "attempt.abandoned"
    wanted = "requires_payment_method" if made.kind == "payment.instrument_wanted" else "processing"
    assert (made.payment.status, made.payment.closing) == (wanted, None)
    assert isinstance(made.effect, Schedule)
    match happening:
        case Answered(attempt=one, answer=Canceled()):
            assert before.closing == "new_attempt"
            assert made.attempt_state in (("declined", "canceled") if elsewhere else ("canceled",))
        case Answered(attempt=one, answer=Declined(object_open=False)):
            assert elsewhere
            assert not one.staged
            assert made.attempt_state == "declined"
        case Answered(attempt=one, answer=NotSent() | Withheld()):
            assert not one.staged
            assert one.gateway_object_id is None
            assert made.attempt_state == "not_sent"
            assert happening.first
            assert (before.status, before.capture_before) == ("processing", None)
        case Due(attempt=one) if one is not None:
            assert before.closing == "new_attempt"
            assert one.staged
            assert one.gateway_object_id is None
            assert made.attempt_state in (("declined", "not_sent") if elsewhere else ("not_sent",))
        case _:
            raise AssertionError(happening)
    if isinstance(happening, Answered):
        assert one.attempt_no == before.attempt_no
    return True


def another_account_needs_that_the_first_is_over(
    before: Payment, happening: Happening, now: datetime, made: Decision
) -> bool:
    """And it takes a token that the instrument has there, unless the customer brings one."""
    after = made.payment
    if after.gateway_account_id == before.gateway_account_id:
        return False
    if isinstance(happening, InstrumentBrought):
        return True
    assert before.review is None
    assert before.status not in FINAL
    assert before.capture_minor is None
    if after.gateway_account_id is None:
        assert after.status == "requires_payment_method"
        assert after.instrument_token is None
        assert before.ways == after.ways
        assert not any(way.token for way in before.ways)
    else:
        taken = [way for way in before.ways if way.gateway_account_id == after.gateway_account_id]
        assert [(way.gateway, way.token) for way in taken] == [
            (after.gateway, after.instrument_token)
        ]
        assert len(after.ways) == len(before.ways) - 1
    match happening:
        case Due(attempt=None, resting=True):
            assert (before.status, before.closing) == ("processing", None)
            assert after.attempt_no == before.attempt_no
            assert now < before.not_after
        case Due(attempt=one) if one is not None:
            assert one.staged
            assert one.gateway_object_id is None
            _is_over_for_another(before)
        case Answered(answer=Canceled()):
            _is_over_for_another(before)
        case Answered(answer=Declined(object_open=False) as answer, attempt=one):
            assert not one.staged
            assert may_go_elsewhere(answer)
        case _:
            raise AssertionError(happening)
    return True


def _is_over_for_another(before: Payment) -> None:
    assert before.closing == "new_attempt"
    if before.closing_reason == REPLACED:
        return
    assert before.decline is not None
    assert before.decline.attempt_no == before.attempt_no


def a_decline_that_forbids_it_goes_nowhere(
    before: Payment, happening: Happening, now: datetime, made: Decision
) -> bool:
    if not isinstance(happening, Answered) or not isinstance(happening.answer, Declined):
        return False
    if happening.asked == "capture" or made.payment is before:
        return False
    goes_on = made.payment.closing == "new_attempt" or made.kind in (
        "payment.rerouted",
        "payment.instrument_wanted",
    )
    if goes_on and made.payment.decline != before.decline:
        assert may_go_elsewhere(happening.answer)
        assert before.ways
        assert before.closing in (None, "new_attempt")
        assert now < before.not_after
    return True


def what_is_approved_shows_no_decline(
    before: Payment, _: Happening, __: datetime, made: Decision
) -> bool:
    if made.payment.status == before.status or made.payment.review:
        return False
    if made.payment.status not in ("succeeded", "authorized"):
        return False
    assert made.payment.decline is None or before.status in FINAL or before.capture_minor
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


def what_may_have_been_sent_is_unknown_before_it_is_sent_again(
    _: Payment, happening: Happening, __: datetime, made: Decision
) -> bool:
    if not isinstance(made.effect, Send) or not isinstance(happening, Answered):
        return False
    if happening.attempt.staged:
        return False
    assert made.payment.status == "outcome_unknown"
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
            known = happening.call.object_id is not None
            nobody_else = happening.first and before.status == "processing"
            assert happening.attempt.staged or known or nobody_else
        case Answered(answer=NotSent() | Withheld(), attempt=one):
            assert not one.staged
            assert happening.first
            assert (before.closing, before.capture_before) == ("canceled", None)
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
    before: Payment, happening: Happening, now: datetime, made: Decision
) -> bool:
    if not isinstance(happening, InstrumentBrought):
        return False
    assert before.status in ("requires_payment_method", "requires_action")
    assert now < before.not_after
    # No token of the instrument that this one takes the place of is left.
    brought = {happening.token, *(way.token for way in happening.ways)}
    assert {way.token for way in made.payment.ways} <= brought | {None}
    if before.status == "requires_action":
        # What the customer may still finish is canceled first, and its account stays till then.
        assert made.payment.closing == "new_attempt"
        assert made.payment.gateway_account_id == before.gateway_account_id
        assert made.payment.attempt_no == before.attempt_no
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
    another_account_needs_that_the_first_is_over,
    a_decline_that_forbids_it_goes_nowhere,
    what_is_approved_shows_no_decline,
    nothing_is_sent_too_late,
    sent_again_only_under_the_same_key,
    what_may_have_been_sent_is_unknown_before_it_is_sent_again,
    a_freed_reference_can_charge_no_more,
    money_is_captured_by_success_only,
    failed_and_canceled_need_proof,
    another_amount_always_freezes,
    an_instrument_moves_only_what_waits_for_one,
    the_same_answer_again_changes_nothing_of_money,
)

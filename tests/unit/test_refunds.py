"""What becomes of a refund and of its payment's sums: every status against every answer."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product

import pytest
from msgspec.structs import replace

from strongroom.payments.refunds import (
    AFTER_FAILED,
    GIVEN_UP_AFTER,
    LOOKS_AFTER_SUCCESS,
    NOT_FOUND,
    REFUSED,
    SAME_KEY_WINDOW,
    UNDER_WAY_AFTER,
    Absent,
    NoneYet,
    Refund,
    RefundAnswered,
    RefundDecision,
    Refunded,
    Refused,
    Several,
    refund_answered,
    refund_asked,
    refund_due,
)
from strongroom.payments.states import (
    Leave,
    Look,
    Mismatched,
    NotPossible,
    NotSent,
    Open,
    Rest,
    Schedule,
    Send,
    Unknown,
)
from tests.unit.examples import AMOUNT, NOT_AFTER, PART, SHAPES, START, payment
from tests.unit.refund_examples import (
    ANSWERS,
    MOMENTS,
    OBJECT,
    REVIEWS,
    STATUSES,
    answered,
    payment_of,
    refund,
    sums_of,
)

SOON = START + timedelta(seconds=5)
NOT_BEFORE = SOON + UNDER_WAY_AFTER - timedelta(seconds=1)
OPEN = ("processing", "outcome_unknown")
HEARD = (("send", True), ("send", False), ("look", False))


def decided(before: Refund, answer: RefundAnswered, now: datetime = SOON) -> RefundDecision:
    return refund_answered(payment_of(before), before, answer, now)


# What holds whatever happens.


def sums_are_those_of_the_refunds(
    _: Refund, __: RefundAnswered, ___: datetime, made: RefundDecision
) -> bool:
    assert (made.payment.refunding_minor, made.payment.refunded_minor) == sums_of(made.refund)
    return True


def a_change_raises_the_version_and_says_its_kind(
    before: Refund, answer: RefundAnswered, now: datetime, made: RefundDecision
) -> bool:
    if made.kind is None:
        allowed = [before]
        if isinstance(answer.answer, NoneYet):
            allowed.append(replace(before, opened_at=now))
        elif answer.first:
            allowed.append(replace(before, opened_at=None, parameters=None))
        assert made.refund in allowed
        assert made.payment == payment_of(before)
        return False
    assert made.payment.version == payment_of(before).version + 1
    assert made.refund != before
    assert made.payment.updated_at == made.refund.updated_at == now
    assert made.kind in ("refund.frozen", f"refund.{made.refund.status}")
    return True


def failed_needs_the_gateways_word(
    before: Refund, answer: RefundAnswered, now: datetime, made: RefundDecision
) -> bool:
    if made.refund.status != "failed" or before.status == "failed":
        return False
    match answer.answer:
        case Refused() if answer.asked == "send":
            assert (before.status, answer.first) == ("processing", True)
        case Absent() | NoneYet() | Refused():
            # Refused before, and what else was sent of it can be under way no more.
            assert (before.status, before.status_reason) == ("outcome_unknown", REFUSED)
            assert now >= before.updated_at + UNDER_WAY_AFTER
        case Refunded(status=status):
            assert status == "failed"
        case _:
            raise AssertionError(answer)
    return True


def given_back_needs_the_gateways_word(
    before: Refund, answer: RefundAnswered, _: datetime, made: RefundDecision
) -> bool:
    if made.refund.status != "succeeded" or before.status == "succeeded":
        return False
    assert isinstance(answer.answer, Refunded)
    said = (answer.answer.status, answer.answer.amount_minor, answer.answer.currency)
    assert said == ("succeeded", before.amount_minor, before.currency)
    assert made.refund.gateway_object_id == answer.answer.object_id
    return True


def what_failed_stays_failed(
    before: Refund, answer: RefundAnswered, _: datetime, made: RefundDecision
) -> bool:
    if before.status != "failed":
        return False
    got_through = isinstance(answer.answer, Refunded) and answer.answer.status != "failed"
    if got_through and before.gateway_object_id is None and before.review in (None, NOT_FOUND):
        assert made.refund.review
    else:
        assert made.refund.status == "failed"
    return True


def sent_again_only_when_looked_at_and_absent(
    before: Refund, answer: RefundAnswered, now: datetime, made: RefundDecision
) -> bool:
    if not isinstance(made.effect, Send):
        return False
    assert before.status in OPEN
    assert before.status_reason != REFUSED
    assert before.opened_at is not None
    assert now - before.opened_at < SAME_KEY_WINDOW
    assert (answer.asked, answer.answer) == ("look", Absent())
    return True


def a_review_stops_everything_but_what_is_found(
    before: Refund, answer: RefundAnswered, _: datetime, made: RefundDecision
) -> bool:
    if before.review is None:
        return False
    if before.review == NOT_FOUND and isinstance(answer.answer, Refunded):
        return True
    assert (made.refund, made.effect) == (before, Leave())
    return True


def another_amount_freezes(
    before: Refund, answer: RefundAnswered, _: datetime, made: RefundDecision
) -> bool:
    match answer.answer:
        case Mismatched():
            pass
        case Refunded(amount_minor=amount, currency=currency):
            if (amount, currency) == (before.amount_minor, before.currency):
                return False
        case _:
            return False
    assert made.refund.review
    return True


def more_than_one_freezes(
    before: Refund, answer: RefundAnswered, _: datetime, made: RefundDecision
) -> bool:
    if not isinstance(answer.answer, Several):
        return False
    assert made.refund.review
    return True


def it_rests_at_its_end_only(
    before: Refund, _: RefundAnswered, now: datetime, made: RefundDecision
) -> bool:
    if made.effect != Rest():
        return False
    over = now >= before.created_at + LOOKS_AFTER_SUCCESS[-1]
    status = made.refund.status
    assert made.refund.review or status == "failed" or (status == "succeeded" and over)
    return True


RULES = (
    sums_are_those_of_the_refunds,
    a_change_raises_the_version_and_says_its_kind,
    failed_needs_the_gateways_word,
    given_back_needs_the_gateways_word,
    what_failed_stays_failed,
    sent_again_only_when_looked_at_and_absent,
    a_review_stops_everything_but_what_is_found,
    another_amount_freezes,
    more_than_one_freezes,
    it_rests_at_its_end_only,
)


def every_refund() -> Iterator[Refund]:
    for status, review, object_id in product(STATUSES, REVIEWS, (None, OBJECT)):
        yield refund(status=status, review=review, gateway_object_id=object_id)
    yield refund(status="outcome_unknown", status_reason=REFUSED)


def test_the_rules_hold_for_every_status_and_answer_and_each_has_something_to_say():
    applied: Counter[str] = Counter()
    for before, answer, (asked, first), tries, now in product(
        every_refund(), ANSWERS, HEARD, (0, 1, 99), MOMENTS
    ):
        answer_heard = answered(answer, asked=asked, first=first, tries=tries)
        made = decided(before, answer_heard, now)
        applied.update(r.__name__ for r in RULES if r(before, answer_heard, now, made))
        if isinstance(made.effect, Schedule):
            assert made.effect.run_at >= now
    assert set(applied) == {rule.__name__ for rule in RULES}


def test_every_refund_has_something_planned_until_its_end():
    for before in every_refund():
        due = refund_due(before)
        assert due == (Rest() if before.review or before.status == "failed" else Look())
    assert refund_due(refund(opened_at=None)) == Open(1)


# Case by case.


@pytest.mark.parametrize(
    ("status", "answer", "becomes", "effect"),
    [
        ("processing", Refunded(OBJECT, "succeeded", PART, "EUR"), "succeeded",
         Schedule(START + timedelta(hours=1))),
        ("processing", Refunded(OBJECT, "pending", PART, "EUR"), "pending",
         Schedule(SOON + timedelta(seconds=2))),
        ("pending", Refunded(OBJECT, "succeeded", PART, "EUR"), "succeeded",
         Schedule(START + timedelta(hours=1))),
        ("pending", Refunded(OBJECT, "failed", PART, "EUR"), "failed", Rest()),
        ("succeeded", Refunded(OBJECT, "failed", PART, "EUR"), "failed", Rest()),
        ("succeeded", Refunded(OBJECT, "pending", PART, "EUR"), "succeeded",
         Schedule(START + timedelta(hours=1))),
        ("processing", Refused("charge_disputed"), "outcome_unknown",
         Schedule(SOON + UNDER_WAY_AFTER)),
        ("processing", Unknown("no_answer"), "outcome_unknown",
         Schedule(SOON + timedelta(seconds=1))),
        ("outcome_unknown", Unknown("no_answer"), "outcome_unknown",
         Schedule(SOON + timedelta(seconds=1))),
        ("outcome_unknown", Absent(), "outcome_unknown", Send()),
        ("outcome_unknown", NoneYet(), "outcome_unknown", Schedule(SOON + timedelta(seconds=1))),
        ("processing", NotSent("rate_limited"), "processing",
         Schedule(SOON + timedelta(seconds=1))),
        ("outcome_unknown", Refunded(OBJECT, "succeeded", PART, "EUR"), "succeeded",
         Schedule(START + timedelta(hours=1))),
    ],
)  # fmt: skip
def test_an_answer_moves_the_refund(status, answer, becomes, effect):
    made = decided(refund(status=status), answered(answer))
    assert (made.refund.status, made.effect) == (becomes, effect)


def test_a_refund_that_fails_after_success_takes_the_sum_down():
    before = refund(status="succeeded", gateway_object_id=OBJECT)
    made = decided(before, answered(Refunded(OBJECT, "failed", PART, "EUR", "lost_card")))
    assert (payment_of(before).refunded_minor, made.payment.refunded_minor) == (PART, 0)
    assert (made.kind, made.refund.status_reason) == ("refund.failed", "lost_card")
    assert made.payment.refundable_minor == AMOUNT


def test_a_refund_that_is_found_nowhere_stays_reserved_for_a_person():
    before = refund(status="outcome_unknown")
    made = decided(before, answered(Absent()), START + SAME_KEY_WINDOW)
    assert (made.refund.status, made.refund.review) == ("outcome_unknown", NOT_FOUND)
    heard = Schedule(START + SAME_KEY_WINDOW + UNDER_WAY_AFTER)
    assert (made.payment.refunding_minor, made.effect) == (PART, heard)
    assert refund_due(made.refund) == Rest()
    found = refund_answered(
        made.payment, made.refund, answered(Refunded(OBJECT, "succeeded", PART, "EUR")), NOT_AFTER
    )
    assert (found.refund.status, found.refund.review) == ("succeeded", None)
    assert (found.payment.refunding_minor, found.payment.refunded_minor) == (0, PART)


def test_the_first_send_that_is_refused_fails_at_once():
    made = decided(refund(), answered(Refused("charge_disputed"), asked="send", first=True))
    assert (made.refund.status, made.refund.status_reason) == ("failed", "charge_disputed")
    assert (made.payment.refunding_minor, made.effect) == (0, Rest())


@pytest.mark.parametrize("status", OPEN)
def test_a_refusal_while_another_send_may_be_under_way_is_checked_before_it_fails(status):
    refused = decided(refund(status=status), answered(Refused("x"), asked="send"))
    assert (refused.refund.status, refused.refund.status_reason) == ("outcome_unknown", REFUSED)
    assert refused.payment.refunding_minor == PART
    at = SOON + UNDER_WAY_AFTER
    there = answered(Refunded(OBJECT, "succeeded", PART, "EUR"))
    found = refund_answered(refused.payment, refused.refund, there, NOT_BEFORE)
    assert (found.refund.status, found.refund.review) == ("succeeded", None)
    for nothing in (Absent(), Refused("voided_at_gateway")):
        again = refund_answered(refused.payment, refused.refund, answered(nothing), NOT_BEFORE)
        assert (again.refund, again.effect) == (refused.refund, Schedule(at))
        later = refund_answered(refused.payment, refused.refund, answered(nothing), at)
        assert (later.refund.status, later.payment.refunding_minor) == ("failed", 0)


@pytest.mark.parametrize("status", ["succeeded", "pending"])
@pytest.mark.parametrize("left", [True, False])
def test_what_was_refused_and_got_through_all_the_same_goes_to_a_person(status, left):
    one = refund(status="failed", status_reason="charge_disputed")
    others = [] if left else [refund(amount_minor=AMOUNT - PART + 1, status="succeeded")]
    of = payment_of(one, *others)
    through = answered(Refunded(OBJECT, status, PART, "EUR"), asked="send")
    made = refund_answered(of, one, through, SOON)
    assert (made.refund.review, made.refund.gateway_object_id) == (AFTER_FAILED, OBJECT)
    assert made.refund.status == (status if left else "failed")
    # Where the sums cannot say it, nothing more is given back before a person has looked.
    assert made.payment.review == (None if left else AFTER_FAILED)
    assert (made.payment.refunding_minor, made.payment.refunded_minor) == sums_of(
        made.refund, *others
    )


def test_what_a_bank_has_a_claim_to_may_have_gone_back_all_the_same():
    """What is left of the sums says it, and less of it is withheld."""
    one = refund(status="failed", status_reason="charge_disputed")
    of = replace(payment_of(one), disputed_minor=AMOUNT).withholding()
    made = refund_answered(of, one, answered(Refunded(OBJECT, "succeeded", PART, "EUR")), SOON)
    assert (made.refund.review, made.payment.review) == (AFTER_FAILED, None)
    assert (made.payment.refunded_minor, made.payment.withheld_minor) == (PART, AMOUNT - PART)


def test_what_was_certainly_not_sent_is_opened_anew():
    """The window of its key begins with the first send, not with the first try."""
    made = decided(refund(), answered(NotSent("not_reached"), asked="send", first=True))
    assert (made.kind, made.refund.status) == (None, "processing")
    assert refund_due(made.refund) == Open(1)
    again = decided(refund(), answered(NotSent("not_reached"), asked="send"))
    assert refund_due(again.refund) == Look()
    unknown = refund(status="outcome_unknown")
    late = decided(unknown, answered(NotSent("not_reached"), asked="send", first=True))
    assert late.refund is unknown


def test_success_is_looked_at_again_for_a_month():
    before = refund(status="succeeded", gateway_object_id=OBJECT)
    same = answered(Refunded(OBJECT, "succeeded", PART, "EUR"))
    now, looks = START, 0
    while isinstance(effect := decided(before, same, now).effect, Schedule):
        assert effect.run_at > now
        now, looks = effect.run_at, looks + 1
    assert (looks, now) == (len(LOOKS_AFTER_SUCCESS), START + LOOKS_AFTER_SUCCESS[-1])
    # A last look that learns nothing is repeated, but not for ever.
    nothing = answered(Unknown("no_answer"), tries=99)
    assert decided(before, nothing, now).effect == Schedule(now + timedelta(hours=1))
    assert decided(before, nothing, now + GIVEN_UP_AFTER).effect == Rest()


# What may be asked for.


@pytest.mark.parametrize("amount", [0, -1, AMOUNT + 1, 2**63])
def test_no_more_is_asked_for_than_was_captured(amount):
    with pytest.raises(NotPossible, match="refund_exceeds_captured"):
        refund_asked(payment_of(), amount, SOON)


def test_none_asks_for_all_that_is_left():
    before = payment_of(refund(status="succeeded"), refund(status="outcome_unknown"))
    after, amount = refund_asked(before, None, SOON)
    assert amount == AMOUNT - 2 * PART
    assert (after.refundable_minor, after.version) == (0, before.version + 1)
    with pytest.raises(NotPossible, match="refund_exceeds_captured"):
        refund_asked(after, None, SOON)


@pytest.mark.parametrize("shape", SHAPES)
def test_only_what_was_captured_is_refunded(shape):
    before = payment(**shape)
    if before.status == "succeeded":
        assert refund_asked(before, 1, SOON)[1] == 1
        with pytest.raises(NotPossible, match="payment_under_review"):
            refund_asked(replace(before, review="amount_mismatch"), 1, SOON)
    else:
        with pytest.raises(NotPossible, match="payment_not_refundable"):
            refund_asked(before, 1, SOON)

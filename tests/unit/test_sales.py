"""A gateway whose one call moves money: what each of its answers means, and when."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.payments.decide import decide
from strongroom.payments.refunds import REFUSED as REFUSED_ONCE
from strongroom.payments.refunds import UNDER_WAY_AFTER, Refused, refund_answered
from strongroom.payments.sales import NOT_FOUND, SAME_KEY_WINDOW, SETTLES_WITHIN, VOIDED
from strongroom.payments.states import (
    Answer,
    Answered,
    Approved,
    Attempt,
    Call,
    Canceled,
    Declined,
    Due,
    Look,
    Mismatched,
    NotSent,
    NotShown,
    Open,
    Pending,
    Rest,
    Schedule,
    Send,
    Unknown,
    Withheld,
)
from tests.unit.examples import AMOUNT, NOT_AFTER, PART, START, attempt, held, payment
from tests.unit.refund_examples import answered, refund

SOON = START + timedelta(seconds=5)
LEASE = timedelta(seconds=25)
SALE = attempt(gateway="braintree", staged=False, gateway_object_id=None)


def heard(answer: Answer, asked: Any = "send", one: Attempt = SALE, **fields: Any) -> Answered:
    object_id = fields.pop("object_id", None)
    call = Call(
        operation="sale", started_at=START, duration_ms=1.0, outcome="x", object_id=object_id
    )
    tries = fields.pop("tries", 1)
    return Answered(attempt=one, answer=answer, call=call, asked=asked, tries=tries, **fields)


UNKNOWN = payment(status="outcome_unknown", status_reason="no_answer_from_gateway")


def test_a_lost_answer_makes_it_unknown_and_only_then_it_is_sent_again():
    made = decide(payment(), heard(Unknown("connection_lost"), first=True), SOON)
    assert (made.payment.status, made.attempt_state) == ("outcome_unknown", "unknown")
    again = decide(made.payment, heard(NotShown(), "look"), SOON)
    assert (again.effect, again.payment) == (Send(), made.payment)
    # A sender died between opening and sending: the same, and it says so before it sends.
    made = decide(payment(), heard(NotShown(), "look"), SOON)
    assert (made.payment.status, made.effect) == ("outcome_unknown", Send())
    late = decide(UNKNOWN, heard(NotShown(), "look"), NOT_AFTER)
    assert isinstance(late.effect, Schedule)


def test_what_stays_away_goes_to_a_person():
    made = decide(UNKNOWN, heard(NotShown(), "look"), START + SAME_KEY_WINDOW)
    assert (made.payment.review, made.effect) == (NOT_FOUND, Rest())
    for why in ("idempotency_mismatch", "several_at_gateway"):
        assert decide(UNKNOWN, heard(Unknown(why)), SOON).payment.review == why


@pytest.mark.parametrize("before", [UNKNOWN, payment(closing="canceled")], ids=lambda p: p.status)
def test_what_stays_away_is_looked_for_less_and_less_often(before):
    """A look each half minute for twenty hours would be thousands, of each such payment."""
    now, waits = NOT_AFTER, []
    while True:
        made = decide(before, heard(NotShown(), "look", tries=6), now)
        if made.payment.review:
            break
        assert isinstance(made.effect, Schedule)
        waits.append((made.effect.run_at - now).total_seconds())
        now = made.effect.run_at
    assert made.payment.review == NOT_FOUND
    assert len(waits) <= 45
    assert min(waits) >= 30
    assert max(waits) == 3600
    soon = decide(payment(closing="canceled"), heard(NotShown(), "look"), SOON)
    assert soon.effect == Schedule(SOON + timedelta(seconds=1))


REFUSED = Declined("invalid_instrument", "91564", object_open=False)


@pytest.mark.parametrize("answer", [NotSent("not_reached"), REFUSED])
def test_a_word_without_an_object_is_believed_of_the_first_send_only(answer):
    first = decide(payment(), heard(answer, first=True), SOON)
    assert first.payment.status in ("processing", "failed")
    assert first.attempt_state in ("not_sent", "declined")
    for before, again in ((payment(), False), (UNKNOWN, True), (UNKNOWN, False)):
        made = decide(before, heard(answer, first=again), SOON)
        assert made.payment.status in (before.status, "outcome_unknown")
        assert (made.payment.attempt_no, made.attempt_state in (None, "unknown")) == (1, True)
    known = decide(UNKNOWN, heard(REFUSED, object_id="tr_1"), SOON)
    assert known.payment.status == "failed"


@pytest.mark.parametrize(
    "answer", [NotSent("too_many_calls"), Withheld("account_busy", first=True)]
)
def test_what_was_certainly_not_sent_is_tried_less_and_less_often_until_its_time_is_over(answer):
    """A worker that is busy for a day fails no payment, and costs it no thousands of attempts."""
    now, one = START, payment(not_after=START + timedelta(days=1))
    while now < one.not_after:
        opened = decide(one, Due(None, tries=one.attempt_no, staged=False), now)
        assert opened.effect == Open(one.attempt_no)
        attempt_of_it = replace(SALE, attempt_no=one.attempt_no, opened_at=now)
        made = decide(one, heard(answer, one=attempt_of_it, first=True, tries=one.attempt_no), now)
        assert (made.payment.status, made.attempt_state) == ("processing", "not_sent")
        assert isinstance(made.effect, Schedule)
        assert now < made.effect.run_at <= max(one.not_after, now + timedelta(seconds=30))
        if one.attempt_no < 20:
            assert made.effect.run_at - now <= timedelta(seconds=30)
        one, now = made.payment, made.effect.run_at
    assert one.attempt_no < 100
    over = decide(one, Due(None, staged=False), now)
    assert (over.payment.status, over.payment.status_reason) == ("canceled", "not_sent_in_time")


def test_a_cancel_before_anything_was_sent_is_at_once():
    closing = payment(closing="canceled", closing_reason="requested_by_caller")
    made = decide(closing, heard(NotSent("not_reached"), first=True), SOON)
    assert (made.payment.status, made.effect) == ("canceled", Rest(release=True))
    again = decide(closing, heard(NotSent("not_reached")), SOON)
    assert again.payment.closing == "canceled"


def test_money_is_looked_at_until_it_settled():
    made = decide(payment(), heard(Approved(AMOUNT, "EUR", settled=False)), SOON)
    assert made.payment.status == "succeeded"
    assert isinstance(made.effect, Schedule)
    one = replace(SALE, gateway_object_id="tr_1")
    paid = made.payment
    assert decide(paid, Due(one), SOON).effect == Look()
    for answer in (Approved(AMOUNT, "EUR", settled=False), Unknown("x"), NotShown(), Pending()):
        again = decide(paid, heard(answer, "look", one), SOON)
        assert again.payment is paid
        assert isinstance(again.effect, Schedule)
    over = decide(paid, heard(Approved(AMOUNT, "EUR"), "look", one), SOON)
    assert (over.payment, over.effect) == (paid, Rest())
    never = decide(paid, heard(Unknown("x"), "look", one), START + SETTLES_WITHIN)
    assert never.payment.review == "not_settled_in_time"


@pytest.mark.parametrize(
    ("answer", "review"),
    [(Declined("generic_decline", "4001", object_open=False), "settlement_declined"),
     (Canceled(), "voided_at_gateway"), (Mismatched(1, "EUR"), "amount_mismatch"),
     (Approved(AMOUNT - 1, "EUR"), "amount_mismatch")],
)  # fmt: skip
def test_a_settlement_that_falls_through_is_noticed(answer, review):
    paid = payment(status="succeeded")
    made = decide(paid, heard(answer, "look"), SOON)
    assert (made.payment.status, made.payment.review) == ("succeeded", review)
    assert (made.kind, made.effect) == ("payment.frozen", Rest())
    again = decide(made.payment, heard(answer, "look"), SOON)
    assert again.payment.review == review


def test_a_void_of_ours_is_a_refund_and_no_surprise():
    paid = payment(status="succeeded", refunded_minor=AMOUNT)
    made = decide(paid, heard(Canceled(), "look"), SOON)
    assert (made.payment, made.effect) == (paid, Rest())


def test_a_void_is_of_ours_only_when_a_refund_says_so():
    """Two refunds of a part wait for the settlement; then somebody voids the sale instead."""
    paid = payment(status="succeeded", refunding_minor=AMOUNT)
    made = decide(paid, heard(Canceled(), "look"), SOON)
    assert made.payment is paid
    assert isinstance(made.effect, Schedule)
    one = refund(amount_minor=PART, status_reason=REFUSED_ONCE, status="outcome_unknown")
    refused = answered(Refused("voided_at_gateway"))
    failed = refund_answered(paid, one, refused, START + UNDER_WAY_AFTER)
    assert failed.refund.status == "failed"
    made = decide(failed.payment, heard(Canceled(), "look"), SOON)
    assert (made.payment.review, made.effect) == (VOIDED, Rest())


@pytest.mark.parametrize("asked", ["look", "capture"])
@pytest.mark.parametrize(
    "shape",
    [{}, {"status": "processing", "capture_minor": PART},
     {"status": "outcome_unknown", "capture_minor": PART}],
)  # fmt: skip
def test_a_hold_that_was_captured_and_did_not_settle_is_over(asked, shape):
    """Nothing is held any more: it is neither captured again nor looked at for ever."""
    before, one = held(**shape), replace(SALE, kind="authorize", gateway_object_id="tr_1")
    declined = Declined("generic_decline", "4001", object_open=False)
    made = decide(before, heard(declined, asked, one, object_id="tr_1"), SOON)
    assert (made.payment.status, made.effect) == ("failed", Rest(release=True))
    assert made.attempt_state == "declined"
    refused = replace(declined, object_open=True)
    assert decide(before, heard(refused, "look", one, object_id="tr_1"), SOON).payment is before


def test_what_is_canceled_for_lack_of_authentication_is_written_down_once():
    """The void may not get through at once; what settled meanwhile goes to a person."""
    one = replace(SALE, gateway_object_id="tr_1")
    lacks = Declined("authentication_failed", "three_d_secure_info", object_open=True)
    begun = decide(UNKNOWN, heard(lacks, "look", one, object_id="tr_1"), SOON)
    assert (begun.payment.status, begun.payment.closing) == ("processing", "failed")
    again = decide(begun.payment, heard(lacks, "cancel", one, object_id="tr_1"), SOON)
    assert (again.payment, again.kind) == (begun.payment, None)
    assert isinstance(again.effect, Schedule)
    assert again.effect.run_at > SOON
    taken = decide(begun.payment, heard(Unknown("taken_unauthenticated"), "cancel", one), SOON)
    assert (taken.payment.status, taken.payment.review) == (
        "outcome_unknown",
        "taken_unauthenticated",
    )

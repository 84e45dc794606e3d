"""What becomes of a payment: tables of the pure function, case by case."""

from datetime import timedelta

import pytest

from strongroom.payments.decide import ATTEMPTS_MAX, RESENDS_MAX, decide
from strongroom.payments.states import (
    ActionRequired,
    Answered,
    Approved,
    Canceled,
    CancelObject,
    CustomerReturned,
    Declined,
    Due,
    Leave,
    Look,
    Mismatched,
    NotPossible,
    NotSent,
    Open,
    Pending,
    Rest,
    Schedule,
    Send,
    Unknown,
)
from tests.unit.examples import (
    AMOUNT,
    ANSWERS,
    NOT_AFTER,
    START,
    answered,
    attempt,
    brought,
    every_happening,
    every_payment,
    held,
    payment,
)

SOON = START + timedelta(seconds=5)
APPROVED = Approved(AMOUNT, "EUR")
FUNDS = Declined("insufficient_funds", "insufficient_funds", object_open=True)
ACTION = ActionRequired({"type": "redirect_to_url", "url": "https://bank.example"})


def test_every_combination_is_decided_or_not_possible():
    combinations = refused = 0
    happenings = list(every_happening())
    for before in every_payment():
        for happening in happenings:
            for now in (SOON, NOT_AFTER):
                combinations += 1
                try:
                    decide(before, happening, now)
                except NotPossible:
                    refused += 1
                    assert not isinstance(happening, Due | Answered)
    assert combinations > refused > 0


@pytest.mark.parametrize(
    ("status", "answer", "becomes", "reason", "effect", "attempt_state"),
    [
        ("processing", APPROVED, "succeeded", None, Rest(), "approved"),
        ("requires_action", APPROVED, "succeeded", None, Rest(), "approved"),
        ("outcome_unknown", APPROVED, "succeeded", None, Rest(), "approved"),
        ("processing", FUNDS, "processing", "waiting_for_cancel_at_gateway", Schedule(SOON),
         "open"),
        ("processing", Declined("invalid_instrument", "resource_missing", object_open=False),
         "processing", "waiting_for_cancel_at_gateway", Schedule(SOON), "open"),
        ("processing", Unknown("no_answer"), "outcome_unknown", "no_answer_from_gateway",
         Schedule(SOON + timedelta(seconds=1)), "unknown"),
        ("processing", ACTION, "requires_action", None,
         Schedule(SOON + timedelta(seconds=1)), "action_required"),
        ("requires_action", Pending(), "processing", None,
         Schedule(SOON + timedelta(seconds=1)), "open"),
        ("outcome_unknown", Pending(), "processing", None,
         Schedule(SOON + timedelta(seconds=1)), "open"),
        ("processing", Canceled(), "canceled", "canceled_at_gateway", Rest(release=True),
         "canceled"),
        ("outcome_unknown", NotSent("not_confirmed_yet"), "processing", None, Send(), "open"),
    ],
)  # fmt: skip
def test_an_answer_moves_the_payment(status, answer, becomes, reason, effect, attempt_state):
    before = payment(status=status, status_reason="no_answer_from_gateway")
    made = decide(before, answered(answer), SOON)
    assert (made.payment.status, made.effect) == (becomes, effect)
    assert made.payment.status_reason == reason
    assert made.attempt_state == attempt_state


@pytest.mark.parametrize(
    ("closing", "becomes", "released"),
    [("failed", "failed", True), ("canceled", "canceled", True), ("new_attempt", "processing", 0)],
)
def test_a_closing_payment_ends_when_the_gateway_canceled(closing, becomes, released):
    before = payment(closing=closing, closing_reason="insufficient_funds")
    made = decide(before, answered(Canceled(), asked="cancel"), SOON)
    assert made.payment.status == becomes
    assert made.payment.closing is None
    assert made.effect == (Rest(release=True) if released else Schedule(SOON))
    assert made.payment.attempt_no == (2 if closing == "new_attempt" else 1)
    assert (made.kind == "attempt.abandoned") == (closing == "new_attempt")


@pytest.mark.parametrize("closing", ["failed", "canceled", "new_attempt"])
def test_a_cancel_that_came_too_late_is_a_charge(closing):
    made = decide(payment(closing=closing), answered(APPROVED, asked="cancel"), SOON)
    assert (made.payment.status, made.payment.captured_minor) == ("succeeded", AMOUNT)


@pytest.mark.parametrize("closing", ["failed", "canceled", "new_attempt"])
@pytest.mark.parametrize("answer", [Unknown("x"), NotSent("rate_limited"), Pending(), ACTION])
def test_a_closing_payment_waits_for_certainty(closing, answer):
    before = payment(closing=closing)
    made = decide(before, answered(answer, asked="cancel"), SOON)
    assert made.payment is before
    assert isinstance(made.effect, Schedule)


@pytest.mark.parametrize(
    ("one", "now", "effect"),
    [
        (None, SOON, Open(1)),
        # What counts is never given up without the number rising; if it were, it is looked at.
        (attempt(state="canceled"), SOON, Look()),
        (attempt(state="not_sent"), SOON, Look()),
        (attempt(gateway_object_id=None), SOON, Send()),
        (attempt(), SOON, Look()),
        (attempt(state="unknown"), NOT_AFTER, Look()),
        (attempt(gateway_object_id=None, staged=False), SOON, Look()),
        (attempt(gateway_object_id=None), NOT_AFTER, Rest(release=True)),
        (None, NOT_AFTER, Rest(release=True)),
    ],
)
def test_what_is_due_while_processing(one, now, effect):
    assert decide(payment(), Due(one), now).effect == effect


def test_opening_an_attempt_leaves_the_payment_as_it_is():
    before = payment(attempt_no=3)
    made = decide(before, Due(None), SOON)
    assert made.payment is before
    assert (made.effect, made.kind, made.attempt_state) == (Open(3), None, None)


@pytest.mark.parametrize("now", [SOON, NOT_AFTER])
@pytest.mark.parametrize(
    "before",
    [
        payment(closing="failed"),
        payment(closing="new_attempt"),
        payment(status="requires_action"),
        payment(status="outcome_unknown"),
        held(),
        held(status="processing", capture_minor=AMOUNT),
        held(status="outcome_unknown", capture_minor=1),
    ],
)
def test_nothing_is_said_of_a_payment_whose_attempt_was_not_read(before, now):
    made = decide(before, Due(None), now)
    assert made.payment is before
    assert made.effect == Schedule(now + timedelta(seconds=30))


@pytest.mark.parametrize(
    ("status", "now", "effect", "becomes"),
    [
        ("requires_payment_method", SOON, Schedule(NOT_AFTER), "requires_payment_method"),
        ("requires_payment_method", NOT_AFTER, Rest(release=True), "canceled"),
        ("requires_action", SOON, Look(), "requires_action"),
        ("requires_action", NOT_AFTER, CancelObject(), "processing"),
        ("outcome_unknown", NOT_AFTER, Look(), "outcome_unknown"),
        ("succeeded", SOON, Rest(), "succeeded"),
        ("failed", SOON, Rest(), "failed"),
    ],
)
def test_what_is_due_in_other_statuses(status, now, effect, becomes):
    made = decide(payment(status=status), Due(attempt()), now)
    assert (made.effect, made.payment.status) == (effect, becomes)


@pytest.mark.parametrize(("now", "effect"), [(SOON, Open(1)), (NOT_AFTER, Rest(release=True))])
def test_the_first_attempt_opens_only_in_time(now, effect):
    assert decide(payment(), Due(None), now).effect == effect


def test_attempts_are_bounded():
    last = decide(payment(attempt_no=ATTEMPTS_MAX), Due(None), SOON)
    assert last.effect == Open(ATTEMPTS_MAX)
    made = decide(payment(attempt_no=ATTEMPTS_MAX + 1), Due(None), SOON)
    assert (made.payment.status, made.payment.status_reason) == ("failed", "gateway_unavailable")
    # Where an attempt that is not sent leaves nothing at the gateway, they go on until `not_after`.
    many = payment(attempt_no=ATTEMPTS_MAX + 50)
    assert decide(many, Due(None, staged=False), SOON).effect == Open(ATTEMPTS_MAX + 50)
    over = decide(many, Due(None, staged=False), NOT_AFTER)
    assert (over.payment.status, over.payment.status_reason) == ("canceled", "not_sent_in_time")


@pytest.mark.parametrize(
    ("one", "asked", "tries", "effect", "closing"),
    [
        (attempt(), "look", 1, Send(), None),
        (attempt(), "send", 1, Schedule(SOON + timedelta(seconds=1)), None),
        (attempt(), "look", 30, Send(), None),
        (attempt(opened_at=SOON - timedelta(hours=20)), "look", 1, CancelObject(), "new_attempt"),
        (attempt(gateway_object_id=None), "send", 1, Schedule(SOON + timedelta(seconds=1)), None),
    ],
)
def test_what_was_not_sent_goes_again_under_its_own_key_or_is_closed(
    one, asked, tries, effect, closing
):
    answer = NotSent("not_confirmed_yet")
    made = decide(payment(), answered(answer, one, asked=asked, tries=tries), SOON)
    assert (made.effect, made.payment.closing) == (effect, closing)


@pytest.mark.parametrize("asked", ["look", "send"])
def test_a_key_that_brings_no_word_is_given_up_after_a_few_sends(asked):
    before = payment(status="outcome_unknown")
    for tries in range(1, RESENDS_MAX + 3):
        answer = answered(NotSent("not_confirmed_yet"), asked=asked, tries=tries)
        made = decide(before, answer, SOON)
        if tries > RESENDS_MAX:
            assert (made.effect, made.payment.closing) == (CancelObject(), "new_attempt")
        else:
            assert made.payment.closing is None
            assert made.effect == Send() if asked == "look" else isinstance(made.effect, Schedule)
        assert made.payment.attempt_no == 1


@pytest.mark.parametrize(
    ("answer", "becomes", "effect"),
    [
        (NotSent("gateway_error", fresh_key=True), "processing", Schedule(SOON)),
        (Declined("invalid_instrument", "x", object_open=False), "failed", Rest(release=True)),
    ],
)
def test_an_object_that_was_not_made_ends_the_attempt_unless_another_sender_made_it(
    answer, becomes, effect
):
    none = attempt(gateway_object_id=None)
    made = decide(payment(), answered(answer, none, asked="send"), SOON)
    assert (made.payment.status, made.payment.attempt_no) == ("processing", 1)
    ended = decide(made.payment, Due(none), SOON)
    assert (ended.payment.status, ended.payment.closing) == (becomes, None)
    assert ended.effect == effect
    assert ended.payment.attempt_no == (2 if becomes == "processing" else 1)
    assert ended.attempt_state == ("not_sent" if becomes == "processing" else "declined")
    # Its id was committed by another sender, which may have confirmed it.
    assert decide(made.payment, Due(attempt()), SOON).effect == CancelObject()


def test_what_was_certainly_not_sent_at_once_is_abandoned():
    """A gateway that makes no object first: the next attempt is the one that counts."""
    one = attempt(gateway_object_id=None, staged=False)
    refused = answered(NotSent("rate_limited"), one, asked="send", first=True)
    made = decide(payment(), refused, SOON)
    assert (made.payment.status, made.payment.attempt_no) == ("processing", 2)
    assert (made.kind, made.attempt_state) == ("attempt.abandoned", "not_sent")
    assert decide(made.payment, Due(None), SOON).effect == Open(2)


def test_an_unknown_that_no_look_can_end_goes_to_a_person():
    none = attempt(gateway_object_id=None)
    made = decide(payment(), answered(Unknown("idempotency_mismatch"), none, asked="send"), SOON)
    assert (made.payment.status, made.payment.review) == ("outcome_unknown", "idempotency_mismatch")
    assert made.effect == Rest()


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_late_charge_freezes_what_was_at_its_end(status):
    made = decide(payment(status=status), answered(APPROVED), SOON)
    assert (made.payment.status, made.payment.review) == (status, f"charged_after_{status}")
    assert (made.effect, made.attempt_state) == (Rest(), "approved")


@pytest.mark.parametrize("status", ["processing", "requires_action", "outcome_unknown"])
def test_a_late_charge_of_an_old_attempt_stops_the_new_one(status):
    made = decide(payment(status=status, attempt_no=2), answered(APPROVED), SOON)
    assert made.payment.status == "outcome_unknown"
    assert made.payment.review == f"charged_after_{status}"


@pytest.mark.parametrize("answer", [Mismatched(1, "EUR"), Approved(AMOUNT + 1, "EUR")])
@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled"])
def test_a_late_answer_about_another_amount_freezes(status, answer):
    made = decide(payment(status=status), answered(answer), SOON)
    assert made.payment.status == status
    assert made.payment.review


def test_a_late_repetition_of_the_charge_is_only_recorded():
    made = decide(payment(status="succeeded"), answered(APPROVED), SOON)
    assert (made.payment.review, made.kind) == (None, "attempt.answered_late")
    assert made.effect == Leave()


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_frozen_payment_stays_as_it_is(answer):
    before = payment(status="outcome_unknown", review="amount_mismatch")
    made = decide(before, answered(answer), SOON)
    assert (made.payment.status, made.payment.review) == ("outcome_unknown", "amount_mismatch")
    assert made.effect == Leave()
    assert decide(made.payment, Due(attempt()), NOT_AFTER).effect == Rest()


@pytest.mark.parametrize(
    ("status", "happening", "now", "code"),
    [
        ("processing", brought(), SOON, "payment_has_an_instrument"),
        ("succeeded", brought(), SOON, "payment_has_an_instrument"),
        ("requires_payment_method", brought(), NOT_AFTER, "not_after_passed"),
        ("requires_payment_method", CustomerReturned(), SOON, "instrument_missing"),
        ("failed", CustomerReturned(), SOON, "payment_is_over"),
    ],
)
def test_what_a_caller_may_not_ask(status, happening, now, code):
    with pytest.raises(NotPossible) as refusal:
        decide(payment(status=status), happening, now)
    assert refusal.value.code == code


def test_an_instrument_is_sent_at_once():
    before = payment(status="requires_payment_method", gateway=None)
    made = decide(before, brought(), SOON)
    assert (made.payment.status, made.effect) == ("processing", Schedule(SOON))

"""What callers may ask of a payment, by where it stands: the whole table."""

from datetime import timedelta
from typing import Any

import pytest

from strongroom.payments.decide import decide
from strongroom.payments.refunds import refund_asked
from strongroom.payments.states import (
    CancelAsked,
    Canceled,
    CaptureAsked,
    CustomerReturned,
    Declined,
    Leave,
    NotPossible,
    Payment,
    Schedule,
)
from tests.unit.examples import (
    AMOUNT,
    NOT_AFTER,
    PART,
    SHAPES,
    START,
    answered,
    brought,
    held,
    payment,
)

SOON = START + timedelta(seconds=5)
OVER = ("payment_has_an_instrument", "payment_is_over", "payment_is_over", "payment_is_over")
CLOSING = ("payment_is_closing", "left", "left", "payment_is_closing")
UNDER_WAY = ("payment_has_an_instrument", "left", "capture_under_way", "capture_under_way")

TABLE: dict[str, tuple[str, str, str, str]] = {
    # an instrument, back from an action, a cancel, a capture
    "requires_payment_method": ("now", "instrument_missing", "now", "payment_not_authorized"),
    "processing": ("payment_has_an_instrument", "left", "now", "payment_not_authorized"),
    "requires_action": ("now", "now", "now", "payment_not_authorized"),
    "authorized": ("payment_has_an_instrument", "left", "now", "now"),
    "succeeded": OVER,
    "failed": OVER,
    "canceled": ("payment_has_an_instrument", "payment_is_over", "left", "payment_is_over"),
    "canceled without an instrument": ("payment_is_over", "payment_is_over", "left",
                                       "payment_is_over"),
    "outcome_unknown": ("payment_has_an_instrument", "left", "outcome_not_known",
                        "payment_not_authorized"),
    "closing for failed": CLOSING,
    "closing for canceled": CLOSING,
    "closing for new_attempt": ("payment_is_closing", "left", "now", "payment_is_closing"),
    "capture asked": UNDER_WAY,
}  # fmt: skip


def stands(one: Payment) -> str:
    """The row of the table."""
    if one.closing is not None:
        return f"closing for {one.closing}"
    if one.capture_minor is not None and one.status in ("processing", "outcome_unknown"):
        return "capture asked"
    if one.status == "canceled" and one.instrument_token is None:
        return "canceled without an instrument"
    return one.status


def asked(one: Payment, wish: Any, now: Any = SOON) -> str:
    """`now` when it is acted on at once, `left` when what is planned stays, else the refusal."""
    try:
        made = decide(one, wish, now)
    except NotPossible as refusal:
        return refusal.code
    if made.effect == Leave():
        assert made.payment is one
        return "left"
    assert made.effect == Schedule(now)
    return "now"


@pytest.mark.parametrize("shape", SHAPES)
def test_what_may_be_asked_is_what_the_table_says(shape):
    one = payment(**shape)
    wishes = (brought(), CustomerReturned(), CancelAsked(), CaptureAsked(PART))
    assert tuple(asked(one, wish) for wish in wishes) == TABLE[stands(one)]


def test_the_table_is_about_every_shape():
    assert {stands(payment(**shape)) for shape in SHAPES} == set(TABLE)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_frozen_payment_can_be_asked_for_nothing(shape):
    frozen = payment(**shape, review="amount_mismatch")
    for wish in (brought(), CaptureAsked(PART), CancelAsked()):
        if (frozen.status, wish) != ("canceled", CancelAsked()):
            assert asked(frozen, wish) == "payment_under_review"
    with pytest.raises(NotPossible, match="payment_under_review"):
        refund_asked(frozen, 1, SOON)


@pytest.mark.parametrize(
    ("amount", "captures"), [(None, AMOUNT), (PART, PART), (1, 1), (AMOUNT, AMOUNT)]
)
def test_a_capture_takes_what_was_asked_for(amount, captures):
    made = decide(held(), CaptureAsked(amount), SOON)
    assert (made.payment.capture_minor, made.payment.captured_minor) == (captures, 0)
    assert (made.payment.status, made.kind) == ("processing", "payment.capture_asked")


def test_more_than_is_held_is_not_captured():
    assert asked(held(), CaptureAsked(AMOUNT + 1)) == "capture_exceeds_authorized"


def test_an_instrument_comes_in_time_or_not_at_all():
    waiting = payment(status="requires_payment_method")
    assert asked(waiting, brought(), NOT_AFTER) == "not_after_passed"
    assert asked(waiting, CancelAsked(), NOT_AFTER) == "now"


def test_a_cancel_says_who_wanted_it():
    made = decide(held(), CancelAsked(), SOON)
    assert (made.payment.closing, made.payment.closing_reason) == (
        "canceled",
        "requested_by_caller",
    )
    again = decide(made.payment, CancelAsked(), SOON)
    assert again.payment is made.payment


def test_another_instrument_is_used_also_when_a_decline_of_the_first_comes_late():
    """A look was under way when the customer brought another card: that one was declined by now."""
    waiting = payment(status="requires_action", next_action={"type": "redirect_to_url"})
    replaced = decide(waiting, brought(), SOON).payment
    declined = Declined("authentication_failed", "authentication_failure", object_open=True)
    late = decide(replaced, answered(declined), SOON)
    assert late.payment is replaced
    assert isinstance(late.effect, Schedule)
    made = decide(replaced, answered(Canceled(), asked="cancel"), SOON)
    assert (made.payment.status, made.payment.attempt_no) == ("processing", 2)
    assert made.payment.instrument_token == brought().token

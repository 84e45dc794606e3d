"""More rules that every decision keeps: of holds, captures and cancels."""

from datetime import datetime

from msgspec.structs import asdict

from strongroom.payments.holds import HOLD_LOOK_EARLIER
from strongroom.payments.states import (
    FINAL,
    Answered,
    Authorized,
    CancelAsked,
    Canceled,
    CaptureAsked,
    CaptureHold,
    Decision,
    Declined,
    Due,
    Happening,
    Leave,
    Payment,
    Rest,
    Schedule,
    Unknown,
)

AGREED = (
    "legal_entity_id", "payment_id", "amount_minor", "currency", "merchant_reference", "metadata",
    "description", "capture", "not_after", "gateway_key_seed", "digest_salt", "created_at",
    "refunding_minor", "refunded_minor",
)  # fmt: skip
"""What no decision about a payment changes; the sums of refunds have rules of their own."""


def what_was_agreed_stays(before: Payment, _: Happening, __: datetime, made: Decision) -> bool:
    if made.payment is before:
        return False
    were, are = asdict(before), asdict(made.payment)
    assert all(were[name] == are[name] for name in AGREED)
    return True


def rest_comes_at_the_end_only(before: Payment, _: Happening, __: datetime, made: Decision) -> bool:
    if not isinstance(made.effect, Rest):
        return False
    assert made.payment.status in FINAL or made.payment.review
    return True


def only_a_hold_is_captured(
    before: Payment, happening: Happening, _: datetime, made: Decision
) -> bool:
    if not isinstance(made.effect, CaptureHold):
        return False
    after = made.payment
    assert (after.status, after.closing, after.review) == ("processing", None, None)
    assert before.capture_minor == after.capture_minor is not None
    assert after.capture == "manual"
    match happening:
        case Due(attempt=one):
            assert one is not None
        case Answered(asked=asked, answer=answer, attempt=one):
            # Again only when the gateway was looked at and says that it still holds the money.
            assert asked == "look"
            assert isinstance(answer, Authorized)
            assert one.attempt_no == before.attempt_no
        case _:
            raise AssertionError(happening)
    return True


def an_amount_is_asked_of_a_hold_once(
    before: Payment, happening: Happening, _: datetime, made: Decision
) -> bool:
    if made.payment.capture_minor == before.capture_minor:
        return False
    if before.capture_minor is None:
        assert isinstance(happening, CaptureAsked)
        assert (before.status, before.closing, before.review) == ("authorized", None, None)
        assert 0 < (made.payment.capture_minor or 0) <= before.amount_minor
        assert made.payment.capture_minor == happening.amount_minor or before.amount_minor
        return True
    assert made.payment.capture_minor is None
    assert isinstance(happening, Answered)
    if _fell_through(happening):
        assert made.payment.status == "failed"
        return True
    refused = happening.asked == "capture" and isinstance(happening.answer, Declined)
    assert not refused or happening.capture_minor == before.capture_minor
    assert refused or isinstance(happening.answer, Canceled)
    return True


def while_a_capture_is_asked_only_the_gateway_ends_the_hold(
    before: Payment, happening: Happening, _: datetime, made: Decision
) -> bool:
    if before.capture_minor is None or before.status in FINAL:
        return False
    assert made.payment.closing is None
    if made.payment.status in ("failed", "canceled"):
        assert isinstance(happening, Answered)
        assert isinstance(happening.answer, Canceled) or _fell_through(happening)
    return True


def _fell_through(happening: Answered) -> bool:
    """Whether the object of an attempt in one call says itself that it takes nothing."""
    declined = isinstance(happening.answer, Declined) and not happening.answer.object_open
    return declined and not happening.attempt.staged and happening.call.object_id is not None


def closing_goes_with_processing(_: Payment, __: Happening, ___: datetime, made: Decision) -> bool:
    if made.payment.closing is None or made.payment.review:
        return False
    assert made.payment.status == "processing"
    assert made.payment.capture_minor is None
    assert made.payment.next_action is None or made.kind != "payment.closing"
    return True


def a_cancel_waits_for_the_gateway(
    before: Payment, happening: Happening, now: datetime, made: Decision
) -> bool:
    if not isinstance(happening, CancelAsked):
        return False
    if made.payment is before:
        assert before.status == "canceled" or before.closing in ("canceled", "failed")
        assert made.effect == Leave()
        return True
    assert before.status not in (*FINAL, "outcome_unknown")
    assert (made.payment.status, made.payment.closing) == ("processing", "canceled")
    assert made.effect == Schedule(now)
    return True


def held_only_by_the_gateways_word(
    before: Payment, happening: Happening, _: datetime, made: Decision
) -> bool:
    if made.payment.status != "authorized" or before.status == "authorized":
        return False
    assert isinstance(happening, Answered)
    assert made.payment.capture == "manual"
    assert made.payment.capture_before is not None
    match happening.answer:
        case Authorized(amount, currency):
            assert (amount, currency) == (before.amount_minor, before.currency)
        case Declined():
            assert happening.asked == "capture"
            assert before.capture_minor is not None
        case _:
            raise AssertionError(happening)
    return True


def another_hold_freezes(
    before: Payment, happening: Happening, _: datetime, made: Decision
) -> bool:
    if not isinstance(happening, Answered) or not isinstance(happening.answer, Authorized):
        return False
    if happening.attempt.attempt_no != before.attempt_no or before.status in FINAL:
        return False
    said = (happening.answer.amount_minor, happening.answer.currency)
    if said == (before.amount_minor, before.currency) and before.capture == "manual":
        return False
    assert made.payment.review or before.closing
    return True


def a_hold_expires_by_the_gateways_word_at_its_end(
    before: Payment, happening: Happening, now: datetime, made: Decision
) -> bool:
    expired = "authorization_expired"
    said = (made.payment.status_reason, made.payment.closing_reason)
    if expired not in said or expired in (before.status_reason, before.closing_reason):
        return False
    assert isinstance(happening, Answered)
    assert isinstance(happening.answer, Authorized | Canceled)
    if isinstance(happening.answer, Canceled) and happening.answer.expired:
        return True
    assert before.capture_before is not None
    ends = before.capture_before
    if isinstance(happening.answer, Authorized):
        ends = happening.answer.capture_before or ends
        assert now >= ends
    assert now >= ends - HOLD_LOOK_EARLIER
    assert made.payment.captured_minor == 0
    return True


def a_capture_without_an_answer_is_unknown(
    before: Payment, happening: Happening, _: datetime, made: Decision
) -> bool:
    match happening:
        case Answered(asked="capture", answer=Unknown(), attempt=one):
            if before.capture_minor is None or before.status in FINAL or before.review:
                return False
            assert made.payment.status == "outcome_unknown" or one.attempt_no != before.attempt_no
            return True
        case _:
            return False


RULES = (
    what_was_agreed_stays,
    rest_comes_at_the_end_only,
    only_a_hold_is_captured,
    an_amount_is_asked_of_a_hold_once,
    while_a_capture_is_asked_only_the_gateway_ends_the_hold,
    closing_goes_with_processing,
    a_cancel_waits_for_the_gateway,
    held_only_by_the_gateways_word,
    another_hold_freezes,
    a_hold_expires_by_the_gateways_word_at_its_end,
    a_capture_without_an_answer_is_unknown,
)

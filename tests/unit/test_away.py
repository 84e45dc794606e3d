"""A customer who is away: what the saved instrument's token says, and a bank that wants to see."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from strongroom.payments.decide import decide
from strongroom.payments.states import Canceled, Declined, Due
from strongroom.payments.ways import ChargeToken, Way, charge_token
from tests.unit.examples import ACCOUNT, OTHER_ACCOUNT, attempt, payment
from tests.unit.examples import START as NOW
from tests.unit.examples import answered as answer_of

WANTED = Declined("authentication_required", "authentication_required", object_open=True)
LEFT = Declined("authentication_required", "2099", object_open=False)


@pytest.mark.parametrize("away", [None, "unscheduled", "recurring"])
def test_a_charge_token_is_read_as_it_was_written(away):
    token = ChargeToken("cus_1", "pm_1", away)
    assert charge_token(token.text()) == token


@pytest.mark.parametrize("text", [None, "", "pm_1", "a-nonce_of-a-browser"])
def test_what_a_caller_brings_is_no_charge_token(text):
    assert charge_token(text) is None


def away(**changes):
    token = ChargeToken("cus_1", "pm_1", "unscheduled").text()
    return replace(payment(), **({"instrument_token": token} | changes))


def answered(answer, *, staged=True, asked="send"):
    one = attempt(staged=staged, gateway_object_id="pi_1" if staged else None)
    return answer_of(answer, one, asked=asked, first=True)


def declined_and_canceled(before):
    closing = decide(before, answered(WANTED), NOW)
    assert closing.payment.closing == "new_attempt"
    return decide(closing.payment, answered(Canceled(), asked="cancel"), NOW)


def test_a_bank_that_wants_the_customer_has_the_payment_wait_once_nothing_can_be_taken():
    made = declined_and_canceled(away())
    after = made.payment
    assert (after.status, after.status_reason) == (
        "requires_payment_method", "authentication_required",
    )  # fmt: skip
    assert (after.instrument_token, after.attempt_no) == (None, 2)
    assert after.ways == (Way(gateway="stripe", gateway_account_id=ACCOUNT),)


def test_a_sale_that_left_no_object_waits_at_once():
    after = decide(away(), answered(LEFT, staged=False), NOW).payment
    assert after.status == "requires_payment_method"


def test_it_goes_to_no_other_account_though_one_has_a_token():
    other = Way(gateway="stripe", gateway_account_id=OTHER_ACCOUNT, token="pm_2")
    after = declined_and_canceled(away(ways=(other,))).payment
    assert after.status == "requires_payment_method"
    assert [way.token for way in after.ways] == [None, None]
    assert after.ways[0].gateway_account_id == ACCOUNT


def test_who_does_not_come_back_in_time_has_not_paid():
    after = declined_and_canceled(away()).payment
    late = after.not_after + timedelta(seconds=1)
    ended = decide(after, Due(None), late).payment
    assert (ended.status, ended.status_reason) == ("failed", "authentication_required")


@pytest.mark.parametrize(
    ("before", "answer", "at"),
    [
        (payment(), WANTED, NOW),
        (away(instrument_token="cus_1/pm_1"), WANTED, NOW),
        (away(), Declined("expired_card", "expired_card", object_open=True), NOW),
        (away(not_after=NOW), WANTED, NOW),
    ],
)
def test_everybody_else_and_every_other_decline_is_the_end(before, answer, at):
    assert decide(before, answered(answer), at).payment.closing == "failed"

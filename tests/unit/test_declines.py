"""What declines mean, and how Stripe's codes and advice become that."""

from typing import get_args

import pytest

from strongroom.gateways.stripe.declines import ADVICE, CLASSES, classify
from strongroom.payments.declines import MEANINGS, may_go_elsewhere, retry_of
from strongroom.payments.states import Declined
from strongroom.payments.ways import DeclineClass
from strongroom_sandbox.stripe.cards import CODES


def decline(code, advice=None):
    return classify("card_declined", code, advice, object_open=True)


def test_every_class_has_a_meaning_and_every_code_a_class():
    assert set(MEANINGS) == set(get_args(DeclineClass))
    assert set(CODES) - set(CLASSES) == set()


@pytest.mark.parametrize("secret", ["lost_stolen", "fraud"])
def test_of_theft_and_fraud_the_customer_reads_no_more_than_of_any_decline(secret):
    assert MEANINGS[secret].customer_message == MEANINGS["generic_decline"].customer_message
    assert MEANINGS[secret].retry == "never"


@pytest.mark.parametrize(
    ("code", "advice", "found", "retry"),
    [
        ("insufficient_funds", None, "insufficient_funds", "later"),
        ("insufficient_funds", "do_not_try_again", "insufficient_funds", "never"),
        ("do_not_honor", None, "generic_decline", "limited"),
        ("do_not_honor", "try_again_later", "generic_decline", "later"),
        ("do_not_honor", "confirm_card_data", "generic_decline", "new_data"),
        ("do_not_honor", "an_advice_of_tomorrow", "generic_decline", "limited"),
        ("do_not_try_again", None, "generic_decline", "never"),
        ("fraudulent", "try_again_later", "fraud", "later"),
        ("a_code_of_tomorrow", None, "generic_decline", "no"),
        ("a_code_of_tomorrow", "try_again_later", "generic_decline", "later"),
        ("processing_error", None, "try_again", "yes"),
    ],
)
def test_advice_comes_before_the_class_and_what_is_unknown_is_not_tried_again(
    code, advice, found, retry
):
    said = decline(code, advice)
    assert (said.decline, said.raw_code, retry_of(said)) == (found, code, retry)


@pytest.mark.parametrize("code", [*CODES, "a_code_of_tomorrow"])
@pytest.mark.parametrize("advice", [None, *ADVICE])
def test_nothing_goes_elsewhere_that_the_bank_refused_for_good(code, advice):
    said = decline(code, advice)
    elsewhere = may_go_elsewhere(said)
    assert not (elsewhere and retry_of(said) in ("never", "new_data", "after_authentication"))
    assert not (elsewhere and said.decline in ("fraud", "lost_stolen", "revoked", "duplicate"))


@pytest.mark.parametrize(
    ("found", "retry", "elsewhere"),
    [
        ("try_again", None, True),
        ("generic_decline", None, True),
        ("generic_decline", "no", False),
        ("generic_decline", "never", False),
        ("config_error", None, True),
        ("config_error", "never", False),
        ("insufficient_funds", None, False),
        ("expired_card", None, False),
        ("fraud", "yes", False),
        ("duplicate", None, False),
    ],
)
def test_what_may_be_tried_elsewhere(found, retry, elsewhere):
    assert may_go_elsewhere(Declined(found, "x", True, retry)) is elsewhere


def test_a_code_without_end_is_cut():
    assert len(decline("x" * 1000).raw_code) == 100

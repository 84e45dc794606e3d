"""Which card a token stands for, asked of Stripe's stand-in."""

from collections.abc import AsyncIterator

import pytest

from strongroom.clock import SystemClock
from strongroom.gateways.fields import UNNAMED, CardSeen
from strongroom.gateways.lines import has_failed
from strongroom.gateways.port import Account
from strongroom.gateways.stripe.fields import StripeFields
from strongroom.payments.states import NotSent
from tests.integration.stripe_adapter.asking import (
    BROKEN,
    LOST,
    Answering,
    Keys,
    account_at,
    fault,
)
from tests.sandbox.conftest import SECRET_KEY, RunningStripe

RETRIEVE = "payment_methods.retrieve"


@pytest.fixture
async def fields() -> AsyncIterator[StripeFields]:
    adapter = StripeFields(SystemClock(), Keys(SECRET_KEY), mode="dev")
    yield adapter
    await adapter.close()


async def test_one_card_has_one_name_in_whatever_token(
    fields: StripeFields, account: Account
) -> None:
    tokens = ("pm_card_visa", "pm_card_visa", "pm_card_mastercard")
    seen = [(await fields.card_of(account, token))[0] for token in tokens]
    marks = [one.mark for one in seen if isinstance(one, CardSeen)]
    assert len(marks) == 3
    assert all(marks)
    assert marks[0] == marks[1] != marks[2]


async def test_a_token_that_nobody_made_is_no_card(fields: StripeFields, account: Account) -> None:
    answer, call = await fields.card_of(account, "pm_1NobodyMadeThis")
    assert answer == CardSeen(None)
    assert call.http_status == 404


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("error_500_before", BROKEN),
        ("error_503", BROKEN),
        ("error_429", NotSent("rate_limited")),
        ("drop_before", LOST),
    ],
)
async def test_what_is_no_answer_names_no_card(
    fields: StripeFields, account: Account, knobs: RunningStripe, what: str, expected: object
) -> None:
    fault(knobs, RETRIEVE, what)
    answer, _ = await fields.card_of(account, "pm_card_visa")
    assert answer == expected


@pytest.mark.parametrize("card", [None, {}, {"fingerprint": ""}, {"fingerprint": 7}])
async def test_a_card_without_a_name_is_no_answer(
    fields: StripeFields, answering: Answering, card: object
) -> None:
    answering.will_say({"id": "pm_1", "object": "payment_method", "type": "card", "card": card})
    answer, _ = await fields.card_of(account_at(f"http://127.0.0.1:{answering.port}"), "pm_1")
    assert answer == NotSent(UNNAMED)
    assert not has_failed(answer), "whoever makes such tokens must not make the line rest"


async def test_what_is_no_card_has_no_name(fields: StripeFields, answering: Answering) -> None:
    answering.will_say({"id": "pm_1", "object": "payment_method", "type": "sepa_debit"})
    answer, _ = await fields.card_of(account_at(f"http://127.0.0.1:{answering.port}"), "pm_1")
    assert answer == NotSent(UNNAMED)

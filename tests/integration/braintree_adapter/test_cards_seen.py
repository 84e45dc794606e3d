"""Which card a nonce stands for, asked of Braintree's stand-in."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from strongroom.clock import SystemClock
from strongroom.gateways.braintree.fields import BraintreeFields, _seen
from strongroom.gateways.fields import UNNAMED, CardSeen
from strongroom.gateways.port import Account
from strongroom.payments.states import NotSent
from tests.integration.braintree_adapter.selling import KEYS, Keys
from tests.sandbox.braintree_server import RunningBraintree

FIND = {"operation": "nonces.find"}


@pytest.fixture
async def fields() -> AsyncIterator[BraintreeFields]:
    adapter = BraintreeFields(SystemClock(), Keys(KEYS), mode="dev")
    yield adapter
    await adapter.close()


async def mark_of(fields: BraintreeFields, account: Account, nonce: str) -> str:
    answer, _ = await fields.card_of(account, nonce)
    assert isinstance(answer, CardSeen), answer
    assert answer.mark
    return answer.mark


async def test_one_card_has_one_name_in_whatever_nonce(
    fields: BraintreeFields, account: Account, server: RunningBraintree
) -> None:
    first, again = server.nonce(), server.nonce()
    assert first != again
    assert await mark_of(fields, account, first) == await mark_of(fields, account, again)
    visa = await mark_of(fields, account, "fake-valid-visa-nonce")
    assert visa != await mark_of(fields, account, "fake-valid-mastercard-nonce")


async def test_a_nonce_that_was_looked_at_can_be_used(
    fields: BraintreeFields, account: Account, server: RunningBraintree
) -> None:
    nonce = server.nonce()
    await mark_of(fields, account, nonce)
    assert server.sell(payment_method_nonce=nonce).is_success


@pytest.mark.parametrize("nonce", ["11111111-2222-3333-4444-555555555555", "nobody", "a/b", ".."])
async def test_a_nonce_that_nobody_made_is_no_card(
    fields: BraintreeFields, account: Account, nonce: str
) -> None:
    assert (await fields.card_of(account, nonce))[0] == CardSeen(None)


@pytest.mark.parametrize(
    "fault", ["error_500_before", "error_503", "error_429", "drop_before", "malformed"]
)
async def test_what_is_no_answer_names_no_card(
    fields: BraintreeFields, account: Account, knobs: RunningBraintree, fault: str
) -> None:
    knobs.knobs({"fault": fault, "match": FIND})
    answer, _ = await fields.card_of(account, "fake-valid-nonce")
    assert not isinstance(answer, CardSeen), answer
    assert answer != NotSent(UNNAMED)


@pytest.mark.parametrize(
    "told",
    [
        {"type": "CreditCard", "details": {}},
        {
            "type": "CreditCard",
            "details": {"bin": "411111", "last_four": None, "card_type": "Visa"},
        },
        {"type": "PayPalAccount", "details": {"email": "a@shop.example"}},
    ],
)
def test_a_nonce_of_a_code_alone_or_of_no_card_names_none(told: dict[str, Any]) -> None:
    assert _seen(SimpleNamespace(**told)) == NotSent(UNNAMED)

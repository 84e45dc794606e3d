"""Payments at Braintree through the API; what was taken is asked of the stand-in's ledger."""

import asyncio
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.braintree_shop import (
    Shop,
    bought,
    braintree_server,
    shop,
    shop_account,
)
from tests.acceptance.client import Api, fresh, order, until

__all__ = ["braintree_server", "shop", "shop_account"]
SALE = "transactions.sale"


async def test_a_payment_takes_money_once(shop: Shop) -> None:
    body, key = bought(), fresh("key")
    made = await shop.api.pay(body, key=key, wait=20)
    assert (made.status, made.json["status"]) == (201, "succeeded")
    assert made.json["instrument"] == {"gateway": "braintree"}
    again = await shop.api.pay(body, key=key, wait=20)
    assert (again.id, again.replayed) == (made.id, True)
    [charge] = shop.charges(made.id)
    assert (charge["captured"], charge["currency"]) == (1050, "EUR")


@pytest.mark.parametrize(
    ("currency", "amount"), [("JPY", 1999), ("KWD", 12340), ("ISK", 1500), ("USD", 100)]
)
async def test_amounts_of_each_exponent_arrive_right_at_both(
    shop: Shop, api: Api, stripe: Any, currency: str, amount: int
) -> None:
    payment_id = await shop.paid(currency=currency, amount=amount)
    [charge] = shop.charges(payment_id)
    assert (charge["captured"], charge["currency"]) == (amount, currency)
    made = await api.pay(order(currency=currency, amount=amount), wait=20)
    assert made.json["status"] == "succeeded"
    at_stripe = await stripe.charge_of(made.id)
    written = amount * 100 if currency == "ISK" else amount  # as Stripe counts crowns
    assert (at_stripe["captured"], at_stripe["currency"]) == (written, currency.lower())


async def test_a_currency_without_a_merchant_account_is_refused_at_accept(shop: Shop) -> None:
    reference = fresh()
    refused = await shop.api.pay(bought(currency="GBP", merchant_reference=reference))
    assert (refused.status, refused.code) == (422, "merchant_account_missing")
    assert refused.json["field"] == "currency"
    waiting = await shop.api.pay(
        {"amount": 500, "currency": "GBP", "merchant_reference": reference}
    )
    assert waiting.status in (201, 202)  # nothing of the refused one was kept
    confirm = {"instrument": {"gateway": "braintree", "token": "fake-valid-nonce"}}
    refused = await shop.api.post(f"/v1/payments/{waiting.id}/confirm", confirm)
    assert (refused.status, refused.code) == (422, "merchant_account_missing")
    assert shop.charges(waiting.id) == []


async def test_a_currency_is_taken_once_it_is_configured_and_refused_after(
    shop: Shop, running: Any
) -> None:
    running.command("gateway-accounts", "refuse", shop.account, "USD")

    async def is_refused() -> bool:
        refused = await shop.api.pay(bought(currency="USD"))
        return bool(refused.code == "merchant_account_missing")

    await until(is_refused)
    running.command("gateway-accounts", "pay-to", shop.account, "USD", "usd")

    async def is_taken() -> bool:
        return (await shop.api.pay(bought(currency="USD"))).code is None

    await until(is_taken)


async def test_a_decline_is_normalised_and_frees_the_reference(shop: Shop) -> None:
    reference = fresh()
    nonce = shop.server.nonce(decline="2001")
    made = await shop.api.pay(bought(nonce, merchant_reference=reference), wait=20)
    assert (made.json["status"], made.json["status_reason"]) == ("failed", "insufficient_funds")
    assert shop.charges(made.id) == []
    assert await shop.paid(merchant_reference=reference)


async def test_tokens_of_the_other_gateway_and_card_numbers_are_refused(shop: Shop) -> None:
    number = await shop.api.pay(bought("4111111111111111"))
    assert (number.status, number.code) == (422, "card_number_refused")
    for token in ("123456", "1" * 13 + "a", "a b", ""):
        refused = await shop.api.pay(bought(token))
        assert (refused.status, refused.code) == (422, "instrument_token_malformed"), token


@pytest.mark.parametrize("part", [None, 700])
async def test_a_hold_is_captured(shop: Shop, part: int | None) -> None:
    held = await shop.api.pay(bought(capture="manual"), wait=20)
    assert held.json["status"] == "authorized"
    assert shop.charges(held.id) == []
    captured = await shop.api.capture(held.id, part, wait=20)
    assert captured.json["status"] == "succeeded"
    assert captured.json["captured_amount"] == (part or 1050)
    assert [charge["captured"] for charge in shop.charges(held.id)] == [part or 1050]


async def test_a_hold_is_canceled(shop: Shop) -> None:
    held = await shop.api.pay(bought(capture="manual"), wait=20)
    canceled = await shop.api.cancel(held.id, wait=20)
    assert canceled.json["status"] == "canceled"
    [seen] = shop.server.charges(order_prefix=held.id + ".", kind="all")
    assert (seen["status"], seen["taken"]) == ("voided", False)


async def test_a_whole_refund_before_the_settlement_is_a_void(shop: Shop) -> None:
    payment_id = await shop.paid()
    refund = await shop.api.refund(payment_id, wait=20)
    assert refund.json["status"] == "succeeded"
    assert shop.charges(payment_id) == []
    view = await shop.api.payment(payment_id)
    assert (view["refunded_amount"], view["refundable_amount"]) == (1050, 0)
    again = await shop.api.refund(payment_id, 1)
    assert (again.status, again.code) == (409, "refund_exceeds_captured")


async def test_what_was_captured_in_part_and_given_back_at_once_is_no_mismatch(
    shop: Shop, owner: asyncpg.Connection
) -> None:
    """The void is of the part; what is looked at once more when it should have settled is ours."""
    made = await shop.api.pay(bought(capture="manual"), wait=20)
    assert made.json["status"] == "authorized"
    taken = await shop.api.capture(made.id, 700, wait=20)
    assert (taken.json["status"], taken.json["captured_amount"]) == ("succeeded", 700)
    refund = await shop.api.refund(made.id, wait=20)
    assert (refund.json["status"], refund.json["amount"]) == ("succeeded", 700)
    named = from_text("pay", made.id)
    look = "UPDATE jobs SET run_at = now() WHERE payment_id = $1"
    assert await owner.execute(look, named) == "UPDATE 1"

    async def is_over() -> bool:
        return not await owner.fetchval("SELECT count(*) FROM jobs WHERE payment_id = $1", named)

    await until(is_over)
    shown = await shop.api.payment(made.id)
    assert (shown["status"], shown["refunded_amount"]) == ("succeeded", 700)
    assert await owner.fetchval("SELECT review FROM payments WHERE payment_id = $1", named) is None


async def test_a_part_waits_for_the_settlement(shop: Shop) -> None:
    payment_id = await shop.paid()
    refund = await shop.api.refund(payment_id, 300, wait=2)
    assert refund.json["status"] == "processing"
    assert (await shop.api.payment(payment_id))["refunding_amount"] == 300
    shop.settle(payment_id)

    async def is_there() -> bool:
        return bool(shop.server.refunds(order_id=refund.id))

    await until(is_there)
    [given] = shop.server.refunds(order_id=refund.id)
    assert given["amount"] == 300
    shop.server.control("POST", "/_settle", {"transaction": given["id"]})

    async def is_over() -> bool:
        got = await shop.api.get(f"/v1/refunds/{refund.id}")
        return bool(got.json["status"] == "succeeded")

    await until(is_over)
    assert (await shop.api.payment(payment_id))["refunded_amount"] == 300


@pytest.mark.parametrize(
    "name",
    ["drop_before", "drop_after", "error_500_before", "error_500_after", "error_429",
     "error_503", "malformed"],
)  # fmt: skip
async def test_whatever_becomes_of_the_answer_money_is_taken_once(shop: Shop, name: str) -> None:
    shop.server.knobs({"fault": name, "match": {"operation": SALE, "first_n": 1}})
    made = await shop.api.pay(bought(), wait=20)
    assert made.json["status"] in ("succeeded", "outcome_unknown")  # never failed
    assert (await shop.api.until(made.id, "succeeded"))["review"] is None
    assert [charge["captured"] for charge in shop.charges(made.id)] == [1050]


@pytest.mark.parametrize("name", ["wrong_amount", "wrong_currency"])
async def test_another_amount_freezes_the_payment(shop: Shop, name: str) -> None:
    shop.server.knobs({"fault": name, "match": {"operation": SALE, "first_n": 1}})
    made = await shop.api.pay(bought(), wait=20)
    assert (made.json["status"], made.json["review"]) == ("outcome_unknown", "amount_mismatch")


async def test_an_unknown_outcome_is_called_so_until_it_is_known(shop: Shop) -> None:
    shop.server.knobs({"fault": "error_500_after", "match": {"operation": "transactions.*"}})
    made = await shop.api.pay(bought(), wait=20)
    assert made.json["status"] == "outcome_unknown"
    refused = await shop.api.cancel(made.id)
    assert (refused.status, refused.code) == (409, "outcome_not_known")
    shop.server.control("DELETE", "/_knobs")
    assert (await shop.api.until(made.id, "succeeded"))["review"] is None
    assert len(shop.charges(made.id)) == 1


async def test_many_at_once_are_each_taken_once(shop: Shop) -> None:
    made = await asyncio.gather(*(shop.api.pay(bought(), wait=30) for _ in range(60)))
    assert {one.json["status"] for one in made} == {"succeeded"}
    assert [len(shop.charges(one.id)) for one in made] == [1] * len(made)

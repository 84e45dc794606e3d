"""The customer has something to do, and what the gateway says is compared with what was asked."""

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Api, StandIn, order

CARD = "pm_card_threeDSecure2Required"


async def test_a_completed_action_ends_in_one_charge(api: Api, stripe: StandIn) -> None:
    made = await api.pay(order(CARD), wait=20)
    assert made.json["status"] == "requires_action"
    action = made.json["next_action"]
    assert action["type"] == "redirect_to_url"
    assert action["url"].startswith(stripe.url)
    assert made.id not in await stripe.charges()
    assert await stripe.decide(action["url"], "complete") == 303
    done = await api.until(made.id, "succeeded")
    assert (done["next_action"], done["captured_amount"]) == (None, done["amount"])
    assert len((await stripe.charges())[made.id]) == 1


async def test_the_customers_return_is_looked_at_at_once(api: Api, stripe: StandIn) -> None:
    made = await api.pay(order(CARD), wait=20)
    early = await api.confirm(made.id)
    assert (early.status, early.json["status"]) == (200, "requires_action")
    await stripe.decide(made.json["next_action"]["url"], "complete")
    await api.confirm(made.id)
    await api.until(made.id, "succeeded")
    after = await api.confirm(made.id)
    assert (after.status, after.code) == (409, "payment_is_over")
    assert len((await stripe.charges())[made.id]) == 1


async def test_a_failed_action_fails_the_payment_and_frees_the_order(
    api: Api, stripe: StandIn
) -> None:
    body = order(CARD)
    made = await api.pay(body, wait=20)
    second = await api.pay(body)
    assert (second.status, second.json["payment_id"]) == (409, made.id)
    await stripe.decide(made.json["next_action"]["url"], "fail")
    failed = await api.until(made.id, "failed")
    assert (failed["status_reason"], failed["next_action"]) == ("authentication_failed", None)
    good = {"instrument": {"gateway": "stripe", "token": "pm_card_visa"}}
    paid = await api.pay(body | good, wait=20)
    assert paid.json["status"] == "succeeded"
    charges = await stripe.charges()
    assert (len(charges[made.id]), len(charges[paid.id])) == (0, 1)


async def test_the_customer_comes_back_to_the_merchants_page(api: Api, stripe: StandIn) -> None:
    body = order(CARD, return_url="https://shop.example/back?order=1")
    made = await api.pay(body, wait=20)
    url = made.json["next_action"]["url"] + "/complete"
    async with stripe.session.post(url, allow_redirects=False) as answer:
        assert answer.headers["Location"].startswith("https://shop.example/back?order=1&")
    await api.until(made.id, "succeeded")


@pytest.mark.parametrize("fault", ["wrong_amount", "wrong_currency"])
async def test_an_answer_about_other_money_freezes_the_payment(
    fault: str, api: Api, stripe: StandIn, owner: asyncpg.Connection
) -> None:
    body = order()
    mine = {"merchant_reference": body["merchant_reference"]}
    await stripe.knobs(
        {"fault": fault, "match": {"operation": "payment_intents.confirm", "metadata": mine}}
    )
    made = await api.pay(body)
    frozen = await api.until(made.id, "outcome_unknown", "succeeded", "failed", "canceled")
    assert (frozen["status"], frozen["review"]) == ("outcome_unknown", "amount_mismatch")
    assert frozen["captured_amount"] == 0
    again = await api.pay(body)
    assert (again.status, again.json["payment_id"]) == (409, made.id)
    brought = await api.confirm(made.id, "pm_card_visa")
    assert (brought.status, brought.code) == (409, "payment_under_review")
    assert (await api.confirm(made.id)).json == frozen
    planned = await owner.fetchval(
        "SELECT count(*) FROM jobs WHERE payment_id = $1", from_text("pay", made.id)
    )
    assert planned == 0
    assert await api.payment(made.id) == frozen
    assert len((await stripe.charges())[made.id]) <= 1

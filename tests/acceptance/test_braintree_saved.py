"""Cards saved at Braintree: once for one request, charged by token, let go at the gateway too."""

import asyncio
from typing import Any

import braintree as sdk
import pytest
from braintree.exceptions import NotFoundError

from strongroom.ids import from_text
from tests.acceptance.braintree_shop import (
    NONCE,
    Shop,
    bought,
    braintree_server,
    shop,
    shop_account,
)
from tests.acceptance.client import Answer, fresh
from tests.acceptance.test_paying_with_saved import confirm
from tests.acceptance.test_payment_methods import CONSENT, customer, method, until_method
from tests.sandbox.braintree_server import MERCHANT, PRIVATE_KEY, PUBLIC_KEY

__all__ = ["braintree_server", "shop", "shop_account"]
SCA = "fake-authentication-required-nonce"
WANTED_AMOUNT = 209900
"""An amount of 2099 whole units is declined with 2099."""


@pytest.fixture
def client(shop: Shop) -> sdk.BraintreeGateway:
    """The gateway, as its merchant sees it."""
    port = shop.server.url.rpartition(":")[2]
    at = sdk.Environment("standin", "127.0.0.1", port, "http://127.0.0.1", False, None, "", port)
    return sdk.BraintreeGateway(
        sdk.Configuration(
            environment=at, merchant_id=MERCHANT, public_key=PUBLIC_KEY, private_key=PRIVATE_KEY
        )
    )


async def save(shop: Shop, owner: str, nonce: str = NONCE, **more: Any) -> Answer:
    body: dict[str, Any] = {"instrument": {"gateway": "braintree", "token": nonce}}
    if more.pop("agreed", True):
        body["consent"] = CONSENT | {"purpose": more.pop("purpose", "unscheduled")}
    more = {"wait": 20} | more
    return await shop.api.post(f"/v1/customers/{owner}/payment_methods", body, **more)


def held(client: sdk.BraintreeGateway, owner: str) -> list[str]:
    """The tokens that the gateway holds for the customer."""
    try:
        found = client.customer.find(from_text("cus", owner).hex)
    except NotFoundError:
        return []
    return [one.token for one in found.payment_methods]


async def bare(shop: Shop, **changes: Any) -> str:
    body = bought(**changes)
    del body["instrument"]
    return (await shop.api.pay(body)).id


async def test_a_card_is_saved_shown_and_charged_by_its_token(
    shop: Shop, client: sdk.BraintreeGateway
) -> None:
    ada = await customer(shop.api)
    saved = await save(shop, ada, purpose="recurring")
    assert (saved.status, saved.json["status"]) == (201, "ready"), saved
    assert saved.json["card"]["brand"] == "visa"
    assert saved.json["instrument"] == {"gateway": "braintree"}
    [token] = await asyncio.to_thread(held, client, ada)
    assert token.encode() not in saved.body
    for away, source in ((True, "recurring"), (False, None)):
        payment = await bare(shop)
        paid = await confirm(shop.api, payment, saved.id, off_session=away)
        assert paid.json["status"] == "succeeded", paid
        [charge] = shop.charges(payment)
        assert charge["captured"] == 1050
        sale = await asyncio.to_thread(client.transaction.find, charge["id"])
        assert sale.credit_card_details.token == token
        assert sale.recurring is (source == "recurring")


async def test_a_repeat_saves_nothing_more(shop: Shop, client: sdk.BraintreeGateway) -> None:
    ada, key = await customer(shop.api), fresh("key")
    answers = await asyncio.gather(*(save(shop, ada, key=key, wait=0) for _ in range(8)))
    assert {answer.id for answer in answers} == {answers[0].id}
    await until_method(shop.api, answers[0].id, "ready")
    assert len(await asyncio.to_thread(held, client, ada)) == 1
    second = await save(shop, ada, "fake-valid-mastercard-nonce")
    assert second.json["card"]["brand"] == "mastercard"
    assert len(await asyncio.to_thread(held, client, ada)) == 2, "one customer at the gateway"


@pytest.mark.parametrize(
    ("nonce", "reason"),
    [
        ("fake-processor-declined-visa-nonce", "generic_decline"),
        ("fake-processor-declined-2004-nonce", "expired_card"),
        ("fake-consumed-nonce", "invalid_instrument"),
        ("nobody-made-this", "invalid_instrument"),
    ],
)
async def test_a_card_that_is_declined_is_failed_and_not_saved(
    nonce: str, reason: str, shop: Shop, client: sdk.BraintreeGateway
) -> None:
    ada = await customer(shop.api)
    failed = await save(shop, ada, nonce)
    assert (failed.json["status"], failed.json["status_reason"]) == ("failed", reason)
    assert await asyncio.to_thread(held, client, ada) == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize("operation", ["customers.create", "payment_methods.create"])
@pytest.mark.parametrize("fault", ["drop_after", "error_500_after", "drop_before", "malformed"])
async def test_a_lost_answer_saves_no_second_card(
    operation: str, fault: str, shop: Shop, client: sdk.BraintreeGateway
) -> None:
    """By a nonce of one use, as browsers give them: the first try may have used it up."""
    ada = await customer(shop.api)
    nonce = shop.server.control("POST", "/_nonces", {"like": NONCE})["nonce"]
    rule = {"fault": fault, "match": {"operation": operation, "first_n": 1}}
    shop.server.control("PUT", "/_knobs", {"rules": [rule]})
    saved = await save(shop, ada, nonce)
    await until_method(shop.api, saved.id, "ready", "failed")
    assert (await method(shop.api, saved.id))["status"] == "ready"
    assert len(await asyncio.to_thread(held, client, ada)) == 1


async def test_a_detach_deletes_it_once_and_for_good(
    shop: Shop, client: sdk.BraintreeGateway
) -> None:
    ada = await customer(shop.api)
    saved = await save(shop, ada)
    rule = {"fault": "drop_after", "match": {"operation": "payment_methods.delete", "first_n": 1}}
    shop.server.control("PUT", "/_knobs", {"rules": [rule]})
    await shop.api.post(f"/v1/payment_methods/{saved.id}/detach", {})
    await until_method(shop.api, saved.id, "detached")
    assert await asyncio.to_thread(held, client, ada) == []
    payment = await bare(shop)
    refused = await confirm(shop.api, payment, saved.id)
    assert refused.code == "payment_method_not_ready"
    assert shop.charges(payment) == []


async def test_who_is_away_is_charged_though_the_bank_asks_who_is_there(shop: Shop) -> None:
    """The bank lets a charge of an agreement pass, and wants to see who is there."""
    saved = await save(shop, await customer(shop.api), SCA)
    for away, status in ((True, "succeeded"), (False, "failed")):
        payment = await bare(shop)
        paid = await confirm(shop.api, payment, saved.id, off_session=away)
        assert paid.json["status"] == status, paid
        assert len(shop.charges(payment)) == (status == "succeeded")


async def test_a_bank_that_wants_its_customer_has_the_payment_wait_for_it(shop: Shop) -> None:
    saved = await save(shop, await customer(shop.api))
    payment = await bare(shop, amount=WANTED_AMOUNT)
    waiting = await confirm(shop.api, payment, saved.id, off_session=True)
    assert waiting.json["status"] == "requires_payment_method", waiting
    assert waiting.json["status_reason"] == "authentication_required"
    assert waiting.json["next_gateway"] == "braintree"
    assert shop.charges(payment) == []


async def test_without_consent_nothing_is_charged(shop: Shop) -> None:
    saved = await save(shop, await customer(shop.api), agreed=False)
    payment = await bare(shop)
    refused = await confirm(shop.api, payment, saved.id, off_session=True)
    assert refused.code == "consent_missing"
    assert shop.charges(payment) == []


async def test_a_token_brought_as_an_instrument_pays_for_nobody(
    shop: Shop, client: sdk.BraintreeGateway
) -> None:
    ada = await customer(shop.api)
    await save(shop, ada)
    [token] = await asyncio.to_thread(held, client, ada)
    made = await shop.api.pay(bought(token), wait=20)
    assert made.json["status"] == "failed"
    assert shop.charges(made.id) == []

"""`strongroom up` has Braintree at hand: its stand-in takes what the official SDK sends."""

import asyncio
from urllib.parse import urlsplit

import aiohttp
import braintree
import pytest

from strongroom.local.children import MERCHANT_ACCOUNTS
from tests.acceptance.client import Api, fresh
from tests.acceptance.running import Running


@pytest.fixture
def gateway(running: Running) -> braintree.BraintreeGateway:
    """The SDK with the keys of the deployment."""
    port = str(urlsplit(running.braintree_url).port)
    environment = braintree.Environment(
        "standin", "127.0.0.1", port, "http://127.0.0.1", False, None, "127.0.0.1", port
    )
    keys = (running.home / "secrets" / "braintree_keys").read_text().strip().split(":")
    return braintree.BraintreeGateway(braintree.Configuration(environment, *keys))


@pytest.mark.parametrize("currency", MERCHANT_ACCOUNTS)
async def test_it_sells_in_each_currency_that_it_has_an_account_for(
    running: Running,
    session: aiohttp.ClientSession,
    gateway: braintree.BraintreeGateway,
    currency: str,
) -> None:
    order = fresh()
    sold = gateway.transaction.sale(
        {
            "amount": "12",
            "payment_method_nonce": "fake-valid-nonce",
            "order_id": order,
            "merchant_account_id": MERCHANT_ACCOUNTS[currency],
            "options": {"submit_for_settlement": True},
        }
    )
    assert sold.is_success
    assert sold.transaction.currency_iso_code == currency
    url = f"{running.braintree_url}/_ledger/charges?order_id={order}"
    async with session.get(url, headers={"X-Knob-Token": running.knob_token}) as answer:
        [taken] = (await answer.json())["data"]
    assert (taken["id"], taken["currency"]) == (sold.transaction.id, currency)


async def test_the_first_legal_entity_pays_by_it(running: Running, api: Api) -> None:
    body = {
        "amount": 1050,
        "currency": "JPY",
        "merchant_reference": fresh(),
        "instrument": {"gateway": "braintree", "token": "fake-valid-visa-nonce"},
    }
    made = await api.pay(body, wait=20)
    assert (made.status, made.json["status"]) == (201, "succeeded"), made
    url = f"{running.braintree_url}/_ledger/charges?order_prefix={made.id}."
    async with api.session.get(url, headers={"X-Knob-Token": running.knob_token}) as answer:
        [taken] = (await answer.json())["data"]
    assert (taken["amount"], taken["currency"], taken["merchant_account_id"]) == (
        1050, "JPY", MERCHANT_ACCOUNTS["JPY"],
    )  # fmt: skip
    refused = await api.pay(body | {"currency": "GBP", "merchant_reference": fresh()})
    assert refused.status == 422, refused


async def test_its_webhooks_arrive_and_are_found_genuine(running: Running, api: Api) -> None:
    headers = {"X-Knob-Token": running.knob_token}
    check = f"{running.braintree_url}/_webhooks/check"
    async with api.session.post(check, headers=headers, json={}) as answer:
        assert answer.status == 200
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        async with api.session.get(f"{running.braintree_url}/_webhooks", headers=headers) as answer:
            counts = (await answer.json())["counts"]
        if counts["answered_2xx"] == counts["sent"] > 0:
            return
        assert asyncio.get_running_loop().time() < deadline, counts
        await asyncio.sleep(0.05)

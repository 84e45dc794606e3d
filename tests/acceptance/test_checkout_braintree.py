"""The page on which a payment is paid at Braintree, over plain HTTP, as an attacker meets it."""

import asyncio
import base64
import json
from typing import Any

import asyncpg
import pytest

from strongroom.checkout.limits import TRIES_OF_A_CARD_MAX
from strongroom.ids import from_text
from tests.acceptance.braintree_shop import Shop, braintree_server, shop, shop_account
from tests.acceptance.client import Api, until
from tests.acceptance.running import Running
from tests.acceptance.visitor import Visitor, linked
from tests.sandbox.braintree_server import MERCHANT, RunningBraintree

__all__ = ["braintree_server", "shop", "shop_account"]

DECLINED = "4000111111111115"
VISA, FRICTIONLESS, CHALLENGED = "4111111111111111", "4000000000001000", "4000000000001091"
HOST = {"Host": "js.braintree.localhost", "Content_Type": "application/json"}
CLIENT_API = f"/merchants/{MERCHANT}/client_api/v1"


@pytest.fixture(autouse=True)
async def no_limits_yet(owner: asyncpg.Connection) -> None:
    """All tests come from one address."""
    await owner.execute("DELETE FROM checkout_limits")


@pytest.fixture
def secure(running: Running, shop: Shop) -> Any:
    """The account, where euros are taken with 3-D Secure alone."""
    pay_to = ("gateway-accounts", "pay-to", shop.account, "EUR", "eur")
    running.command(*pay_to, "--three-d-secure")
    yield shop
    running.command(*pay_to)


async def key_of(visitor: Visitor) -> str:
    found: list[str] = []

    async def is_there() -> bool:
        key = await visitor.key()
        found.extend([] if key is None else [key])
        return key is not None

    await until(is_there)
    return found[-1]


class Browser:
    """What the frame of the card fields asks Braintree for, with a client token."""

    def __init__(self, server: RunningBraintree, key: str) -> None:
        self._server = server
        self._pass = json.loads(base64.b64decode(key))["authorizationFingerprint"]

    def _post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps({"authorizationFingerprint": self._pass, **content})
        status, _, answer = self._server.raw("POST", CLIENT_API + path, body, **HOST)
        assert status == 200, answer
        found: dict[str, Any] = json.loads(answer)
        return found

    def nonce(self, number: str) -> str:
        card = {"number": number, "expirationMonth": "12", "expirationYear": "34", "cvv": "123"}
        made = self._post("/payment_methods/credit_cards", {"creditCard": card})
        nonce: str = made["creditCards"][0]["nonce"]
        return nonce

    def authenticated(self, number: str, amount: str) -> str:
        path = f"/payment_methods/{self.nonce(number)}/three_d_secure/lookup"
        nonce: str = self._post(path, {"amount": amount})["paymentMethod"]["nonce"]
        return nonce


async def opened(shop: Shop, running: Running) -> tuple[str, Visitor, Browser]:
    payment, visitor = await linked(shop.api, running)
    return payment, visitor, Browser(shop.server, await key_of(visitor))


async def test_the_page_of_the_account_that_the_payment_goes_to(
    shop: Shop, running: Running
) -> None:
    payment, visitor, browser = await opened(shop, running)
    facts = await visitor.facts()
    assert (facts["gateway"], facts["account"]) == ("braintree", shop.account)
    assert facts["authenticates"] == "", "this merchant account does not ask for it"
    policy = (await visitor.page()).headers["Content-Security-Policy"]
    assert "js.braintree.localhost" in policy
    assert "stripe" not in policy
    assert (await visitor.attempt(1, browser.nonce(VISA))).status == 202
    await visitor.until("paid")
    assert len(shop.charges(payment)) == 1


async def test_a_link_has_one_client_token_however_often_it_is_opened(
    shop: Shop, running: Running, owner: asyncpg.Connection
) -> None:
    payment, visitor, _ = await opened(shop, running)
    pages = await asyncio.gather(*(visitor.facts() for _ in range(10)))
    keys = {page["key"] for page in pages} | {await key_of(visitor)}
    assert len(keys) == 1
    [row] = await owner.fetch(
        "SELECT * FROM client_tokens WHERE payment_id = $1", from_text("pay", payment)
    )
    assert (row["asked"], row["tries"], row["run_at"]) == (1, 1, None)
    content = json.loads(base64.b64decode(keys.pop()))
    assert content["merchantAccountId"] == "eur"
    assert content["authorizationFingerprint"].encode() not in row["sealed"]


async def test_an_old_client_token_is_replaced_a_few_times(
    shop: Shop, running: Running, owner: asyncpg.Connection
) -> None:
    payment, visitor, _ = await opened(shop, running)
    payment_id = from_text("pay", payment)
    aged = (
        "UPDATE client_tokens SET made_at = made_at - interval '1 day', "
        "asked_at = asked_at - interval '1 day', asked = $2 WHERE payment_id = $1"
    )
    sealed = "SELECT sealed FROM client_tokens WHERE payment_id = $1"
    first = await owner.fetchval(sealed, payment_id)
    await owner.execute(aged, payment_id, 1)
    assert await visitor.key() is None
    await key_of(visitor)
    assert await owner.fetchval(sealed, payment_id) != first
    await owner.execute(aged, payment_id, 20)
    assert await visitor.key() is None
    await asyncio.sleep(1)
    assert await visitor.key() is None, "there were enough"


async def test_a_client_token_is_for_who_can_pay(shop: Shop, running: Running) -> None:
    payment, visitor, _ = await opened(shop, running)
    stranger = Visitor(running, visitor.token[:-1] + ("A" if visitor.token[-1] != "A" else "B"))
    assert (await stranger.get(f"/pay/{stranger.token}/key")).status == 404
    await shop.api.post(f"/v1/payments/{payment}/checkout_link/revoke", {})
    assert await visitor.key() is None
    assert (await visitor.facts())["key"] == ""


async def test_a_nonce_pays_once(shop: Shop, running: Running) -> None:
    payment, visitor, browser = await opened(shop, running)
    nonce = browser.nonce(VISA)
    await asyncio.gather(*(visitor.attempt(1, nonce) for _ in range(10)))
    await visitor.until("paid")
    other, second, _ = await opened(shop, running)
    await second.attempt(1, nonce)
    told = await second.until("open")
    assert told["message"].startswith("The card details could not be used")
    assert (len(shop.charges(payment)), len(shop.charges(other))) == (1, 0)


async def test_a_page_that_does_not_ask_the_bank_takes_nothing(
    secure: Shop, running: Running
) -> None:
    """The page is the customer's: what it says of 3-D Secure, or leaves out, counts for nothing."""
    payment, visitor, browser = await opened(secure, running)
    assert (await visitor.facts())["authenticates"] == "19.99"
    failed = "4000000000001018"
    tried = (browser.nonce(FRICTIONLESS), browser.authenticated(failed, "19.99"),
        browser.authenticated(FRICTIONLESS, "0.01"))  # fmt: skip
    for number, nonce in enumerate(tried, 1):
        assert (await visitor.attempt(number, nonce)).status == 202
        assert "No money was taken" in (await visitor.until("open"))["message"]
    _, found = payment, (await secure.api.get(f"/v1/payments/{payment}/checkout_link")).json
    assert secure.charges(payment) == secure.charges(found["current_payment"]) == []
    await visitor.attempt(4, browser.authenticated(FRICTIONLESS, "19.99"))
    await visitor.until("paid")
    found = (await secure.api.get(f"/v1/payments/{payment}/checkout_link")).json
    assert len(secure.charges(found["current_payment"])) == 1


async def test_one_card_is_counted_in_whatever_nonce(
    shop: Shop, running: Running, owner: asyncpg.Connection
) -> None:
    _, visitor, browser = await opened(shop, running)
    assert (await visitor.attempt(1, browser.nonce(DECLINED))).status == 202
    await visitor.until("open")
    await owner.execute("UPDATE checkout_limits SET tries = $1", TRIES_OF_A_CARD_MAX)
    payment, visitor, browser = await opened(shop, running)
    answer = await visitor.attempt(1, browser.nonce(DECLINED))
    assert (answer.status, json.loads(answer.body)["code"]) == (429, "too_many_tries")
    assert shop.charges(payment) == []
    assert (await visitor.attempt(1, browser.nonce(VISA))).status == 202
    await visitor.until("paid")


async def test_a_try_names_the_account_whose_fields_were_shown(
    shop: Shop, running: Running, api: Api
) -> None:
    _, visitor, browser = await opened(shop, running)
    _, at_stripe = await linked(api, running)
    nonce, own = browser.nonce(VISA), visitor.account
    for account in (at_stripe.account, "gwa_" + "0" * 26, "stripe", ""):
        visitor.account = account
        answer = await visitor.attempt(1, nonce)
        assert (answer.status, json.loads(answer.body)["code"]) == (409, "out_of_step")
    visitor.account = own
    assert (await visitor.attempt(1, "pm_card_visa")).status == 202  # no nonce that is known
    assert (await visitor.until("open"))["number"] == 2


async def test_the_page_does_without_its_fields_while_the_gateway_is_away(
    shop: Shop, running: Running, owner: asyncpg.Connection
) -> None:
    shop.server.knobs(
        {"fault": "error_500_before", "match": {"operation": "client_token.generate"}}
    )
    payment, visitor = await linked(shop.api, running)

    async def is_given_up() -> bool:
        [row] = await owner.fetch(
            "SELECT run_at, tries, asked FROM client_tokens WHERE payment_id = $1",
            from_text("pay", payment),
        )
        assert await visitor.key() is None
        return (row["run_at"], row["tries"], row["asked"]) == (None, 4, 1)

    await until(is_given_up)
    assert (await visitor.state())["step"] == "open"
    shop.server.control("DELETE", "/_knobs")

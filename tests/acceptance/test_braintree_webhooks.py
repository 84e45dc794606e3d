"""Braintree's webhooks at the API: signed by the SDK's own means, stored once, followed up."""

import asyncio
import json
from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import asyncpg
import pytest
from braintree.util.crypto import Crypto

from strongroom.ids import from_text
from tests.acceptance.braintree_shop import Shop, braintree_server, shop, shop_account
from tests.acceptance.client import until
from tests.acceptance.running import Running
from tests.sandbox.braintree_server import MERCHANT, PRIVATE_KEY, PUBLIC_KEY

__all__ = ["braintree_server", "shop", "shop_account"]
STORED = "SELECT * FROM webhook_events WHERE gateway_account_id = $1 AND kind = $2"
CHALLENGE = "20f9f8ed05f77439fe955c977e4c8a53"


def delivery(kind: str, subject: str, at: datetime | None = None) -> dict[str, str]:
    moment = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    xml = (
        f'<notification><timestamp type="datetime">{moment}</timestamp><kind>{kind}</kind>'
        f"<subject>{subject}</subject></notification>"
    )
    payload = encodebytes(xml.encode()).decode()
    digest = Crypto.sha1_hmac_hash(PRIVATE_KEY, payload)
    return {"bt_signature": f"{PUBLIC_KEY}|{digest}", "bt_payload": payload}


def sale(transaction: str, order_id: str, amount: str = "10.50") -> str:
    return (
        f"<transaction><id>{transaction}</id><type>sale</type><order-id>{order_id}</order-id>"
        f"<amount>{amount}</amount><currency-iso-code>EUR</currency-iso-code></transaction>"
    )


class Hooks:
    """Where Braintree sends to, for one account."""

    def __init__(self, shop: Shop, owner: asyncpg.Connection) -> None:
        self.shop, self.owner = shop, owner
        self.url = f"{shop.api.url}/webhooks/braintree/{shop.account}"
        self.session: aiohttp.ClientSession = shop.api.session

    async def send(self, fields: dict[str, str] | bytes) -> tuple[int, Any]:
        body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        async with self.session.post(self.url, data=body, headers=form) as answer:
            return answer.status, json.loads(await answer.read())

    async def stored(self, kind: str) -> list[asyncpg.Record]:
        account = from_text("gwa", self.shop.account)
        return await self.owner.fetch(STORED, account, kind)


@pytest.fixture
def hooks(shop: Shop, owner: asyncpg.Connection) -> Hooks:
    return Hooks(shop, owner)


async def test_one_is_stored_once_and_brings_the_look_forward(hooks: Hooks) -> None:
    payment_id = await hooks.shop.paid()
    [charge] = hooks.shop.charges(payment_id)
    hooks.shop.settle(payment_id)
    jobs = "SELECT run_at FROM jobs WHERE payment_id = $1"
    uuid = from_text("pay", payment_id)
    assert await hooks.owner.fetchval(jobs, uuid) > datetime.now(UTC) + timedelta(seconds=20)
    fields = delivery("transaction_settled", sale(charge["id"], payment_id + ".1"))
    answers = await asyncio.gather(*(hooks.send(fields) for _ in range(5)))
    assert answers == [(200, {"received": True})] * 5

    async def looked() -> bool:
        return await hooks.owner.fetchval(jobs, uuid) is None

    await until(looked)  # it settled: nothing is left to be done
    rows = [row for row in await hooks.stored("transaction_settled") if row["owner_id"] == uuid]
    assert [(row["state"], row["reason"]) for row in rows] == [("applied", None)]
    assert (await hooks.shop.api.payment(payment_id))["status"] == "succeeded"


async def test_a_settlement_that_is_declined_is_noticed(hooks: Hooks) -> None:
    payment_id = await hooks.shop.paid()
    [charge] = hooks.shop.charges(payment_id)
    hooks.shop.settle(payment_id, succeed=False)
    kind = "transaction_settlement_declined"
    assert (await hooks.send(delivery(kind, sale(charge["id"], payment_id + ".1"))))[0] == 200

    async def noticed() -> bool:
        return bool((await hooks.shop.api.payment(payment_id))["review"])

    await until(noticed)
    view = await hooks.shop.api.payment(payment_id)
    assert (view["status"], view["review"]) == ("succeeded", "settlement_declined")
    refused = await hooks.shop.api.refund(payment_id)
    assert (refused.status, refused.code) == (409, "payment_under_review")


@pytest.mark.parametrize(
    ("amount", "order", "reason"),
    [("9.50", ".1", "other_amount"), ("10.50", ".2", "unknown_object")],
)
async def test_what_does_not_fit_changes_nothing(
    hooks: Hooks, amount: str, order: str, reason: str
) -> None:
    payment_id = await hooks.shop.paid()
    [charge] = hooks.shop.charges(payment_id)
    before = await hooks.shop.api.payment(payment_id)
    fields = delivery("transaction_disbursed", sale(charge["id"], payment_id + order, amount))
    assert (await hooks.send(fields))[0] == 200
    uuid = from_text("pay", payment_id)

    async def parked() -> bool:
        rows = [one for one in await hooks.stored("transaction_disbursed")
                if one["owner_id"] == uuid]  # fmt: skip
        return [one["state"] for one in rows] == ["parked"]

    await until(parked)
    after = await hooks.shop.api.payment(payment_id)
    assert (after["status"], after["captured_amount"]) == ("succeeded", before["captured_amount"])
    row = next(one for one in await hooks.stored("transaction_disbursed")
               if one["owner_id"] == uuid)  # fmt: skip
    assert row["reason"] == reason


async def test_what_is_not_genuine_or_not_fresh_is_refused_and_not_stored(hooks: Hooks) -> None:
    good = delivery("disbursement", "<disbursement><id>d1</id></disbursement>")
    count = "SELECT count(*) FROM webhook_events"
    before = await hooks.owner.fetchval(count)
    signature, payload = good["bt_signature"], good["bt_payload"]
    altered = encodebytes(b"<notification/>").decode()
    for fields in (
        good | {"bt_signature": "a|b|c"},
        good | {"bt_signature": signature[:-1] + "x"},
        good | {"bt_signature": "é|é"},
        good | {"bt_payload": altered},
        good | {"bt_payload": "é"},
        {"bt_payload": payload},
        b"",
        b"{}",
    ):
        status, problem = await hooks.send(fields)
        assert (status, problem["code"]) == (400, "webhook_signature_invalid"), fields
    now = datetime.now(UTC)
    for at in (now - timedelta(days=2), now + timedelta(minutes=5)):
        status, problem = await hooks.send(delivery("check", "<check/>", at))
        assert (status, problem["code"]) == (400, "webhook_not_fresh")
    status, problem = await hooks.send(delivery("Check", "<check/>"))
    assert (status, problem["code"]) == (400, "webhook_malformed")
    assert await hooks.owner.fetchval(count) == before


async def test_the_challenge_is_answered_and_nothing_else_by_get(
    hooks: Hooks, running: Running
) -> None:
    gateway = hooks.shop.server.gateway()
    async with hooks.session.get(hooks.url, params={"bt_challenge": CHALLENGE}) as answer:
        told = await answer.text()
        assert (answer.status, answer.content_type) == (200, "text/plain")
    assert told == gateway.webhook_notification.verify(CHALLENGE)
    for query in ("", "bt_challenge=", "bt_challenge=a|b", "challenge=" + CHALLENGE,
                  f"bt_challenge={CHALLENGE}&x=1", "bt_challenge=" + "a" * 200):  # fmt: skip
        async with hooks.session.get(hooks.url + "?" + query) as answer:
            assert answer.status == 400, query
    async with hooks.session.put(hooks.url) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")
    stripe = f"{running.api_url}/webhooks/stripe/{hooks.shop.account}"
    async with hooks.session.get(stripe, params={"bt_challenge": CHALLENGE}) as answer:
        assert answer.status == 405
    async with hooks.session.post(stripe, data=b"x") as answer:
        assert answer.status == 404
    other = hooks.url[:-1] + ("0" if hooks.url[-1] != "0" else "1")
    async with hooks.session.get(other, params={"bt_challenge": CHALLENGE}) as answer:
        assert answer.status == 404


async def test_keys_are_rotated_with_the_webhooks_key(
    hooks: Hooks, running: Running, tmp_path: Any
) -> None:
    listed = running.command("secrets", "list")
    mine = [line for line in listed.splitlines() if hooks.shop.account in line]
    assert sorted(line.split()[1] for line in mine) == ["braintree_keys", "braintree_webhook_key"]
    file = tmp_path / "keys"
    file.write_text(f"{MERCHANT}:another_public_key:another_private_key")
    file.chmod(0o600)
    account = hooks.shop.account
    running.command("secrets", "rotate", account, "braintree_keys", "--file", str(file))
    payload = delivery("check", "<check/>")["bt_payload"]
    digest = Crypto.sha1_hmac_hash("another_private_key", payload)
    newer = {"bt_signature": f"another_public_key|{digest}", "bt_payload": payload}

    async def is_known() -> bool:
        return (await hooks.send(newer))[0] == 200

    await until(is_known)
    assert (await hooks.send(delivery("check", "<check/>")))[0] == 200  # the older one still is
    running.command("secrets", "retire", account, "braintree_keys", "--version", "2")
    listed = running.command("secrets", "list")
    assert len([one for one in listed.splitlines() if account in one and "retired" in one]) == 2

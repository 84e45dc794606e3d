"""Nobody acts beyond what their key allows, and a revoked key is dead within five seconds."""

import asyncio
import time

import pytest
from aiohttp import ClientSession

from strongroom.access.api_keys import make_secret
from tests.acceptance.client import Answer, Api, fresh, order
from tests.acceptance.conftest import Merchant
from tests.acceptance.raw import send_raw
from tests.acceptance.running import LOOK_SECONDS, Running

REVOCATION_SECONDS_MAX = 5.0
KEY_CHARACTERS = len("sr_dev_") + len("key_") + 26


def assert_unauthenticated(answer: Answer) -> None:
    assert (answer.status, answer.code) == (401, "api_key_invalid")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["what_to_do"]


def garbled(api_key: str) -> dict[str, str]:
    """Authorization headers that look nearly right."""
    known, secret = api_key[:KEY_CHARACTERS], api_key[KEY_CHARACTERS + 1 :]
    other_end = "1" if known[-1] == "0" else "0"
    return {
        "nothing": "",
        "no scheme": api_key,
        "another scheme": f"Basic {api_key}",
        "no token": "Bearer ",
        "another secret": f"Bearer {known}_{make_secret()}",
        "no secret": f"Bearer {known}_",
        "half a secret": f"Bearer {known}_{secret[:20]}",
        "one character more": f"Bearer {api_key}A",
        "unknown key": f"Bearer {known[:-4]}zzzz_{secret}",
        "key of another entity": f"Bearer {known[:-1]}{other_end}_{secret}",
        "key id out of form": f"Bearer {known[:-1]}u_{secret}",
        "another mode": f"Bearer {api_key.replace('sr_dev_', 'sr_live_')}",
        "very long": f"Bearer {api_key}{'A' * 5000}",
        "NUL": f"Bearer {api_key[:-1]}\x01",
    }


GARBLED = list(garbled("sr_dev_key_" + "0" * 26 + "_" + "A" * 43))


@pytest.mark.parametrize("name", GARBLED)
async def test_a_request_without_a_good_key_is_refused(name: str, api: Api) -> None:
    headers = [("Authorization", garbled(api.api_key)[name]), ("Idempotency-Key", fresh())]
    for method, path in (("POST", "/v1/payments"), ("GET", "/v1/payments")):
        answer = await send_raw(api.url, path, headers, b"{}", method=method)
        if name == "NUL" and answer.status == 400:
            continue  # the HTTP server itself refuses such a header
        assert_unauthenticated(answer)
        assert api.api_key[KEY_CHARACTERS:].encode() not in answer.body


async def test_without_the_header_nothing_is_said_about_what_exists(
    api: Api, session: ClientSession
) -> None:
    made = await api.pay(order(token=None))
    for payment in (made.id, "pay_" + "0" * 26, "nonsense"):
        async with session.get(f"{api.url}/v1/payments/{payment}") as response:
            answer = Answer(response.status, response.headers, await response.read())
        assert_unauthenticated(answer)


async def test_a_revoked_key_is_refused_within_five_seconds(
    running: Running, api: Api, other_merchant: Merchant
) -> None:
    token = await asyncio.to_thread(
        running.command, "keys", "create", "--entity", other_merchant.legal_entity,
        "--name", "to be revoked",
    )  # fmt: skip
    doomed = api.with_key(token)
    assert (await doomed.get("/v1/payments")).status == 200
    key_id = token.removeprefix("sr_dev_")[:30]
    await asyncio.to_thread(running.command, "keys", "revoke", key_id)
    revoked = time.monotonic()
    while True:
        asked = time.monotonic()
        if (await doomed.get("/v1/payments")).status != 200:
            break
        assert asked - revoked < REVOCATION_SECONDS_MAX
        await asyncio.sleep(LOOK_SECONDS)
    assert_unauthenticated(await doomed.get("/v1/payments"))
    assert_unauthenticated(await doomed.pay(order()))
    listed = await asyncio.to_thread(
        running.command, "keys", "list", "--entity", other_merchant.legal_entity
    )
    assert [line.split()[-2] for line in listed.splitlines() if key_id in line] == ["revoked"]
    assert token[KEY_CHARACTERS:] not in listed


async def test_a_key_does_what_its_scopes_say_and_no_more(
    running: Running, other_api: Api, other_merchant: Merchant
) -> None:
    made = await other_api.pay(order(token=None))

    def key(scope: str) -> str:
        return running.command(
            "keys", "create", "--entity", other_merchant.legal_entity, "--name", scope,
            "--scope", scope,
        )  # fmt: skip

    reader, writer = [
        other_api.with_key(await asyncio.to_thread(key, scope))
        for scope in ("payments:read", "payments:write")
    ]
    assert (await reader.get(f"/v1/payments/{made.id}")).status == 200
    assert (await reader.get("/v1/payments")).status == 200
    assert (await writer.pay(order(token=None))).status == 201
    refused = [
        await reader.pay(order()),
        await reader.confirm(made.id, "pm_card_visa"),
        await writer.get(f"/v1/payments/{made.id}"),
        await writer.get("/v1/payments"),
    ]
    assert [(answer.status, answer.code) for answer in refused] == [(403, "scope_missing")] * 4
    stands = await other_api.payment(made.id)
    assert (stands["status"], stands["version"]) == ("requires_payment_method", 1)


async def test_another_entitys_payment_looks_like_none(api: Api, other_api: Api) -> None:
    made = await api.pay(order(token=None))
    unknown = "pay_" + "0" * 26
    for payment in (made.id, unknown, made.id.upper(), made.id + "0", "pay_", "key" + made.id[3:]):
        seen = await other_api.get(f"/v1/payments/{payment}")
        confirmed = await other_api.confirm(payment, "pm_card_visa")
        nothing = await other_api.get(f"/v1/payments/{unknown}")
        assert (seen.status, seen.code) == (404, "payment_not_found")
        assert seen.body == nothing.body == confirmed.body
    stands = await api.payment(made.id)
    assert (stands["status"], stands["version"]) == ("requires_payment_method", 1)
    listed = (await other_api.get("/v1/payments", limit=100)).json["data"]
    assert made.id not in {payment["id"] for payment in listed}
    named = await other_api.get("/v1/payments", merchant_reference=made.json["merchant_reference"])
    assert named.json == {"data": [], "next_cursor": None}
    below = await other_api.get("/v1/payments", cursor=made.id, limit=100)
    assert made.id not in {payment["id"] for payment in below.json["data"]}

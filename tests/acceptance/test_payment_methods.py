"""Cards are saved once for one request, at their customer alone, and let go at the gateway too."""

import asyncio
import re
from typing import Any

import asyncpg
import pytest
import stripe as sdk

from strongroom.ids import bucket_of, from_text
from tests.acceptance.client import Answer, Api, StandIn, fresh, until
from tests.acceptance.running import Running

VISA = "pm_card_visa"
EQUALS_MANY = 8
CONSENT = {
    "given_at": "2026-10-01T09:30:00Z", "text_version": "terms-2026-10",
    "ip_address": "192.0.2.17", "user_agent": "Mozilla/5.0 (X11; Linux)",
}  # fmt: skip


def card(token: str = VISA, **more: Any) -> dict[str, Any]:
    return {"instrument": {"gateway": "stripe", "token": token}, **more}


async def customer(api: Api) -> str:
    return (await api.post("/v1/customers", {"name": "Ada"})).id


async def save(api: Api, owner: str, token: str = VISA, **more: Any) -> Answer:
    more = {"wait": 20} | more
    agreed = {} if more.pop("agreed", True) is False else {"consent": CONSENT}
    body = card(token, **agreed)
    return await api.post(f"/v1/customers/{owner}/payment_methods", body, **more)


async def method(api: Api, method_id: str) -> dict[str, Any]:
    answer = await api.get(f"/v1/payment_methods/{method_id}")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


async def until_method(api: Api, method_id: str, *statuses: str) -> dict[str, Any]:
    async def has_come() -> bool:
        return (await method(api, method_id))["status"] in statuses

    await until(has_come)
    return await method(api, method_id)


async def at_gateway(
    client: sdk.StripeClient, owner: asyncpg.Connection, customer_id: str
) -> list[str]:
    """The tokens that the gateway holds for the customer."""
    known = await owner.fetch(
        "SELECT gateway_object_id FROM gateway_customers WHERE customer_id = $1",
        from_text("cus", customer_id),
    )
    if not known:
        return []
    [row] = known
    page = await asyncio.to_thread(
        client.v1.payment_methods.list, {"customer": row["gateway_object_id"]}
    )
    return [one.id for one in page.data]


async def token_of(owner: asyncpg.Connection, method_id: str) -> str | None:
    token: str | None = await owner.fetchval(
        "SELECT token FROM payment_method_tokens WHERE payment_method_id = $1",
        from_text("pm", method_id),
    )
    return token


async def test_a_card_is_saved_shown_and_listed(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    ada = await customer(api)
    saved = await save(api, ada)
    assert (saved.status, saved.json["status"], saved.json["customer"]) == (201, "ready", ada)
    assert saved.json["card"] == {
        "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034,
    }  # fmt: skip
    token = await token_of(owner, saved.id)
    assert await at_gateway(client, owner, ada) == [token]
    assert token is not None
    assert token.encode() not in saved.body
    assert await method(api, saved.id) == saved.json
    page = (await api.get(f"/v1/customers/{ada}/payment_methods")).json
    assert page == {"data": [saved.json], "next_cursor": None}
    second = await save(api, ada, "pm_card_mastercard")
    assert len(await at_gateway(client, owner, ada)) == 2, "one customer at the gateway"
    page = (await api.get(f"/v1/customers/{ada}/payment_methods", limit=1)).json
    assert [one["id"] for one in page["data"]] == [second.id]
    assert page["next_cursor"] == second.id


async def test_a_repeat_saves_nothing_more_and_another_request_is_refused(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    ada, key = await customer(api), fresh("key")
    answers = await asyncio.gather(*(save(api, ada, key=key, wait=0) for _ in range(EQUALS_MANY)))
    assert {answer.id for answer in answers} == {answers[0].id}
    await until_method(api, answers[0].id, "ready")
    again = await save(api, ada, key=key)
    assert (again.status, again.replayed, again.id) == (200, True, answers[0].id)
    assert len(await at_gateway(client, owner, ada)) == 1
    other = await save(api, await customer(api), key=key)
    assert other.code == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_nobody_made_this", "invalid_instrument"),
    ],
)
async def test_a_card_that_is_declined_is_failed_and_not_saved(
    token: str, reason: str, api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    ada = await customer(api)
    failed = await save(api, ada, token)
    assert (failed.json["status"], failed.json["status_reason"]) == ("failed", reason)
    assert failed.json["card"] is None
    assert await at_gateway(client, owner, ada) == []


@pytest.mark.parametrize(
    ("decision", "ends", "reason"),
    [("complete", "ready", None), ("fail", "failed", "authentication_failed")],
)
async def test_a_card_that_asks_is_saved_once_its_owner_has_been_there(
    decision: str, ends: str, reason: str | None, api: Api
) -> None:
    ada = await customer(api)
    waiting = await save(api, ada, "pm_card_authenticationRequiredOnSetup")
    assert waiting.json["status"] == "requires_action"
    assert waiting.json["next_action"]["type"] == "redirect_to_url"
    refused = await api.post(f"/v1/payment_methods/{waiting.id}/detach", {})
    assert refused.code == "payment_method_not_ready"
    url = waiting.json["next_action"]["url"]
    async with api.session.post(f"{url}/{decision}", allow_redirects=False) as answer:
        assert answer.status == 303
    done = await until_method(api, waiting.id, "ready", "failed")
    assert (done["status"], done["status_reason"], done["next_action"]) == (ends, reason, None)


async def test_what_its_owner_does_not_do_in_time_ends_though_an_answer_is_lost(
    api: Api, owner: asyncpg.Connection, stripe: StandIn
) -> None:
    waiting = await save(api, await customer(api), "pm_card_threeDSecure2Required")
    lost = {"operation": "setup_intents.cancel", "first_n": 1}
    await stripe.knobs({"fault": "drop_after", "match": lost})
    await owner.execute(
        "WITH late AS (UPDATE payment_methods SET not_after = created_at WHERE payment_method_id "
        "= $1) UPDATE payment_method_jobs SET run_at = now() WHERE payment_method_id = $1",
        from_text("pm", waiting.id),
    )
    assert (await until_method(api, waiting.id, "failed"))["status_reason"] == "action_not_taken"


async def test_what_is_detached_is_gone_at_the_gateway_and_asked_again_stays_gone(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    ada = await customer(api)
    saved, key = await save(api, ada), fresh("key")
    token = await token_of(owner, saved.id)
    path = f"/v1/payment_methods/{saved.id}/detach"
    answers = await asyncio.gather(
        api.post(path, {}, key=key), *(api.post(path, {}) for _ in range(EQUALS_MANY))
    )
    assert {answer.status for answer in answers} == {200}
    gone = await until_method(api, saved.id, "detached")
    assert await at_gateway(client, owner, ada) == []
    again = await api.post(path, {}, key=key)
    assert (again.status, again.replayed, again.json["status"]) == (200, True, "detached")
    assert (await api.post(path, {})).json == gone
    assert token is not None
    back = await save(api, ada, token)
    failed = await until_method(api, back.id, "failed")
    assert failed["status_reason"] == "invalid_instrument"


async def test_a_token_that_is_saved_for_one_customer_is_nobody_elses(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    ada, eve = await customer(api), await customer(api)
    token = await token_of(owner, (await save(api, ada)).id)
    assert token is not None
    stolen = await save(api, eve, token)
    assert (stolen.json["status"], stolen.json["card"]) == ("failed", None)
    assert await at_gateway(client, owner, eve) == []
    twice = await save(api, ada, token)
    assert (twice.json["status"], twice.json["status_reason"]) == ("failed", "saved_before")
    assert await at_gateway(client, owner, ada) == [token]


async def test_nobody_sees_saves_or_detaches_for_the_customer_of_another_entity(
    api: Api, other_api: Api
) -> None:
    theirs = await customer(other_api)
    saved = await save(other_api, theirs)
    listed = f"/v1/customers/{theirs}/payment_methods"
    assert (await save(api, theirs)).code == "customer_not_found"
    assert (await api.get(listed)).code == "customer_not_found"
    for method_id in (saved.id, "pm_" + "0" * 26, VISA):
        assert (await api.get(f"/v1/payment_methods/{method_id}")).code == (
            "payment_method_not_found"
        )
        refused = await api.post(f"/v1/payment_methods/{method_id}/detach", {})
        assert refused.code == "payment_method_not_found"
    assert (await method(other_api, saved.id))["status"] == "ready"


LOST = {
    "the answer to the customer": ("customers.create", "drop_after"),
    "the answer to the object": ("setup_intents.create", "drop_after"),
    "the answer to the confirm": ("setup_intents.confirm", "drop_after"),
    "the confirm itself": ("setup_intents.confirm", "drop_before"),
    "a 500 that stays under its key": ("setup_intents.confirm", "error_500_after"),
    "a busy gateway": ("setup_intents.*", "error_429"),
    "half an answer": ("setup_intents.confirm", "malformed"),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", LOST)
async def test_whatever_is_lost_one_card_is_saved(
    name: str, api: Api, owner: asyncpg.Connection, client: sdk.StripeClient, stripe: StandIn
) -> None:
    operation, fault = LOST[name]
    await stripe.knobs({"fault": fault, "match": {"operation": operation, "first_n": 1}})
    ada = await customer(api)
    made = await save(api, ada, wait=0)
    await until_method(api, made.id, "ready")
    assert await at_gateway(client, owner, ada) == [await token_of(owner, made.id)]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "error_503", "error_500_after"])
async def test_a_detach_is_tried_until_it_is_known(
    fault: str, api: Api, owner: asyncpg.Connection, client: sdk.StripeClient, stripe: StandIn
) -> None:
    ada = await customer(api)
    saved = await save(api, ada)
    await stripe.knobs(
        {"fault": fault, "match": {"operation": "payment_methods.detach", "first_n": 2}}
    )
    await api.post(f"/v1/payment_methods/{saved.id}/detach", {})
    await until_method(api, saved.id, "detached")
    assert await at_gateway(client, owner, ada) == []


async def test_events_tell_of_each_version_and_hold_nothing_of_the_card(
    api: Api, owner: asyncpg.Connection
) -> None:
    saved = await save(api, await customer(api))
    rows = await owner.fetch(
        "SELECT version, kind, payload FROM customer_events WHERE owner_id = $1 ORDER BY version",
        from_text("pm", saved.id),
    )
    assert [(row["version"], row["kind"]) for row in rows] == [
        (1, "payment_method.created"), (2, "payment_method.opened"), (3, "payment_method.saved"),
    ]  # fmt: skip
    for row in rows:
        assert not {b"4242", b"visa"} & set(re.findall(rb"\w+", row["payload"]))
    text = await owner.fetchval(
        "SELECT m::text FROM payment_methods m WHERE payment_method_id = $1",
        from_text("pm", saved.id),
    )
    assert b'"4242"'.hex() not in text


async def test_of_an_erased_customer_no_card_is_shown_and_none_is_saved(
    running: Running, api: Api
) -> None:
    ada = await customer(api)
    saved = await save(api, ada)
    await asyncio.to_thread(
        running.command, "vault", "subjects", "destroy", ada, "--yes", "--entity",
        running.legal_entity,
    )  # fmt: skip
    assert (await method(api, saved.id))["card"] is None
    assert (await save(api, ada)).code == "customer_erased"
    gone = await api.post(f"/v1/payment_methods/{saved.id}/detach", {})
    assert gone.status == 200
    await until_method(api, saved.id, "detached")


async def test_a_card_that_its_bank_replaced_is_shown_anew(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    """The gateway tells by a webhook, which is a hint: the card is looked at there."""
    saved = await save(api, await customer(api))
    token = await token_of(owner, saved.id)
    assert token is not None
    for year in (2040, 2041):
        await asyncio.to_thread(
            client.v1.payment_methods.update, token, {"card": {"exp_month": 3, "exp_year": year}}
        )

    async def is_shown() -> bool:
        card = (await method(api, saved.id))["card"]
        return bool((card["exp_month"], card["exp_year"]) == (3, 2041))

    await until(is_shown)
    shown = await method(api, saved.id)
    assert (shown["status"], shown["card"]["last4"]) == ("ready", "4242")
    kinds = await owner.fetch(
        "SELECT kind FROM customer_events WHERE owner_id = $1 ORDER BY version",
        from_text("pm", saved.id),
    )
    assert {row["kind"] for row in kinds[3:]} == {"payment_method.updated"}


async def test_a_detach_meets_a_look_that_a_webhook_asked_for(
    api: Api, owner: asyncpg.Connection
) -> None:
    """The job is there already, perhaps with a worker at it, which must not end it."""
    saved = await save(api, await customer(api))
    await owner.execute(
        "INSERT INTO payment_method_jobs (legal_entity_id, payment_method_id, bucket, run_at) "
        "SELECT legal_entity_id, payment_method_id, $2, now() + interval '1 day' "
        "FROM payment_methods WHERE payment_method_id = $1 ON CONFLICT DO NOTHING",
        from_text("pm", saved.id), bucket_of(from_text("pm", saved.id)),
    )  # fmt: skip
    gone = await api.post(f"/v1/payment_methods/{saved.id}/detach", {})
    assert (gone.status, gone.json["status"]) == (200, "detaching")
    await until_method(api, saved.id, "detached")


async def test_the_account_updater_of_the_networks_shows_another_card(
    api: Api, owner: asyncpg.Connection, stripe: StandIn
) -> None:
    """`payment_method.automatically_updated`: another brand, number and year under one token."""
    saved = await save(api, await customer(api))
    token = await token_of(owner, saved.id)
    assert token is not None
    replaced = {"payment_method": token, "card": "pm_card_mastercard"}
    await stripe._control("POST", "/_cards", replaced)

    async def is_shown() -> bool:
        return bool((await method(api, saved.id))["card"]["brand"] == "mastercard")

    await until(is_shown)
    shown = await method(api, saved.id)
    assert (shown["card"]["last4"], shown["card"]["exp_year"]) == ("4444", 2040)
    assert (shown["status"], await token_of(owner, saved.id)) == ("ready", token)


async def test_a_setup_that_ends_is_looked_at_when_the_gateway_tells(
    api: Api, owner: asyncpg.Connection
) -> None:
    """With its next look a day away: the webhook alone brings it to its end."""
    waiting = await save(api, await customer(api), "pm_card_authenticationRequiredOnSetup")
    await owner.execute(
        "UPDATE payment_method_jobs SET run_at = run_at + interval '1 day' "
        "WHERE payment_method_id = $1",
        from_text("pm", waiting.id),
    )
    url = waiting.json["next_action"]["url"]
    async with api.session.post(f"{url}/complete", allow_redirects=False) as answer:
        assert answer.status == 303
    done = await until_method(api, waiting.id, "ready")
    assert done["card"]["last4"]


async def test_a_card_that_was_detached_at_the_gateway_itself_is_detached(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    saved = await save(api, await customer(api))
    token = await token_of(owner, saved.id)
    assert token is not None
    await asyncio.to_thread(client.v1.payment_methods.detach, token)
    gone = await until_method(api, saved.id, "detached")
    assert gone["status_reason"] == "detached_at_gateway"


async def test_cards_of_others_at_the_same_account_are_nothing_to_us(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    other = await asyncio.to_thread(client.v1.customers.create, {})
    theirs = await asyncio.to_thread(client.v1.payment_methods.attach, VISA, {"customer": other.id})
    await asyncio.to_thread(
        client.v1.payment_methods.update, theirs.id, {"card": {"exp_month": 3, "exp_year": 2040}}
    )

    async def is_ignored() -> bool:
        rows = await owner.fetch(
            "SELECT state FROM webhook_events WHERE gateway_object_id = $1", theirs.id
        )
        return {row["state"] for row in rows} == {"ignored"}

    await until(is_ignored)
    assert await owner.fetch("SELECT FROM payment_method_tokens WHERE token = $1", theirs.id) == []

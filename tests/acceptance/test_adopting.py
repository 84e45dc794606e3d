"""Cards that a merchant has at the gateway are adopted as they are, and only those that are his."""

import asyncio
from typing import Any

import asyncpg
import pytest
import stripe as sdk

from strongroom.ids import from_text
from tests.acceptance.client import Answer, Api, StandIn, fresh, order
from tests.acceptance.test_payment_methods import (
    CONSENT,
    at_gateway,
    customer,
    save,
    token_of,
    until_method,
)

EQUALS_MANY = 8


async def theirs(client: sdk.StripeClient, card: str = "pm_card_visa") -> tuple[str, str]:
    """A customer with a card, as the merchant's old code has saved it: their ids at the gateway."""
    made = await asyncio.to_thread(client.v1.customers.create)
    saved = await asyncio.to_thread(client.v1.payment_methods.attach, card, {"customer": made.id})
    return made.id, saved.id


async def adopt(api: Api, owner: str, gateway_customer: str, token: str, **more: Any) -> Answer:
    instrument = {"gateway": "stripe", "token": token, "gateway_customer": gateway_customer}
    body = {"instrument": instrument | more.pop("instrument", {}), "consent": CONSENT}
    return await api.post(f"/v1/customers/{owner}/payment_methods", body, **({"wait": 20} | more))


def why(answer: Answer) -> tuple[str, str | None, Any]:
    return answer.json["status"], answer.json["status_reason"], answer.json["card"]


async def test_a_card_is_adopted_and_charged_and_nothing_is_made_at_the_gateway(
    api: Api,
    owner: asyncpg.Connection,
    client: sdk.StripeClient,
    stripe: StandIn,
) -> None:
    known, token = await theirs(client)
    ada = await customer(api)
    adopted = await adopt(api, ada, known, token)
    assert (adopted.status, adopted.json["status"]) == (201, "ready"), adopted
    assert adopted.json["card"]["last4"] == "4242"
    assert token.encode() not in adopted.body
    assert known.encode() not in adopted.body
    assert await token_of(owner, adopted.id) == token
    assert await at_gateway(client, owner, ada) == [token]
    bare = await api.pay(order(None))
    paid = await api.post(
        f"/v1/payments/{bare.id}/confirm",
        {"payment_method": adopted.id, "off_session": True},
        wait=20,
    )
    assert paid.json["status"] == "succeeded", paid
    charge = await stripe.charge_of(bare.id)
    intent = await asyncio.to_thread(client.v1.payment_intents.retrieve, charge["payment_intent"])
    assert (intent.customer, intent.payment_method) == (known, token)
    # A card that is saved anew joins those of the customer that was adopted.
    second = await save(api, ada, "pm_card_mastercard")
    assert second.json["status"] == "ready"
    assert len(await at_gateway(client, owner, ada)) == 2
    kinds = await owner.fetch(
        "SELECT kind FROM customer_events WHERE owner_id = $1 ORDER BY version",
        from_text("pm", adopted.id),
    )
    assert [row["kind"] for row in kinds] == [
        "payment_method.created", "payment_method.adopted",
    ]  # fmt: skip


async def test_a_repeat_adopts_nothing_more_and_another_request_is_refused(
    api: Api,
    client: sdk.StripeClient,
) -> None:
    known, token = await theirs(client)
    ada, key = await customer(api), fresh("key")
    answers = await asyncio.gather(
        *(adopt(api, ada, known, token, key=key) for _ in range(EQUALS_MANY))
    )
    assert {answer.id for answer in answers} == {answers[0].id}
    again = await adopt(api, ada, known, token, key=key)
    assert (again.status, again.replayed, again.json["status"]) == (200, True, "ready")
    _, other = await theirs(client)
    assert (await adopt(api, ada, known, other, key=key)).code == "idempotency_key_reused"
    assert (await save(api, ada, token, key=key)).code == "idempotency_key_reused"
    twice = await adopt(api, ada, known, token)
    assert why(twice) == ("failed", "saved_before", None)


async def test_what_is_not_that_customers_card_is_refused_and_says_why(
    api: Api,
    owner: asyncpg.Connection,
    client: sdk.StripeClient,
) -> None:
    known, token = await theirs(client)
    other, _ = await theirs(client)
    ada = await customer(api)
    loose = await asyncio.to_thread(client.v1.payment_methods.detach, (await theirs(client))[1])
    for gateway_customer, tried, reason in (
        (other, token, "not_of_this_customer"),
        ("cus_nobody", token, "not_of_this_customer"),
        (known, "pm_nobody", "unknown_at_gateway"),
        (known, loose.id, "not_of_this_customer"),
        (known, "pm_card_visa", "not_of_this_customer"),
    ):
        refused = await adopt(api, ada, gateway_customer, tried)
        assert why(refused) == ("failed", reason, None), (gateway_customer, tried)
    assert await at_gateway(client, owner, ada) == []
    # Nothing of what was refused stands in the way.
    assert (await adopt(api, ada, known, token)).json["status"] == "ready"


async def test_a_customer_of_the_gateway_becomes_one_of_ours_and_one_of_ours_has_one(
    api: Api,
    client: sdk.StripeClient,
) -> None:
    known, token = await theirs(client)
    second = await asyncio.to_thread(
        client.v1.payment_methods.attach, "pm_card_mastercard", {"customer": known}
    )
    ada, eve = await customer(api), await customer(api)
    assert (await adopt(api, ada, known, token)).json["status"] == "ready"
    stolen = await adopt(api, eve, known, second.id)
    assert why(stolen) == ("failed", "gateway_customer_is_anothers", None)
    assert (await adopt(api, ada, known, second.id)).json["status"] == "ready"
    other, their_card = await theirs(client)
    mixed = await adopt(api, ada, other, their_card)
    assert why(mixed) == ("failed", "customer_known_otherwise", None)
    assert (await adopt(api, eve, other, their_card)).json["status"] == "ready"


async def test_two_who_adopt_one_card_at_once_do_not_both_get_it(
    api: Api,
    client: sdk.StripeClient,
) -> None:
    known, token = await theirs(client)
    people = [await customer(api) for _ in range(EQUALS_MANY)]
    answers = await asyncio.gather(*(adopt(api, one, known, token) for one in people))
    assert sorted(answer.json["status"] for answer in answers) == [
        *["failed"] * (EQUALS_MANY - 1), "ready",
    ]  # fmt: skip


async def test_nobody_adopts_for_the_customer_or_at_the_account_of_another_entity(
    api: Api,
    other_api: Api,
    client: sdk.StripeClient,
) -> None:
    known, token = await theirs(client)
    refused = await adopt(api, await customer(other_api), known, token)
    assert refused.code == "customer_not_found"
    ada = await customer(api)
    for account in ("gwa_01m7xymr1mfnzbqf5r8f0krvww", "gwa_1"):
        refused = await adopt(api, ada, known, token, instrument={"account": account})
        assert (refused.status, refused.code) == (422, "gateway_account_unknown")
    for malformed in ("cus_", "cus_a/b", "pm_1", "", "cus_4242424242424"):
        refused = await adopt(api, ada, malformed, token)
        assert refused.status == 422, malformed


@pytest.mark.sampled(3)
@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "error_503", "error_429"])
async def test_whatever_is_lost_it_is_adopted_once_the_gateway_answers(
    fault: str,
    api: Api,
    client: sdk.StripeClient,
    stripe: StandIn,
) -> None:
    known, token = await theirs(client)
    await stripe.knobs(
        {"fault": fault, "match": {"operation": "payment_methods.retrieve", "first_n": 2}}
    )
    made = await adopt(api, await customer(api), known, token, wait=0)
    assert (await until_method(api, made.id, "ready", "failed"))["status"] == "ready"

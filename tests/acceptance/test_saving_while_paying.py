"""What pays is saved for a customer once it has paid: once, whoever brings it, and never before."""

import asyncio
from typing import Any

import asyncpg
import pytest
import stripe as sdk

from strongroom.ids import from_text
from tests.acceptance.braintree_shop import (
    Shop,
    bought,
    braintree_server,
    shop,
    shop_account,
)
from tests.acceptance.client import Api, StandIn, fresh, order, until
from tests.acceptance.running import Running
from tests.acceptance.test_paying_with_saved import bare, confirm
from tests.acceptance.test_payment_methods import (
    CONSENT,
    at_gateway,
    customer,
    until_method,
)
from tests.acceptance.visitor import linked

__all__ = ["braintree_server", "shop", "shop_account"]
NOT_SAVED_SECONDS = 3.0
"""Longer than the first looks after a payment."""


def saving(owner: str, **consent: Any) -> dict[str, Any]:
    return {"save": {"customer": owner, "consent": CONSENT | consent}}


async def methods(api: Api, owner: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get(f"/v1/customers/{owner}/payment_methods")).json[
        "data"
    ]
    return found


async def one_saved(api: Api, owner: str) -> dict[str, Any]:
    """The customer's only payment method, once it is ready."""

    async def is_there() -> bool:
        return bool(await methods(api, owner))

    await until(is_there)
    [found] = await methods(api, owner)
    return await until_method(api, found["id"], "ready", "failed")


async def test_a_card_is_saved_by_paying_and_can_be_charged_while_its_owner_is_away(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient, stripe: StandIn
) -> None:
    ada = await customer(api)
    paid = await api.pay(order("pm_card_visa", **saving(ada)), wait=20)
    assert paid.json["status"] == "succeeded", paid
    method = await one_saved(api, ada)
    assert (method["status"], method["card"]["last4"]) == ("ready", "4242")
    assert method["consent"]["text_version"] == CONSENT["text_version"]
    assert len(await at_gateway(client, owner, ada)) == 1
    again = await bare(api)
    charged = await confirm(api, again, method["id"], off_session=True)
    assert charged.json["status"] == "succeeded", charged
    charges = await stripe.charges()
    assert [len(charges[one]) for one in (paid.id, again)] == [1, 1]


async def test_whoever_brings_the_card_later_has_it_saved_too(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    """The wish is the payment's: a confirm need not say it again."""
    ada = await customer(api)
    payment = await bare(api, **saving(ada))
    assert await methods(api, ada) == []
    await api.confirm(payment, "pm_card_mastercard", wait=20)
    method = await one_saved(api, ada)
    assert method["card"]["brand"] == "mastercard"
    assert len(await at_gateway(client, owner, ada)) == 1


async def test_a_customer_who_has_to_act_has_the_card_saved_after_that(
    api: Api, stripe: StandIn
) -> None:
    ada = await customer(api)
    waiting = await api.pay(order("pm_card_threeDSecure2Required", **saving(ada)), wait=20)
    assert waiting.json["status"] == "requires_action"
    await asyncio.sleep(NOT_SAVED_SECONDS)
    assert await methods(api, ada) == []
    url = waiting.json["next_action"]["url"]
    async with api.session.post(f"{url}/complete", allow_redirects=False) as answer:
        assert answer.status == 303
    await api.until(waiting.id, "succeeded")
    assert (await one_saved(api, ada))["status"] == "ready"


async def test_what_has_not_paid_is_not_saved(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient
) -> None:
    ada = await customer(api)
    failed = await api.pay(order("pm_card_chargeDeclined", **saving(ada)), wait=20)
    assert failed.json["status"] == "failed"
    canceled = await bare(api, **saving(ada))
    await api.cancel(canceled)
    await api.until(canceled, "canceled")
    await asyncio.sleep(NOT_SAVED_SECONDS)
    assert await methods(api, ada) == []
    assert await at_gateway(client, owner, ada) == []
    left = await owner.fetchval(
        "SELECT count(*) FROM payment_savings WHERE customer_id = $1 AND run_at IS NOT NULL",
        from_text("cus", ada),
    )
    assert left == 0


async def test_repeats_pay_once_and_save_once(
    api: Api, owner: asyncpg.Connection, client: sdk.StripeClient, stripe: StandIn
) -> None:
    ada, key = await customer(api), fresh("key")
    body = order("pm_card_visa", **saving(ada))
    answers = await asyncio.gather(*(api.pay(body, key=key, wait=20) for _ in range(8)))
    assert {answer.id for answer in answers} == {answers[0].id}
    method = await one_saved(api, ada)
    assert method["status"] == "ready"
    await asyncio.sleep(NOT_SAVED_SECONDS)
    assert len(await methods(api, ada)) == 1
    assert len(await at_gateway(client, owner, ada)) == 1
    assert len((await stripe.charges())[answers[0].id]) == 1
    # Another customer, or another consent, is another request; where it came from is not.
    other = saving(await customer(api))
    assert (await api.pay(body | other, key=key)).code == "idempotency_key_reused"
    recurring = body | saving(ada, purpose="recurring")
    assert (await api.pay(recurring, key=key)).code == "idempotency_key_reused"
    elsewhere = await api.pay(body | saving(ada, ip_address="2001:db8::1"), key=key)
    assert (elsewhere.replayed, elsewhere.id) == (True, answers[0].id)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("payment_methods.attach", "drop_after"),
        ("payment_methods.attach", "drop_before"),
        ("payment_methods.attach", "error_500_after"),
        ("customers.create", "drop_after"),
        ("customers.create", "error_500_after"),
        ("payment_intents.confirm", "drop_after"),
    ],
)
async def test_a_lost_answer_saves_and_charges_no_second_time(
    operation: str,
    fault: str,
    api: Api,
    owner: asyncpg.Connection,
    client: sdk.StripeClient,
    stripe: StandIn,
) -> None:
    ada = await customer(api)
    await stripe.knobs({"fault": fault, "match": {"operation": operation, "first_n": 1}})
    paid = await api.pay(order("pm_card_visa", **saving(ada)), wait=20)
    await api.until(paid.id, "succeeded")
    assert (await one_saved(api, ada))["status"] == "ready"
    assert len(await at_gateway(client, owner, ada)) == 1
    assert len((await stripe.charges())[paid.id]) == 1


async def test_for_nobody_else_and_for_nobody_who_is_gone(
    running: Running, api: Api, other_api: Api
) -> None:
    theirs = await customer(other_api)
    refused = await api.pay(order("pm_card_visa", **saving(theirs)))
    assert (refused.status, refused.code) == (404, "customer_not_found")
    ada, key = await customer(api), fresh("key")
    body = order("pm_card_visa", **saving(ada))
    first = await api.pay(body, key=key, wait=20)
    await one_saved(api, ada)
    await asyncio.to_thread(
        running.command, "vault", "subjects", "destroy", ada, "--yes", "--entity",
        running.legal_entity,
    )  # fmt: skip
    again = await api.pay(body, key=key)
    assert (again.replayed, again.id) == (True, first.id)
    late = await api.pay(order("pm_card_visa", **saving(ada)))
    assert (late.status, late.code) == (409, "customer_erased")


async def test_a_wish_of_a_payment_that_was_never_made_goes_with_its_consent(
    api: Api, owner: asyncpg.Connection
) -> None:
    ada, reference = await customer(api), fresh()
    await api.pay(order(None, merchant_reference=reference))
    taken = await api.pay(order(None, merchant_reference=reference, **saving(ada)))
    assert taken.code == "merchant_reference_taken"
    of = from_text("cus", ada)
    [row] = await owner.fetch(
        "SELECT payment_id, payment_method_id FROM payment_savings WHERE customer_id = $1", of
    )
    await owner.execute(
        "UPDATE payment_savings SET created_at = created_at - interval '3 hours', "
        "run_at = created_at WHERE customer_id = $1", of,
    )  # fmt: skip

    async def is_gone() -> bool:
        kept = await owner.fetchval(
            "SELECT count(*) FROM payment_savings WHERE customer_id = $1", of
        )
        agreed = await owner.fetchval(
            "SELECT count(*) FROM consents WHERE payment_method_id = $1",
            row["payment_method_id"],
        )
        return (kept, agreed) == (0, 0)

    await until(is_gone)
    assert await methods(api, ada) == []


async def test_many_at_once_each_have_their_own_wish(api: Api) -> None:
    customers = [await customer(api) for _ in range(3)]
    items = [
        order("pm_card_visa", **saving(one)) | {"idempotency_key": fresh("key")}
        for one in (*customers, "cus_" + "0" * 26)
    ]
    answer = await api.bulk(items)
    results = answer.json["results"]
    assert results[3]["problem"]["code"] == "customer_not_found"
    for one in customers:
        assert (await one_saved(api, one))["status"] == "ready"


async def test_a_card_is_saved_at_braintree_by_paying_and_charged_by_its_token(shop: Shop) -> None:
    ada = await customer(shop.api)
    paid = await shop.api.pay(bought(**saving(ada, purpose="recurring")), wait=20)
    assert paid.json["status"] == "succeeded", paid
    method = await one_saved(shop.api, ada)
    assert (method["status"], method["card"]["brand"]) == ("ready", "visa")
    body = bought()
    del body["instrument"]
    again = (await shop.api.pay(body)).id
    charged = await confirm(shop.api, again, method["id"], off_session=True)
    assert charged.json["status"] == "succeeded", charged
    assert [len(shop.charges(one)) for one in (paid.id, again)] == [1, 1]
    declined = await shop.api.pay(
        bought("fake-processor-declined-visa-nonce", **saving(ada)), wait=20
    )
    assert declined.json["status"] == "failed"
    await asyncio.sleep(NOT_SAVED_SECONDS)
    assert len(await methods(shop.api, ada)) == 1


async def test_another_try_on_the_page_saves_as_the_first_was_to(
    running: Running, api: Api, owner: asyncpg.Connection, client: sdk.StripeClient, stripe: StandIn
) -> None:
    """It is another payment, with the consent that its customer gave to the first."""
    ada = await customer(api)
    first, visitor = await linked(api, running, **saving(ada, purpose="recurring"))
    for number in (1, 2):
        assert (await visitor.attempt(number, "pm_card_chargeDeclined")).status == 202
        await visitor.until("open")
    assert await methods(api, ada) == []
    assert (await visitor.attempt(3, "pm_card_mastercard")).status == 202
    await visitor.until("paid")
    found = (await api.get(f"/v1/payments/{first}/checkout_link")).json
    assert found["current_payment"] != first
    method = await one_saved(api, ada)
    assert (method["status"], method["card"]["brand"]) == ("ready", "mastercard")
    told = {name: method["consent"][name] for name in ("given_at", "text_version", "purpose")}
    assert told == {
        "given_at": CONSENT["given_at"], "text_version": CONSENT["text_version"],
        "purpose": "recurring",
    }  # fmt: skip
    kept = await owner.fetchval(
        "SELECT sealed IS NOT NULL FROM consents WHERE payment_method_id = $1",
        from_text("pm", method["id"]),
    )
    assert kept, "from where it was given is kept with it"
    await asyncio.sleep(NOT_SAVED_SECONDS)
    assert len(await methods(api, ada)) == 1
    assert len(await at_gateway(client, owner, ada)) == 1
    charges = await stripe.charges()
    assert len(charges[found["current_payment"]]) == 1
    again = await bare(api)
    charged = await confirm(api, again, method["id"], off_session=True)
    assert charged.json["status"] == "succeeded", charged


async def test_another_try_pays_without_saving_for_a_customer_who_was_erased(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    ada = await customer(api)
    first, visitor = await linked(api, running, **saving(ada))
    assert (await visitor.attempt(1, "pm_card_chargeDeclined")).status == 202
    await visitor.until("open")
    await asyncio.to_thread(
        running.command, "vault", "subjects", "destroy", ada, "--yes", "--entity",
        running.legal_entity,
    )  # fmt: skip
    assert (await visitor.attempt(2)).status == 202
    await visitor.until("paid")
    found = (await api.get(f"/v1/payments/{first}/checkout_link")).json
    wished = "SELECT payment_id FROM payment_savings WHERE customer_id = $1"
    of = [row["payment_id"] for row in await owner.fetch(wished, from_text("cus", ada))]
    assert of == [from_text("pay", first)]
    assert found["current_payment"] != first


async def test_another_try_at_braintree_saves_too(running: Running, shop: Shop) -> None:
    ada = await customer(shop.api)
    first, visitor = await linked(shop.api, running, **saving(ada))
    assert (await visitor.attempt(1, "fake-processor-declined-visa-nonce")).status == 202
    await visitor.until("open")
    assert (await visitor.attempt(2, "fake-valid-mastercard-nonce")).status == 202
    await visitor.until("paid")
    method = await one_saved(shop.api, ada)
    assert (method["status"], method["card"]["brand"]) == ("ready", "mastercard")
    assert method["consent"]["text_version"] == CONSENT["text_version"]
    found = (await shop.api.get(f"/v1/payments/{first}/checkout_link")).json
    assert (len(shop.charges(first)), len(shop.charges(found["current_payment"]))) == (0, 1)

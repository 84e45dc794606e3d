"""A key stands for one intent of one legal entity, for as long as it is known."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Api, StandIn, fresh, item, order
from tests.acceptance.conftest import new_merchant
from tests.acceptance.inside import asked, create, inside
from tests.acceptance.running import Running


async def test_a_replay_shows_the_payment_as_it_now_stands(api: Api, stripe: StandIn) -> None:
    body, key = order(), fresh("key")
    first = await api.pay(body, key=key)
    assert (first.status, first.replayed, first.json["status"]) == (202, False, "processing")
    settled = await api.until(first.id, "succeeded")
    second = await api.pay(body, key=key)
    assert (second.status, second.replayed) == (200, True)
    assert second.json == settled
    assert second.headers["Location"] == f"/v1/payments/{first.id}"
    assert len((await stripe.charges())[first.id]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 2000},
        {"currency": "USD"},
        {"merchant_reference": "another"},
        {"description": "another"},
        {"metadata": {"a": "b"}},
        {"return_url": "https://shop.example/back"},
        {"not_after": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
        {"instrument": None},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_key_with_other_content_is_refused_and_says_why(
    change: dict[str, Any], api: Api
) -> None:
    body, key = order("pm_card_visa"), fresh("key")
    first = await api.pay(body, key=key)
    other = await api.pay(body | change, key=key)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert "Idempotency-Key" in other.json["detail"]
    assert other.json["retry_safe"] is False
    assert (await api.pay(body, key=key)).id == first.id


async def test_equal_content_in_other_words_is_a_replay(api: Api, stripe: StandIn) -> None:
    """Tokens are one-time, currencies have no case, fields no order."""
    body, key = order("pm_card_visa", currency="EUR"), fresh("key")
    first = await api.pay(body, key=key, wait=20)
    for token, currency in (("pm_card_mastercard", "EUR"), ("pm_card_visa", "eur")):
        instrument = {"gateway": "stripe", "token": token}
        changed = body | {"instrument": instrument, "currency": currency}
        again = await api.pay(dict(reversed(changed.items())), key=key)
        assert (again.status, again.replayed, again.id) == (200, True, first.id)
    assert len((await stripe.charges())[first.id]) == 1


async def test_keys_and_references_belong_to_one_legal_entity(
    api: Api, other_api: Api, stripe: StandIn
) -> None:
    body, key = order(), fresh("key")
    ours = await api.pay(body, key=key, wait=20)
    theirs = await other_api.pay(body, key=key, wait=20)
    assert (ours.replayed, theirs.replayed) == (False, False)
    assert ours.id != theirs.id
    charges = await stripe.charges()
    assert (len(charges[ours.id]), len(charges[theirs.id])) == (1, 1)
    keys = {charges[made.id][0]["idempotency_key"] for made in (ours, theirs)}
    assert len(keys) == 2


async def test_a_retry_after_not_after_finds_what_the_first_request_made(api: Api) -> None:
    """The answer may have been lost; that time has passed since does not make it untrue."""
    moment = datetime.now(UTC) + timedelta(seconds=4)
    body, key = order(token=None, not_after=moment.isoformat()), fresh("key")
    first = await api.pay(body, key=key)
    assert first.status == 201
    await api.until(first.id, "canceled")
    again = await api.pay(body, key=key)
    assert (again.status, again.replayed, again.id) == (200, True, first.id)
    assert again.json["status"] == "canceled"
    other_key = await api.pay(body)
    assert (other_key.status, other_key.code) == (422, "not_after_invalid")
    other_content = await api.pay(body | {"amount": 1}, key=key)
    assert (other_content.status, other_content.code) == (422, "idempotency_key_reused")


async def test_a_retry_after_the_account_was_retired_finds_what_the_first_request_made(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    merchant = await asyncio.to_thread(new_merchant, running, "Retiring Ltd")
    retiring = api.with_key(merchant.api_key)
    body, key = order(), fresh("key")
    first = await retiring.pay(body, key=key, wait=20)
    await owner.execute(
        "UPDATE gateway_accounts SET retired_at = now() WHERE legal_entity_id = $1",
        from_text("ent", merchant.legal_entity),
    )
    async with inside(running) as process:  # it has seen no account before
        again = await create(process, merchant.api_key, body, key)
        assert (again.status, ("idempotent-replayed", "true") in again.headers) == (200, True)
        assert json.loads(again.body)["id"] == first.id
        items = [body | {"idempotency_key": key}, item()]
        both = await process.operations.bulk(
            asked(merchant.api_key, {"payments": items}, None, "/v1/payments/bulk")
        )
        found = json.loads(both.body)["results"]
        assert [one["status"] for one in found] == [200, 422]
        assert (found[0]["replayed"], found[0]["payment"]["id"]) == (True, first.id)
        assert found[1]["problem"]["code"] == "gateway_account_missing"
        for refused, code in (
            (body, "gateway_account_missing"),
            (body | {"merchant_reference": fresh()}, "gateway_account_missing"),
        ):
            answer = await create(process, merchant.api_key, refused, fresh("key"))
            assert (answer.status, json.loads(answer.body)["code"]) == (422, code)
        reused = await create(process, merchant.api_key, body | {"amount": 1}, key)
        assert json.loads(reused.body)["code"] == "idempotency_key_reused"


async def test_a_refused_request_leaves_its_key_free(api: Api) -> None:
    taken, key = order(token=None), fresh("key")
    await api.pay(taken)
    for refused in (order(amount=0), order(merchant_reference=taken["merchant_reference"])):
        assert (await api.pay(refused, key=key)).status in (422, 409)
    made = await api.pay(order(), key=key)
    assert (made.status, made.replayed) == (202, False)


async def test_a_key_of_a_confirm_is_no_key_for_a_payment(api: Api) -> None:
    made, key = await api.pay(order(token=None)), fresh("key")
    assert (await api.confirm(made.id, "pm_card_visa", key=key, wait=20)).status == 200
    refused = await api.pay(order(), key=key)
    assert (refused.status, refused.code) == (422, "idempotency_key_reused")


class TestConfirm:
    """An instrument comes later than the payment."""

    async def test_brings_the_instrument_and_charges_once(self, api: Api, stripe: StandIn) -> None:
        made, key = await api.pay(order(token=None)), fresh("key")
        assert (made.status, made.json["status"]) == (201, "requires_payment_method")
        assert made.json["instrument"] is None
        first = await api.confirm(made.id, "pm_card_visa", key=key, wait=20)
        assert (first.replayed, first.json["status"]) == (False, "succeeded")
        second = await api.confirm(made.id, "pm_card_mastercard", key=key)
        assert (second.status, second.replayed, second.json) == (200, True, first.json)
        assert len((await stripe.charges())[made.id]) == 1

    async def test_with_another_key_is_refused_as_it_has_an_instrument(
        self, api: Api, stripe: StandIn
    ) -> None:
        made = await api.pay(order(token=None))
        await api.confirm(made.id, "pm_card_visa", wait=20)
        for token, code in (
            ("pm_card_visa", "payment_has_an_instrument"),
            (None, "payment_is_over"),
        ):
            refused = await api.confirm(made.id, token)
            assert (refused.status, refused.code) == (409, code)
            assert refused.json["what_to_do"]
        assert len((await stripe.charges())[made.id]) == 1

    async def test_with_one_key_and_other_content_is_refused(self, api: Api) -> None:
        one, two = await api.pay(order(token=None)), await api.pay(order(token=None))
        key = fresh("key")
        assert (await api.confirm(one.id, "pm_card_visa", key=key)).status == 202
        refused = await api.confirm(two.id, "pm_card_visa", key=key)
        assert (refused.status, refused.code) == (422, "idempotency_key_reused")
        assert (await api.payment(two.id))["status"] == "requires_payment_method"

    async def test_without_an_instrument_asks_for_one(self, api: Api) -> None:
        made = await api.pay(order(token=None))
        refused = await api.confirm(made.id)
        assert (refused.status, refused.code) == (409, "instrument_missing")

    async def test_of_an_amount_that_the_gateway_cannot_take_changes_nothing(
        self, api: Api
    ) -> None:
        made, key = await api.pay(order(token=None, amount=1)), fresh("key")
        refused = await api.confirm(made.id, "pm_card_visa", key=key)
        assert (refused.status, refused.code) == (422, "amount_not_representable")
        assert (await api.payment(made.id))["version"] == 1

    async def test_in_many_at_once_wins_once(self, api: Api, stripe: StandIn) -> None:
        made = await api.pay(order(token=None))
        answers = await asyncio.gather(*(api.confirm(made.id, "pm_card_visa") for _ in range(8)))
        assert sorted(answer.status for answer in answers) == [202] + [409] * 7
        await api.until(made.id, "succeeded")
        assert len((await stripe.charges())[made.id]) == 1

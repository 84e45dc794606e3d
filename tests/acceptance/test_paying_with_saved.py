"""Paying by a saved card: by its customer's entity alone, while it is saved, once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Answer, Api, StandIn, fresh, order
from tests.acceptance.running import Running
from tests.acceptance.test_payment_methods import CONSENT, card, customer, save, until_method

ASKS_ONCE, ASKS_ALWAYS = (
    "pm_card_authenticationRequiredOnSetup", "pm_card_authenticationRequired",
)  # fmt: skip


async def saved(api: Api, token: str = "pm_card_visa") -> str:
    """A payment method that is ready, its customer having done what was asked for."""
    answer = await save(api, await customer(api), token)
    action = answer.json["next_action"]
    if action is not None:
        async with api.session.post(action["url"] + "/complete", allow_redirects=False) as done:
            assert done.status == 303
    await until_method(api, answer.id, "ready")
    return answer.id


async def confirm(api: Api, payment: str, method: str, **more: Any) -> Answer:
    key, body = more.pop("key", None), {"payment_method": method, **more}
    return await api.post(f"/v1/payments/{payment}/confirm", body, key=key, wait=20)


async def bare(api: Api, **changes: Any) -> str:
    return (await api.pay(order(None, **changes))).id


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("token", ["pm_card_visa", ASKS_ONCE])
async def test_a_saved_card_pays_again_and_again_once_each(
    token: str, away: bool, api: Api, stripe: StandIn
) -> None:
    method = await saved(api, token)
    for _ in range(2):
        payment = await bare(api)
        paid = await confirm(api, payment, method, off_session=away)
        if token == ASKS_ONCE and not away:
            assert paid.json["status"] == "requires_action"
            continue
        assert paid.json["status"] == "succeeded", paid
        [charge] = (await stripe.charges())[payment]
        assert charge["amount"] == 1999


async def test_a_bank_that_wants_its_customer_has_the_payment_wait_for_it(
    api: Api, owner: asyncpg.Connection, stripe: StandIn
) -> None:
    """The same payment is confirmed by the same card, once its customer is there."""
    method, payment = await saved(api, ASKS_ALWAYS), await bare(api)
    declined = await confirm(api, payment, method, off_session=True)
    assert declined.json["status"] == "requires_payment_method"
    assert declined.json["status_reason"] == "authentication_required"
    assert declined.json["decline"]["retry"] == "after_authentication"
    assert declined.json["next_gateway"] == "stripe"
    assert payment not in await stripe.charges()
    waiting = await confirm(api, payment, method)
    assert waiting.json["status"] == "requires_action"
    url = waiting.json["next_action"]["url"]
    async with api.session.post(f"{url}/complete", allow_redirects=False) as answer:
        assert answer.status == 303
    paid = await api.until(payment, "succeeded")
    assert len((await stripe.charges())[payment]) == 1
    assert paid["decline"] is None
    rows = await owner.fetch(
        "SELECT state, gateway_object_id FROM attempts WHERE payment_id = $1 ORDER BY attempt_no",
        from_text("pay", payment),
    )
    assert [row["state"] for row in rows] == ["declined", "approved"]
    assert rows[0]["gateway_object_id"] != rows[1]["gateway_object_id"]


async def test_a_customer_who_is_wanted_may_pay_by_another_card_on_the_page(
    api: Api, stripe: StandIn
) -> None:
    """As the checkout page does it: it is open for whatever the customer brings."""
    method, payment = await saved(api, ASKS_ALWAYS), await bare(api)
    await confirm(api, payment, method, off_session=True)
    link = await api.post(f"/v1/payments/{payment}/checkout_link", {})
    assert link.status == 201, link
    paid = await api.confirm(payment, "pm_card_visa", wait=20)
    assert paid.json["status"] == "succeeded"
    assert len((await stripe.charges())[payment]) == 1


async def test_a_customer_who_does_not_come_back_in_time_has_not_paid(
    api: Api, stripe: StandIn
) -> None:
    method = await saved(api, ASKS_ALWAYS)
    soon = datetime.now(UTC) + timedelta(seconds=8)
    payment = await bare(api, not_after=soon.isoformat())
    assert (await confirm(api, payment, method, off_session=True)).json["decline"] is not None
    ended = await api.until(payment, "failed")
    assert ended["status_reason"] == "authentication_required"
    late = await confirm(api, payment, method)
    assert late.code == "payment_is_over"
    assert payment not in await stripe.charges()


@pytest.mark.parametrize("token", ["pm_card_chargeCustomerFail"])
async def test_another_decline_while_away_is_the_end(token: str, api: Api, stripe: StandIn) -> None:
    method, payment = await saved(api, token), await bare(api)
    declined = await confirm(api, payment, method, off_session=True)
    assert declined.json["status"] == "failed"
    assert payment not in await stripe.charges()


async def test_who_is_away_is_charged_only_after_agreeing_to_it(
    api: Api, other_api: Api, owner: asyncpg.Connection, stripe: StandIn
) -> None:
    ada = await customer(api)
    method = await save(api, ada, agreed=False)
    assert method.json["consent"] is None
    payment, key = await bare(api), fresh("key")
    refused = await confirm(api, payment, method.id, off_session=True)
    assert (refused.status, refused.code) == (409, "consent_missing")
    assert payment not in await stripe.charges()
    path = f"/v1/payment_methods/{method.id}/consent"
    theirs = await other_api.post(path, CONSENT)
    assert (theirs.status, theirs.code) == (404, "payment_method_not_found")
    body = CONSENT | {"purpose": "recurring"}
    agreed = await api.post(path, body, key=key)
    assert agreed.json["consent"]["purpose"] == "recurring"
    again = await api.post(path, body, key=key)
    assert (again.replayed, again.json["version"]) == (True, agreed.json["version"])
    assert (await api.post(path, CONSENT, key=key)).code == "idempotency_key_reused"
    paid = await confirm(api, payment, method.id, off_session=True)
    assert paid.json["status"] == "succeeded", paid
    assert len((await stripe.charges())[payment]) == 1


async def test_from_where_a_consent_came_is_sealed_and_gone_with_its_customer(
    api: Api, owner: asyncpg.Connection, running: Running
) -> None:
    ada = await customer(api)
    method = await save(api, ada)
    for word in ("192.0.2.17", "X11; Linux"):
        assert word.encode() not in method.body
    rows = await owner.fetch(
        "SELECT c::text AS row, sealed FROM consents c WHERE payment_method_id = $1",
        from_text("pm", method.id),
    )
    assert len(rows) == 1
    events = await owner.fetch(
        "SELECT convert_from(payload, 'utf8') AS text FROM customer_events WHERE owner_id = $1 "
        "ORDER BY version",
        from_text("pm", method.id),
    )
    assert "terms-2026-10" in events[0]["text"]
    for text in (rows[0]["row"], *(event["text"] for event in events)):
        assert "192.0.2.17" not in text
        assert "X11; Linux" not in text
    assert rows[0]["sealed"] is not None
    await asyncio.to_thread(
        running.command, "vault", "subjects", "destroy", ada, "--yes", "--entity",
        running.legal_entity,
    )  # fmt: skip
    path = f"/v1/payment_methods/{method.id}/consent"
    assert (await api.post(path, CONSENT)).code == "customer_erased"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("given_at", "2990-01-01T00:00:00Z"),
        ("ip_address", "localhost"),
        ("ip_address", "1.2.3.4\u0000"),
        ("user_agent", "a\nb"),
        ("text_version", ""),
    ],
)
async def test_a_consent_that_cannot_be_is_refused_and_saves_nothing(
    field: str, value: str, api: Api
) -> None:
    ada = await customer(api)
    body = card() | {"consent": CONSENT | {field: value}}
    refused = await api.post(f"/v1/customers/{ada}/payment_methods", body)
    assert (refused.status, refused.code) == (422, "customer_field_invalid")
    assert refused.json["field"] == f"consent.{field}"
    assert (await api.get(f"/v1/customers/{ada}/payment_methods")).json["data"] == []


async def test_a_repeat_charges_once_and_another_method_is_another_request(
    api: Api, stripe: StandIn
) -> None:
    method, other = await saved(api), await saved(api)
    payment, key = await bare(api), fresh("key")
    answers = await asyncio.gather(*(confirm(api, payment, method, key=key) for _ in range(8)))
    assert {answer.json["status"] for answer in answers} == {"succeeded"}
    again = await confirm(api, payment, method, key=key)
    assert (again.status, again.replayed) == (200, True)
    for changed in ({"method": other}, {"method": method, "off_session": True}):
        refused = await confirm(api, payment, key=key, **changed)
        assert refused.code == "idempotency_key_reused"
    assert len((await stripe.charges())[payment]) == 1


async def test_what_is_detached_pays_no_more_and_a_repeat_still_tells(
    api: Api, stripe: StandIn
) -> None:
    method, key = await saved(api), fresh("key")
    before = await bare(api)
    assert (await confirm(api, before, method, key=key)).json["status"] == "succeeded"
    await api.post(f"/v1/payment_methods/{method}/detach", {})
    after = await bare(api)
    assert (await confirm(api, after, method)).code == "payment_method_not_ready"
    await until_method(api, method, "detached")
    assert (await confirm(api, after, method)).code == "payment_method_not_ready"
    assert (await api.payment(after))["status"] == "requires_payment_method"
    again = await confirm(api, before, method, key=key)
    assert (again.replayed, again.json["status"]) == (True, "succeeded")
    assert after not in await stripe.charges()


async def test_a_detach_that_was_faster_than_the_payment_leaves_no_charge(
    api: Api, owner: asyncpg.Connection, stripe: StandIn
) -> None:
    """As if it had been detached between the confirm and the call."""
    method, payment = await saved(api), await bare(api)
    await api.post(f"/v1/payment_methods/{method}/detach", {})
    await until_method(api, method, "detached")
    ready = "UPDATE payment_methods SET status = $2 WHERE payment_method_id = $1"
    await owner.execute(ready, from_text("pm", method), "ready")
    refused = await confirm(api, payment, method)
    await owner.execute(ready, from_text("pm", method), "detached")
    assert refused.json["status"] == "failed", refused
    assert payment not in await stripe.charges()


async def test_nobody_pays_by_the_method_of_another_entity(
    api: Api, other_api: Api, stripe: StandIn
) -> None:
    theirs, mine = await saved(other_api), await bare(api)
    for method in (theirs, "pm_" + "0" * 25 + "0"):
        assert (await confirm(api, mine, method)).code == "payment_method_not_found"
    assert (await api.payment(mine))["status"] == "requires_payment_method"
    assert mine not in await stripe.charges()


async def test_a_saved_token_brought_as_an_instrument_pays_for_nobody(
    api: Api, owner: asyncpg.Connection, stripe: StandIn
) -> None:
    """Without its customer the gateway refuses it; and no text of a caller names a customer."""
    method = await saved(api)
    token = await owner.fetchval(
        "SELECT token FROM payment_method_tokens WHERE payment_method_id = $1",
        from_text("pm", method),
    )
    made = await api.pay(order(token), wait=20)
    assert made.json["status"] == "failed"
    assert made.id not in await stripe.charges()
    for forged in (f"cus_1/{token}", f"cus_1/{token}/off_session", f"{token}/off_session"):
        assert (await api.pay(order(forged))).code == "instrument_token_malformed"


async def test_an_erased_customer_is_not_charged(running: Running, api: Api) -> None:
    ada = await customer(api)
    method = (await save(api, ada)).id
    await asyncio.to_thread(
        running.command, "vault", "subjects", "destroy", ada, "--yes", "--entity",
        running.legal_entity,
    )  # fmt: skip
    assert (await confirm(api, await bare(api), method)).code == "customer_erased"


@pytest.mark.parametrize(
    "body",
    [
        {"off_session": True},
        {"off_session": True, "instrument": {"gateway": "stripe", "token": "pm_card_visa"}},
    ],
)
async def test_that_the_customer_is_away_is_said_of_a_saved_card_only(
    body: dict[str, Any], api: Api
) -> None:
    answer = await api.post(f"/v1/payments/{await bare(api)}/confirm", body)
    assert (answer.status, answer.code) == (422, "instrument_ambiguous")

"""Taxes: calculated by a gateway's tax service, named by a payment, reported once it succeeded."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Answer, Api, StandIn, fresh, order, until
from tests.acceptance.running import Running

PATH = "/v1/tax_calculations"
STREET = "Unter den Linden 77777"
POSTAL_CODE = "10117 Mitte"
"""Words of its own: five digits alone stand in a log by chance, as part of a time or of an id."""
VAT = "DE811907980"
CUSTOMER = {
    "address": {"country": "DE", "postal_code": POSTAL_CODE, "line1": STREET},
    "tax_ids": [{"type": "eu_vat", "value": VAT}],
}


def cart(amount: int = 10_000, **more: Any) -> dict[str, Any]:
    lines = [{"amount": amount, "reference": "ticket"}]
    return {"currency": "EUR", "line_items": lines, "customer": CUSTOMER, **more}


async def calculated(api: Api, amount: int = 10_000, **more: Any) -> dict[str, Any]:
    made = await api.post(PATH, cart(amount, **more))
    assert (made.status, made.json["status"]) == (201, "ready"), made
    found: dict[str, Any] = made.json
    return found


def taxed(calculation: dict[str, Any], **more: Any) -> dict[str, Any]:
    named = {"amount": calculation["total"], "tax_calculation": calculation["id"]}
    return order(**(named | more))


async def shown(api: Api, calculation: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"{PATH}/{calculation['id']}")).json
    return found


async def reported(api: Api, calculation: dict[str, Any], number: int = 1) -> list[dict[str, Any]]:
    """What was reported of it, once so many have come to their end."""
    found: list[dict[str, Any]] = []

    async def are_made() -> bool:
        found[:] = (await shown(api, calculation))["transactions"]
        return len(found) >= number and all(one["status"] != "open" for one in found)

    await until(are_made)
    assert len(found) == number, found
    return found


Ledger = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture
def ledger(running: Running, session: aiohttp.ClientSession) -> Ledger:
    """What the tax service has under references that begin so."""

    async def read(*references: str) -> list[dict[str, Any]]:
        url, token = running.stripe_url + "/_ledger/tax", {"X-Knob-Token": running.knob_token}
        async with session.get(url, headers=token) as answer:
            found = (await answer.json())["data"]
        return [one for one in found if one["reference"].startswith(references)]

    return read


async def test_a_calculation_says_what_is_to_be_paid(api: Api) -> None:
    made = await api.post(
        PATH, cart(shipping_cost={"amount": 500, "tax_behavior": "inclusive"}), key=fresh("key")
    )
    assert made.status == 201, made
    found = made.json
    assert (found["total"], found["tax_amount_exclusive"], found["tax_amount_inclusive"]) == (
        12_400, 1900, 80,
    )  # fmt: skip
    [line] = found["line_items"]
    assert (line["reference"], line["amount"], line["tax_amount"]) == ("ticket", 10_000, 1900)
    [rate] = line["rates"]
    assert (rate["country"], rate["percent"], rate["reason"]) == ("DE", "19.0", "standard_rated")
    assert found["shipping_cost"]["tax_amount"] == 80
    assert (found["payment"], found["transactions"]) == (None, [])
    assert (await shown(api, found)) == found


async def test_one_key_asks_once(api: Api) -> None:
    key = fresh("key")
    first = await api.post(PATH, cart(), key=key)
    again = await api.post(PATH, cart(), key=key)
    assert (again.status, again.replayed, again.id) == (200, True, first.id)
    other = await api.post(PATH, cart(1), key=key)
    assert (other.status, other.code) == (422, "idempotency_key_reused")


async def test_where_the_customer_lives_is_not_kept(
    api: Api, owner: asyncpg.Connection, running: Running
) -> None:
    made = await calculated(api)
    of = from_text("txc", made["id"])
    row = await owner.fetchrow("SELECT * FROM tax_calculations WHERE calculation_id = $1", of)
    assert row is not None
    assert row["sealed"] is None
    events = await owner.fetch("SELECT payload, kind FROM events WHERE payment_id = $1", of)
    assert [one["kind"] for one in events] == ["tax_calculation.asked", "tax_calculation.ready"]
    told = str(dict(row)) + "".join(one["payload"].decode() for one in events)
    told += "".join(running.log_texts().values())
    for secret in (STREET, POSTAL_CODE, VAT):
        assert secret not in told


async def test_a_taxed_payment_is_reported_once_it_has_succeeded(
    api: Api, ledger: Ledger, running: Running
) -> None:
    calculation = await calculated(api)
    paid = await api.pay(taxed(calculation), wait=20)
    assert (paid.status, paid.json["status"]) == (201, "succeeded"), paid
    [sale] = await reported(api, calculation)
    assert (sale["kind"], sale["status"], sale["reference"]) == ("sale", "made", paid.id)
    assert (await shown(api, calculation))["payment"] == paid.id
    [entry] = await ledger(paid.id)
    assert (entry["id"], entry["total"], entry["tax"]) == (
        sale["gateway_transaction"], calculation["total"], 1900,
    )  # fmt: skip
    told = running.command("explain", paid.id)
    assert "tax.recorded" in told
    assert sale["gateway_transaction"] in told


@pytest.mark.sampled(2)
@pytest.mark.parametrize("fault", ["drop_after", "error_503", "drop_before"])
async def test_whatever_is_lost_it_is_reported_once(
    api: Api, stripe: StandIn, ledger: Ledger, fault: str
) -> None:
    calculation = await calculated(api)
    operation = "tax.transactions.create_from_calculation"
    await stripe.knobs({"fault": fault, "match": {"operation": operation}})
    paid = await api.pay(taxed(calculation), wait=20)

    async def was_tried() -> bool:
        return bool((await shown(api, calculation))["transactions"])

    await until(was_tried)
    await asyncio.sleep(1.5)  # once more in vain
    await stripe.clear()
    await reported(api, calculation)
    assert len(await ledger(paid.id)) == 1


async def test_a_declined_payment_reports_nothing_and_leaves_its_calculation(
    api: Api, ledger: Ledger
) -> None:
    calculation = await calculated(api)
    declined = await api.pay(
        taxed(calculation, instrument={"gateway": "stripe", "token": "pm_card_chargeDeclined"}),
        wait=20,
    )
    assert declined.json["status"] == "failed"
    paid = await api.pay(taxed(calculation), wait=20)
    assert paid.json["status"] == "succeeded", paid
    [sale] = await reported(api, calculation)
    assert sale["reference"] == paid.id
    assert await ledger(declined.id) == []


async def test_two_payments_cannot_have_one_calculation(api: Api) -> None:
    calculation = await calculated(api)
    first = await api.pay(taxed(calculation, instrument=None))
    second = await api.pay(taxed(calculation))
    assert (second.status, second.code) == (422, "tax_calculation_taken"), second
    assert second.json["payment_id"] == first.id
    await api.cancel(first.id)
    await api.until(first.id, "canceled")
    third = await api.pay(taxed(calculation), wait=20)
    assert third.json["status"] == "succeeded", third


async def test_of_many_at_once_one_gets_the_calculation(api: Api) -> None:
    calculation = await calculated(api)
    items = [taxed(calculation, instrument=None) | {"idempotency_key": fresh()} for _ in range(20)]
    made = await api.bulk(items)
    ends = [one.get("problem", {}).get("code") for one in made.json["results"]]
    assert sorted(ends, key=str) == [None] + ["tax_calculation_taken"] * 19


async def refused(api: Api, body: dict[str, Any]) -> Answer:
    made = await api.pay(body)
    assert made.status == 422, made
    assert made.json["field"] == "tax_calculation"
    listed = await api.get(f"/v1/payments?merchant_reference={body['merchant_reference']}")
    assert listed.json["data"] == []
    return made


async def test_a_payment_of_other_money_is_refused(api: Api, other_api: Api) -> None:
    calculation = await calculated(api)
    for change in ({"amount": 11_899}, {"currency": "USD"}):
        assert (await refused(api, taxed(calculation, **change))).code == "tax_calculation_differs"
    for unknown in ("txc_" + "0" * 26, "txc_", "pay_1"):
        body = taxed(calculation, tax_calculation=unknown)
        assert (await refused(api, body)).code == "tax_calculation_unknown"
    of_another = await other_api.pay(taxed(calculation))
    assert (of_another.status, of_another.code) == (422, "tax_calculation_unknown")


async def test_a_calculation_cannot_be_named_for_ever(api: Api, owner: asyncpg.Connection) -> None:
    calculation = await calculated(api)
    await owner.execute(
        "UPDATE tax_calculations SET expires_at = created_at + interval '30 days' "
        "WHERE calculation_id = $1",
        from_text("txc", calculation["id"]),
    )
    assert (await refused(api, taxed(calculation))).code == "tax_calculation_expired"


async def test_what_the_service_refuses_has_failed_with_its_reason(api: Api) -> None:
    nowhere = cart(customer={"address": {"country": "US"}})
    made = await api.post(PATH, nowhere)
    assert (made.status, made.json["status"]) == (201, "failed"), made
    assert made.json["status_reason"] == "customer_tax_location_invalid"
    body = taxed(made.json, amount=100)
    assert (await refused(api, body)).code == "tax_calculation_unknown"


async def test_a_caller_who_waits_for_nothing_gets_it_later(api: Api, stripe: StandIn) -> None:
    await stripe.knobs({"fault": "error_503", "match": {"operation": "tax.calculations.create"}})
    made = await api.post(PATH, cart(), wait=0)
    assert (made.status, made.json["status"]) == (202, "processing")
    assert (await refused(api, taxed(made.json, amount=100))).code == "tax_calculation_unknown"
    await stripe.clear()
    later = await api.get(f"{PATH}/{made.id}", wait=20)
    assert later.json["status"] == "ready", later


async def test_what_is_another_merchants_is_not_found(api: Api, other_api: Api) -> None:
    calculation = await calculated(api)
    found = await other_api.get(f"{PATH}/{calculation['id']}")
    assert (found.status, found.code) == (404, "tax_calculation_not_found")


async def taken(api: Api, **more: Any) -> tuple[dict[str, Any], str]:
    """A calculation, and a payment of it that was taken and reported."""
    calculation = await calculated(api)
    paid = await api.pay(taxed(calculation, **more), wait=20)
    assert paid.json["status"] == "succeeded", paid
    await reported(api, calculation)
    return calculation, paid.id


async def test_refunds_are_taken_back_from_what_was_reported(api: Api, ledger: Ledger) -> None:
    calculation, payment = await taken(api)
    part = await api.refund(payment, 1190, wait=20)
    [_, first] = await reported(api, calculation, 2)
    assert (first["kind"], first["reference"], first["amount"]) == ("reversal", part.id, 1190)
    rest = await api.refund(payment, 10_710, wait=20)
    await reported(api, calculation, 3)
    entries = await ledger(payment, part.id, rest.id)
    assert [entry["total"] for entry in entries] == [11_900, -1190, -10_710]
    assert sum(entry["tax"] for entry in entries) == 0
    assert {entry["original"] for entry in entries[1:]} == {entries[0]["id"]}


async def test_whatever_is_lost_a_refund_is_taken_back_once(
    api: Api, stripe: StandIn, ledger: Ledger
) -> None:
    calculation, payment = await taken(api)
    operation = "tax.transactions.create_reversal"
    await stripe.knobs({"fault": "drop_after", "match": {"operation": operation}})
    refund = await api.refund(payment, 1190, wait=20)

    async def was_tried() -> bool:
        return len((await shown(api, calculation))["transactions"]) == 2

    await until(was_tried)
    await asyncio.sleep(1.5)  # once more in vain
    await stripe.clear()
    await reported(api, calculation, 2)
    [entry] = await ledger(refund.id)
    assert entry["total"] == -1190


async def test_a_refund_that_fails_after_all_is_reported_again(
    api: Api, stripe: StandIn, ledger: Ledger
) -> None:
    card = {"gateway": "stripe", "token": "pm_card_refundFail"}
    calculation, payment = await taken(api, instrument=card)
    refund = await api.refund(payment, 1190, wait=20)

    async def has_failed() -> bool:
        found = await api.get(f"/v1/refunds/{refund.id}")
        return bool(found.json["status"] == "failed")

    await until(has_failed)

    async def is_settled() -> bool:
        found = (await shown(api, calculation))["transactions"]
        kinds = [one["kind"] for one in found if one["status"] == "made"]
        return kinds in (["sale"], ["sale", "reversal", "restoral"])

    await until(is_settled)
    entries = await ledger(payment, refund.id)
    assert sum(entry["total"] for entry in entries) == calculation["total"]


async def test_of_a_hold_only_what_was_captured_is_reported(api: Api, ledger: Ledger) -> None:
    calculation = await calculated(api)
    held = await api.pay(taxed(calculation, capture="manual"), wait=20)
    assert held.json["status"] == "authorized"
    assert await ledger(held.id) == []
    await api.capture(held.id, 5950)
    await api.until(held.id, "succeeded")
    found = await reported(api, calculation, 2)
    assert [one["kind"] for one in found] == ["sale", "uncaptured"]
    entries = await ledger(held.id)
    assert [entry["total"] for entry in entries] == [11_900, -5950]
    assert [entry["tax"] for entry in entries] == [1900, -950]

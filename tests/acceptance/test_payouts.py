"""Payouts: what the gateway sends to the bank, tied to what is ours, and those that come back."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import aiohttp
import asyncpg

from strongroom.local.children import MERCHANT_ACCOUNTS
from tests.acceptance.client import Api, StandIn, order, until
from tests.acceptance.hooks import Account, Refusal, event, stop_lists
from tests.acceptance.running import Running
from tests.acceptance.test_disputes import parked
from tests.acceptance.test_webhooks import account_id, ours  # noqa: F401
from tests.acceptance.test_webhooks_followed import quiet  # noqa: F401
from tests.acceptance.tills import BraintreeTill

DAY = 24 * 3600
OK = Refusal(200, None)


async def paid(api: Api, currency: str, amount: int = 10_000) -> str:
    made = await api.pay(order(amount=amount, currency=currency), wait=20)
    assert made.json["status"] == "succeeded", made
    return made.id


async def detail(api: Api, payout: dict[str, Any]) -> dict[str, Any]:
    """The payout once what it is made of is known."""
    shown: dict[str, Any] = {}

    async def is_itemised() -> bool:
        shown.update((await api.get(f"/v1/payouts/{payout['id']}")).json)
        return bool(shown["itemised"])

    await until(is_itemised)
    return shown


async def disbursed(api: Api) -> list[dict[str, Any]]:
    """All payouts of Braintree's."""
    page = (await api.get("/v1/payouts", limit=100)).json["data"]
    return [one for one in page if one["gateway"] == "braintree"]


async def disbursed_at_rest(api: Api) -> list[dict[str, Any]]:
    """All payouts of Braintree's, once what was told of them before changes them no more."""
    found: list[dict[str, Any]] = []

    async def stand_still() -> bool:
        before = list(found)
        found[:] = await disbursed(api)
        await asyncio.sleep(1)
        return found == before

    await until(stand_still)
    return found


async def list_now(owner: asyncpg.Connection, gateway: str) -> None:
    """Now the payouts of all accounts at this gateway are gone through, and no others'."""
    done = await owner.execute(
        "UPDATE settlement_looks SET run_at = now() FROM gateway_accounts a "
        "WHERE a.gateway_account_id = settlement_looks.gateway_account_id "
        "AND noun = 'payouts' AND gateway_object_id = '' AND gateway = $1",
        gateway,
    )
    assert done != "UPDATE 0"


async def foreign_charge(running: Running, session: aiohttp.ClientSession, currency: str) -> None:
    """Somebody else charges a card at the same gateway account."""
    secret = (running.home / "secrets" / "stripe_key").read_text().strip()
    asked = {
        "amount": "700", "currency": currency, "payment_method": "pm_card_visa",
        "confirm": "true", "allowed_payment_method_types[]": "card",
    }  # fmt: skip
    async with session.post(
        running.stripe_url + "/v1/payment_intents",
        data=asked,
        headers={"Authorization": f"Bearer {secret}"},
    ) as made:
        assert made.status == 200, await made.text()


async def test_a_payout_is_tied_to_what_it_is_made_of(
    api: Api, stripe: StandIn, running: Running, session: aiohttp.ClientSession
) -> None:
    first, second = await paid(api, "SEK"), await paid(api, "SEK", 5000)
    back = await api.refund(first, 1000, wait=20)
    await stripe.dispute(second)
    [dispute] = await api.disputes_of(second)
    await foreign_charge(running, session, "sek")
    made = await stripe.pay_out("sek")
    shown = await detail(api, await api.payout_at(made["id"]))
    assert (shown["amount"], shown["currency"], shown["status"]) == (
        made["amount"],
        "SEK",
        "pending",
    )
    found = {
        (one["kind"], one["payment"], one["refund"], one["dispute"]): one["amount"] - one["fee"]
        for one in shown["items"]
    }
    assert found == {
        ("charge", first, None, None): 9850,
        ("charge", second, None, None): 4925,
        ("refund", None, back.id, None): -1000,
        ("adjustment", None, None, dispute["id"]): -5000,
        ("charge", None, None, None): 690,
    }
    assert (shown["items_count"], shown["items_net"]) == (5, made["amount"])
    assert (shown["unknown_count"], shown["unknown_net"]) == (1, 690)


async def test_one_that_was_paid_can_fail_and_raises_an_alarm(
    api: Api, stripe: StandIn, owner: asyncpg.Connection
) -> None:
    await paid(api, "DKK")
    made = await stripe.pay_out("dkk", arrives_days=0, fails_days=0)
    payout = await api.payout_at(made["id"], "failed")
    assert payout["status_reason"] == "account_closed"
    rows = await owner.fetch("SELECT kind, reason FROM alarms WHERE subject = $1", made["id"])
    assert [(row["kind"], row["reason"]) for row in rows] == [("payout_failed", "account_closed")]
    events = await owner.fetch(
        "SELECT e.kind, e.version FROM events e JOIN payouts p ON p.payout_id = e.payment_id "
        "WHERE p.gateway_object_id = $1 ORDER BY e.version",
        made["id"],
    )
    kinds = [row["kind"] for row in events]
    assert kinds[-1] == "payout.failed"
    assert [row["version"] for row in events] == list(range(1, len(events) + 1))


async def test_a_lost_webhook_loses_no_payout(
    api: Api,
    stripe: StandIn,
    owner: asyncpg.Connection,
    quiet: Any,  # noqa: F811
) -> None:
    await stop_lists(owner, "payouts")
    await paid(api, "CZK", 20_000)
    made = await stripe.pay_out("czk")
    await asyncio.sleep(1)
    page = (await api.get("/v1/payouts", limit=100)).json["data"]
    assert made["id"] not in [one["gateway_payout"] for one in page]
    await list_now(owner, "stripe")
    await api.payout_at(made["id"], "pending")


async def test_what_is_not_there_is_parked(
    stripe: StandIn,
    owner: asyncpg.Connection,
    quiet: Any,  # noqa: F811
    ours: Account,  # noqa: F811
) -> None:
    told = event({"id": "po_nobody_knows", "object": "payout", "amount": 1}, "payout.paid")
    assert await ours.send(told) == OK

    async def is_parked() -> bool:
        row = await ours.row(told["id"])
        return row is not None and (row["state"], row["reason"]) == ("parked", "other_object")

    await until(is_parked)
    assert await owner.fetchval("SELECT count(*) FROM alarms WHERE subject = $1", told["id"]) == 1


async def sent(till: BraintreeTill, account: str, day: str | None = None) -> str:
    """A genuine webhook that names a disbursement; its event's id."""
    day = day or f"{datetime.now(UTC):%Y-%m-%d}"
    return await till.tell(
        "disbursement",
        f"<disbursement><id>d1</id><amount>1.00</amount><merchant-account><id>{account}</id>"
        f'</merchant-account><disbursement-date type="date">{day}</disbursement-date>'
        "<success type='boolean'>true</success></disbursement>",
    )


async def test_a_disbursement_is_a_payout_of_an_account_and_a_day(
    api: Api, at_braintree: BraintreeTill
) -> None:
    """By the webhook that the stand-in itself sends."""
    till, account = at_braintree, MERCHANT_ACCOUNTS["USD"]
    first, second = [await till.paid(api, n, "USD") for n in (10_000, 5_000)]
    for one in (first, second):
        await till.settled(one)
    back = await api.refund(first, 1000)
    await api.until_refund(back.id, "pending")
    for one in await till.refunds(first):
        await till.settle_refund(one)
    strange = await till.charge_there("7.00", merchant_account_id=account)
    await till.control("POST", "/_settle", {"transaction": strange})
    made = await till.control("POST", "/_disbursements", {"merchant_account": account})
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    shown = await detail(api, await api.payout_at(f"{account}@{day}", "paid"))
    assert (shown["amount"], shown["currency"]) == (made["amount"], "USD")
    found = [
        (one["kind"], one["payment"], one["refund"], one["amount"] - one["fee"])
        for one in shown["items"]
    ]
    for expected in (
        ("charge", first, None, 10_000),
        ("charge", second, None, 5_000),
        ("refund", None, back.id, -1000),
        ("charge", None, None, 700),
    ):
        assert expected in found  # beside what other tests have sold there
    unknown = [net for *_, payment, refund, net in found if payment is refund is None]
    assert shown["items_net"] == shown["amount"]
    assert (shown["unknown_count"], shown["unknown_net"]) == (len(unknown), sum(unknown))
    third = await till.paid(api, 300, "USD")  # on the same day it is the same payout
    await till.settled(third)
    await till.control("POST", "/_disbursements", {"merchant_account": account})

    async def has_grown() -> bool:
        now = (await api.get(f"/v1/payouts/{shown['id']}")).json
        return bool(now["amount"] == now["items_net"] == shown["amount"] + 300)

    await until(has_grown)


async def test_a_disbursement_that_a_bank_returns_fails_and_raises_an_alarm(
    api: Api, at_braintree: BraintreeTill, owner: asyncpg.Connection
) -> None:
    till, account = at_braintree, MERCHANT_ACCOUNTS["KWD"]
    await till.settled(await till.paid(api, 10_000, "KWD"))
    made = await till.control("POST", "/_disbursements", {"merchant_account": account})
    name = f"{account}@{datetime.now(UTC):%Y-%m-%d}"
    assert (await api.payout_at(name, "paid"))["amount"] == made["amount"] >= 10_000
    await till.control("POST", "/_disbursements", {"disbursement": made["id"]})
    payout = await api.payout_at(name, "failed")
    assert payout["status_reason"] == "disbursement_exception"
    rows = await owner.fetch("SELECT kind, reason FROM alarms WHERE subject = $1", name)
    assert [tuple(row) for row in rows] == [("payout_failed", "disbursement_exception")]


async def test_a_lost_webhook_loses_no_disbursement(
    api: Api, at_braintree: BraintreeTill, owner: asyncpg.Connection
) -> None:
    till, account = at_braintree, MERCHANT_ACCOUNTS["JPY"]
    await till.quiet()
    await stop_lists(owner, "payouts")
    await till.settled(await till.paid(api, 1_500, "JPY"))
    await till.control("POST", "/_disbursements", {"merchant_account": account})
    name = f"{account}@{datetime.now(UTC):%Y-%m-%d}"
    await asyncio.sleep(1)
    page = (await api.get("/v1/payouts", limit=100)).json["data"]
    assert name not in [one["gateway_payout"] for one in page]
    await list_now(owner, "braintree")
    await api.payout_at(name, "paid")


async def test_a_disbursement_of_an_account_that_is_not_ours_changes_nothing(
    api: Api, at_braintree: BraintreeTill, owner: asyncpg.Connection
) -> None:
    await at_braintree.quiet()
    await stop_lists(owner, "payouts")
    before = await disbursed_at_rest(api)
    named = [
        await sent(at_braintree, "account_of_somebody"),
        await sent(at_braintree, MERCHANT_ACCOUNTS["ISK"], "2024-02-29"),  # nothing on that day
    ]
    for event_id in named:
        await parked(owner, event_id, "other_object")
    assert await disbursed(api) == before


async def test_another_entity_ties_nothing_of_it(api: Api, other_api: Api, stripe: StandIn) -> None:
    """Both have an account with one key of one gateway: it shows the payout to both."""
    await paid(api, "PLN")
    made = await stripe.pay_out("pln")
    shown = await detail(api, await api.payout_at(made["id"]))
    stranger = await other_api.get(f"/v1/payouts/{shown['id']}")
    assert (stranger.status, stranger.code) == (404, "payout_not_found")
    theirs = [
        one
        for one in (await other_api.get("/v1/payouts", limit=100)).json["data"]
        if one["gateway_payout"] == made["id"]
    ]
    for one in theirs:
        other = (await other_api.get(f"/v1/payouts/{one['id']}")).json
        assert all(item["payment"] is None for item in other["items"])


async def test_payouts_have_a_scope_of_their_own(api: Api, running: Running) -> None:
    words = ("keys", "create", "--entity", running.legal_entity, "--name", "payments")
    key = running.command(*words, "--scope", "payments:read", "--scope", "disputes:read")
    refused = await api.with_key(key).get("/v1/payouts")
    assert (refused.status, refused.code) == (403, "scope_missing")

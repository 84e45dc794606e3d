"""Disputes: told by a webhook, learnt from the gateway, and kept from what can be given back."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from strongroom.payments.rows import digest_in_format, payment_of
from strongroom.payments.states import ROW_FORMAT
from tests.acceptance.client import Api, StandIn, order, until
from tests.acceptance.hooks import ROW, stop_lists
from tests.acceptance.running import Running
from tests.acceptance.tills import BraintreeTill, Till


async def paid(api: Api, amount: int = 1999, token: str = "pm_card_visa") -> str:
    made = await api.pay(order(token, amount=amount), wait=20)
    assert made.json["status"] == "succeeded", made
    return made.id


def sums(payment: dict[str, Any]) -> tuple[int, int, int, int]:
    names = ("refunded_amount", "refunding_amount", "disputed_amount", "refundable_amount")
    first, second, third, fourth = (payment[name] for name in names)
    return first, second, third, fourth


async def kinds_of(owner: asyncpg.Connection, payment: str) -> list[str]:
    rows = await owner.fetch(
        "SELECT kind FROM events WHERE payment_id = $1 ORDER BY version", from_text("pay", payment)
    )
    return [row["kind"] for row in rows]


async def check_digest(owner: asyncpg.Connection, payment: str) -> None:
    """The newest event has the digest of the row as it stands."""
    one = from_text("pay", payment)
    row = await owner.fetchrow("SELECT * FROM payments WHERE payment_id = $1", one)
    newest = await owner.fetchrow(
        "SELECT * FROM events WHERE payment_id = $1 ORDER BY version DESC LIMIT 1", one
    )
    assert row is not None
    assert newest is not None
    assert (newest["version"], newest["row_format"]) == (row["version"], ROW_FORMAT)
    assert newest["row_digest"] == digest_in_format(payment_of(row), ROW_FORMAT)


async def test_a_dispute_withholds_until_it_is_won(
    api: Api, till: Till, owner: asyncpg.Connection
) -> None:
    """By the webhooks that the stand-in itself sends, as `up` has registered them."""
    payment = await till.paid(api)
    await till.settled(payment)
    dispute = await till.dispute(payment, amount=1500, reason="product_not_received")
    [shown] = await api.disputes_of(payment)
    assert (shown["payment"], shown["status"], shown["amount"]) == (payment, "needs_response", 1500)
    assert (shown["reason"], shown["gateway_dispute"]) == ("product_not_received", dispute)
    assert shown["evidence_due_by"] > shown["opened_at"]
    assert (await api.get(f"/v1/disputes/{shown['id']}")).json == shown
    assert sums(await api.payment(payment)) == (0, 0, 1500, 499)
    assert (await api.refund(payment, 500)).code == "refund_exceeds_captured"
    await till.decide(dispute, "won")
    await api.disputes_of(payment, "won")
    assert sums(await api.payment(payment)) == (0, 0, 0, 1999)
    assert (await api.refund(payment, 500, wait=20)).json["status"] in ("pending", "succeeded")
    kinds = await kinds_of(owner, payment)
    assert [kind for kind in kinds if "dispute" in kind] == ["dispute.opened", "dispute.won"]
    await check_digest(owner, payment)


async def test_test_cards_bring_disputes_and_inquiries(api: Api, stripe: StandIn) -> None:
    disputed = await paid(api, token="pm_card_createDispute")
    await api.disputes_of(disputed, "needs_response")
    assert sums(await api.payment(disputed)) == (0, 0, 1999, 0)
    asked = await paid(api, token="pm_card_createDisputeInquiry")
    await api.disputes_of(asked, "warning_needs_response")
    assert sums(await api.payment(asked)) == (0, 0, 0, 1999)
    two = await paid(api, 2000, token="pm_card_createMultipleDisputes")
    await api.disputes_of(two, "needs_response", number=2)
    assert sums(await api.payment(two)) == (0, 0, 2000, 0)


async def test_one_that_comes_after_everything_went_back(
    api: Api, till: Till, owner: asyncpg.Connection
) -> None:
    payment = await till.paid(api)
    await till.settled(payment)
    back = await api.refund(payment, wait=20)
    for one in await till.refunds(payment):
        await till.settle_refund(one)
    await api.until_refund(back.id, "succeeded")
    dispute = await till.dispute(payment)
    await api.disputes_of(payment)
    assert sums(await api.payment(payment)) == (1999, 0, 1999, 0)
    await till.decide(dispute, "won")
    await api.disputes_of(payment, "won")
    assert sums(await api.payment(payment)) == (1999, 0, 0, 0)
    await check_digest(owner, payment)


async def test_refunds_in_parallel_and_a_dispute_end_in_one_truth(
    api: Api, stripe: StandIn, owner: asyncpg.Connection
) -> None:
    payments = [await paid(api, 1000) for _ in range(6)]

    async def race(payment: str) -> None:
        await asyncio.gather(
            *(api.refund(payment, 100) for _ in range(12)),
            stripe.dispute(payment, amount=random.choice((300, 1000))),
        )

    await asyncio.gather(*map(race, payments))
    for payment in payments:
        [dispute] = await api.disputes_of(payment, "needs_response")

        async def settled(payment: str = payment) -> bool:
            page = (await api.get("/v1/refunds", payment=payment, limit=50)).json["data"]
            return all(one["status"] in ("succeeded", "failed") for one in page)

        await until(settled)
        page = (await api.get("/v1/refunds", payment=payment, limit=50)).json["data"]
        back = sum(one["amount"] for one in page if one["status"] == "succeeded")
        there = sum(
            one["amount"]
            for one in await stripe.refunds_of(payment)
            if one["status"] == "succeeded"
        )
        assert back == there
        left = max(0, 1000 - back - dispute["amount"])
        assert sums(await api.payment(payment)) == (back, 0, dispute["amount"], left)
        await check_digest(owner, payment)


async def test_doubled_and_shuffled_webhooks_change_it_once(
    api: Api, till: Till, owner: asyncpg.Connection
) -> None:
    await till.quiet()
    payment = await till.paid(api)
    dispute = await till.dispute(payment)
    kinds = ["opened", "under_review", "won"] * 4
    random.shuffle(kinds)
    for event_id in await asyncio.gather(*(till.told(dispute, kind) for kind in kinds)):
        await stands(owner, event_id, "applied", None)
    [shown] = await api.disputes_of(payment)
    assert shown["status"] == "needs_response"  # as the gateway says, whatever the webhooks are of
    await asyncio.sleep(1)
    found = await kinds_of(owner, payment)
    assert [kind for kind in found if "dispute" in kind] == ["dispute.opened"]


async def test_a_lost_webhook_loses_nothing(
    api: Api, till: Till, owner: asyncpg.Connection
) -> None:
    await till.quiet()
    await stop_lists(owner, "disputes")
    payment = await till.paid(api)
    await till.dispute(payment)
    await asyncio.sleep(1)
    assert (await api.get("/v1/disputes", payment=payment)).json["data"] == []
    assert await owner.execute("UPDATE settlement_looks SET run_at = now() WHERE noun = 'disputes'")
    await api.disputes_of(payment, "needs_response")
    assert sums(await api.payment(payment)) == (0, 0, 1999, 0)


@pytest.mark.parametrize("how", [{"currency": "gbp"}, {"amount": 2500}], ids=str)
async def test_other_money_freezes_the_payment(api: Api, till: Till, how: dict[str, Any]) -> None:
    payment = await till.paid(api)
    await till.dispute(payment, **how)
    await api.disputes_of(payment)
    shown = await api.payment(payment)
    assert (shown["review"], shown["refundable_amount"]) == ("dispute_mismatch", 0)
    assert (await api.refund(payment, 1)).code == "payment_under_review"


async def test_each_word_of_braintree_has_one_of_ours(
    api: Api, at_braintree: BraintreeTill
) -> None:
    """A retrieval is an inquiry; of one that is won in part the bank keeps the rest."""
    till = at_braintree
    for kind, statuses in (
        ("chargeback", {
            "open": "needs_response", "disputed": "under_review", "under_review": "under_review",
            "won": "won", "lost": "lost", "accepted": "lost", "auto_accepted": "lost",
            "expired": "lost",
        }),
        ("retrieval", {"open": "warning_needs_response", "disputed": "warning_under_review",
                       "expired": "warning_closed"}),
    ):  # fmt: skip
        payment = await till.paid(api)
        dispute = await till.dispute(payment, kind=kind)
        for theirs, status in statuses.items():
            await till.decide(dispute, theirs)
            await api.disputes_of(payment, status)
            takes = status in ("needs_response", "under_review", "lost")
            assert sums(await api.payment(payment)) == (
                (0, 0, 1999, 0) if takes else (0, 0, 0, 1999)
            ), theirs
    payment = await till.paid(api)
    dispute = await till.dispute(payment)
    await till.decide(dispute, "won", won=1500)
    await api.disputes_of(payment, "won")
    assert sums(await api.payment(payment)) == (0, 0, 499, 1500)


async def test_a_dispute_that_comes_before_the_outcome_is_known_does_not_end_the_looks(
    api: Api, stripe: StandIn, owner: asyncpg.Connection
) -> None:
    body = order()
    mine = {"metadata": {"merchant_reference": body["merchant_reference"]}}
    await stripe.knobs(
        {"fault": "drop_after", "match": {"operation": "payment_intents.confirm", **mine}},
        {"fault": "error_503", "match": {"operation": "payment_intents.retrieve", **mine}},
    )
    made = await api.pay(body)
    await api.until(made.id, "outcome_unknown")
    dispute = await stripe.dispute(made.id)

    async def looked_at() -> bool:
        query = "SELECT tries FROM settlement_looks WHERE gateway_object_id = $1"
        return (await owner.fetchval(query, dispute) or 0) > 1

    await until(looked_at)
    shown = await api.payment(made.id)
    assert (shown["status"], shown["review"]) == ("outcome_unknown", None)
    assert (await api.get("/v1/disputes", payment=made.id)).json["data"] == []
    await stripe.clear()
    await api.until(made.id, "succeeded")
    await api.disputes_of(made.id, "needs_response")
    shown = await api.payment(made.id)
    assert (shown["review"], sums(shown)) == (None, (0, 0, 1999, 0))


# Attacks.


async def stands(owner: asyncpg.Connection, event_id: str, state: str, reason: str | None) -> None:
    """So a webhook has ended."""

    async def has_ended() -> bool:
        row = await owner.fetchrow(ROW, event_id)
        return row is not None and (row["state"], row["reason"]) == (state, reason)

    await until(has_ended)


async def parked(owner: asyncpg.Connection, event_id: str, reason: str) -> None:
    """So a webhook has ended, and with which alarm."""
    await stands(owner, event_id, "parked", reason)
    kinds = await owner.fetch("SELECT kind, reason FROM alarms WHERE subject = $1", event_id)
    alarms = [("webhook_mismatched", reason)] if reason != "unknown_object" else []
    assert [(row["kind"], row["reason"]) for row in kinds] == alarms


async def test_a_webhook_of_one_account_names_the_dispute_of_another(
    api: Api, other_api: Api, other_merchants_till: Till, owner: asyncpg.Connection
) -> None:
    """Both accounts have one key of one stand-in, so the gateway shows it: the payment is not
    ours."""
    till = other_merchants_till
    await till.quiet()
    await stop_lists(owner, "disputes")
    payment = await till.paid(other_api)
    before = await other_api.payment(payment)
    dispute = await till.dispute(payment)
    await parked(owner, await till.told(dispute), "other_legal_entity")
    assert await other_api.payment(payment) == before
    assert (await api.get("/v1/disputes", payment=payment)).status in (200, 404)
    assert (await other_api.get("/v1/disputes", payment=payment)).json["data"] == []


async def test_what_does_not_exist_is_parked(till: Till, owner: asyncpg.Connection) -> None:
    await till.quiet()
    await parked(owner, await till.told("du_nobody_knows"), "other_object")


async def test_a_smaller_amount_is_not_believed_and_raises_an_alarm(
    api: Api, till: Till, owner: asyncpg.Connection
) -> None:
    await till.quiet()
    payment = await till.paid(api)
    dispute = await till.dispute(payment)
    await parked(owner, await till.told(dispute, amount=1), "other_amount")
    [shown] = await api.disputes_of(payment)
    assert (shown["amount"], shown["status"]) == (1999, "needs_response")


async def test_a_dispute_of_a_charge_that_is_not_ours_is_parked(
    till: Till, owner: asyncpg.Connection
) -> None:
    await till.quiet()
    dispute = await till.strange_dispute(900)
    await parked(owner, await till.told(dispute, amount=900), "unknown_object")


async def test_another_entity_sees_none_of_it(api: Api, other_api: Api, till: Till) -> None:
    payment = await till.paid(api)
    await till.dispute(payment)
    [shown] = await api.disputes_of(payment)
    stranger = await other_api.get(f"/v1/disputes/{shown['id']}")
    assert (stranger.status, stranger.code) == (404, "dispute_not_found")
    assert (await other_api.get("/v1/disputes", payment=payment)).json["data"] == []


async def test_disputes_have_scopes_of_their_own(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    words = ("keys", "create", "--entity", running.legal_entity, "--name", "payments")
    key = running.command(*words, "--scope", "payments:read", "--scope", "payments:write")
    refused = await api.with_key(key).get("/v1/disputes")
    assert (refused.status, refused.code) == (403, "scope_missing")

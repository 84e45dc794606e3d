"""Money goes back once, and never more of it than was captured, whoever asks at once."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Answer, Api, StandIn, fresh, order, until
from tests.acceptance.conftest import Merchant

AMOUNT = 1999


async def paid(api: Api, **fields: Any) -> str:
    """The id of a payment that has succeeded."""
    made = await api.pay(order(**fields), wait=20)
    assert made.json["status"] == "succeeded", made
    return made.id


async def sums(api: Api, payment_id: str) -> tuple[int, int, int]:
    """What is being given back, what was, and what still may be."""
    payment = await api.payment(payment_id)
    return (
        payment["refunding_amount"],
        payment["refunded_amount"],
        payment["refundable_amount"],
    )


async def test_a_refund_gives_back_a_part_and_the_rest(api: Api, stripe: StandIn) -> None:
    payment_id = await paid(api)
    part = await api.refund(payment_id, 500, wait=20, reason="duplicate", metadata={"why": "twice"})
    assert (part.status, part.json["status"], part.json["amount"]) == (201, "succeeded", 500)
    assert (part.json["payment"], part.json["currency"]) == (payment_id, "EUR")
    assert (part.json["reason"], part.json["metadata"]) == ("duplicate", {"why": "twice"})
    assert part.headers["Location"] == f"/v1/refunds/{part.id}"
    assert await sums(api, payment_id) == (0, 500, AMOUNT - 500)
    rest = await api.refund(payment_id, wait=20)
    assert (rest.json["status"], rest.json["amount"]) == ("succeeded", AMOUNT - 500)
    assert await sums(api, payment_id) == (0, AMOUNT, 0)
    refused = await api.refund(payment_id)
    assert (refused.status, refused.code) == (409, "refund_exceeds_captured")
    page = (await api.get("/v1/refunds", payment=payment_id)).json
    assert [one["id"] for one in page["data"]] == [rest.id, part.id]
    assert page["next_cursor"] is None
    charge = await stripe.charge_of(payment_id)
    assert (charge["captured"], charge["refunded"]) == (AMOUNT, AMOUNT)
    found = {one["metadata"]["strongroom_refund"] for one in await stripe.refunds_of(payment_id)}
    assert found == {part.id, rest.id}


async def test_a_list_of_refunds_goes_on_where_it_ended(api: Api) -> None:
    payment_id = await paid(api)
    ids = [(await api.refund(payment_id, 1)).id for _ in range(5)]
    seen: list[str] = []
    query: dict[str, Any] = {"payment": payment_id, "limit": 2}
    while True:
        page = (await api.get("/v1/refunds", **query)).json
        seen += [one["id"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == ids[::-1]
    newest = (await api.get("/v1/refunds", limit=5)).json["data"]
    assert [one["id"] for one in newest] == seen


async def test_of_fifty_full_refunds_at_once_one_succeeds(api: Api, stripe: StandIn) -> None:
    payment_id = await paid(api)
    before = (await stripe.summary())["over_asked"]
    answers = await asyncio.gather(*(api.refund(payment_id, AMOUNT) for _ in range(50)))
    counted = Counter((answer.status, answer.code) for answer in answers)
    assert counted == {(202, None): 1, (409, "refund_exceeds_captured"): 49}
    [winner] = [answer for answer in answers if answer.status == 202]
    await api.until_refund(winner.id, "succeeded")
    assert await sums(api, payment_id) == (0, AMOUNT, 0)
    assert [one["amount"] for one in await stripe.refunds_of(payment_id)] == [AMOUNT]
    charge = await stripe.charge_of(payment_id)
    assert charge["refunded"] == charge["captured"] == AMOUNT
    summary = await stripe.summary()
    assert (summary["over_refunded"], summary["over_asked"]) == ([], before)


async def test_of_many_parts_at_once_as_many_succeed_as_there_is_money(
    api: Api, stripe: StandIn
) -> None:
    """By two ways at once: one by one, and in bulks."""
    payment_id = await paid(api, amount=1000)
    items = [refund_item(payment_id, 70) for _ in range(20)]
    singles = asyncio.gather(*(api.refund(payment_id, 70) for _ in range(20)))
    bulk = await api.refund_all(items)
    statuses = [answer.status for answer in await singles]
    statuses += [result["status"] for result in bulk.json["results"]]
    assert Counter(statuses) == {202: 14, 409: 26}

    async def all_given_back() -> bool:
        return await sums(api, payment_id) == (0, 980, 20)

    await until(all_given_back)
    assert Counter(one["amount"] for one in await stripe.refunds_of(payment_id)) == {70: 14}


def refund_item(payment_id: str, amount: int | None = None, **more: Any) -> dict[str, Any]:
    """One item of a bulk."""
    amounts = {} if amount is None else {"amount": amount}
    return {"payment": payment_id, "idempotency_key": fresh("key"), **amounts, **more}


async def test_of_two_refunds_of_sixty_out_of_a_hundred_in_one_bulk_one_wins(
    api: Api, stripe: StandIn
) -> None:
    payment_id = await paid(api, amount=100)
    bulk = await api.refund_all([refund_item(payment_id, 60), refund_item(payment_id, 60)])
    assert bulk.status == 200
    won, lost = sorted(bulk.json["results"], key=lambda result: result["status"])
    assert (won["status"], won["refund"]["amount"]) == (202, 60)
    assert (lost["status"], lost["problem"]["code"]) == (409, "refund_exceeds_captured")
    await api.until_refund(won["refund"]["id"], "succeeded")
    assert await sums(api, payment_id) == (0, 60, 40)
    assert [one["amount"] for one in await stripe.refunds_of(payment_id)] == [60]


async def test_each_item_of_a_bulk_has_its_own_end(
    api: Api, other_api: Api, stripe: StandIn
) -> None:
    payment_id, theirs = await paid(api), await paid(other_api)
    waiting = (await api.pay(order(token=None))).id
    good = refund_item(payment_id, 100)
    bulk = await api.refund_all([
        good,
        good,
        {**good, "amount": 101},
        refund_item(theirs),
        refund_item(waiting),
        refund_item(payment_id, 0),
        refund_item(payment_id, -1),
        refund_item(payment_id, AMOUNT + 1),
        refund_item(payment_id, 1, metadata={"a": "\0"}),
        {"payment": payment_id, "amount": 1},
        refund_item(payment_id, 1, colour="red"),
        "no object",
        refund_item("pay_no"),
        refund_item(payment_id, 1, idempotency_key="two words"),
        refund_item(payment_id, 200),
    ])  # fmt: skip
    found = [(one["status"], one.get("problem", {}).get("code")) for one in bulk.json["results"]]
    assert found == [
        (202, None),
        (202, None),
        (422, "idempotency_key_reused"),
        (404, "payment_not_found"),
        (409, "payment_not_refundable"),
        (422, "amount_invalid"),
        (422, "amount_invalid"),
        (409, "refund_exceeds_captured"),
        (422, "metadata_characters"),
        (422, "field_missing"),
        (422, "field_unknown"),
        (422, "field_type_wrong"),
        (404, "payment_not_found"),
        (400, "idempotency_key_malformed"),
        (202, None),
    ]
    first, second = bulk.json["results"][:2]
    assert (first["replayed"], second["replayed"]) == (False, True)
    assert first["refund"]["id"] == second["refund"]["id"]
    assert [one["index"] for one in bulk.json["results"]] == list(range(len(found)))
    last = bulk.json["results"][-1]["refund"]["id"]
    await api.until_refund(last, "succeeded")
    await api.until_refund(first["refund"]["id"], "succeeded")
    assert await sums(api, payment_id) == (0, 300, AMOUNT - 300)
    assert Counter(one["amount"] for one in await stripe.refunds_of(payment_id)) == {100: 1, 200: 1}
    assert await stripe.refunds_of(theirs) == []


async def test_a_refund_of_a_capture_in_part_is_bounded_by_it(api: Api, stripe: StandIn) -> None:
    made = await api.pay(order(capture="manual"), wait=20)
    early = await api.refund(made.id, 1)
    assert (early.status, early.code) == (409, "payment_not_refundable")
    captured = await api.capture(made.id, 700, wait=20)
    assert captured.json["captured_amount"] == 700
    assert captured.json["refundable_amount"] == 700
    over = await api.refund(made.id, 701)
    assert (over.status, over.code) == (409, "refund_exceeds_captured")
    assert (await api.refund(made.id, wait=20)).json["amount"] == 700
    assert (await stripe.charge_of(made.id))["refunded"] == 700


async def test_a_refund_that_fails_later_gives_its_amount_free_and_leaves_an_event(
    api: Api, stripe: StandIn, owner: asyncpg.Connection
) -> None:
    payment_id = await paid(api)
    await stripe.knobs({"fault": "processing", "match": {"operation": "refunds.create"}})
    asked = await api.refund(payment_id, wait=20)
    assert (asked.status, asked.json["status"]) == (201, "pending")
    assert await sums(api, payment_id) == (AMOUNT, 0, 0)
    assert (await api.refund(payment_id, 1)).code == "refund_exceeds_captured"
    [given] = await stripe.refunds_of(payment_id)
    await stripe.settle(refund=given["id"], succeed=False, failure_reason="lost_or_stolen_card")
    failed = await api.until_refund(asked.id, "failed")
    assert failed["status_reason"] == "lost_or_stolen_card"
    assert await sums(api, payment_id) == (0, 0, AMOUNT)
    kinds = await owner.fetch(
        "SELECT kind FROM events WHERE payment_id = $1 ORDER BY version",
        from_text("pay", payment_id),
    )
    assert [row["kind"] for row in kinds][-3:] == [
        "refund.accepted",
        "refund.pending",
        "refund.failed",
    ]
    await stripe.clear()
    assert (await api.refund(payment_id, wait=20)).json["status"] == "succeeded"


async def test_what_the_gateway_refuses_fails_and_takes_nothing(api: Api, stripe: StandIn) -> None:
    """Somebody gave it back at the gateway itself."""
    payment_id = await paid(api)
    charge = await stripe.charge_of(payment_id)
    await stripe.refund_there(charge["payment_intent"], 1500)
    refused = await api.refund(payment_id, wait=20)
    assert (refused.status, refused.json["status"]) == (201, "failed")
    assert refused.json["status_reason"]
    assert await sums(api, payment_id) == (0, 0, AMOUNT)
    assert (await stripe.charge_of(payment_id))["refunded"] == 1500


class TestIdempotency:
    """A key stands for one refund, for as long as it is known."""

    async def test_a_repeated_key_refunds_once(self, api: Api, stripe: StandIn) -> None:
        payment_id, key = await paid(api), fresh("key")
        first = await api.refund(payment_id, 500, key=key)
        assert (first.status, first.replayed) == (202, False)
        settled = await api.until_refund(first.id, "succeeded")
        second = await api.refund(payment_id, 500, key=key)
        assert (second.status, second.replayed, second.json) == (200, True, settled)
        bulk = await api.refund_all([refund_item(payment_id, 500, idempotency_key=key)])
        [result] = bulk.json["results"]
        assert (result["status"], result["replayed"]) == (200, True)
        assert result["refund"] == settled
        assert [one["amount"] for one in await stripe.refunds_of(payment_id)] == [500]

    async def test_in_one_moment_it_refunds_once(self, api: Api, stripe: StandIn) -> None:
        payment_id, key = await paid(api), fresh("key")
        answers = await asyncio.gather(*(api.refund(payment_id, 500, key=key) for _ in range(20)))
        assert {answer.id for answer in answers} == {answers[0].id}
        assert Counter(answer.replayed for answer in answers) == {False: 1, True: 19}
        await api.until_refund(answers[0].id, "succeeded")
        assert [one["amount"] for one in await stripe.refunds_of(payment_id)] == [500]

    @pytest.mark.parametrize(
        "change",
        [{"amount": 501}, {"reason": "fraudulent"}, {"metadata": {"a": "b"}}, {"payment": None}],
        ids=lambda change: next(iter(change)),
    )
    async def test_other_content_under_a_key_is_refused(
        self, change: dict[str, Any], api: Api, stripe: StandIn
    ) -> None:
        payment_id, key = await paid(api), fresh("key")
        if "payment" in change:
            change = {"payment": await paid(api)}
        first = await api.refund(payment_id, 500, key=key)
        body = {"payment": payment_id, "amount": 500} | change
        other = await api.post("/v1/refunds", body, key=key)
        assert (other.status, other.code) == (422, "idempotency_key_reused")
        await api.until_refund(first.id, "succeeded")
        assert [one["amount"] for one in await stripe.refunds_of(payment_id)] == [500]

    async def test_a_key_is_of_one_operation(self, api: Api) -> None:
        """Whatever it was first used for."""
        made = await api.pay(order(capture="manual"), key=(of_payment := fresh("key")), wait=20)
        of_capture, of_refund = fresh("key"), fresh("key")
        await api.capture(made.id, key=of_capture, wait=20)
        await api.refund(made.id, 1, key=of_refund)
        for key in (of_payment, of_capture):
            assert (await api.refund(made.id, 1, key=key)).code == "idempotency_key_reused"
        for key in (of_payment, of_refund):
            assert (await api.capture(made.id, key=key)).code == "idempotency_key_reused"
            assert (await api.cancel(made.id, key=key)).code == "idempotency_key_reused"
        for key in (of_capture, of_refund):
            assert (await api.pay(order(), key=key)).code == "idempotency_key_reused"

    async def test_a_refusal_leaves_its_key_free(self, api: Api) -> None:
        payment_id, key = await paid(api), fresh("key")
        assert (await api.refund(payment_id, AMOUNT + 1, key=key)).status == 409
        made = await api.refund(payment_id, 1, key=key)
        assert (made.status, made.replayed) == (202, False)

    async def test_keys_belong_to_one_legal_entity(
        self, api: Api, other_api: Api, stripe: StandIn
    ) -> None:
        key, answers = fresh("key"), list[Answer]()
        for merchant in (api, other_api):
            answers.append(await merchant.refund(await paid(merchant), key=key, wait=20))
        assert [answer.replayed for answer in answers] == [False, False]
        keys = {
            one["idempotency_key"]
            for answer in answers
            for one in await stripe.refunds_of(answer.json["payment"])
        }
        assert len(keys) == 2


async def test_a_refund_of_another_legal_entity_is_not_there(
    api: Api, other_api: Api, other_merchant: Merchant
) -> None:
    made = await api.refund(await paid(api), 1)
    stranger = await other_api.get(f"/v1/refunds/{made.id}")
    assert (stranger.status, stranger.code) == (404, "refund_not_found")
    assert (await other_api.refund(made.json["payment"], 1)).code == "payment_not_found"
    page = (await other_api.get("/v1/refunds", payment=made.json["payment"])).json
    assert page["data"] == []
    assert other_merchant.legal_entity

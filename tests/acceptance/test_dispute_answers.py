"""Answers to disputes: evidence that is staged or submitted, and giving in; told once."""

import asyncio
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Api, fresh, until
from tests.acceptance.running import Running
from tests.acceptance.test_disputes import check_digest, kinds_of
from tests.acceptance.tills import BraintreeTill, Till


async def answered(api: Api, dispute: str, *statuses: str) -> dict[str, Any]:
    """The dispute, once its newest answer has come to one of these."""
    shown: dict[str, Any] = {}

    async def has_come() -> bool:
        shown.update((await api.get(f"/v1/disputes/{dispute}")).json)
        return shown["answer"] is not None and shown["answer"]["status"] in statuses

    await until(has_come)
    return shown


async def opened(api: Api, till: Till) -> tuple[str, str]:
    """A dispute that waits for an answer, and its payment."""
    payment = await till.paid(api)
    await till.dispute(payment)
    [shown] = await api.disputes_of(payment, "needs_response")
    return shown["id"], payment


def evidence(submit: bool | None = None, **texts: str) -> dict[str, Any]:
    body: dict[str, Any] = {"evidence": texts or {"customer_name": "Ada Lovelace"}}
    return body if submit is None else body | {"submit": submit}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("ends", "left"), [("won", 1999), ("lost", 0)])
async def test_evidence_is_staged_then_submitted_and_decides(
    api: Api, till: Till, owner: asyncpg.Connection, ends: str, left: int
) -> None:
    text = till.wins if ends == "won" else till.loses
    dispute, payment = await opened(api, till)
    path = f"/v1/disputes/{dispute}/evidence"
    staged = await api.post(path, evidence())
    assert (staged.status, staged.json["answer"]["submit"]) == (202, False)
    shown = await answered(api, dispute, "done")
    assert (shown["status"], shown["submissions"], shown["has_evidence"]) == (
        "needs_response", 0, True
    )  # fmt: skip
    key = fresh("key")
    sent = await api.post(path, evidence(True, uncategorized_text=text), key=key)
    assert sent.status == 202
    await api.disputes_of(payment, ends)
    again = await api.post(path, evidence(True, uncategorized_text=text), key=key)
    assert (again.status, again.replayed, again.json["submissions"]) == (200, True, 1)
    assert (await api.post(path, evidence(True, uncategorized_text="x"), key=key)).code == (
        "idempotency_key_reused"
    )
    assert (await api.post(path, evidence())).code == "dispute_is_over"
    assert (await api.payment(payment))["refundable_amount"] == left
    kinds = [kind for kind in await kinds_of(owner, payment) if "evidence" in kind]
    assert kinds == [
        "dispute.evidence_asked", "dispute.evidence_staged", "dispute.evidence_asked",
        "dispute.evidence_submitted",
    ]  # fmt: skip
    await check_digest(owner, payment)


async def test_texts_are_sealed_and_go_when_the_gateway_has_them(
    api: Api, till: Till, owner: asyncpg.Connection, running: Running
) -> None:
    canary = fresh("canary")
    await till.strike(till.adds, "error_503")
    dispute, payment = await opened(api, till)
    sent = await api.post(f"/v1/disputes/{dispute}/evidence", evidence(customer_name=canary))
    assert canary not in sent.body.decode()
    one = from_text("dsp", dispute)
    sealed = await owner.fetchval("SELECT sealed FROM dispute_answers WHERE dispute_id = $1", one)
    assert sealed is not None
    assert canary.encode() not in sealed
    await till.calm()
    await answered(api, dispute, "done")
    rows = await owner.fetch("SELECT sealed FROM dispute_answers WHERE dispute_id = $1", one)
    assert [row["sealed"] for row in rows] == [None]
    payloads = await owner.fetch(
        "SELECT payload FROM events WHERE payment_id = $1", from_text("pay", payment)
    )
    assert not any(canary.encode() in row["payload"] for row in payloads)
    for name, text in running.log_texts().items():
        assert canary not in text, name


async def test_accepting_loses_it_for_good(api: Api, till: Till) -> None:
    dispute, payment = await opened(api, till)
    path, key = f"/v1/disputes/{dispute}/accept", fresh("key")
    assert (await api.post(path, {}, key=key)).status == 202
    await api.disputes_of(payment, "lost")
    await answered(api, dispute, "done")
    again = await api.post(path, {}, key=key)
    assert (again.status, again.replayed) == (200, True)
    assert (await api.post(path, {})).code == "dispute_is_over"
    assert (await api.post(f"/v1/disputes/{dispute}/evidence", evidence())).code == (
        "dispute_is_over"
    )


FAULTS = ("drop_before", "drop_after", "error_500_after", "error_500_saved", "error_503")
"""A 500 that is saved is repeated under the same key for a day."""


@pytest.mark.sampled(5)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", ["finishes", "accepts"])
async def test_an_answer_that_was_lost_is_looked_for_and_told_once(
    api: Api, till: Till, fault: str, what: str
) -> None:
    """The stand-in refuses a second submission, and a second close, under another key."""
    dispute, _ = await opened(api, till)
    await till.strike(getattr(till, what), fault, first=1)
    step, body = ("accept", {}) if what == "accepts" else ("evidence", evidence(True))
    assert (await api.post(f"/v1/disputes/{dispute}/{step}", body)).status == 202
    shown = await answered(api, dispute, "done", "refused", "outcome_unknown")
    assert shown["answer"]["status"] == "done", shown
    status = {"finishes": "under_review", "accepts": "lost"}[what]
    assert (shown["status"], shown["submissions"]) == (status, int(what == "finishes"))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_text_whose_answer_was_lost_is_there_once_at_braintree(
    api: Api, at_braintree: BraintreeTill, fault: str
) -> None:
    """It takes no key, so what is there is looked at first."""
    dispute, payment = await opened(api, at_braintree)
    await at_braintree.strike(at_braintree.adds, fault, first=1)
    assert (await api.post(f"/v1/disputes/{dispute}/evidence", evidence())).status == 202
    await answered(api, dispute, "done")
    assert await at_braintree.evidence_of(payment) == ["Customer name: Ada Lovelace"]


async def test_texts_at_braintree_have_our_names_and_none_is_there_twice(
    api: Api, at_braintree: BraintreeTill
) -> None:
    till = at_braintree
    dispute, payment = await opened(api, till)
    path = f"/v1/disputes/{dispute}/evidence"
    for texts in (
        {"customer_name": "Ada", "product_description": "Two\ntickets <row 7>"},
        {"customer_name": "Ada Lovelace", "uncategorized_text": "She was there."},
        {"customer_name": "Ada Lovelace"},
    ):
        assert (await api.post(path, evidence(None, **texts))).status == 202
        await answered(api, dispute, "done")
    assert await till.evidence_of(payment) == [
        "Product description: Two\ntickets <row 7>",
        "Customer name: Ada Lovelace",
        "She was there.",
    ]
    too_long = {"customer_name": "Countess", "cancellation_rebuttal": "x" * 20_000}
    assert (await api.post(path, evidence(None, **too_long))).status == 202
    shown = await answered(api, dispute, "refused")
    assert shown["answer"]["status_reason"] == "95708"
    assert "Customer name: Countess" not in await till.evidence_of(payment)
    assert (await api.post(path, {"submit": True})).status == 202
    assert (await answered(api, dispute, "done"))["submissions"] == 1


async def test_nothing_can_be_submitted_without_evidence_at_braintree(
    api: Api, at_braintree: BraintreeTill
) -> None:
    dispute, _ = await opened(api, at_braintree)
    assert (await api.post(f"/v1/disputes/{dispute}/evidence", {"submit": True})).status == 202
    shown = await answered(api, dispute, "refused")
    assert (shown["status"], shown["answer"]["status_reason"]) == ("needs_response", "95726")


async def test_of_many_at_once_one_answers(api: Api, till: Till) -> None:
    dispute, _ = await opened(api, till)
    path = f"/v1/disputes/{dispute}"
    answers = await asyncio.gather(
        *(api.post(path + "/evidence", evidence(True)) for _ in range(6)),
        *(api.post(path + "/accept", {}) for _ in range(2)),
    )
    taken = [one for one in answers if one.status == 202]
    assert len(taken) == 1
    codes = {one.code for one in answers if one.status != 202}
    assert codes <= {"dispute_answer_under_way", "dispute_is_over"}
    await answered(api, dispute, "done")


async def test_nobody_else_answers(api: Api, other_api: Api, till: Till) -> None:
    dispute, _ = await opened(api, till)
    for step, body in (("evidence", evidence()), ("accept", {})):
        refused = await other_api.post(f"/v1/disputes/{dispute}/{step}", body)
        assert (refused.status, refused.code) == (404, "dispute_not_found")
    assert (await api.get(f"/v1/disputes/{dispute}")).json["answer"] is None

"""Payments are found again: page by page, by status, by reference, by time."""

from itertools import chain
from typing import Any

import pytest

from tests.acceptance.client import Answer, Api, fresh, order

COUNT = 7


@pytest.fixture
async def made(other_api: Api) -> list[dict[str, Any]]:
    """Payments of the second entity, oldest first: two succeeded, the others without a card."""
    answers = [await other_api.pay(order(token=None)) for _ in range(COUNT - 2)]
    answers += [await other_api.pay(order(), wait=20) for _ in range(2)]
    return [answer.json for answer in answers]


async def pages(api: Api, **query: Any) -> list[list[dict[str, Any]]]:
    """All pages of a list."""
    found: list[list[dict[str, Any]]] = []
    while True:
        answer = await api.get("/v1/payments", **query)
        assert answer.status == 200, answer.body
        found.append(answer.json["data"])
        if answer.json["next_cursor"] is None:
            return found
        query["cursor"] = answer.json["next_cursor"]


def ids(payments: list[dict[str, Any]]) -> list[str]:
    return [payment["id"] for payment in payments]


def joined(found: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return list(chain.from_iterable(found))


async def test_pages_hold_each_payment_once_newest_first(
    other_api: Api, made: list[dict[str, Any]]
) -> None:
    since = made[0]["created_at"]
    one = await pages(other_api, created_from=since, limit=100)
    small = await pages(other_api, created_from=since, limit=3)
    assert ids(one[0]) == ids(made)[::-1]
    assert [len(page) for page in small] == [3, 3, 1]
    assert joined(small) == one[0]
    exact = await pages(other_api, created_from=since, limit=COUNT)
    assert [len(page) for page in exact] == [COUNT]


async def test_a_payment_made_meanwhile_does_not_shift_the_pages(
    other_api: Api, made: list[dict[str, Any]]
) -> None:
    first = await other_api.get("/v1/payments", limit=3)
    await other_api.pay(order(token=None))
    second = await other_api.get("/v1/payments", limit=3, cursor=first.json["next_cursor"])
    assert ids(first.json["data"] + second.json["data"]) == ids(made)[::-1][:6]


async def test_filters_narrow_the_list(other_api: Api, made: list[dict[str, Any]]) -> None:
    since = made[0]["created_at"]
    by_status = await pages(other_api, created_from=since, status="succeeded", limit=1)
    assert ids(joined(by_status)) == ids(made)[:-3:-1]
    none = await pages(other_api, created_from=since, status="failed")
    assert none == [[]]
    third = made[2]
    by_reference = await pages(other_api, merchant_reference=third["merchant_reference"])
    assert by_reference == [[third]]
    both = await pages(
        other_api, merchant_reference=third["merchant_reference"], status="succeeded"
    )
    assert both == [[]]
    assert await pages(other_api, merchant_reference=fresh()) == [[]]


async def test_the_lower_bound_of_time_is_included_and_the_upper_is_not(
    other_api: Api, made: list[dict[str, Any]]
) -> None:
    first, fourth = made[0]["created_at"], made[3]["created_at"]
    window = await pages(other_api, created_from=first, created_before=fourth)
    assert ids(window[0]) == ids(made)[2::-1]
    shifted = first.replace("Z", "+00:00")
    assert await pages(other_api, created_from=shifted, created_before=fourth) == window
    assert await pages(other_api, created_from=fourth, created_before=first) == [[]]


async def test_references_of_several_payments_are_all_found(other_api: Api) -> None:
    reference = fresh()
    for _ in range(3):
        made = await other_api.pay(
            order("pm_card_chargeDeclined", merchant_reference=reference), wait=20
        )
        await other_api.until(made.id, "failed")
    found = await pages(other_api, merchant_reference=reference, limit=2)
    assert [len(page) for page in found] == [2, 1]
    assert {payment["merchant_reference"] for payment in joined(found)} == {reference}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"order": "asc"}, "parameter_unknown"),
        ({"limit": 0}, "parameter_invalid"),
        ({"limit": 101}, "parameter_invalid"),
        ({"limit": "-1"}, "parameter_invalid"),
        ({"limit": "١"}, "parameter_invalid"),
        ({"limit": ""}, "parameter_invalid"),
        ({"status": "paid"}, "parameter_invalid"),
        ({"cursor": "1"}, "parameter_invalid"),
        ({"cursor": "key_" + "0" * 26}, "parameter_invalid"),
        ({"created_from": "yesterday"}, "parameter_invalid"),
        ({"created_from": "2026-12-01T00:00:00"}, "parameter_invalid"),
        ({"created_before": "1790000000"}, "parameter_invalid"),
        ({"merchant_reference": "r" * 201}, "parameter_invalid"),
    ],
)
async def test_a_question_out_of_rule_is_refused(
    query: dict[str, Any], code: str, other_api: Api
) -> None:
    answer = await other_api.get("/v1/payments", **query)
    assert (answer.status, answer.code) == (422, code)
    assert answer.json.get("field") == (None if code == "parameter_unknown" else next(iter(query)))


async def test_a_parameter_given_twice_is_refused(other_api: Api) -> None:
    answer = await other_api.get("/v1/payments?limit=1&limit=2")
    assert (answer.status, answer.code) == (422, "parameter_repeated")


class TestWaiting:
    """`Prefer: wait=N` holds the answer until there is something to say."""

    async def test_ends_when_the_payment_leaves_processing(self, api: Api) -> None:
        answer = await api.pay(order(), wait=30)
        assert (answer.status, answer.json["status"]) == (201, "succeeded")
        assert answer.headers["Preference-Applied"] == "wait=30"

    async def test_ends_when_the_time_is_up(self, api: Api, stripe: Any) -> None:
        body = order()
        mine = {"merchant_reference": body["merchant_reference"]}
        await stripe.knobs({"fault": "delay", "delay_ms": 3000, "match": {"metadata": mine}})
        answer = await api.pay(body, wait=1)
        assert (answer.status, answer.json["status"]) == (202, "processing")
        assert answer.headers["Preference-Applied"] == "wait=1"
        await stripe.clear()
        assert (await api.payment(answer.id, wait=30))["status"] == "succeeded"

    @pytest.mark.parametrize("prefer", ["respond-async", "wait", "wait=", "wait=x", "wait=-1"])
    async def test_is_not_understood_in_other_words(self, prefer: str, api: Api) -> None:
        answer: Answer = await api.post("/v1/payments", order(), headers={"Prefer": prefer})
        assert answer.status == 202
        assert "Preference-Applied" not in answer.headers

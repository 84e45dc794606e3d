"""Many payments in one request: each is judged as if it had come alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from strongroom.http.exchange import Asked
from strongroom.ids import from_text
from tests.acceptance.bulks import alone, bulk_body, results, stored
from tests.acceptance.client import Api, StandIn, fresh, item, order
from tests.acceptance.inside import Inside, busy, create, inside, until_queued
from tests.acceptance.running import Running

ITEMS_MAX = 500
REFUSED_REFERENCE = "the one that a CHECK refuses in a bulk"


async def test_a_full_bulk_is_on_disk_when_it_answers_and_every_payment_is_charged_once(
    api: Api, stripe: StandIn, owner: asyncpg.Connection
) -> None:
    items = [item(amount=100 + number) for number in range(ITEMS_MAX)]
    answer = await api.bulk(items)
    found = results(answer)
    assert {(one["status"], one["replayed"]) for one in found} == {(202, False)}
    payments = [one["payment"] for one in found]
    assert [p["merchant_reference"] for p in payments] == [i["merchant_reference"] for i in items]
    assert [p["amount"] for p in payments] == [i["amount"] for i in items]
    ids = [p["id"] for p in payments]
    assert ids == sorted(set(ids))
    assert (await stored(owner, [i["merchant_reference"] for i in items]))[:4] == [ITEMS_MAX] * 4
    settled = await api.all_settled(ids)
    assert {p["status"] for p in settled} == {"succeeded"}
    charges = await stripe.charges()
    assert {len(charges[one]) for one in ids} == {1}


async def test_what_is_stored_is_what_the_single_way_stores(
    api: Api, owner: asyncpg.Connection
) -> None:
    """Column by column, but for what is new in every payment."""
    common = {"description": "two\nlines", "metadata": {"a": "ü", "b": ""}, "amount": 12_345}
    items = [item(None, **common), item(None, **common, capture="manual", currency="usd")]
    singles = [await alone(api, one | {"idempotency_key": fresh("key"), "merchant_reference":
                                       fresh()}) for one in items]  # fmt: skip
    found = results(await api.bulk(items))
    own = {"payment_id", "merchant_reference", "not_after", "gateway_key_seed", "digest_salt",
           "created_at", "updated_at"}  # fmt: skip
    for single, one in zip(singles, found, strict=True):
        assert one["status"] == single.status == 201
        rows = [
            await owner.fetchrow(
                "SELECT * FROM payments WHERE payment_id = $1", from_text("pay", i)
            )
            for i in (single.id, one["payment"]["id"])
        ]
        stored = [{k: v for k, v in row.items() if k not in own} for row in rows]
        assert stored[0] == stored[1]
        changing = {"id", "merchant_reference", "not_after", "created_at", "updated_at"}
        views = [{k: v for k, v in view.items() if k not in changing}
                 for view in (single.json, one["payment"])]  # fmt: skip
        assert views[0] == views[1]


async def test_keys_and_orders_that_come_twice_meet_as_requests_at_once_do(
    api: Api, owner: asyncpg.Connection
) -> None:
    one, other = item(None), item(None)
    found = results(
        await api.bulk(
            [
                one,
                one,  # the same again
                one | {"amount": 1},  # its key, another content
                item(None, merchant_reference=one["merchant_reference"]),  # its order, another key
                other,
                other,
                other,
            ]
        )
    )
    assert [(r["status"], r["replayed"]) for r in found] == [
        (201, False), (200, True), (422, False), (409, False), (201, False), (200, True),
        (200, True),
    ]  # fmt: skip
    assert found[0]["payment"] == found[1]["payment"]
    assert found[2]["problem"]["code"] == "idempotency_key_reused"
    assert found[3]["problem"]["code"] == "merchant_reference_taken"
    assert found[3]["problem"]["payment_id"] == found[0]["payment"]["id"]
    assert found[4]["payment"] == found[5]["payment"] == found[6]["payment"]
    references = [one["merchant_reference"], other["merchant_reference"]]
    assert await stored(owner, references) == [2] * 5


async def test_an_item_may_be_sent_again_through_either_way(api: Api) -> None:
    first, second = item(None), item(None)
    made = results(await api.bulk([first]))[0]["payment"]
    again = await alone(api, first)
    assert (again.status, again.replayed, again.json) == (200, True, made)
    single = await alone(api, second)
    found = results(await api.bulk([first, second, item(None)]))
    assert [(r["status"], r["replayed"]) for r in found] == [(200, True), (200, True), (201, False)]
    assert [r["payment"]["id"] for r in found[:2]] == [made["id"], single.id]
    changed = [first | {"amount": 7}, second | {"merchant_reference": fresh()}]
    for one, result in zip(changed, results(await api.bulk(changed)), strict=True):
        assert (result["status"], result["problem"]) == (422, (await alone(api, one)).json)
        assert result["problem"]["code"] == "idempotency_key_reused"


async def test_the_same_bulk_many_times_at_once_is_one_payment_an_item(
    api: Api, stripe: StandIn
) -> None:
    items = [item() for _ in range(100)]
    answers = await asyncio.gather(*(api.bulk(items) for _ in range(6)))
    by_item = list(zip(*(results(answer) for answer in answers), strict=True))
    for ends in by_item:
        assert len({end["payment"]["id"] for end in ends}) == 1
        assert sorted(end["replayed"] for end in ends) == [False] + [True] * 5
    ids = [ends[0]["payment"]["id"] for ends in by_item]
    assert {p["status"] for p in await api.all_settled(ids)} == {"succeeded"}
    charges = await stripe.charges()
    assert {len(charges[one]) for one in ids} == {1}


@pytest.fixture
async def extra_check(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """A rule in the database that the API knows nothing of."""
    await owner.execute(
        "ALTER TABLE payments ADD CONSTRAINT of_the_test "
        f"CHECK (merchant_reference <> '{REFUSED_REFERENCE}')"
    )
    yield
    await owner.execute("ALTER TABLE payments DROP CONSTRAINT of_the_test")


async def test_what_the_database_refuses_fails_alone(
    api: Api, owner: asyncpg.Connection, extra_check: None
) -> None:
    items = [item(None) for _ in range(99)]
    items.insert(50, item(None, merchant_reference=REFUSED_REFERENCE))
    found = results(await api.bulk(items))
    assert [one["status"] for one in found] == [201] * 50 + [422] + [201] * 49
    assert found[50]["problem"]["code"] == "refused_by_database"
    assert await stored(owner, [one["merchant_reference"] for one in items]) == [99] * 5


async def test_a_preference_to_wait_is_left_aside(api: Api) -> None:
    answer = await api.bulk([item()], headers={"Prefer": "wait=20"})
    assert results(answer)[0]["status"] == 202
    assert "Preference-Applied" not in answer.headers


async def test_rights_are_asked_for_once_and_hold_for_all(api: Api, running: Running) -> None:
    words = ("keys", "create", "--entity", running.legal_entity, "--name", "reader")
    reader = running.command(*words, "--scope", "payments:read")
    for api_key, status, code in (
        ("sr_dev_x", 401, "api_key_invalid"),
        (reader, 403, "scope_missing"),
    ):
        answer = await api.with_key(api_key).bulk([item()])
        assert (answer.status, answer.code) == (status, code)


async def test_payments_of_a_bulk_belong_to_its_caller(api: Api, other_api: Api) -> None:
    one = item(None)
    mine, theirs = results(await api.bulk([one]))[0], results(await other_api.bulk([one]))[0]
    assert (mine["status"], theirs["status"]) == (201, 201)
    assert mine["payment"]["id"] != theirs["payment"]["id"]
    assert (await other_api.get(f"/v1/payments/{mine['payment']['id']}")).status == 404


async def test_what_does_not_fit_into_the_queue_is_refused_item_by_item(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    """The share of the queue counts items, not requests."""
    share, more = 4, 6
    async with inside(running, writers=1, batch_max=4, queue_max=8, share_max=share) as process:
        await create(process, api.api_key, order(token=None))
        items = [item(None) for _ in range(share + more)]
        items[1] = items[0]  # meets the first; it takes no room
        async with process.writers.acquire():
            first = await busy(process, api.api_key)
            waiting = asyncio.create_task(_inside_bulk(process, api, items))
            await until_queued(process, share)
            refused = await _inside_bulk(process, api, [item(None)])
        found = await waiting
        await first
        assert [one["status"] for one in refused] == [503]
        taken = [201, 200, 201, 201, 201]
        assert [one["status"] for one in found] == taken + [503] * (more - 1)
        for one in (*refused, *found[len(taken) :]):
            assert one["problem"]["code"] == "queue_full"
            assert one["problem"]["retry_safe"] is True
            assert one["problem"]["retry_after_seconds"] == 1
        references = [one["merchant_reference"] for one in items[len(taken) :]]
        assert await stored(owner, references) == [0] * 5
        again = await _inside_bulk(process, api, items[len(taken) : len(taken) + 2])
        assert [(one["status"], one["replayed"]) for one in again] == [(201, False)] * 2
    assert (await alone(api, items[-1])).status == 201


async def _inside_bulk(
    process: Inside, api: Api, items: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    asked = Asked(
        method="POST", path="/v1/payments/bulk", authorization=f"Bearer {api.api_key}",
        body=bulk_body(items),
    )  # fmt: skip
    reply = await process.operations.bulk(asked)
    assert reply.status == 200
    found: list[dict[str, Any]] = json.loads(reply.body)["results"]
    return found

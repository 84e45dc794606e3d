"""Customers: made once under a key, changed, found by e-mail, erased; nobody else's to see."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Answer, Api, fresh, order
from tests.acceptance.running import Running
from tests.acceptance.served import served

ADDRESS = {"line1": "12 St James's Square", "city": "London", "country": "GB"}
PATH = "/v1/customers"
EQUALS_MANY = 12


def somebody(**changes: Any) -> dict[str, Any]:
    mail = f"{fresh('ada')}@shop.example"
    return {"name": "Ada Byron", "email": mail, "address": ADDRESS} | changes


async def made(api: Api, **changes: Any) -> Answer:
    answer = await api.post(PATH, somebody(**changes))
    assert answer.status == 201, answer
    return answer


async def found(api: Api, email: str) -> list[str]:
    answer = await api.post(f"{PATH}/search", {"email": email})
    assert answer.status == 200, answer
    return [one["id"] for one in answer.json["data"]]


async def erase(running: Running, customer: str, entity: str = "") -> None:
    await asyncio.to_thread(
        running.command, "vault", "subjects", "destroy", customer, "--yes",
        "--entity", entity or running.legal_entity,
    )  # fmt: skip


async def test_a_customer_is_made_read_changed_and_found(api: Api) -> None:
    one = await made(api, phone="+44 20 7946 0018", metadata={"tier": "gold"})
    shown = one.json
    assert one.headers["Location"] == f"{PATH}/{one.id}"
    assert (shown["address"], shown["metadata"]) == (ADDRESS, {"tier": "gold"})
    assert (shown["version"], shown["erased"]) == (1, False)
    assert (await api.get(f"{PATH}/{one.id}")).json == shown
    assert await found(api, shown["email"].upper()) == [one.id]
    changed = await api.post(f"{PATH}/{one.id}", {"email": "B-" + shown["email"], "phone": None})
    assert (changed.status, changed.json["version"]) == (200, 2)
    assert changed.json["phone"] is None
    assert changed.json["name"] == shown["name"]
    assert await found(api, shown["email"]) == []
    assert await found(api, changed.json["email"]) == [one.id]


async def test_an_empty_body_makes_a_customer_of_nothing_and_changes_nothing(api: Api) -> None:
    one = await api.post(PATH, {})
    assert one.status == 201
    same = await api.post(f"{PATH}/{one.id}", {})
    assert (same.status, same.json["version"]) == (200, 1)
    assert (await api.post(f"{PATH}/{one.id}", {"address": {}})).json["address"] is None


async def test_a_repeat_shows_what_its_key_made_as_it_now_stands(api: Api) -> None:
    key, body = fresh("key"), somebody()
    one = await api.post(PATH, body, key=key)
    await api.post(f"{PATH}/{one.id}", {"name": "Ada Lovelace"})
    again = await api.post(PATH, body, key=key)
    assert (again.status, again.replayed, again.id) == (200, True, one.id)
    assert again.json["name"] == "Ada Lovelace"
    for other in ({"name": "Eve"}, {**body, "phone": "1"}):
        assert (await api.post(PATH, other, key=key)).code == "idempotency_key_reused"
    assert (await api.post(f"{PATH}/{one.id}", body, key=key)).code == "idempotency_key_reused"


async def test_requests_of_one_key_at_once_make_one_customer(
    api: Api, owner: asyncpg.Connection
) -> None:
    key, body = fresh("key"), somebody()
    answers = await asyncio.gather(*(api.post(PATH, body, key=key) for _ in range(EQUALS_MANY)))
    assert {answer.id for answer in answers} == {answers[0].id}
    assert sorted(answer.status for answer in answers) == [200] * (EQUALS_MANY - 1) + [201]
    assert await found(api, body["email"]) == [answers[0].id]
    customer_id = from_text("cus", answers[0].id)
    events = await owner.fetch("SELECT * FROM customer_events WHERE owner_id = $1", customer_id)
    assert [event["kind"] for event in events] == ["customer.created"]


async def test_changes_at_once_are_all_kept_one_after_the_other(
    api: Api, owner: asyncpg.Connection
) -> None:
    one = await made(api)
    names = [f"name {number}" for number in range(EQUALS_MANY)]
    answers = await asyncio.gather(
        *(api.post(f"{PATH}/{one.id}", {"name": name}) for name in names)
    )
    assert sorted(answer.json["version"] for answer in answers) == list(range(2, EQUALS_MANY + 2))
    rows = await owner.fetch(
        "SELECT version, kind FROM customer_events WHERE owner_id = $1 ORDER BY version",
        from_text("cus", one.id),
    )
    assert [row["version"] for row in rows] == list(range(1, EQUALS_MANY + 2))


async def test_nobody_sees_changes_or_finds_the_customer_of_another_entity(
    api: Api, other_api: Api
) -> None:
    theirs = await made(other_api)
    for path in (f"{PATH}/{theirs.id}", f"{PATH}/cus_{'0' * 26}", f"{PATH}/{theirs.id[4:]}"):
        assert (await api.get(path)).code == "customer_not_found"
        assert (await api.post(path, {"name": "Eve"})).code == "customer_not_found"
    assert await found(api, theirs.json["email"]) == []
    assert theirs.id not in [one["id"] for one in (await api.get(PATH, limit=100)).json["data"]]
    assert (await other_api.get(f"{PATH}/{theirs.id}")).json == theirs.json


async def test_a_key_for_payments_alone_sees_no_customer(running: Running, api: Api) -> None:
    words = ("keys", "create", "--entity", running.legal_entity, "--name", "till")
    scopes = ("--scope", "payments:read", "--scope", "payments:write")
    till = api.with_key(await asyncio.to_thread(running.command, *words, *scopes))
    one = await made(api)
    assert (await till.pay(order(None))).status < 300
    assert (await till.get(f"{PATH}/{one.id}")).code == "scope_missing"
    assert (await till.get(PATH)).code == "scope_missing"
    assert (await till.post(f"{PATH}/search", {"email": "a@b.example"})).code == "scope_missing"
    assert (await till.post(PATH, {})).code == "scope_missing"


async def test_who_was_erased_is_a_tombstone_and_is_found_no_more(
    running: Running, api: Api
) -> None:
    key, body = fresh("key"), somebody(metadata={"tier": "gold"})
    one, other = await api.post(PATH, body, key=key), await made(api, email=body["email"])
    await erase(running, one.id)
    shown = (await api.get(f"{PATH}/{one.id}")).json
    assert shown == one.json | {
        "erased": True, "name": None, "email": None, "address": None, "metadata": {},
        "version": 2, "updated_at": shown["updated_at"],
    }  # fmt: skip
    assert await found(api, body["email"]) == [other.id]
    listed = {one["id"]: one for one in (await api.get(PATH, limit=2)).json["data"]}
    assert listed == {one.id: shown, other.id: other.json}
    refused = await api.post(f"{PATH}/{one.id}", {"name": "Ada"})
    assert (refused.status, refused.code) == (409, "customer_erased")
    again = await api.post(PATH, body, key=key)
    assert (again.status, again.json) == (200, shown)


async def test_a_list_goes_on_where_it_ended(api: Api) -> None:
    mail = f"{fresh('many')}@shop.example"
    ids = [(await made(api, email=mail)).id for _ in range(5)]
    seen: list[str] = []
    query: dict[str, Any] = {"email": mail, "limit": 2}
    while True:
        page = (await api.post(f"{PATH}/search", query)).json
        seen += [one["id"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == ids[::-1]


async def test_an_address_stands_in_no_url_and_a_search_out_of_rule_finds_nobody(
    api: Api, other_api: Api
) -> None:
    mail = (await made(api)).json["email"]
    assert (await api.get(PATH, email=mail)).code == "parameter_unknown"
    assert await found(other_api, mail) == []
    for field, value in (
        ("email", "nobody"), ("limit", 0), ("limit", 101), ("cursor", "pm_1"), ("cursor", ""),
    ):  # fmt: skip
        refused = await api.post(f"{PATH}/search", {"email": mail} | {field: value})
        assert (refused.code, field in refused.json["detail"]) == ("customer_field_invalid", True)
    assert (await api.post(f"{PATH}/search", {})).code == "field_missing"


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("email", {"email": "nobody"}),
        ("email", {"email": "two@at@signs.example"}),
        ("email", {"email": "a@b.example\r\nBcc: all@shop.example"}),
        ("name", {"name": ""}),
        ("name", {"name": "Ada\x1b[2J"}),
        ("phone", {"phone": "\0"}),
        ("address.country", {"address": {"country": "gb"}}),
        ("address.line1", {"address": {"line1": "x" * 201}}),
    ],
)
async def test_a_field_out_of_rule_is_named_and_nothing_is_made(
    field: str, body: dict[str, Any], api: Api
) -> None:
    key = fresh("key")
    refused = await api.post(PATH, body, key=key)
    assert (refused.status, refused.code) == (422, "customer_field_invalid")
    assert refused.json["field"] == field
    assert (await api.post(PATH, somebody(), key=key)).status == 201, "the key stayed free"


async def test_nothing_personal_stands_in_the_database_or_the_logs_in_the_clear(
    running: Running, api: Api, owner: asyncpg.Connection
) -> None:
    noise = fresh("")[1:]
    body: dict[str, Any] = {
        "name": f"N {noise}", "email": f"{noise}@shop.example", "phone": noise,
        "address": {"city": f"C {noise}"}, "description": f"D {noise}",
        "metadata": {"m": f"M {noise}"},
    }  # fmt: skip
    one = await api.post(PATH, body)
    assert one.status == 201
    assert await found(api, body["email"]) == [one.id]
    assert (await api.post(f"{PATH}/{one.id}", {"name": f"X {noise}"})).status == 200
    for table in ("customers", "customer_events", "customer_keys"):
        for row in await owner.fetch(f"SELECT t::text FROM {table} t"):
            assert noise not in row[0]
            assert noise.encode().hex() not in row[0]
    for name, text in running.log_texts().items():
        assert noise not in text, name


ALTERED: dict[str, Callable[[bytes], bytes]] = {
    "a bit of it": lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]),
    "cut off": lambda sealed: sealed[:40],
    "of nothing": lambda _: b"",
}


@pytest.mark.parametrize("name", ALTERED)
async def test_a_customer_that_was_altered_from_outside_is_nobody_and_cannot_be_changed(
    name: str, running: Running, other_api: Api, owner: asyncpg.Connection
) -> None:
    """It is no error 500 of a list, and what it was is not overwritten by who sees nothing."""
    one, other = await made(other_api), await made(other_api)
    ids = [from_text("cus", answer.id) for answer in (one, other)]
    sealed = await owner.fetchval("SELECT sealed FROM customers WHERE customer_id = $1", ids[0])
    update = "UPDATE customers SET sealed = $2 WHERE customer_id = $1"
    async with served(running) as (url, _):
        theirs = other_api.at(url)
        for value, code in ((ALTERED[name](sealed), 500), (sealed, 200)):
            await owner.execute(update, ids[0], value)
            page = (await theirs.get(PATH, limit=2)).json["data"]
            assert page[0] == other.json
            assert (page[1]["name"] is None) is (code == 500)
            assert (await theirs.post(f"{PATH}/{one.id}", {"name": "Eve"})).status == code

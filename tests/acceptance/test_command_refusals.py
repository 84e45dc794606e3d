"""Captures, cancels and refunds that cannot be: refused with a reason, and no row is touched."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Answer, Api, fresh, order, until
from tests.acceptance.conftest import Merchant
from tests.acceptance.raw import send_raw
from tests.acceptance.running import Running
from tests.acceptance.test_refusals import assert_problem

AMOUNT = 1999
TABLES = (
    "payments", "events", "attempts", "idempotency_keys", "merchant_references", "jobs",
    "refunds", "refund_jobs",
)  # fmt: skip


async def digest_of_rows(owner: asyncpg.Connection, merchant: Merchant) -> dict[str, str]:
    """Each table's rows of the legal entity, all columns, as one digest.

    Without the events of keys, which tests make for themselves.
    """
    entity = from_text("ent", merchant.legal_entity)
    found = {}
    for table in TABLES:
        rows = await owner.fetch(
            f"SELECT t::text FROM {table} t WHERE legal_entity_id = $1 "
            "AND coalesce(to_jsonb(t) ->> 'kind', '') NOT LIKE 'api_key.%' ORDER BY 1",
            entity,
        )
        found[table] = hashlib.sha256("\n".join(row[0] for row in rows).encode()).hexdigest()
    return found


class Shelf:
    """A payment of the second merchant that holds money, and one that has taken some."""

    def __init__(self, api: Api, held: str, paid: str) -> None:
        self.api, self.held, self.paid = api, held, paid

    def path(self, name: str) -> str:
        """Where this is asked for."""
        return "/v1/refunds" if name == "refund" else f"/v1/payments/{self.held}/{name}"

    def body(self, name: str) -> dict[str, Any]:
        """What could be asked for there."""
        return {"payment": self.paid, "amount": 1} if name == "refund" else {}


@pytest.fixture
async def shelf(
    other_api: Api, other_merchant: Merchant, owner: asyncpg.Connection
) -> AsyncIterator[Shelf]:
    held = await other_api.pay(order(capture="manual"), wait=20)
    paid = await other_api.pay(order(), wait=20)
    assert (held.json["status"], paid.json["status"]) == ("authorized", "succeeded")
    await settled(owner, other_merchant)
    before = await digest_of_rows(owner, other_merchant)
    yield Shelf(other_api, held.id, paid.id)
    assert await digest_of_rows(owner, other_merchant) == before


async def settled(owner: asyncpg.Connection, merchant: Merchant) -> None:
    """Returns once nothing of the entity is being worked on."""
    busy = (
        "SELECT count(*) FROM {} WHERE legal_entity_id = $1 AND (held OR run_at < now() + "
        "interval '5 minutes')"
    )
    entity = from_text("ent", merchant.legal_entity)

    async def nothing_is_due() -> bool:
        counts = [
            await owner.fetchval(busy.format(table), entity) for table in ("jobs", "refund_jobs")
        ]
        return not any(counts)

    await until(nothing_is_due)


AMOUNTS: list[tuple[str, str, int, str]] = [
    ("zero", "0", 422, "amount_invalid"),
    ("minus one", "-1", 422, "amount_invalid"),
    ("2^63", str(2**63), 422, "amount_invalid"),
    ("2^64", str(2**64), 422, "amount_invalid"),
    ("10^400", "1" + "0" * 400, 422, "amount_invalid"),
    ("as text", '"1"', 422, "field_type_wrong"),
    ("half", "1.5", 422, "field_type_wrong"),
    ("whole float", "1.0", 422, "field_type_wrong"),
    ("exponent", "1e2", 422, "field_type_wrong"),
    ("boolean", "true", 422, "field_type_wrong"),
    ("list", "[1]", 422, "field_type_wrong"),
    ("NaN", "NaN", 400, "json_malformed"),
    ("Infinity", "-Infinity", 400, "json_malformed"),
    ("beyond the gateway", str(10**8), 422, "amount_not_representable"),
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["capture", "refund"])
@pytest.mark.parametrize(
    ("what", "amount", "status", "code"), AMOUNTS, ids=[case[0] for case in AMOUNTS]
)
async def test_an_amount_out_of_rule(
    what: str, amount: str, status: int, code: str, name: str, shelf: Shelf
) -> None:
    head = f'{{"payment": "{shelf.paid}", ' if name == "refund" else "{"
    answer = await shelf.api.post(shelf.path(name), f'{head}"amount": {amount}}}'.encode())
    if (name, what) == ("refund", "beyond the gateway"):
        status, code = 409, "refund_exceeds_captured"
    assert_problem(answer, status, code)


@pytest.mark.parametrize(
    ("name", "code"),
    [("capture", "capture_exceeds_authorized"), ("refund", "refund_exceeds_captured")],
)
async def test_more_than_there_is(name: str, code: str, shelf: Shelf) -> None:
    body = shelf.body(name) | {"amount": AMOUNT + 1}
    assert_problem(await shelf.api.post(shelf.path(name), body), 409, code)


BODIES: list[tuple[str, Callable[[dict[str, Any]], Any], int, str]] = [
    ("unknown field", lambda body: body | {"colour": "red"}, 422, "field_unknown"),
    ("a list", lambda _: [], 422, "field_type_wrong"),
    ("null", lambda _: None, 422, "field_type_wrong"),
    ("empty", lambda _: b"", 400, "json_malformed"),
    ("cut off", lambda _: b"{", 400, "json_malformed"),
    ("deep", lambda _: b'{"a":' * 12000, 422, "field_unknown"),
]


@pytest.mark.parametrize("name", ["capture", "cancel", "refund"])
@pytest.mark.parametrize(
    ("what", "make", "status", "code"), BODIES, ids=[case[0] for case in BODIES]
)
async def test_a_body_out_of_rule(
    what: str, make: Callable[[dict[str, Any]], Any], status: int, code: str, name: str,
    shelf: Shelf,
) -> None:  # fmt: skip
    answer = await shelf.api.post(shelf.path(name), make(shelf.body(name)))
    assert_problem(answer, status, code)


REFUND_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    ("NUL in metadata", {"metadata": {"a": "\0"}}, "metadata_characters"),
    ("NUL in a name", {"metadata": {"\0": "a"}}, "metadata_characters"),
    ("numbers in metadata", {"metadata": {"a": 1}}, "field_type_wrong"),
    ("long value", {"metadata": {"a": "x" * 501}}, "metadata_length"),
    ("long name", {"metadata": {"x" * 41: ""}}, "metadata_length"),
    ("too much", {"metadata": {str(number): "" for number in range(51)}}, "metadata_too_large"),
    ("no metadata", {"metadata": None}, "field_type_wrong"),
    ("unknown reason", {"reason": "regret"}, "field_type_wrong"),
    ("payment is a number", {"payment": 1}, "field_type_wrong"),
]


@pytest.mark.parametrize(
    ("what", "fields", "code"), REFUND_FIELDS, ids=[case[0] for case in REFUND_FIELDS]
)
async def test_a_refund_with_a_field_out_of_rule(
    what: str, fields: dict[str, Any], code: str, shelf: Shelf
) -> None:
    answer = await shelf.api.post("/v1/refunds", shelf.body("refund") | fields)
    assert_problem(answer, 422, code)


async def test_a_refund_without_a_payment(shelf: Shelf) -> None:
    assert_problem(await shelf.api.post("/v1/refunds", {"amount": 1}), 422, "field_missing")
    garbage = await shelf.api.post("/v1/refunds", b'{"payment": "\xff"}')
    assert_problem(garbage, 400, "json_malformed")


@pytest.mark.parametrize("name", ["capture", "cancel", "refund"])
async def test_without_a_key_nothing_moves(name: str, shelf: Shelf) -> None:
    for key in (None, "", "two words", "x" * 256):
        headers = [
            ("Authorization", f"Bearer {shelf.api.api_key}"),
            ("Content-Type", "application/json"),
            *([("Idempotency-Key", key)] if key is not None else []),
        ]
        body = b"{}" if name != "refund" else f'{{"payment": "{shelf.paid}"}}'.encode()
        answer = await send_raw(shelf.api.url, shelf.path(name), headers, body)
        code = "idempotency_key_missing" if key is None else "idempotency_key_malformed"
        assert_problem(answer, 400, code)


async def test_what_is_not_there_or_not_ones_own_is_not_found(
    shelf: Shelf, api: Api, owner: asyncpg.Connection
) -> None:
    """For each operation, and in the same words."""
    ours = [(await api.pay(order(capture="manual"), wait=20)).id]
    ours.append((await api.pay(order(), wait=20)).id)
    refund = await api.refund(ours[1], 1, wait=20)
    places = [*ours, "pay_" + "0" * 26, shelf.held.upper(), shelf.held + "0", "pay_", refund.id]
    answers: list[Answer] = []
    for payment in places:
        answers += [
            await shelf.api.capture(payment),
            await shelf.api.cancel(payment),
            await shelf.api.refund(payment),
        ]
        bulk = await shelf.api.refund_all([{"payment": payment, "idempotency_key": fresh()}])
        [result] = bulk.json["results"]
        assert (result["status"], result["problem"]["code"]) == (404, "payment_not_found")
    for answer in answers:
        assert_problem(answer, 404, "payment_not_found")
    assert len({answer.body for answer in answers}) == 1
    for one in (refund.id, "ref_" + "0" * 26, "ref_", shelf.paid):
        assert_problem(await shelf.api.get(f"/v1/refunds/{one}"), 404, "refund_not_found")
    versions = "SELECT version FROM payments WHERE payment_id = $1"
    assert await owner.fetchval(versions, from_text("pay", ours[0])) == 2


async def test_who_may_only_read_moves_nothing(
    shelf: Shelf, running: Running, other_merchant: Merchant
) -> None:
    def key(scope: str) -> str:
        return running.command(
            "keys", "create", "--entity", other_merchant.legal_entity, "--name", scope,
            "--scope", scope,
        )  # fmt: skip

    reader, writer = [
        shelf.api.with_key(await asyncio.to_thread(key, scope))
        for scope in ("payments:read", "payments:write")
    ]
    item = {"payment": shelf.paid, "idempotency_key": fresh()}
    for answer in (
        await reader.capture(shelf.held),
        await reader.cancel(shelf.held),
        await reader.refund(shelf.paid),
        await reader.refund_all([item]),
        await writer.get("/v1/refunds"),
        await writer.get("/v1/refunds/ref_" + "0" * 26),
    ):
        assert_problem(answer, 403, "scope_missing")
    stranger = shelf.api.with_key(shelf.api.api_key[:-1] + "x")
    for answer in (await stranger.capture(shelf.held), await stranger.refund(shelf.paid)):
        assert answer.status == 401


@pytest.mark.parametrize("count", [0, 501])
async def test_a_bulk_of_none_or_too_many(count: int, shelf: Shelf) -> None:
    item = {"payment": shelf.paid, "amount": 1, "idempotency_key": "one"}
    assert_problem(await shelf.api.refund_all([item] * count), 422, "bulk_size")


@pytest.mark.parametrize("key", ["one", ""])
async def test_a_key_for_a_whole_bulk(key: str, shelf: Shelf) -> None:
    """It would mean nothing, and nothing is done."""
    item = {"payment": shelf.paid, "amount": 1, "idempotency_key": fresh("key")}
    answer = await shelf.api.refund_all([item], headers={"Idempotency-Key": key})
    assert_problem(answer, 400, "idempotency_key_misplaced")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"payment": "pay_"}, "payment_not_found"),
        ({"cursor": "x"}, "parameter_invalid"),
        ({"limit": "0"}, "parameter_invalid"),
        ({"limit": "101"}, "parameter_invalid"),
        ({"status": "failed"}, "parameter_unknown"),
    ],
)
async def test_a_list_out_of_rule(query: dict[str, Any], code: str, shelf: Shelf) -> None:
    answer = await shelf.api.get("/v1/refunds", **query)
    assert_problem(answer, 404 if code == "payment_not_found" else 422, code)

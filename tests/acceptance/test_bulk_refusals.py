"""What is wrong with one payment of a bulk stays with it; what is wrong with all fails whole."""

import json
from typing import Any

import asyncpg
import pytest

from tests.acceptance.bulks import alone, bulk_body, results, stored
from tests.acceptance.client import GONE, Api, fresh, item, order

ITEMS_MAX = 500
BODY_BYTES_MAX = 1024 * 1024
CARD = {"gateway": "stripe", "token": "pm_card_visa"}
DEEP = 200
TOO_DEEP = 100_000

BAD: dict[str, Any] = {
    "text for an amount": {"amount": "1999"},
    "no amount": {"amount": GONE},
    "amount null": {"amount": None},
    "amount with a fraction": {"amount": 19.99},
    "amount of nought": {"amount": 0},
    "amount below nought": {"amount": -1},
    "amount beyond 63 bits": {"amount": 2**63},
    "amount beyond 64 bits": {"amount": 2**64},
    "amount of 5,000 digits": {"amount": 10**4000},
    "truth for an amount": {"amount": True},
    "currency of nobody": {"currency": "XXX"},
    "currency the gateway does not take": {"currency": "KPW", "instrument": CARD},
    "amount the gateway cannot take": {"amount": 10**12, "instrument": CARD},
    "NUL": {"merchant_reference": "a\0b"},
    "NUL in metadata": {"metadata": {"a\0": "b"}},
    "no reference": {"merchant_reference": GONE},
    "token of another kind": {"instrument": {"gateway": "stripe", "token": "tok_424242424242"}},
    "another gateway": {"instrument": {"gateway": "nobody", "token": "pm_1"}},
    "unknown field": {"extra": 1},
    "deep nesting": {"metadata": json.loads('{"a":' * DEEP + "1" + "}" * DEEP)},
    "deep nesting in an unknown field": {"extra": json.loads("[" * DEEP + "]" * DEEP)},
    "deadline long ago": {"not_after": "2020-01-01T00:00:00Z"},
    "deadline far ahead": {"not_after": "2200-01-01T00:00:00Z"},
    "plain http": {"return_url": "http://a.example"},
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_one_in_the_middle_is_refused_as_it_would_be_alone(
    name: str, api: Api, owner: asyncpg.Connection
) -> None:
    bad = {k: v for k, v in (item(None) | BAD[name]).items() if v is not GONE}
    before, after = item(None), item(None)
    found = results(await api.bulk([before, bad, after]))
    assert [one["status"] for one in found] == [201, found[1]["status"], 201]
    single = await alone(api, bad)
    assert single.status in (400, 422)
    assert (found[1]["status"], found[1]["problem"]["code"]) == (single.status, single.code)
    problem = dict(found[1]["problem"])
    if single.code not in ("field_unknown", "field_missing"):  # these two list the fields
        assert problem == single.json
    if "merchant_reference" in bad and "\0" not in bad["merchant_reference"]:
        assert await stored(owner, [bad["merchant_reference"]]) == [0] * 5
    good = [before["merchant_reference"], after["merchant_reference"]]
    assert await stored(owner, good) == [2] * 5


@pytest.mark.parametrize(
    "bad",
    [b"[]", b'"x"', b"1", b"null", b"true", b"{}", b"1e400", b'{"a":1,"a":2}',
     b'{"currency":"\xff"}'],
)  # fmt: skip
async def test_what_is_no_payment_at_all_fails_alone(bad: bytes, api: Api) -> None:
    good = json.dumps(item(None)).encode()
    found = results(await api.bulk(b'{"payments":[%b,%b]}' % (bad, good)))
    assert [one["status"] for one in found] == [found[0]["status"], 201]
    single = await api.post("/v1/payments", bad)
    assert (found[0]["status"], found[0]["problem"]["code"]) == (single.status, single.code)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (GONE, "field_missing"), (None, "field_type_wrong"), (7, "field_type_wrong"),
        ("", "idempotency_key_malformed"), ("a b", "idempotency_key_malformed"),
        ("é", "idempotency_key_malformed"), ("a\0", "idempotency_key_malformed"),
        ("k" * 256, "idempotency_key_malformed"),
    ],
)  # fmt: skip
async def test_a_key_out_of_form_is_its_items_own_fault(key: Any, code: str, api: Api) -> None:
    bad = {k: v for k, v in item(None, idempotency_key=key).items() if v is not GONE}
    found = results(await api.bulk([bad, item(None)]))
    assert [one["status"] for one in found] == [found[0]["status"], 201]
    assert found[0]["problem"]["code"] == code


WHOLE: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "json_malformed"),
    "half": (b'{"payments":[', 400, "json_malformed"),
    "a list": (b"[]", 422, "field_type_wrong"),
    "no payments": (b"{}", 422, "field_missing"),
    "an object of payments": (b'{"payments":{}}', 422, "field_type_wrong"),
    "none": (b'{"payments":[]}', 422, "bulk_size"),
    "one too many": (bulk_body([order() for _ in range(ITEMS_MAX + 1)]), 422, "bulk_size"),
    "a card number": (
        bulk_body([item(None), item(None, description="4242 4242 4242 4242")]),
        422, "card_number_refused",
    ),
    "half a million of nothing": (b'{"payments":[%b0]}' % (b"0," * 500_000), 422, "bulk_size"),
    "another field": (bulk_body([item(None)], extra=1), 422, "field_unknown"),
    "NaN": (b'{"payments":[NaN]}', 400, "json_malformed"),
    "NaN for an amount": (bulk_body([item(None, amount=float("nan"))]), 400, "json_malformed"),
    "half a pair of surrogates": (
        bulk_body([item(None, description="\ud800")]), 400, "json_malformed",
    ),
    "nesting without end": (b'{"payments":[' + b"[" * TOO_DEEP, 400, "json_malformed"),
    "too deep": (
        b'{"payments":[%b%b]}' % (b"[" * TOO_DEEP, b"]" * TOO_DEEP), 400, "json_malformed",
    ),
    "text after it": (bulk_body([item(None)]) + b"x", 400, "json_malformed"),
    "a byte beyond the limit": (
        bulk_body([item(None)]).ljust(BODY_BYTES_MAX + 1), 413, "body_too_large",
    ),
    "far beyond the limit": (b" " * (BODY_BYTES_MAX * 4), 413, "body_too_large"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
async def test_a_body_that_cannot_be_taken_apart_fails_whole(
    name: str, api: Api, owner: asyncpg.Connection
) -> None:
    body, status, code = WHOLE[name]
    before = await owner.fetchval("SELECT count(*) FROM idempotency_keys")
    answer = await api.bulk(body)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == before


async def test_the_largest_bodies_are_taken(api: Api) -> None:
    one = item(None)
    found = results(await api.bulk(bulk_body([one]).ljust(BODY_BYTES_MAX)))
    assert found[0]["status"] == 201
    # Single payments keep their own limit.
    answer = await api.post("/v1/payments", bulk_body([order(None)]).ljust(BODY_BYTES_MAX))
    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_a_key_for_the_whole_is_refused_before_anything_is_done(
    api: Api, owner: asyncpg.Connection
) -> None:
    one = item(None)
    answer = await api.bulk([one], headers={"Idempotency-Key": fresh("key")})
    assert (answer.status, answer.code) == (400, "idempotency_key_misplaced")
    assert await stored(owner, [one["merchant_reference"]]) == [0] * 5

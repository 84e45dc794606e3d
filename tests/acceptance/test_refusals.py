"""What cannot be accepted is refused with a reason; nothing is stored, and nothing is echoed.

All of it runs for the second legal entity, whose rows nobody else changes.
"""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession

from strongroom.ids import from_text
from tests.acceptance.client import GONE, Answer, Api, fresh, order
from tests.acceptance.conftest import Merchant
from tests.acceptance.raw import send_raw
from tests.acceptance.running import Running

BODY_BYTES_MAX = 64 * 1024
CARD_NUMBER = "4242424242424242"


async def rows_by_table(owner: asyncpg.Connection, legal_entity: str) -> dict[str, int]:
    """How many rows each table holds for the entity, but those that a worker makes by itself."""
    tables = await owner.fetch(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = 'strongroom' AND column_name = 'legal_entity_id' "
        "AND table_name NOT IN ('sweeps', 'settlement_looks', 'log_entries', 'log_heads')"
    )
    entity = from_text("ent", legal_entity)
    return {
        row["table_name"]: await owner.fetchval(
            f'SELECT count(*) FROM "{row["table_name"]}" WHERE legal_entity_id = $1', entity
        )
        for row in tables
    }


LETTERS = str.maketrans("0123456789", "ghijklmnop")


class Canary:
    """Text that stands in a request and may stand nowhere else."""

    def __init__(self, running: Running) -> None:
        # Letters alone: digits in a row within a word may look like a card number.
        self.text = fresh("canary").replace("-", "").translate(LETTERS)
        self._running = running

    def assert_silent(self, answer: Answer, *others: str) -> None:
        for text in (self.text, *others):
            assert text.encode() not in answer.body
            assert not any(text in value for value in answer.headers.values())
            for name, log in self._running.log_texts().items():
                assert text not in log, name


@pytest.fixture
async def canary(
    running: Running, owner: asyncpg.Connection, other_merchant: Merchant
) -> AsyncIterator[Canary]:
    """A canary for the test, at whose end the entity has the rows that it had."""
    before = await rows_by_table(owner, other_merchant.legal_entity)
    assert len(before) >= 8
    yield Canary(running)
    assert await rows_by_table(owner, other_merchant.legal_entity) == before


def assert_problem(answer: Answer, status: int, code: str) -> None:
    """A problem document that says what to do."""
    assert (answer.status, answer.code) == (status, code), answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == status
    assert problem["type"] == f"urn:strongroom:problem:{code}"
    assert problem["retry_safe"] is False
    assert problem["title"]
    assert problem["detail"].endswith(".")
    assert problem["what_to_do"].endswith(".")


Change = Callable[[str], dict[str, Any]]

FIELDS: list[tuple[str, Change, str, str | None]] = [
    ("unknown field", lambda c: {c: 1}, "field_unknown", None),
    ("unknown field with card data", lambda c: {"card": {"number": c}}, "field_unknown", None),
    ("unknown field inside", lambda c: {"instrument": {"gateway": "stripe", c: 1}},
     "field_unknown", None),
    ("no amount", lambda c: {"amount": GONE, "description": c}, "field_missing", "amount"),
    ("no currency", lambda c: {"currency": GONE, "description": c}, "field_missing", "currency"),
    ("no reference", lambda c: {"merchant_reference": GONE, "description": c},
     "field_missing", "merchant_reference"),
    ("amount as text", lambda c: {"amount": c}, "field_type_wrong", "amount"),
    ("amount as number in text", lambda c: {"amount": "100", "description": c},
     "field_type_wrong", "amount"),
    ("amount with decimals", lambda c: {"amount": 10.5, "description": c},
     "field_type_wrong", "amount"),
    ("amount as whole float", lambda c: {"amount": 10.0, "description": c},
     "field_type_wrong", "amount"),
    ("amount as boolean", lambda c: {"amount": True, "description": c},
     "field_type_wrong", "amount"),
    ("amount null", lambda c: {"amount": None, "description": c}, "field_type_wrong", "amount"),
    ("amount zero", lambda c: {"amount": 0, "description": c}, "amount_invalid", "amount"),
    ("amount negative", lambda c: {"amount": -1, "description": c}, "amount_invalid", "amount"),
    ("amount 2^63", lambda c: {"amount": 2**63, "description": c}, "amount_invalid", "amount"),
    ("amount 10^100", lambda c: {"amount": 10**100, "description": c}, "amount_invalid", "amount"),
    ("amount beyond the gateway", lambda c: {"amount": 10**8, "description": c},
     "amount_not_representable", "amount"),
    ("unknown currency", lambda c: {"currency": "EUX", "description": c},
     "currency_unknown", "currency"),
    ("currency of other letters", lambda c: {"currency": "u\u017fd", "description": c},
     "currency_unknown", "currency"),
    ("currency too long", lambda c: {"currency": c}, "currency_unknown", "currency"),
    ("empty reference", lambda c: {"merchant_reference": "", "description": c},
     "merchant_reference_length", "merchant_reference"),
    ("reference too long", lambda c: {"merchant_reference": c * 10},
     "merchant_reference_length", "merchant_reference"),
    ("NUL in the reference", lambda c: {"merchant_reference": c + "\0"},
     "merchant_reference_characters", "merchant_reference"),
    ("line feed in the reference", lambda c: {"merchant_reference": c + "\n"},
     "merchant_reference_characters", "merchant_reference"),
    ("terminal command in the reference", lambda c: {"merchant_reference": c + "\x9b2J"},
     "merchant_reference_characters", "merchant_reference"),
    ("NUL in the description", lambda c: {"description": c + "\0"},
     "description_characters", "description"),
    ("NUL in metadata", lambda c: {"metadata": {c: "\0"}}, "metadata_characters", "metadata"),
    ("metadata of numbers", lambda c: {"metadata": {c: 1}}, "field_type_wrong", "metadata"),
    ("metadata with a long name", lambda c: {"metadata": {c * 2: ""}},
     "metadata_length", "metadata"),
    ("too much metadata", lambda c: {"metadata": {f"{c}{i}": "" for i in range(51)}},
     "metadata_too_large", "metadata"),
    ("unknown gateway", lambda c: {"instrument": {"gateway": c, "token": "pm_card_visa"}},
     "field_type_wrong", "instrument.gateway"),
    ("no token", lambda c: {"instrument": {"gateway": "stripe"}, "description": c},
     "field_missing", "instrument.token"),
    ("token of another kind", lambda c: {"instrument": {"gateway": "stripe", "token": c}},
     "instrument_token_malformed", "instrument.token"),
    ("not_after without an offset", lambda c: {"not_after": "2027-01-01T00:00:00",
     "description": c}, "field_type_wrong", "not_after"),
    ("not_after in words", lambda c: {"not_after": c}, "field_type_wrong", "not_after"),
    ("not_after long ago", lambda c: {"not_after": "0001-01-01T00:00:00+23:59",
     "description": c}, "not_after_invalid", "not_after"),
    ("not_after in a year", lambda c: {"not_after": "9999-12-31T23:59:59Z", "description": c},
     "not_after_invalid", "not_after"),
    ("return_url without TLS", lambda c: {"return_url": f"http://{c}.example"},
     "return_url_invalid", "return_url"),
    ("return_url that runs", lambda c: {"return_url": f"javascript:{c}"},
     "return_url_invalid", "return_url"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "code", "field"), FIELDS, ids=[f[0] for f in FIELDS])
async def test_a_field_out_of_rule_is_named(
    name: str, change: Change, code: str, field: str | None, other_api: Api, canary: Canary
) -> None:
    answer = await other_api.pay(order(**change(canary.text)))
    assert_problem(answer, 422, code)
    assert answer.json.get("field") == field
    canary.assert_silent(answer)


@pytest.mark.parametrize("token", [CARD_NUMBER, f"pm_{CARD_NUMBER}", "4242 4242 4242 4242"])
async def test_a_card_number_is_no_token(token: str, other_api: Api, canary: Canary) -> None:
    answer = await other_api.pay(order(token, description=canary.text))
    assert_problem(answer, 422, "card_number_refused")
    canary.assert_silent(answer, CARD_NUMBER, token)


BODIES: list[tuple[str, Callable[[bytes], bytes], int, str]] = [
    ("empty", lambda _: b"", 400, "json_malformed"),
    ("cut off", lambda c: b'{"amount": 1, "description": "' + c, 400, "json_malformed"),
    ("two documents", lambda c: b'{} "' + c + b'"', 422, "field_missing"),
    ("no JSON", lambda c: b"amount=1&description=" + c, 400, "json_malformed"),
    ("a list", lambda c: b'["' + c + b'"]', 422, "field_type_wrong"),
    ("a number", lambda _: b"1", 422, "field_type_wrong"),
    ("NaN", lambda c: b'{"amount": NaN, "description": "' + c + b'"}', 400, "json_malformed"),
    ("lone surrogate", lambda c: b'{"merchant_reference": "\\ud800' + c + b'"}',
     400, "json_malformed"),
    ("not UTF-8", lambda c: b'{"merchant_reference": "\xff' + c + b'"}', 400, "json_malformed"),
    ("UTF-16", lambda c: f'{{"description": "{c.decode()}"}}'.encode("utf-16"),
     400, "json_malformed"),
    ("deep lists", lambda c: b'{"metadata": {"' + c + b'": ' + b"[" * 60000 + b"}",
     422, "field_type_wrong"),
    ("deep objects", lambda c: b'{"' + c + b'":' + b'{"a":' * 12000, 422, "field_unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "status", "code"), BODIES, ids=[b[0] for b in BODIES])
async def test_a_body_that_is_no_payment_is_refused(
    name: str,
    make: Callable[[bytes], bytes],
    status: int,
    code: str,
    other_api: Api,
    canary: Canary,
) -> None:
    answer = await other_api.post("/v1/payments", make(canary.text.encode()))
    assert_problem(answer, status, code)
    canary.assert_silent(answer)


HEADERS: list[tuple[str, Callable[[str], list[tuple[str, str]]], int, str]] = [
    ("no key", lambda _: [("Idempotency-Key", "")], 400, "idempotency_key_malformed"),
    ("key with blanks", lambda c: [("Idempotency-Key", f"{c} {c}")],
     400, "idempotency_key_malformed"),
    ("key too long", lambda c: [("Idempotency-Key", c * 10)], 400, "idempotency_key_malformed"),
    ("key outside ASCII", lambda c: [("Idempotency-Key", f"{c}\u00e9")], 400, "header_not_ascii"),
    ("two keys", lambda c: [("Idempotency-Key", c), ("Idempotency-Key", "b")],
     400, "header_repeated"),
    ("two API keys", lambda c: [("Idempotency-Key", c), ("Authorization", f"Bearer {c}")],
     400, "header_repeated"),
    ("a form", lambda c: [("Idempotency-Key", c),
     ("Content-Type", f"multipart/form-data; boundary={c}")], 415, "content_type_not_json"),
    ("text", lambda c: [("Idempotency-Key", c), ("Content-Type", f"text/{c}")],
     415, "content_type_not_json"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "status", "code"), HEADERS, ids=[h[0] for h in HEADERS])
async def test_a_header_out_of_rule_is_refused(
    name: str,
    make: Callable[[str], list[tuple[str, str]]],
    status: int,
    code: str,
    other_api: Api,
    canary: Canary,
) -> None:
    headers = [("Authorization", f"Bearer {other_api.api_key}"), *make(canary.text)]
    answer = await send_raw(other_api.url, "/v1/payments", headers, json.dumps(order()).encode())
    assert_problem(answer, status, code)
    canary.assert_silent(answer)


@pytest.mark.parametrize("path", ["/v1/payments", "/v1/payments/{id}/confirm"])
async def test_without_an_idempotency_key_nothing_moves(
    path: str, other_api: Api, canary: Canary, session: ClientSession
) -> None:
    headers = {"Authorization": f"Bearer {other_api.api_key}"}
    body = order(description=canary.text) if path == "/v1/payments" else {}
    path = path.replace("{id}", "pay_01jzzzzzzzzzzzzzzzzzzzzzzz")
    async with session.post(other_api.url + path, json=body, headers=headers) as response:
        answer = Answer(response.status, response.headers, await response.read())
    assert_problem(answer, 400, "idempotency_key_missing")
    canary.assert_silent(answer)


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
@pytest.mark.parametrize("path", ["/v1/payments", "/v1/payments/pay_0/confirm"])
@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 8 * 1024 * 1024])
async def test_a_huge_body_is_refused_and_not_read_to_its_end(
    size: int, path: str, chunked: bool, other_api: Api, canary: Canary
) -> None:
    headers = [
        ("Authorization", f"Bearer {other_api.api_key}"),
        ("Idempotency-Key", canary.text),
        ("Content-Type", "application/json"),
    ]
    head = json.dumps(order(description=canary.text)).encode()
    answer = await send_raw(
        other_api.url, path, headers, head + b" " * (size - len(head)), chunked=chunked
    )
    assert_problem(answer, 413, "body_too_large")
    canary.assert_silent(answer)


async def test_the_largest_body_is_read(other_api: Api, canary: Canary) -> None:
    """The limit is where it says: one byte less, and the rules of the fields speak."""
    head = json.dumps(order(description=canary.text, amount=0)).encode()
    answer = await other_api.post("/v1/payments", head.ljust(BODY_BYTES_MAX))
    assert_problem(answer, 422, "amount_invalid")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing/{c}", 404, "route_not_found"),
        ("GET", "/{c}", 404, "route_not_found"),
        ("DELETE", "/v1/payments", 405, "method_not_allowed"),
        ("PUT", "/v1/payments/{c}", 405, "method_not_allowed"),
        ("GET", "/v1/payments/{c}", 404, "payment_not_found"),
        ("GET", "/v1/payments/%00{c}", 404, "payment_not_found"),
        ("GET", "/v1/payments/%ff{c}", 404, "payment_not_found"),
        ("GET", "/v1/payments/{c}%2Fconfirm", 404, "payment_not_found"),
        ("GET", "/v1/payments/{c}%252fconfirm", 404, "payment_not_found"),
        ("POST", "/v1/payments/{c}%2fconfirm", 405, "method_not_allowed"),
        ("POST", "/v1%2Fpayments/{c}/confirm", 404, "route_not_found"),
        ("POST", "//v1//payments", 404, "route_not_found"),
        ("POST", "//v1/payments", 404, "route_not_found"),
        ("POST", "/v1//payments/bulk", 404, "route_not_found"),
        ("POST", "/v1/payments/", 404, "route_not_found"),
        ("POST", "/v1/payments/bulk/", 404, "route_not_found"),
        ("POST", "/v1/refunds//", 404, "route_not_found"),
        ("POST", "/v1/payments//{c}/cancel", 404, "route_not_found"),
        ("GET", "/v1/payments//{c}", 404, "route_not_found"),
        ("GET", "/v1/payments/", 404, "route_not_found"),
        ("DELETE", "/v1/payments/", 404, "route_not_found"),
        ("GET", "/docs/", 404, "route_not_found"),
        ("POST", "/v1/./payments", 404, "route_not_found"),
        ("GET", "/v1/payments/../refunds", 404, "route_not_found"),
        ("GET", "/v1/payments?{c}=1", 422, "parameter_unknown"),
        ("GET", "/v1/payments?limit={c}", 422, "parameter_invalid"),
        ("GET", "/v1/payments?merchant_reference=%00{c}", 422, "parameter_invalid"),
        ("GET", "/v1/payments?merchant_reference=%ff{c}", 400, "query_malformed"),
    ],
)
async def test_a_place_that_is_not_there_is_a_problem_too(
    method: str, path: str, status: int, code: str, other_api: Api, canary: Canary
) -> None:
    """Nor is there a second way to a place: a filter in front of us would not know it."""
    headers = [("Authorization", f"Bearer {other_api.api_key}"), ("Idempotency-Key", canary.text)]
    body = b"" if method == "GET" else json.dumps(order()).encode()
    answer = await send_raw(
        other_api.url, path.replace("{c}", canary.text), headers, body, method=method
    )
    assert_problem(answer, status, code)
    canary.assert_silent(answer)

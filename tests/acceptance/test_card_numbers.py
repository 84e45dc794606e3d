"""Card numbers at every way in, in disguises: refused, and nowhere to be found afterwards."""

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import asyncpg
import pytest
from aiohttp import ClientSession

from strongroom.vault.cards import holds_card_number
from tests.acceptance.client import Answer, Api, fresh, item, order
from tests.acceptance.conftest import Merchant
from tests.acceptance.raw import send_raw
from tests.acceptance.running import Running
from tests.acceptance.test_refusals import assert_problem, rows_by_table

CARD = "4242424242424242"
OTHER_CARD = "5555555555554444"
CODED = base64.b64encode(f"x{CARD}".encode()).decode()
WIDE = "".join(chr(0xFF10 + int(digit)) for digit in CARD)
MADE = re.compile(r"req_[a-p]{24}")
UNKNOWN = "pay_01jzzzzzzzzzzzzzzzzzzzzzzz"

Header = tuple[str, str]

TEXTS = {
    "bare": CARD,
    "behind a prefix": f"pay_{CARD}",
    "in groups": "4242 4242-4242.4242",
    "full-width": WIDE,
    "percent": quote(CARD[:8]) + "%34%32" + CARD[10:],
    "base64": CODED,
}

BODIES = {
    "a value": lambda text: order(description=text),
    "a name": lambda text: order(metadata={text[:40]: "x"}),
    "a value of metadata": lambda text: order(metadata={"a": text}),
    "the reference": lambda text: order(merchant_reference=text),
    "the token": lambda text: order(f"pm_{text}"),
    "an unknown field": lambda text: order(card={"number": [text]}),
    "an address": lambda text: order(return_url=f"https://shop.example/{text}"),
}

PLACES = [
    "/v1/payments", "/v1/payments?x=1", f"/v1/payments/{UNKNOWN}/confirm",
    f"/v1/payments/{UNKNOWN}/capture", f"/v1/payments/{UNKNOWN}/cancel",
    "/v1/refunds",
]  # fmt: skip


class Traces:
    """Looks for card numbers wherever one could have been left."""

    def __init__(self, running: Running, session: ClientSession) -> None:
        self._running, self._session = running, session

    async def assert_none(self, answer: Answer, place: str) -> None:
        assert_problem(answer, 422, "card_number_refused")
        assert place in answer.json["detail"].split()
        assert MADE.fullmatch(answer.headers["X-Request-Id"])
        for text in _texts(answer):
            assert not holds_card_number(text.encode())
        for name, log in self._running.log_texts().items():
            for text in (CARD, *TEXTS.values()):
                assert text not in log, name
        for url in self._running.metrics_urls.values():
            async with self._session.get(url) as page:
                assert CARD not in await page.text()


def _texts(answer: Answer) -> Iterator[str]:
    yield answer.body.decode()
    for name, value in answer.headers.items():
        yield f"{name}: {value}"


@pytest.fixture
async def traces(
    running: Running, session: ClientSession, owner: asyncpg.Connection, other_merchant: Merchant
):
    """At the end of the test the entity has the rows that it had."""
    before = await rows_by_table(owner, other_merchant.legal_entity)
    yield Traces(running, session)
    assert await rows_by_table(owner, other_merchant.legal_entity) == before


def bearer(api: Api) -> list[Header]:
    return [("Authorization", f"Bearer {api.api_key}"), ("Idempotency-Key", fresh("key"))]


async def sent(
    api: Api, path: str, body: bytes, *, method: str = "POST", headers: list[Header] | None = None
) -> Answer:
    return await send_raw(api.url, path, headers or bearer(api), body, method=method)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("body", BODIES)
async def test_a_body_is_refused(body: str, text: str, other_api: Api, traces: Traces) -> None:
    made = BODIES[body](TEXTS[text])
    for ascii_only in (True, False):
        raw = json.dumps(made, ensure_ascii=ascii_only).encode()
        await traces.assert_none(await sent(other_api, "/v1/payments", raw), "body")


@pytest.mark.parametrize("path", PLACES)
async def test_a_body_is_refused_at_every_way_in(path: str, other_api: Api, traces: Traces) -> None:
    for body in (
        f'{{"description": "{CARD}"}}', f'{{"amount": {CARD}}}', CARD, f'["{WIDE}"', "x" + CODED,
        '{"metadata": {"a": "' + "\\u0034" + CARD[1:] + '"}}',
    ):  # fmt: skip
        await traces.assert_none(await sent(other_api, path, body.encode()), "body")


async def test_a_body_that_nobody_asked_for_is_not_read(
    other_api: Api, running: Running, traces: Traces
) -> None:
    """So it is not refused either."""
    body = json.dumps({"number": CARD}).encode()
    assert (await sent(other_api, "/nothing", body)).status == 404
    assert (await sent(other_api, "/healthz", body, method="GET")).status == 200
    assert not any(CARD in log for log in running.log_texts().values())


async def test_of_a_bulk_nothing_is_made(
    other_api: Api, traces: Traces, owner: asyncpg.Connection
) -> None:
    good = [item(None) for _ in range(20)]
    for bad in (item(None, description=CARD), item(None, idempotency_key=f"key-{CARD}")):
        for path in ("/v1/payments/bulk", "/v1/payments/bulk?x=1"):
            raw = json.dumps({"payments": [*good, bad]}).encode()
            headers = [("Authorization", f"Bearer {other_api.api_key}")]
            answer = await sent(other_api, path, raw, headers=headers)
            await traces.assert_none(answer, "body")
    answer = await sent(
        other_api, "/v1/refunds/bulk",
        json.dumps({"refunds": [{"payment": UNKNOWN, "metadata": {"a": CARD}}]}).encode(),
        headers=[("Authorization", f"Bearer {other_api.api_key}")],
    )  # fmt: skip
    await traces.assert_none(answer, "body")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("method", "path", "place"),
    [
        ("GET", "/v1/payments/{}", "path"), ("GET", "/v1/payments/pay_{}", "path"),
        ("GET", "/v1/refunds/{}", "path"), ("POST", "/v1/payments/{}/confirm", "path"),
        ("GET", "/nothing/{}", "path"), ("DELETE", "/{}", "path"), ("GET", "/healthz/{}", "path"),
        ("GET", "/v1/payments?merchant_reference={}", "query"),
        ("GET", "/v1/payments?{}=1", "query"), ("POST", "/v1/payments?{}", "query"),
        ("GET", "/healthz?a={}", "query"), ("GET", "/docs?{}", "query"), ("GET", "/?{}", "query"),
    ],
)  # fmt: skip
async def test_a_path_and_a_query_are_refused(
    method: str, path: str, place: str, other_api: Api, traces: Traces
) -> None:
    for text in (CARD, quote("4242 4242 4242 4242"), quote(quote(WIDE)), CODED, "%34" + CARD[1:]):
        answer = await sent(other_api, path.format(text), b"", method=method)
        await traces.assert_none(answer, place)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "header",
    [
        ("X-Request-Id", "{}"), ("X-Request-Id", "checkout-{}"), ("Idempotency-Key", "{}"),
        ("Authorization", "Bearer {}"), ("Prefer", "wait=10, x={}"), ("Cookie", "pan={}; a=b"),
        ("Content-Type", "application/json; a={}"), ("User-Agent", "shop/{}"), ("X-Own", "{}"),
        ("traceparent", "00-{}-{}-01"), ("X-Datadog-Trace-Id", "{}"),
    ],
    ids=lambda header: f"{header[0]} {header[1]}",
)  # fmt: skip
async def test_a_header_is_refused(header: Header, other_api: Api, traces: Traces) -> None:
    name, value = header
    for text in (CARD, "4242-4242-4242-4242", CODED, quote(WIDE)):
        for path in ("/v1/payments", f"/v1/payments/{UNKNOWN}/cancel", "/nothing"):
            given = [one for one in bearer(other_api) if one[0] != name]
            given.append((name, value.replace("{}", text)))
            raw = json.dumps(order()).encode()
            answer = await sent(other_api, path, raw, headers=given)
            await traces.assert_none(answer, "header")


async def test_the_name_of_a_header_is_refused(other_api: Api, traces: Traces) -> None:
    answer = await sent(
        other_api, "/v1/payments", b"{}", headers=[*bearer(other_api), (f"X-{CARD}", "1")]
    )
    await traces.assert_none(answer, "header")


async def test_what_was_refused_is_refused_again(other_api: Api, traces: Traces) -> None:
    """Nothing that alarmed is taken for known afterwards."""
    for _ in range(3):
        given = [*bearer(other_api), ("X-Own", CARD)]
        answer = await sent(other_api, "/v1/payments", b"{}", headers=given)
        await traces.assert_none(answer, "header")


async def test_it_is_refused_before_it_is_known_who_asks(api: Api, traces: Traces) -> None:
    nobody = api.with_key("sr_dev_nobody")
    raw = json.dumps(order(description=CARD)).encode()
    await traces.assert_none(await sent(nobody, "/v1/payments", raw), "body")
    await traces.assert_none(await sent(nobody, f"/v1/payments/{CARD}", b"", method="GET"), "path")


@pytest.mark.parametrize("path", ["/v1/payments/bulk", "/v1/payments/bulk?x=1", "/v1/refunds/bulk"])
async def test_a_large_bulk_is_looked_at_once_it_is_known_who_asks(
    path: str, api: Api, other_api: Api, traces: Traces
) -> None:
    """To look at it takes a while, in which nobody else is served."""
    raw = json.dumps({"payments": [item(None, description=CARD)], "x": " " * 65 * 1024}).encode()
    for caller in (api.with_key("sr_dev_nobody"), other_api):
        answer = await sent(
            caller, path, raw, headers=[("Authorization", f"Bearer {caller.api_key}")]
        )
        if caller is other_api:
            await traces.assert_none(answer, "body")
        else:
            assert_problem(answer, 401, "api_key_invalid")
            assert CARD.encode() not in answer.body
    answer = await sent(other_api, path, raw, headers=[("X-Own", CARD)])
    await traces.assert_none(answer, "header")


async def test_the_refusal_says_what_to_do(other_api: Api, traces: Traces) -> None:
    raw = json.dumps(order(merchant_reference=OTHER_CARD)).encode()
    answer = await sent(other_api, "/v1/payments", raw)
    await traces.assert_none(answer, "body")
    assert "token" in answer.json["what_to_do"]
    assert "put a letter between them" in answer.json["what_to_do"]


async def test_what_a_letter_divides_is_a_reference(api: Api) -> None:
    reference = fresh("order") + f"-{OTHER_CARD[:8]}x{OTHER_CARD[8:]}"
    headers = {
        "X-Request-Id": "checkout-42424242-4242x",
        "X-Datadog-Trace-Id": "4611686018427387904", "X-Datadog-Parent-Id": "5404319552844595211",
        "traceparent": "00-42424242424242424242424242424242-4242424242424242-01",
    }  # fmt: skip
    answer = await api.post(
        "/v1/payments",
        order(None, merchant_reference=reference),
        key="42424242-4242-4242-8242-" + fresh()[-12:],
        headers=headers,
    )
    assert answer.status == 201
    assert answer.json["merchant_reference"] == reference
    assert answer.headers["X-Request-Id"] == headers["X-Request-Id"]

"""The front door and the framework's route give one and the same answer to one request."""

import json
import re
from collections.abc import AsyncIterator, Callable

import pytest

from strongroom.http import front_door
from tests.acceptance.client import Api, fresh, item, order
from tests.acceptance.inside import Header, Inside, Said, inside, say
from tests.acceptance.running import Running

PATH = "/v1/payments"
CHANGING = re.compile(rb"pay_[0-9a-hjkmnp-tv-z]{26}|\d{4}-\d\d-\d\dT[\d:.]+Z|order-[0-9a-f]{32}")

Asked = tuple[list[Header], list[bytes]]


def encoded(**changes: object) -> bytes:
    return json.dumps(order(**changes)).encode()  # type: ignore[arg-type]


def header(name: str, value: str) -> Header:
    return name.encode(), value.encode()


def key() -> Header:
    return header("idempotency-key", fresh("key"))


JSON = header("content-type", "application/json")
BODY, BULK_BODY = 64 * 1024, 1024 * 1024


def bulk(*items: dict[str, object]) -> bytes:
    return json.dumps({"payments": items}).encode()


BULK: dict[str, Callable[[], Asked]] = {
    "accepted": lambda: ([JSON], [bulk(item(None), item(), item(None, capture="manual"))]),
    "in pieces": lambda: ([], [b"", *(bytes([byte]) for byte in bulk(item(None))), b""]),
    "accepted in part": lambda: (
        [JSON, header("prefer", "wait=20")],
        [bulk(item(None), item(amount=0), order(), item(None, extra=1), item(None))],
    ),
    "refused by item": lambda: ([JSON], [b'{"payments":[1,null,{}]}']),
    "key of the whole": lambda: ([JSON, key()], [bulk(item(None))]),
    "two keys of the whole": lambda: ([JSON, key(), key()], [bulk(item(None))]),
    "another content type": lambda: ([header("content-type", "text/plain")], [bulk(item(None))]),
    "none": lambda: ([JSON], [bulk()]),
    "one too many": lambda: ([JSON], [b'{"payments":[%b0]}' % (b"0," * 500)]),
    "malformed": lambda: ([JSON], [b"{"]),
    "no body": lambda: ([JSON], [b""]),
    "not an object": lambda: ([JSON], [b"[]"]),
    "largest body": lambda: ([JSON], [bulk(item(None)).ljust(BULK_BODY)]),
    "one byte more": lambda: ([JSON], [bulk(item(None)).ljust(BULK_BODY + 1)]),
    "endless body": lambda: ([JSON], [b" " * 10_000] * 200),
}

# Each is made twice, once for each way in: keys and references are new every time.
CASES: dict[str, Callable[[], Asked]] = {
    "accepted": lambda: ([JSON, key()], [encoded()]),
    "accepted without a card": lambda: ([JSON, key()], [encoded(token=None)]),
    "accepted with everything": lambda: (
        [JSON, key(), header("prefer", "wait=20")],
        [encoded(description="two\nlines", metadata={"a": "ü"}, return_url="https://a.example")],
    ),
    "in pieces": lambda: ([JSON, key()], [b"", *(bytes([byte]) for byte in encoded()), b""]),
    "no content type": lambda: ([key()], [encoded()]),
    "content type with a charset": lambda: (
        [header("content-type", "Application/JSON; charset=utf-8"), key()],
        [encoded()],
    ),
    "another content type": lambda: ([header("content-type", "text/plain"), key()], [encoded()]),
    "no key": lambda: ([JSON], [encoded()]),
    "empty key": lambda: ([JSON, header("idempotency-key", "")], [encoded()]),
    "two keys": lambda: ([JSON, key(), key()], [encoded()]),
    "key outside ASCII": lambda: ([JSON, header("idempotency-key", "é")], [encoded()]),
    "two content types": lambda: ([JSON, JSON, key()], [encoded()]),
    "malformed": lambda: ([JSON, key()], [b"{"]),
    "no body": lambda: ([JSON, key()], [b""]),
    "not UTF-8": lambda: ([JSON, key()], [b'{"currency": "\xff"}']),
    "unknown field": lambda: ([JSON, key()], [encoded(extra=1)]),
    "wrong type": lambda: ([JSON, key()], [encoded(amount="1")]),
    "amount beyond 64 bits": lambda: ([JSON, key()], [encoded(amount=2**64)]),
    "NUL": lambda: ([JSON, key()], [encoded(merchant_reference="a\0")]),
    "card number": lambda: ([JSON, key()], [encoded(token="4242424242424242")]),
    "largest body": lambda: ([JSON, key()], [encoded().ljust(BODY)]),
    "one byte more": lambda: ([JSON, key()], [encoded().ljust(BODY + 1)]),
    "endless body": lambda: ([JSON, key()], [b" " * 1000] * 200),
}


@pytest.fixture
async def process(running: Running) -> AsyncIterator[Inside]:
    async with inside(running) as parts:
        yield parts


def comparable(said: Said) -> tuple[int, list[Header], bytes]:
    """Without what is new in every answer."""
    headers = [(name, CHANGING.sub(b"*", value)) for name, value in said.headers]
    return said.status, headers, CHANGING.sub(b"*", said.body)


async def both(
    process: Inside, authorization: list[Header], make: Callable[[], Asked], path: str = PATH
) -> tuple[Said, Said]:
    said = []
    for application in (process.front_door, process.plain):
        headers, chunks = make()
        said.append(await say(application, path, [*authorization, *headers], chunks))
    return said[0], said[1]


@pytest.mark.parametrize("name", CASES)
async def test_both_answer_equally(name: str, process: Inside, api: Api) -> None:
    bearer = header("authorization", f"Bearer {api.api_key}")
    front, plain = await both(process, [bearer], CASES[name])
    assert comparable(front) == comparable(plain)
    accepted = name.startswith(("accepted", "in pieces", "no content", "content", "largest"))
    assert (front.status in (201, 202)) is accepted
    assert dict(front.headers)[b"content-length"] == str(len(front.body)).encode()


@pytest.mark.parametrize("name", BULK)
async def test_both_answer_a_bulk_equally(name: str, process: Inside, api: Api) -> None:
    bearer = header("authorization", f"Bearer {api.api_key}")
    front, plain = await both(process, [bearer], BULK[name], PATH + "/bulk")
    assert comparable(front) == comparable(plain)
    taken = name.startswith(("accepted", "in pieces", "refused by item", "largest"))
    assert (front.status == 200) is taken


async def test_both_give_up_on_a_body_that_does_not_come(
    process: Inside, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "BODY_SECONDS_MAX", 0.05)
    headers = [header("authorization", f"Bearer {api.api_key}"), JSON, key()]
    said = [
        await say(application, PATH, headers, [encoded()[:20]], stalls=True)
        for application in (process.front_door, process.plain)
    ]
    assert said[0] == said[1]
    problem = json.loads(said[0].body)
    assert (said[0].status, problem["code"], problem["retry_safe"]) == (408, "body_too_slow", True)


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        [header("authorization", "Bearer x")],
        [header("authorization", "Basic x"), header("authorization", "Basic x")],
        [header("authorization", "Bearer é")],
    ],
    ids=["none", "garbage", "twice", "outside ASCII"],
)
async def test_both_refuse_strangers_equally(authorization: list[Header], process: Inside) -> None:
    front, plain = await both(process, authorization, CASES["accepted"])
    assert comparable(front) == comparable(plain)
    assert front.status in (400, 401)


@pytest.mark.parametrize("first", ["front_door", "plain"])
async def test_what_one_accepted_the_other_replays(first: str, process: Inside, api: Api) -> None:
    body, used = order(token=None), key()
    headers = [header("authorization", f"Bearer {api.api_key}"), JSON, used]
    made = await say(getattr(process, first), PATH, headers, [json.dumps(body).encode()])
    assert made.status == 201
    again = [
        await say(application, PATH, headers, [json.dumps(body).encode()])
        for application in (process.front_door, process.plain)
    ]
    assert again[0] == again[1]
    assert (again[0].status, again[0].body) == (200, made.body)
    assert (b"idempotent-replayed", b"true") in again[0].headers
    for change in ({"amount": 1}, {"merchant_reference": fresh()}):
        other = [
            await say(application, PATH, headers, [json.dumps(body | change).encode()])
            for application in (process.front_door, process.plain)
        ]
        assert other[0] == other[1]
        assert json.loads(other[0].body)["code"] == "idempotency_key_reused"


async def test_the_front_door_passes_on_everything_else(process: Inside, api: Api) -> None:
    bearer = header("authorization", f"Bearer {api.api_key}")
    for method, path, query in (
        ("GET", PATH, b""),
        ("GET", PATH, b"limit=x"),
        ("DELETE", PATH, b""),
        ("POST", PATH + "/", b""),
        ("POST", PATH + "/pay_0/confirm", b""),
        ("GET", PATH + "/bulk", b""),
        ("POST", PATH + "/bulk", b"x=1"),
        ("POST", PATH + "/bulk/", b""),
        ("GET", "/healthz", b""),
        ("GET", "/nothing", b""),
    ):
        said = [
            await say(application, path, [bearer, JSON, key()], [b"{}"], method=method, query=query)
            for application in (process.front_door, process.plain)
        ]
        assert said[0] == said[1]

"""Request ids: the caller's where it can be taken over, else ours; in every answer."""

import json
import re
from typing import Any

import pytest

from strongroom.errors import Missing
from strongroom.http.exchange import problem_reply
from strongroom.http.front_door import write_reply
from strongroom.http.traffic import Traffic
from strongroom.telemetry.port import NoTelemetry
from strongroom.telemetry.request_ids import (
    current_request_id,
    is_well_formed,
    new_request_id,
)


class Heard(NoTelemetry):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, int, bool, bytes | None]] = []
        self.codes: list[str] = []

    def answered(
        self, route: str, status: int, seconds: float, waited: bool, traceparent: bytes | None
    ) -> None:
        assert 0 <= seconds < 5
        self.answers.append((route, status, waited, traceparent))

    def refused(self, code: str) -> None:
        self.codes.append(code)


async def fine(scope: Any, receive: Any, send: Any) -> None:
    """Answers 200 with the request's id as its body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": (current_request_id() or "").encode()})


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    await write_reply(send, problem_reply(Missing("route_not_found")))


async def plain_refusing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 502, "headers": []})
    await send({"type": "http.response.body", "body": b"{"})


async def broken(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("canary-51")


async def broken_late(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise ValueError("canary-52")


async def ask(application: Any, *headers: tuple[bytes, bytes], **scope: Any) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asked = {"type": "http", "method": "GET", "path": "/x", "headers": list(headers)}
    asked |= {"raw_path": b"/x", "query_string": b""} | scope
    await application(asked, None, send)
    return sent


def id_in(sent: list[Any]) -> bytes:
    (value,) = [value for name, value in sent[0]["headers"] if name == b"x-request-id"]
    return bytes(value)


@pytest.mark.parametrize(
    "given", [b"a", b"A-z_0.9", b"x" * 64, b"01J9ZC3K6Y5N2W", b"1700000000-ab"]
)
async def test_a_well_formed_id_is_taken_over(given):
    sent = await ask(Traffic(fine), (b"x-request-id", given))
    assert id_in(sent) == given == sent[1]["body"]
    assert (b"a", b"b") in sent[0]["headers"]


@pytest.mark.parametrize(
    "given",
    [
        b"", b"x" * 65, b"a b", b"a\nb", b"a\r\nset-cookie: x", b"\xff", b'"', b"<script>", b"a/b",
        b"4242424242424241", b"4242-4242-4242-4241", b"card_4242424242424241_x",
    ],
)  # fmt: skip
async def test_any_other_id_is_ignored_and_one_is_made(given):
    assert not is_well_formed(given)
    sent = await ask(Traffic(fine), (b"x-request-id", given))
    assert id_in(sent) != given
    assert id_in(sent).startswith(b"req_")
    assert id_in(sent) == sent[1]["body"]


@pytest.mark.parametrize("given", [b"4242424242424242", b"card_4242-4242-4242-4242_x"])
async def test_an_id_that_looks_like_a_card_number_refuses_the_request(given):
    assert not is_well_formed(given)
    heard = Heard()
    sent = await ask(Traffic(fine, heard), (b"x-request-id", given))
    assert (sent[0]["status"], json.loads(sent[1]["body"])["code"]) == (422, "card_number_refused")
    assert id_in(sent).startswith(b"req_")
    assert heard.codes == ["card_number_refused"]


async def test_two_ids_are_none():
    sent = await ask(Traffic(fine), (b"x-request-id", b"one"), (b"x-request-id", b"two"))
    assert id_in(sent) not in (b"one", b"two")


def test_made_ids_differ_and_none_can_be_taken_for_a_card_number():
    made = {new_request_id() for _ in range(10_000)}
    assert len(made) == 10_000
    assert all(re.fullmatch(rb"req_[a-p]{24}", one) for one in made)


async def test_a_request_without_an_id_never_gets_that_of_the_one_before():
    traffic = Traffic(fine)
    first = await ask(traffic, (b"x-request-id", b"first"))
    second = await ask(traffic)
    assert id_in(first) == b"first" != id_in(second)


async def test_a_refusal_carries_the_id_and_is_counted_by_its_code():
    heard = Heard()
    sent = await ask(Traffic(refusing, heard), (b"x-request-id", b"mine"))
    assert id_in(sent) == b"mine"
    assert heard.codes == ["route_not_found"]
    await ask(Traffic(plain_refusing, heard))
    assert heard.codes == ["route_not_found", "other"]


async def test_a_bug_is_answered_too_and_says_nothing_of_itself():
    heard = Heard()
    sent = await ask(Traffic(broken, heard), (b"x-request-id", b"mine"))
    assert (sent[0]["status"], id_in(sent)) == (500, b"mine")
    assert json.loads(sent[1]["body"])["code"] == "internal_error"
    assert b"canary" not in sent[1]["body"]
    assert heard.codes == ["internal_error"]
    assert len(await ask(Traffic(broken_late))) == 1  # what was begun cannot be taken back


async def test_another_application_is_surrounded_alike():
    heard = Heard()
    sent = await ask(Traffic(fine, heard).around(refusing), (b"x-request-id", b"mine"))
    assert (sent[0]["status"], id_in(sent)) == (404, b"mine")
    assert heard.codes == ["route_not_found"]


async def test_a_route_is_never_a_path_that_a_caller_made_up():
    heard = Heard()
    traffic = Traffic(fine, heard, front_paths=frozenset({"/v1/payments"}))
    await ask(traffic, method="POST", path="/v1/payments")
    await ask(traffic, path="/v1/payments/pay_1", path_template="/v1/payments/{payment_id}")
    await ask(traffic, path="/etc/passwd")
    await ask(traffic, method="BREW", path="/etc/passwd")
    assert [route for route, *_ in heard.answers] == [
        "POST /v1/payments", "GET /v1/payments/{payment_id}", "GET other", "other other",
    ]  # fmt: skip


async def test_who_asked_to_wait_says_nothing_about_our_speed():
    heard = Heard()
    await ask(Traffic(fine, heard), (b"prefer", b"wait=10"))
    await ask(Traffic(fine, heard), (b"prefer", b"respond-async"))
    assert [waited for _, _, waited, _ in heard.answers] == [True, False]


async def test_a_trace_of_the_caller_counts_only_where_callers_are_trusted():
    heard = Heard()
    header = (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")
    await ask(Traffic(fine, heard), header)
    await ask(Traffic(fine, heard, trusts_callers=True), header)
    assert [traceparent for *_, traceparent in heard.answers] == [None, header[1]]

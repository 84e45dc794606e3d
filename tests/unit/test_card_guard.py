"""The guard looks at each header until it was found clean, and at what is new each time always."""

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import Invalid
from strongroom.http.card_guard import _SPAN_IDS, KNOWN_MAX, NEW_EACH_TIME, CardGuard
from strongroom.vault.cards import holds_card_number

CARD = b"4111111111111111"
HALF = len(CARD) // 2
HOST = (b"host", b"payments.example:8080")
AGENT = (b"user-agent", b"shop/4.2 python-httpx/0.27.2")

Header = tuple[bytes, bytes]


def scope_of(*headers: Header, path: bytes = b"/v1/payments", query: bytes = b"") -> dict[str, Any]:
    """The bytes are new objects, as a parser makes them."""
    return {
        "raw_path": path,
        "query_string": query,
        "headers": [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in headers],
    }


def place(guard: CardGuard, *headers: Header, path: bytes = b"/v1/payments", query: bytes = b""):
    """Where the guard finds a number."""
    refusal = guard.refusal_of_head(scope_of(*headers, path=path, query=query))
    if refusal is None:
        return None
    assert refusal.code == "card_number_refused"
    return refusal.detail.removeprefix("The request holds in its ").split()[0]


@pytest.mark.parametrize("name", sorted(NEW_EACH_TIME))
def test_what_is_new_each_time_is_looked_at_each_time(name: bytes) -> None:
    guard = CardGuard()
    for _ in range(2):
        assert place(guard, HOST, (name, b"key-1"), AGENT) is None
        assert place(guard, HOST, (name, b"x" + CARD), AGENT) == "header"
        assert place(guard, (name, b"key-1"), (name, CARD + b"x")) == "header"


def test_names_that_are_not_looked_at_hold_none() -> None:
    for name in NEW_EACH_TIME:
        assert not holds_card_number(name)


@pytest.mark.parametrize("name", sorted(_SPAN_IDS))
def test_only_the_whole_of_a_span_id_is_let_through(name: bytes) -> None:
    number = b"4111111111111111110"  # 19 digits, as a decimal of 64 bits may have
    assert holds_card_number(number)
    whole = b"0" * 31 + b"f/" + number if b"cloud" in name else number
    guard = CardGuard()
    assert place(guard, (name, whole)) is None
    for other in (whole + b" ", b" " + whole, whole + b";" + CARD, CARD):
        assert place(guard, (name, other)) == "header"


def test_a_number_is_found_in_every_part_of_a_head() -> None:
    guard = CardGuard()
    for _ in range(2):
        assert place(guard, HOST, path=b"/v1/payments/" + CARD) == "path"
        assert place(guard, HOST, query=b"x=" + CARD) == "query"
        assert place(guard, HOST, (b"x-" + CARD, b"")) == "header"
        assert place(guard, HOST, (b"x", b"4111 1111-1111.1111")) == "header"
        assert place(guard, HOST, (b"x", b"%34" + CARD[1:])) == "header"
        assert place(guard, HOST, (b"idempotency-key", b"eDQxMTExMTExMTExMTExMTE=")) == "header"


def test_what_was_found_clean_says_nothing_of_another_header() -> None:
    guard = CardGuard()
    token = (b"authorization", b"Bearer sr_dev_abc")
    for _ in range(3):
        assert place(guard, HOST, AGENT, token) is None
    assert place(guard, HOST, AGENT, (token[0], token[1] + CARD)) == "header"
    assert place(guard, HOST, AGENT, token, (b"cookie", b"a=" + CARD)) == "header"
    assert place(guard, HOST, AGENT, (token[1], token[0])) is None
    assert place(guard, HOST, (AGENT[0], CARD), token) == "header"


def test_what_was_refused_is_refused_again_and_nothing_of_its_request_is_kept() -> None:
    guard = CardGuard()
    for _ in range(3):
        assert place(guard, HOST, (b"x", CARD)) == "header"
    assert not guard._known


def test_neither_what_is_new_each_time_nor_a_header_itself_is_kept() -> None:
    guard = CardGuard()
    headers = [HOST, AGENT, *((name, b"1") for name in NEW_EACH_TIME)]
    assert place(guard, *headers) is None
    assert len(guard._known) == 2
    assert all(isinstance(one, int) for one in guard._known)


def test_parts_do_not_run_into_each_other() -> None:
    first, second = CARD[:HALF], CARD[HALF:]
    guard = CardGuard()
    assert place(guard, (b"a", first), (second, b"")) is None
    assert place(guard, (b"idempotency-key", first), (b"x-request-id", second)) is None
    assert place(guard, path=b"/" + first, query=second) is None
    assert place(guard, (b"x", first + second)) == "header"


def test_more_headers_than_are_kept_are_looked_at_all_the_same() -> None:
    guard = CardGuard()
    for number in range(KNOWN_MAX + 10):
        assert place(guard, (b"x", b"%d" % number)) is None
        assert len(guard._known) <= KNOWN_MAX
    assert place(guard, (b"x", CARD)) == "header"
    assert place(guard, (b"x", b"1")) is None


def test_one_look_at_head_and_body_sees_a_number_in_either() -> None:
    guard, key = CardGuard(), (b"idempotency-key", b"key-1")
    for _ in range(2):
        assert guard.is_plainly_clear(scope_of(HOST, key, AGENT), b'{"amount":1}')
        assert not guard.is_plainly_clear(scope_of(HOST, key), b'{"amount":%b}' % CARD)
        assert not guard.is_plainly_clear(scope_of(HOST, (key[0], CARD)), b"{}")
        assert not guard.is_plainly_clear(scope_of(HOST, (b"x", CARD)), b"{}")
        assert not guard.is_plainly_clear(scope_of(HOST, path=b"/" + CARD), b"{}")
        assert not guard.is_plainly_clear(scope_of(HOST, query=CARD), b"{}")
    assert len(guard._known) == 2
    assert guard.is_plainly_clear(scope_of((key[0], CARD[:HALF])), CARD[HALF:])


def test_what_is_coded_is_for_a_closer_look() -> None:
    guard = CardGuard()
    coded = b'{"a":"NDExMTExMTExMTExMTExMQ"}'
    for body in (b'{"a":"\\u0034"}', b'{"a":"%34"}', '{"a":"ü"}'.encode(), coded):
        assert not guard.is_plainly_clear(scope_of(HOST), body)
    assert not guard._known


def test_base64_in_a_head_hides_none_in_the_body() -> None:
    key = (b"idempotency-key", b64encode(b"12345678x90123456789"))
    body = b'{"description":"Aw' + b64encode(CARD).rstrip(b"=") + b'"}'
    with pytest.raises(Invalid):
        CardGuard().check_body(body)
    assert not CardGuard().is_plainly_clear(scope_of(key), body)


def test_a_long_head_buys_no_work_for_a_body() -> None:
    body = b"2-1-3-2-4-3-5-4-6-5-7-6-8-7x" * 1000
    with pytest.raises(Invalid):
        CardGuard().check_body(body)
    assert not CardGuard().is_plainly_clear(scope_of((b"x", b"y" * 30_000)), body)


PIECES = st.sampled_from(
    [
        CARD, CARD[:HALF], CARD[HALF:], b"4111 1111-1111.1111", b"NDExMTExMTExMTExMTExMQ==",
        b"Aw", b"MTIzNDU2Nzh4OTAxMjM0NTY3ODk=", b" ", b"-", b"x", b"7", b"A9", b'"',
        b"\x1e", b"%34", b"\\u0034", b"\xef\xbc\x94",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=6).map(b"".join)


@given(path=TEXTS, key=TEXTS, value=TEXTS, body=TEXTS)
def test_what_is_clear_together_is_clear_by_itself(
    path: bytes, key: bytes, value: bytes, body: bytes
) -> None:
    head = scope_of((b"idempotency-key", key), (b"x", value), path=path)
    if CardGuard().is_plainly_clear(head, body):
        assert CardGuard().refusal_of_head(head) is None
        CardGuard().check_body(body)

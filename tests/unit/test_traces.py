"""Traces: which payments have one, where it begins, and what a span may say."""

import uuid

import pytest

from strongroom.clock import ShiftedClock
from strongroom.config import Settings
from strongroom.ids import new_entity_id, new_id
from strongroom.telemetry.traces import Place, Traces, callers_place, place_of

NOWHERE = "http://127.0.0.1:9/v1/traces"
ENTITY = new_entity_id(0)


def payments(count: int) -> list[uuid.UUID]:
    return [new_id(number, ENTITY) for number in range(count)]


def test_every_process_comes_to_the_same_trace_without_being_told():
    first, second = payments(2)
    assert place_of(first) == place_of(uuid.UUID(str(first)))
    assert place_of(first).trace_id != place_of(second).trace_id
    assert place_of(first).span_id != place_of(second).span_id
    assert all(0 < place.trace_id < 1 << 128 for place in map(place_of, payments(100)))
    assert all(0 < place.span_id < 1 << 64 for place in map(place_of, payments(100)))


def test_one_in_so_many_payments_is_traced():
    some = payments(40_000)
    for one_in, lowest, highest in ((1, 40_000, 40_000), (10, 3_600, 4_400), (1000, 15, 75)):
        traces = Traces(NOWHERE, one_in=one_in, service="test", clock=ShiftedClock())
        assert lowest <= sum(map(traces.has, some)) <= highest
        other = Traces(NOWHERE, one_in=one_in, service="other", clock=ShiftedClock())
        assert [traces.has(one) for one in some[:500]] == [other.has(one) for one in some[:500]]
        traces.close()
        other.close()


def test_an_attribute_that_is_not_on_the_list_is_refused():
    traces = Traces(NOWHERE, one_in=1, service="test", clock=ShiftedClock())
    with pytest.raises(KeyError, match=r"http\.request\.body"):
        traces.span("x", 0.1, {"http.request.body": "secret"})
    traces.close()


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("text", [f"00-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-03-more"])
def test_the_trace_of_a_caller_is_read(text):
    assert callers_place(text.encode()) == Place(int(TRACE, 16), int(SPAN, 16))


@pytest.mark.parametrize(
    "text",
    [
        "", "x", f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}", f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}-0x",
        f"00-+{TRACE[1:]}-{SPAN}-01",
    ],
)  # fmt: skip
def test_any_other_header_is_no_trace(text):
    assert callers_place(text.encode()) is None


@pytest.mark.parametrize(
    "url", ["http://collector.example/v1/traces", "ftp://127.0.0.1/x", "127.0.0.1:4318", "https://"]
)
def test_spans_are_not_sent_where_others_can_read_them(url):
    with pytest.raises(ValueError, match="traces_url"):
        Settings(traces_url=url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:4318/v1/traces", "https://collector.example/x"])
def test_spans_are_sent_within_the_machine_or_over_tls(url):
    assert Settings(traces_url=url).traces_url == url


def test_a_share_of_payments_below_none_is_refused():
    with pytest.raises(ValueError, match="traces_one_in"):
        Settings(traces_one_in=0)

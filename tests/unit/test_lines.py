"""Lines to gateway accounts: each fails for itself, and no account takes the whole worker."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.gateways.breaker import PROBES_TO_CLOSE, REST_SECONDS_MAX, WINDOW_CALLS
from strongroom.gateways.lines import (
    FAILURES,
    LOOKS_RESERVED,
    SHARE_OF_FREE,
    Lines,
    Place,
    has_failed,
    places_for,
)
from strongroom.gateways.port import Account
from strongroom.payments.engine import Engine
from strongroom.payments.states import ActionRequired, Approved, Declined, NotSent, Unknown
from tests.unit.examples import ACCOUNT, AMOUNT, ENTITY, held, payment
from tests.unit.world import LEASE

FAILED = Unknown("gateway_error")
GOOD = Approved(AMOUNT, "EUR")


def account(number):
    return Account(
        legal_entity_id=ENTITY,
        gateway_account_id=UUID(int=number),
        gateway="stripe",
        environment="stand_in",
        base_url=None,
    )


A, B = account(1), account(2)
ACCOUNT_OF_PAYMENT = account(ACCOUNT.int)


class Time:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def call(lines, to, operation, answer):
    """One call to its end; whether it was made."""
    place = lines.take(to, operation)
    if isinstance(place, str):
        return False
    with place:
        place.answered(answer)
    return True


@given(st.integers(0, 60))
def test_a_line_that_fails_opens_within_twenty_calls_whatever_came_before(good):
    lines = Lines(now=Time())
    assert all(call(lines, A, "send", GOOD) for _ in range(good))
    made = sum(call(lines, A, "send", FAILED) for _ in range(100))
    assert made <= WINDOW_CALLS
    assert lines.take(A, "send") == "gateway_resting"


def test_with_many_calls_under_way_no_more_than_those_and_twenty_are_made():
    lines, made = Lines(now=Time()), 0
    under_way = [lines.take(A, "send") for _ in range(200)]
    for place in under_way:
        with place:
            place.answered(FAILED)
    made += sum(call(lines, A, "send", FAILED) for _ in range(50))
    assert made == 0
    assert lines.take(A, "send") == "gateway_resting"


def test_another_account_and_another_operation_go_on():
    lines = Lines(now=Time())
    for _ in range(50):
        call(lines, A, "send", FAILED)
    assert lines.are_resting(A.gateway_account_id, ("send",))
    assert not lines.are_closed(A.gateway_account_id, ("prepare", "send"))
    assert lines.are_closed(A.gateway_account_id, ("prepare", "look"))
    assert lines.are_closed(B.gateway_account_id, ("prepare", "send"))
    assert call(lines, B, "send", GOOD)
    assert call(lines, A, "look", GOOD)


def test_it_closes_by_itself_once_the_gateway_answers():
    time = Time()
    lines = Lines(now=time)
    for _ in range(50):
        call(lines, A, "send", FAILED)
    for _ in range(PROBES_TO_CLOSE):
        assert not lines.are_closed(A.gateway_account_id, ("send",))
        time.seconds += 2 * REST_SECONDS_MAX
        assert call(lines, A, "send", GOOD)
    assert lines.are_closed(A.gateway_account_id, ("send",))
    assert all(call(lines, A, "send", GOOD) for _ in range(50))


def test_looks_are_let_through_every_few_seconds_however_long_nothing_is_learnt():
    time, looks = Time(), 0
    lines = Lines(now=time)
    for _ in range(600):
        looks += call(lines, A, "look", FAILED)
        time.seconds += 0.5
    assert looks >= 300 / 2.5


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (GOOD, False),
        (Declined("fraud", "fraudulent", object_open=False), False),
        (Declined("config_error", "x", object_open=False), False),
        (ActionRequired({}), False),
        *((Unknown(why), True) for why in sorted(FAILURES)),
        *((NotSent(why), True) for why in sorted(FAILURES)),
        (Unknown("malformed_KeyError"), True),
        (Unknown("in_flight_at_gateway"), False),
        (Unknown("idempotency_mismatch"), False),
        (NotSent("not_confirmed_yet"), False),
        (NotSent("credentials_unreadable"), None),
        (NotSent("too_many_calls"), None),
    ],
)
def test_only_what_taught_nothing_of_the_gateway_is_a_failure(answer, verdict):
    assert has_failed(answer) is verdict


def test_declines_never_open_a_line():
    lines = Lines(now=Time())
    no = Declined("generic_decline", "generic_decline", object_open=True)
    assert all(call(lines, A, "send", no) for _ in range(200))


def taken(lines, to, operation="send"):
    """How many calls to an account that does not answer are let through."""
    count = 0
    while isinstance(lines.take(to, operation), Place):
        count += 1
    return count


def test_a_slow_account_leaves_places_for_the_others():
    lines = Lines(90, now=Time())
    assert taken(lines, A) == 60
    assert lines.take(A, "send") == "account_busy"
    assert [taken(lines, account(number)) for number in range(2, 4)] == [20, 7]
    assert isinstance(lines.take(account(99), "send"), Place)


@given(st.integers(1, 200), st.integers(1, 6))
def test_no_account_takes_all(places, accounts):
    lines = Lines(places, now=Time())
    for number in range(accounts):
        under_way = taken(lines, account(number))
        assert under_way <= SHARE_OF_FREE * places / (SHARE_OF_FREE + 1) + 1


def test_looks_keep_their_share_at_an_account_that_is_full():
    lines = Lines(30, now=Time())
    places = [lines.take(B, "send") for _ in range(3)]
    assert taken(lines, A) > LOOKS_RESERVED
    assert lines.take(A, "look") == "account_busy"
    for place in places:
        with place:
            place.answered(GOOD)
    lines = Lines(3, now=Time())
    assert taken(lines, B) == 2
    assert taken(lines, A, "look") == LOOKS_RESERVED


def test_who_leaves_without_an_answer_says_nothing_and_frees_the_place():
    lines = Lines(3, now=Time())
    for _ in range(100):
        with pytest.raises(RuntimeError), lines.take(A, "send"):
            raise RuntimeError
    assert lines.are_closed(A.gateway_account_id, ("send",))
    assert taken(lines, A) == 2


def test_what_sends_nothing_new_is_not_taken_for_the_probe_of_a_claim():
    """Else a claim that begins with what is looked at leaves the line as it is, time after time."""
    time, gateway = Time(), SimpleNamespace(staged=False)
    lines = Lines(now=time)
    engine = Engine(
        cast(Any, None), cast(Any, None), cast(Any, {"stripe": gateway}),
        actor="worker", lease=LEASE, buckets=[0], lines=lines,
    )  # fmt: skip
    for _ in range(50):
        call(lines, ACCOUNT_OF_PAYMENT, "send", FAILED)
    assert engine._is_resting(payment(), set())
    time.seconds += 2 * REST_SECONDS_MAX
    probed: set[UUID] = set()
    for no_probe in (payment(status="succeeded"), payment(status="outcome_unknown"),
                     payment(closing="canceled"), held()):  # fmt: skip
        assert not engine._is_resting(no_probe, probed)
    assert [engine._is_resting(payment(), probed) for _ in range(3)] == [False, True, True]


@pytest.mark.parametrize("calls", [16, 32, 128])
def test_of_places_for_so_many_calls_one_account_gets_as_many(calls):
    lines, taken = Lines(places_for(calls), now=Time()), []
    while not isinstance(place := lines.take(A, "list"), str):
        taken.append(place)
    assert (len(taken), place) == (calls, "account_busy")

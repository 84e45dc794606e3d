"""The breaker of a line: it opens soon, rests, probes one at a time, and closes by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.gateways.breaker import (
    CALLS_MIN,
    FAILED_SHARE,
    LOOK_REST_SECONDS_MAX,
    PROBES_TO_CLOSE,
    REST_JITTER,
    REST_SECONDS,
    REST_SECONDS_MAX,
    WINDOW_CALLS,
    Breaker,
)

OUTCOMES = st.lists(st.sampled_from([True, False, None]), max_size=80)
CHANCE = st.floats(0, 1, exclude_max=True)


def after(outcomes, breaker=None, now=0.0, chance=0.5):
    """The breaker after calls that ended one after the other, as far as it let them through."""
    breaker = breaker or Breaker()
    for failed in outcomes:
        going = breaker.asked(now)
        if going is not None:
            breaker = going.ended(going.turn, failed, now, chance)
    return breaker


@given(OUTCOMES)
def test_whatever_came_before_it_is_open_after_twenty_failures(outcomes):
    assert after([*outcomes, *[True] * WINDOW_CALLS]).state == "open"


@given(OUTCOMES)
def test_it_opens_on_a_failure_only_and_only_when_its_share_is_reached(outcomes):
    breaker = Breaker()
    window: list[bool] = []
    for failed in outcomes:
        before, breaker = breaker, breaker.ended(breaker.turn, failed, 0.0, 0.5)
        window = [*window, failed][-WINDOW_CALLS:] if failed is not None else window
        is_full = len(window) >= CALLS_MIN and sum(window) >= FAILED_SHARE * len(window)
        assert (breaker.state == "open") == bool(failed and is_full)
        if breaker.state == "open":
            assert before.state == "closed"
            return


def test_answers_that_say_nothing_are_not_counted():
    assert after([None] * 100).calls == 0
    assert after([True] * (CALLS_MIN - 1) + [None] * 100).state == "closed"


@given(CHANCE)
def test_it_rests_for_about_as_long_as_it_says_and_lets_nothing_through(chance):
    breaker = after([True] * CALLS_MIN, now=100.0, chance=chance)
    rested = breaker.rests_until - 100.0
    assert REST_SECONDS * (1 - REST_JITTER) <= rested <= REST_SECONDS * (1 + REST_JITTER)
    assert breaker.asked(breaker.rests_until - 0.001) is None
    assert breaker.asked(breaker.rests_until) is not None


def test_one_probe_at_a_time_and_a_few_that_are_answered_close_it():
    breaker = after([True] * CALLS_MIN)
    for _ in range(PROBES_TO_CLOSE):
        assert breaker.state != "closed"
        breaker = breaker.asked(60.0)
        assert breaker.asked(60.0) is None
        breaker = breaker.ended(breaker.turn, False, 60.0, 0.5)
    assert breaker.state == "closed"
    assert (breaker.calls, breaker.failed, breaker.rest_seconds) == (0, 0, REST_SECONDS)


@pytest.mark.parametrize("longest", [REST_SECONDS_MAX, LOOK_REST_SECONDS_MAX])
def test_each_failed_probe_doubles_the_rest_up_to_a_limit(longest):
    breaker, now = after([True] * CALLS_MIN), 0.0
    rests = []
    for _ in range(8):
        now = breaker.rests_until
        breaker = breaker.asked(now)
        breaker = breaker.ended(breaker.turn, True, now, 0.5, longest)
        assert breaker.state == "open"
        rests.append(breaker.rests_until - now)
    assert rests[0] == pytest.approx(min(2 * REST_SECONDS, longest))
    assert rests == sorted(rests)
    assert rests[-1] == pytest.approx(longest)


def test_a_probe_that_taught_nothing_gives_its_place_to_the_next():
    breaker = after([True] * CALLS_MIN).asked(60.0)
    breaker = breaker.ended(breaker.turn, None, 60.0, 0.5)
    assert breaker.state == "half_open"
    assert breaker.asked(60.0) is not None


@given(OUTCOMES, st.booleans())
def test_calls_that_began_before_it_opened_say_nothing_any_more(outcomes, failed):
    began = Breaker()
    opened = after([True] * CALLS_MIN)
    assert opened.ended(began.turn, failed, 1.0, 0.5) is opened
    probing = opened.asked(60.0)
    assert probing.ended(opened.turn, failed, 60.0, 0.5) is probing


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.floats(0, 40)), max_size=60))
def test_after_recovery_it_always_closes_by_itself(history):
    now, breaker = 0.0, Breaker()
    for failed, seconds in history:
        now += seconds
        going = breaker.asked(now)
        if going is not None:
            breaker = going.ended(going.turn, failed, now, 0.99)
    for _ in range(PROBES_TO_CLOSE):
        now += REST_SECONDS_MAX * (1 + REST_JITTER)
        going = breaker.asked(now)
        assert going is not None
        breaker = going.ended(going.turn, False, now, 0.99)
    assert breaker.state == "closed"

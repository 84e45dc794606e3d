"""Payments settle at their rate within ten seconds of any kill, and catch up after an outage."""

from typing import Any

import pytest

from tests.faults.curves import Point, Watch, at, back_after, rate
from tests.faults.recovery import KILLED, OUTAGES, Figures, measured, told

pytestmark = [pytest.mark.faults]

PER_SECOND = 15.0
BACK_SECONDS_MAX = 10.0
"""Of a machine that is ours; others' work makes it as much longer as it makes any work."""
ACCEPTED_SHARE_MIN = 0.9
DRAINED_SHARE_MIN = 0.8
MEMORY_MORE_MB_MAX = 64.0


def line(*rates: int) -> list[Point]:
    """Ten points a second, of so many settled in each second, from moment 0 on."""
    points, settled = [Point(0.0, 0, 0)], 0.0
    for each in rates:
        for _ in range(10):
            settled += each / 10
            points.append(Point(len(points) / 10, 0, round(settled)))
    return points


def test_a_rate_is_what_was_settled_between_two_moments() -> None:
    points = line(100, 100, 50)
    assert rate(points, 0.0, 2.0) == pytest.approx(100, abs=1)
    assert rate(points, 2.0, 3.0) == pytest.approx(50, abs=1)
    assert at(points, -1.0) == points[0]
    assert at(points, 99.0) == points[-1]


async def test_a_look_that_has_broken_off_is_not_taken_for_payments_that_stand_still() -> None:
    nobody: Any = None  # of whom no address can be asked
    watch = Watch(deployment=nobody, shoppers=nobody)
    watch.begin()
    with pytest.raises(AttributeError):
        await watch.until(lambda _: True, 30.0)
    with pytest.raises(AttributeError):
        await watch.end()


def test_back_is_the_end_of_the_first_second_that_is_as_fast_again() -> None:
    points = line(100, 100, 0, 0, 0, 100, 100, 100, 100, 100)
    # It was killed at 2.0 and settles again from 5.0 on; nine tenths of a second later it has 90.
    assert back_after(points, 2.0, 100.0) == pytest.approx(3.9, abs=0.01)


def test_who_was_never_slower_was_never_away() -> None:
    assert back_after(line(100, 100, 100, 100, 100), 2.0, 100.0) == 0.0
    assert back_after(line(100, 100, 95, 92, 100), 2.0, 100.0) == 0.0


def test_who_stays_slow_is_not_back() -> None:
    assert back_after(line(100, 100, 0, 80, 80, 80, 80), 2.0, 100.0) is None
    assert back_after(line(100, 100, 0, 0, 0, 0), 2.0, 100.0) is None


def test_one_fast_second_among_slow_ones_is_not_back() -> None:
    points = line(100, 100, 0, 0, 300, 10, 10, 10, 100, 100, 100, 100, 100)
    found = back_after(points, 2.0, 100.0)
    assert found is not None
    assert found > 5.0


def test_what_settles_before_the_kill_does_not_count_after_it() -> None:
    # The second from 1.5 to 2.5 has half of its payments from before: no window begins there.
    points = line(1000, 1000, 0, 0, 0, 0)
    assert back_after(points, 2.0, 100.0) is None


@pytest.mark.slow
@pytest.mark.needs("procfs")
async def test_full_rate_within_ten_seconds_of_any_kill() -> None:
    figures = await measured(PER_SECOND, outages={})
    assert [kill.what for kill in figures.kills] == list(KILLED)
    late = [
        told(kill)
        for kill in figures.kills
        for seconds in (kill.seconds, kill.word_seconds if kill.what in WORDS else 0.0)
        if seconds is None or seconds > BACK_SECONDS_MAX * kill.slowness
    ]
    assert not late, late


WORDS = ("signer", "witness")


@pytest.mark.slow
@pytest.mark.needs("procfs")
async def test_payments_are_accepted_while_the_gateway_is_away_and_settle_afterwards() -> None:
    figures: Figures = await measured(PER_SECOND, ())
    assert [outage.how for outage in figures.outages] == list(OUTAGES)
    for outage in figures.outages:
        shown = told(outage)
        assert outage.accepted_during >= ACCEPTED_SHARE_MIN * outage.accepted_before, shown
        assert outage.backlog > 0, shown
        assert outage.drained_seconds is not None, shown
        assert outage.settled_draining >= DRAINED_SHARE_MIN * outage.settled_before, shown
        assert outage.api_most <= outage.api_before + MEMORY_MORE_MB_MAX, shown
        assert outage.worker_most <= outage.worker_before + MEMORY_MORE_MB_MAX, shown

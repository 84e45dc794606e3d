"""How second faults are chosen, kept and counted; pairs that are run stand in test_points.py."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.kept import keep
from tests.faults.points.plan import DRY_RUNS, KINDS, MISSES_MAX
from tests.faults.points.points import Cell, Fault, Kind, Point
from tests.faults.points.second import (
    RECORDINGS,
    Recovery,
    SecondFolder,
    Seconds,
    write_figures,
)

FLOW = "sale@stripe"
COMMIT = Point(Kind.MESSAGE, "worker COMMIT", "aa")
CONFIRM = Point(Kind.EXCHANGE, "stripe POST /confirm", "aa")
CLAIM = Point(Kind.MESSAGE, "worker claim", "bb")
RESTS = Point(Kind.AWAIT, "strongroom.a:b:1", "bb")
GONE = Point(Kind.MESSAGE, "worker connect", "gone")
KILLED = Cell(CONFIRM, Fault.KILL_AFTER)
LOST = Cell(COMMIT, Fault.DROP_AFTER)


def met(*points: Point, after: Recovery | None = None) -> dict[str, Any]:
    """What a runner says of a dry run, or of a recovery; it tells of the kinds that it is asked."""
    told = {"flow": FLOW, "points": [*map(str, points)], "findings": []}
    if after is None:
        return told
    told["points"] = [str(point) for point in points if point.kind in after.kinds]
    return told | {"cell": str(after.first), "kinds": list(after.kinds), "struck": True}


def counted(pairs_max: int = 100) -> Seconds:
    """A flow that has been run without a fault."""
    of = Seconds(FLOW, pairs_max)
    for _ in list(of.dry_runs_left()):
        of.take(met(COMMIT, CONFIRM))
    assert list(of.dry_runs_left()) == []
    return of


def looked_at(of: Seconds, after: dict[Cell, tuple[Point, ...]]) -> None:
    """Every recovery that is wanted is looked at."""
    while waiting := list(of.recoveries_left()):
        for one in waiting:
            of.take(met(COMMIT, *after.get(one.first, ()), after=one))


def test_first_faults_come_from_providers_commits_and_dead_processes_by_turns() -> None:
    first = counted().candidates()
    assert first == counted().candidates()
    assert [cell.point.kind for cell in first[:2]] == [Kind.EXCHANGE, Kind.MESSAGE]
    assert first[1] == LOST
    assert first[2].fault in {Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.STOPPED}


def test_a_point_of_recovery_is_one_that_no_run_without_a_fault_meets() -> None:
    of = counted()
    looked_at(of, {KILLED: (CLAIM, CONFIRM, GONE), LOST: (CLAIM, RESTS)})
    assert of.points().keys() == {CLAIM, RESTS}
    assert set(of.points().values()) <= {KILLED, LOST}
    assert of.figures()["pairs"] == 8
    assert len(of.pairs()) == len(set(of.pairs())) == 8


def test_only_recoveries_that_add_points_are_looked_at_again() -> None:
    of = counted()
    looked_at(of, {KILLED: (CLAIM,), LOST: (CLAIM,)})
    again = {one.first for one, runs in of.recoveries.items() if len(runs) == RECORDINGS}
    assert len(again) == 1
    assert again < {KILLED, LOST}


def test_what_one_recovery_meets_and_the_next_does_not_is_counted_apart() -> None:
    of = counted()
    settle = Point(Kind.MESSAGE, "worker settle", "bb")
    for one in list(of.recoveries_left()):
        of.take(met(*((CLAIM, settle) if one.first == KILLED else ()), after=one))
    for one in list(of.recoveries_left()):
        assert one.first == KILLED
        of.take(met(CLAIM, after=one))
    assert (of.points(), of.rare()) == ({CLAIM: KILLED}, 1)


def test_each_point_has_a_fault_before_any_has_two_and_the_limit_holds() -> None:
    of = counted(pairs_max=3)
    others = (CLAIM, Point(Kind.MESSAGE, "worker settle", "bb"), RESTS)
    looked_at(of, {KILLED: others})
    assert [pair.then.point for pair in of.pairs()[:2]] != [CLAIM, CLAIM]
    assert {pair.then.point for pair in of.pairs()[:2]} == set(others[:2])
    assert len(of.pairs()) == 3


def test_a_pair_that_is_not_met_is_left_and_one_that_fails_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SecondFolder(tmp_path)
    assert folder.seconds()[FLOW].dry_runs == []
    for told in [met(COMMIT, CONFIRM)] * DRY_RUNS * len(KINDS):
        folder.keep(told)
    of = folder.seconds()[FLOW]
    while waiting := list(of.recoveries_left()):
        for one in waiting:
            told = met(*((RESTS, CLAIM) if one.first == KILLED else ()), after=one)
            folder.keep(told)
            of.take(told)
    missed = next(pair for pair in of.pairs() if pair.then.point == RESTS)
    failed = next(pair for pair in of.pairs() if pair.then.point == CLAIM)
    for pair, times in ((missed, MISSES_MAX), (failed, 1)):
        findings = ["charged twice"] if pair == failed else []
        for _ in range(times):
            folder.keep({
                "flow": FLOW, "cell": str(pair.first), "then": str(pair.then),
                "struck": pair == failed, "findings": findings,
            })  # fmt: skip
    again = SecondFolder(tmp_path).seconds()
    assert set(again[FLOW].pairs_left()) == set(of.pairs()) - {missed, failed}
    keep(tmp_path / "latest.json", {"flows": {}})
    figures = write_figures(again, tmp_path / "latest.json")[FLOW]
    assert (figures["points"], figures["rare"], figures["chosen"]) == (1, 1, 7)
    assert (figures["tried"], figures["failures"]) == (1, 1)
    assert (tmp_path / "latest.json").read_text().startswith('{\n  "flows": {},\n  "second"')
    monkeypatch.setattr("tests.faults.points.plan.digest_of_code", lambda _: "of other code")
    assert SecondFolder(tmp_path).seconds()[FLOW].pairs() == []

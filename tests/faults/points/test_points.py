"""The machine that tries every point × fault: that it counts, strikes and judges, and a few cells.

All of them are `make faults`, for hours; docs/faults.md says how.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.points import awaits
from tests.faults.points.exchanges import place_of
from tests.faults.points.flows import FLOWS
from tests.faults.points.plan import (
    DRY_RUNS,
    KINDS,
    MISSES_MAX,
    MISSES_OF_MET_MAX,
    Folder,
    Plan,
)
from tests.faults.points.points import FAULTS, Cell, Fault, Kind, Point, cells_of
from tests.faults.points.report import summary_of, write_report
from tests.faults.points.runner import Runner

pytestmark = [pytest.mark.faults, pytest.mark.needs("procfs")]

FLOW = "sale@stripe"
TRIED: dict[Fault, tuple[str, ...]] = {
    Fault.DROP_AFTER: ("api COMMIT", "worker COMMIT", "/confirm"),
    Fault.KILL_AFTER: ("worker COMMIT", "/confirm"),
    Fault.KILL_BEFORE: ("worker apply",),
    Fault.SERIALIZATION: ("api COMMIT",),
    Fault.STOPPED: ("worker commit_object_ids",),
    Fault.ERROR_AFTER: ("/confirm",),
    Fault.LATE: ("/confirm",),
}
"""By fault, the places of one sale that are tried in each run, in their last state."""
KILL: Final = Fault.KILL_AFTER
THEN: Final = (Fault.KILL_AFTER, Fault.ERROR_AFTER)
"""A process is killed once the gateway has charged; this strikes as the next one asks there."""
POINTS = {
    Point(Kind.MESSAGE, "worker COMMIT", "aa"),
    Point(Kind.EXCHANGE, "stripe POST /a", "aa"),
    Point(Kind.AWAIT, "strongroom.a:b:1", "aa"),
}


async def test_a_sale_survives_a_fault_at_each_of_these_points() -> None:
    runner = Runner()
    try:
        await runner.ground.start()
        at_awaits, points = await dry_runs(runner)
        kinds = {kind: sum(point.kind is kind for point in points) for kind in Kind}
        print(len(at_awaits), kinds)
        assert len(at_awaits) > kinds[Kind.MESSAGE] > 40
        assert kinds[Kind.EXCHANGE] >= 2
        for fault, places in TRIED.items():
            for place in places:
                cell = Cell([point for point in points if point.place.endswith(place)][-1], fault)
                await struck(runner, cell=cell)
        first = Cell(next(one for one in points if one.place.endswith("/confirm")), KILL)
        for fault in THEN:
            await struck_twice(runner, first, fault, known=points)
    finally:
        await runner.ground.stop()


async def dry_runs(runner: Runner) -> list[list[Point]]:
    """What is met at awaits, and what goes by wire, each in a run of its own."""
    runs = [await runner.do({"flow": FLOW, "kinds": kinds}) for kinds in KINDS]
    assert [told["findings"] for told in runs] == [[], []]
    return [[Point.read(text) for text in told["points"]] for told in runs]


async def struck(runner: Runner, **job: Any) -> dict[str, Any]:
    """What the cell came to; a run may pass its point by in another order of things."""
    for _ in range(MISSES_MAX):
        told = await attempt(runner, **job)
        if told["struck"]:
            return told
    raise AssertionError(f"{job} was not met in {MISSES_MAX} runs")


async def attempt(runner: Runner, **job: Any) -> dict[str, Any]:
    """One run of the flow with the fault, which has to leave nothing to find."""
    cells = {name: str(one) for name, one in job.items() if isinstance(one, Cell)}
    asked = {"flow": FLOW} | job | cells
    told = await runner.do(asked)
    assert told["findings"] == [], (asked, told["findings"], told["said"])
    return told


async def struck_twice(runner: Runner, first: Cell, then: Fault, known: Sequence[Point]) -> None:
    """That a fault strikes at an exchange which only the recovery from another comes to. What else
    has been done until then comes and goes, and with it the state of the rows: what one recovery
    meets the next may not, so each attempt looks at one of its own."""
    for _ in range(MISSES_MAX):
        met = await struck(runner, cell=first, records=True, kinds=KINDS[1])
        new = [point for point in map(Point.read, met["points"]) if point not in known]
        for asked in (point for point in new if point.kind is Kind.EXCHANGE):
            told = await attempt(runner, cell=first, then=Cell(asked, then))
            if told["struck"]:
                return
    raise AssertionError(f"nothing was met by {then} in {MISSES_MAX} recoveries from {first}")


def dry(*points: Point, findings: Sequence[str] = ()) -> dict[str, Any]:
    """What a runner says of a dry run."""
    return {"flow": "one", "points": [*map(str, points)], "findings": list(findings)}


def test_what_goes_wrong_where_no_fault_struck_is_a_failure() -> None:
    plan = Plan()
    plan.count("one", [dry(*POINTS)] * DRY_RUNS)
    cell = str(cells_of(POINTS)[0])
    plan.take({"flow": "one", "cell": cell, "struck": False, "findings": ["charged twice"]})
    assert summary_of(plan)["flows"]["one"]["failures"] == 1


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/v1/payment_intents", "/version/payment_intents"),
        ("/v1/intents/pi_XxbiAPkyJJXDHKsWCRikhFWa/confirm", "/version/intents/{}/confirm"),
        ("/v1/payment_intents/pi_3xbiAPkyJJXDHKsWCRikhFW9", "/version/payment_intents/{}"),
        ("/merchants/a1b2/transactions", "/merchants/{}/transactions"),
        ("/v1/tax/create_from_calculation", "/version/tax/create_from_calculation"),
    ],
)
def test_a_place_names_no_one_object(path: str, place: str) -> None:
    assert place_of(path) == place


def test_a_cell_is_written_in_one_word() -> None:
    for cell in cells_of(POINTS):
        assert Cell.read(str(cell)) == cell
    assert len(cells_of(POINTS)) == sum(map(len, FAULTS.values()))


def test_a_point_that_a_flow_before_has_counts_once() -> None:
    plan = Plan()
    often, rare = sorted(POINTS)[:2], sorted(POINTS)[2]
    plan.count("one", [dry(often[0])] * DRY_RUNS)
    plan.count("two", [dry(often[0], often[1]), dry(often[1], rare), dry(often[1])])
    assert plan.points == {"one": [often[0]], "two": [often[1]]}
    assert plan.rare == {"one": 0, "two": 1}


def test_what_is_not_tried_is_left_and_fails(tmp_path: Path) -> None:
    plan = Plan()
    plan.count("one", [dry(*POINTS)] * DRY_RUNS)
    cells = cells_of(POINTS)
    for number, cell in enumerate(cells[:-1]):
        findings = ["charged twice"] if number == 0 else []
        plan.take({"flow": "one", "cell": str(cell), "struck": True, "findings": findings})
    assert list(plan.left()) == [("one", cells[-1])]
    for _ in range(MISSES_OF_MET_MAX):
        assert list(plan.left()) == [("one", cells[-1])]
        plan.take({"flow": "one", "cell": str(cells[-1]), "struck": False, "findings": []})
    assert list(plan.left()) == []
    row = summary_of(plan)["flows"]["one"]
    assert (row["cells"] - row["tried"], row["failures"]) == (1, 1)
    write_report(plan, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("class='cell bad'") == 1
    assert page.count("class='cell not-tried'") == 1
    assert page.count("class='cell good'") == len(cells) - 2


def test_a_point_that_no_fault_meets_is_rare_and_one_that_some_meet_is_not() -> None:
    plan, met = Plan(), min(POINTS)
    plan.count("one", [dry(*POINTS)] * DRY_RUNS)
    hits = {str(cells_of({met})[0])}
    while waiting := list(plan.left()):
        for _, cell in waiting:
            struck = str(cell) in hits
            plan.take({"flow": "one", "cell": str(cell), "struck": struck, "findings": []})
    assert plan.passed_by("one") == POINTS - {met}
    row = summary_of(plan)["flows"]["one"]
    assert (row["points"], row["rare"]) == (1, len(POINTS) - 1)
    assert (row["cells"], row["tried"]) == (len(cells_of({met})), 1)


def test_a_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.load()
    for number in range(DRY_RUNS * len(KINDS)):
        folder.keep(dry(*POINTS, findings=["stuck"] if number == 0 else []))
    told = {"flow": "one", "cell": str(cells_of(POINTS)[0]), "struck": True, "findings": []}
    folder.keep(told)
    plan = Folder(tmp_path).load()
    assert plan.points == {"one": sorted(POINTS)}
    assert plan.dry_findings == {"one": ["stuck"]}
    assert len(list(plan.left())) == len(cells_of(POINTS)) - 1
    monkeypatch.setattr("tests.faults.points.plan.digest_of_code", lambda _: "of other code")
    assert Folder(tmp_path).load().points == {}
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 1


SOURCE = """
import asyncio
from contextlib import asynccontextmanager

@asynccontextmanager
async def held():
    yield 1

async def steps():
    yield 1
    yield 2

class It:
    async def run(self):
        async with held() as one:
            await asyncio.sleep(0)
        return one, [step async for step in steps()]

    async def each(self):
        found = []
        async for step in steps():
            found.append(step)
        return found
"""


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Any]:
    """A module with marks, and the places that were asked for."""
    file = tmp_path / "marked.py"
    file.write_text(SOURCE)
    loader = awaits._Loader("strongroom.marked", str(file))
    module = type(json)("strongroom.marked")
    loader.exec_module(module)
    yield module
    awaits._ask.clear()


async def test_every_await_of_a_module_is_asked_for(marked: Any) -> None:
    asked: list[str] = []
    awaits.ask(asked.append)
    assert await marked.It().run() == (1, [1, 2])
    assert [place.removeprefix("strongroom.marked:It.run:") for place in asked] == [
        "15", "16", "15 (leaving)", "17", "17",
    ]  # fmt: skip
    asked.clear()
    assert await marked.It().each() == [1, 2]
    assert asked == ["strongroom.marked:It.each:21"] * 2


async def test_a_task_is_cancelled_at_an_await(marked: Any) -> None:
    def cancel(place: str) -> None:
        if place.endswith(":16"):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    awaits.ask(cancel)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(marked.It().run())


def test_every_flow_has_parts_that_there_are() -> None:
    from tests.faults.points.house import LANES, PARTS

    known = {*PARTS, *LANES.values(), "signer"}
    assert {part for flow in FLOWS.values() for part in flow.parts} <= known


ONE_ENDS = """
import asyncio
from strongroom import app
from tests.faults.points.house import Life

async def api(*_):
    END

async def worker(*_):
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("it saw the other's end")

app.serve_api, app.run_worker = api, worker
told = {"home": "/", "port": 0, "parts": [], "output": "", "asked": "", "places": []}
asyncio.run(Life(told).live())
"""


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ('raise OSError("it has no database")', 1, "it has no database"),
        ("asyncio.current_task().cancel(); await asyncio.sleep(1)", 1, "CancelledError"),
        ("return", 0, ""),
    ],
)
def test_whatever_runs_ends_at_once_with_the_first_that_ends(
    end: str, status: int, said: str
) -> None:
    program = ONE_ENDS.replace("END", end)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr

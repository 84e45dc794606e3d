"""Which cells there are, which were tried, which are left: kept in a folder between runs."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.code import DECIDES, digest_of_code
from tests.faults.points.points import Cell, Kind, Point, cells_of

DRY_RUNS: Final = 3
"""Of each of KINDS."""
KINDS: Final = ([Kind.AWAIT], [Kind.MESSAGE, Kind.EXCHANGE])
"""A run that asks at every await is slow, so messages meet other rows there than where they are
tried; they are counted in runs that ask at none."""
SEEN_MIN: Final = 2
"""A point that fewer dry runs meet is one of a rare order of things; it is counted apart."""
MISSES_MAX: Final = 5
"""So often a cell may run past its point."""
MISSES_OF_MET_MAX: Final = 25
"""So often where another fault did meet that point; then the cell counts as not tried. A point that
no fault has met is of a rare order of things, as one that a dry run alone has met."""


@dataclass(slots=True)
class Plan:
    """By flow its points, and by cell what it came to."""

    points: dict[str, list[Point]] = field(default_factory=dict)
    rare: dict[str, int] = field(default_factory=dict)
    dry_findings: dict[str, list[str]] = field(default_factory=dict)
    results: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    misses: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, flow: str, dry_runs: Sequence[dict[str, Any]]) -> None:
        """Takes over what the dry runs of a flow met, but for what a flow before it has."""
        if findings := [one for told in dry_runs for one in told["findings"]]:
            self.dry_findings[flow] = findings
        runs = [set(map(Point.read, told["points"])) for told in dry_runs]
        known = {point for points in self.points.values() for point in points}
        seen = Counter(point for run in runs for point in run)
        often = {point for point, times in seen.items() if times >= min(SEEN_MIN, len(runs))}
        self.points[flow] = sorted(often - known)
        self.rare[flow] = len(seen.keys() - often - known)

    def cells(self, flow: str) -> list[Cell]:
        """Every cell of a flow, but for points that are not met again."""
        gone = self.passed_by(flow)
        return cells_of({point for point in self.points.get(flow, ()) if point not in gone})

    def passed_by(self, flow: str) -> set[Point]:
        """Points that no fault has met, often as they were tried."""
        return {
            point
            for point in self.points.get(flow, ())
            if all(self._is_missed(flow, cell, MISSES_MAX) for cell in cells_of({point}))
        }

    def _is_missed(self, flow: str, cell: Cell, misses: int) -> bool:
        key = flow, str(cell)
        return key not in self.results and self.misses[key] >= misses

    def left(self) -> Iterator[tuple[str, Cell]]:
        """What is still to be tried."""
        for flow in self.points:
            for cell in self.cells(flow):
                most = MISSES_OF_MET_MAX if self._is_met(flow, cell.point) else MISSES_MAX
                if (flow, str(cell)) not in self.results and not self._is_missed(flow, cell, most):
                    yield flow, cell

    def _is_met(self, flow: str, point: Point) -> bool:
        return any((flow, str(cell)) in self.results for cell in cells_of({point}))

    def take(self, told: dict[str, Any]) -> None:
        """What a runner says of a cell. Nothing may go wrong where nothing was done, either."""
        key = (told["flow"], told["cell"])
        if told["struck"] or told["findings"]:
            self.results[key] = told
        else:
            self.misses[key] += 1


class Folder:
    """Where a run keeps what it knows; what was found of other code is not kept."""

    def __init__(self, path: Path, name: str = "run") -> None:
        self.path = path
        self._file = path / f"{name}.jsonl"

    def load(self) -> Plan:
        """What was kept of this very code; else an empty plan."""
        plan = Plan()
        runs: dict[str, list[dict[str, Any]]] = {}
        for told in self.kept():
            if "cell" in told:
                plan.take(told)
            else:
                runs.setdefault(told["flow"], []).append(told)
        for flow, of in runs.items():
            if len(of) >= DRY_RUNS * len(KINDS):
                plan.count(flow, of)
        return plan

    def kept(self) -> list[dict[str, Any]]:
        """What runners have said of this very code; where it is of other code, nothing is kept."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        if not lines or json.loads(lines[0]) != {"code": digest_of_code(DECIDES)}:
            self._begin()
            return []
        return [json.loads(line) for line in lines[1:]]

    def keep(self, told: dict[str, Any]) -> None:
        """One line more."""
        with self._file.open("a") as stream:
            stream.write(json.dumps(told) + "\n")

    def _begin(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps({"code": digest_of_code(DECIDES)}) + "\n")

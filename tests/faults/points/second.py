"""Second faults: at each point that only the recovery from a first fault meets, one more.

A point of recovery is one that a run meets after its fault has struck, and that no run without a
fault meets: there the first layer has never been. The same place in the same state counts once,
whichever fault led there.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.faults.kept import keep
from tests.faults.points.plan import (
    DRY_RUNS,
    KINDS,
    MISSES_MAX,
    MISSES_OF_MET_MAX,
    SEEN_MIN,
    Folder,
)
from tests.faults.points.points import FAULTS, Cell, Fault, Kind, Point, cells_of

FLOWS_CHOSEN: Final = ("sale@stripe", "refund@braintree", "webhook-out@stripe")
"""Charging, where a second fault may charge twice; giving back, at the gateway whose keys say no
more than that a call was made before; telling, where order has to outlast every restart."""
PAIRS_MAX: Final = 2000
FIRSTS_MAX: Final = 60
"""First faults of a flow whose recovery is looked at."""
RECORDINGS: Final = 2
"""A point that a recovery meets in one run of so many, of each of KINDS, is of an order that comes
and goes."""
WIRES: Final = KINDS[1]
SEED: Final = 20261130
AWAITS_AFTER: Final = 2
"""An await has one fault, a message seven: so many of those are tried before it."""
_RANKS: Final = {Kind.EXCHANGE: 0, Kind.MESSAGE: 1, Kind.AWAIT: 2}


class Recovery(NamedTuple):
    """A first fault, and what is kept of what is met after it: awaits, or what goes by wire."""

    first: Cell
    kinds: tuple[Kind, ...]


class Pair(NamedTuple):
    """A fault, and the one that strikes once it has."""

    first: Cell
    then: Cell


@dataclass(slots=True)
class Seconds:
    """One flow: its runs without a fault, recoveries that were looked at, pairs that were tried."""

    flow: str
    pairs_max: int
    dry_runs: list[set[Point]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    """What went wrong without a second fault."""
    recoveries: dict[Recovery, list[set[Point]]] = field(default_factory=dict)
    """What was met in each run in which the first fault struck."""
    results: dict[Pair, dict[str, Any]] = field(default_factory=dict)
    misses: Counter[Any] = field(default_factory=Counter)

    def take(self, told: dict[str, Any]) -> None:
        """What a runner says of a dry run, of a recovery, or of a pair."""
        if "cell" not in told:
            self.dry_runs.append(_read(told["points"]))
            self.findings += told["findings"]
        elif "then" in told:
            pair = Pair(Cell.read(told["cell"]), Cell.read(told["then"]))
            if told["struck"] or told["findings"]:
                self.results[pair] = told
            else:
                self.misses[pair] += 1
        else:
            self.findings += [f"after {told['cell']}: {one}" for one in told["findings"]]
            recovery = Recovery(Cell.read(told["cell"]), tuple(map(Kind, told["kinds"])))
            if told["struck"]:
                self.recoveries.setdefault(recovery, []).append(_read(told["points"]))
            else:
                self.misses[recovery] += 1

    def candidates(self) -> list[Cell]:
        """First cells whose recovery is looked at: processes that die, COMMITs whose answer is
        lost and providers that fail by turns, then whatever else there is."""
        seen = Counter(chain.from_iterable(self.dry_runs))
        cells = cells_of({point for point, times in seen.items() if times >= SEEN_MIN})
        random.Random(f"{SEED} {self.flow}").shuffle(cells)
        turns: list[list[Cell]] = [[], [], [], []]
        for cell in cells:
            turns[_turn_of(cell)].append(cell)
        by_turns = chain.from_iterable(zip_longest(*turns[:3]))
        return [*(cell for cell in by_turns if cell is not None), *turns[3]][:FIRSTS_MAX]

    def dry_runs_left(self) -> Iterator[list[Kind]]:
        """Of which kinds a run without a fault is still to be recorded."""
        for number in range(len(self.dry_runs), DRY_RUNS * len(KINDS)):
            yield KINDS[number % len(KINDS)]

    def recoveries_left(self) -> Iterator[Recovery]:
        """First cells to be looked at once, and those that add points as often as is needed."""
        wires = [_of(cell, WIRES) for cell in self.candidates()]
        left = [one for one in wires if self._may_be_looked_at(one, 1)]
        if not left:
            added = [_of(cell, kinds) for cell in self._adding() for kinds in KINDS]
            left = [one for one in added if self._may_be_looked_at(one, RECORDINGS)]
        yield from left

    def _may_be_looked_at(self, recovery: Recovery, times: int) -> bool:
        of = len(self.recoveries.get(recovery, ()))
        return of < times and self.misses[recovery] < MISSES_MAX

    def _adding(self) -> list[Cell]:
        """The first cells whose recovery meets, where it was looked at first, what no other before
        it does."""
        met = self._known()
        adding = []
        for cell in self.candidates():
            for points in self.recoveries.get(_of(cell, WIRES), ())[:1]:
                if new := points - met:
                    met |= new
                    adding.append(cell)
        return adding

    def _known(self) -> set[Point]:
        return set().union(*self.dry_runs)

    def _met_after(self, cell: Cell, runs_min: int) -> set[Point]:
        """What so many runs met after the cell, and none without a fault."""
        runs = [run for kinds in KINDS for run in self.recoveries.get(_of(cell, kinds), ())]
        seen = Counter(chain.from_iterable(runs))
        return {point for point, times in seen.items() if times >= runs_min} - self._known()

    def points(self) -> dict[Point, Cell]:
        """By point of recovery, the first cell that leads there."""
        found: dict[Point, Cell] = {}
        for cell in self._adding():
            for point in self._met_after(cell, RECORDINGS):
                found.setdefault(point, cell)
        return found

    def rare(self) -> int:
        """How many points a recovery met in one run and not in the next."""
        met = {point for cell in self._adding() for point in self._met_after(cell, 1)}
        return len(met - self.points().keys())

    def pairs(self) -> list[Pair]:
        """The pairs that are tried: of each point one fault, then of each another, up to a limit.
        Which comes first at which point is drawn by the seed."""
        chance = random.Random(f"{SEED} {self.flow}")
        ranked = []
        for point, first in sorted(self.points().items()):
            faults = list(FAULTS[point.kind])
            chance.shuffle(faults)
            late = AWAITS_AFTER if point.kind is Kind.AWAIT else 0
            for turn, fault in enumerate(faults, late):
                rank = (turn, _RANKS[point.kind], chance.random())
                ranked.append((rank, Pair(first, Cell(point, fault))))
        return [pair for _, pair in sorted(ranked)[: self.pairs_max]]

    def passed_by(self, pairs: Sequence[Pair]) -> set[Point]:
        """Points that no second fault has met, often as they were tried."""
        met = {pair.then.point for pair in pairs if not self._is_missed(pair, MISSES_MAX)}
        return {pair.then.point for pair in pairs} - met

    def _is_missed(self, pair: Pair, misses: int) -> bool:
        return pair not in self.results and self.misses[pair] >= misses

    def pairs_left(self) -> Iterator[Pair]:
        """Those that were not tried yet."""
        pairs = self.pairs()
        gone, met = self.passed_by(pairs), {pair.then.point for pair in self.results}
        for pair in pairs:
            most = MISSES_OF_MET_MAX if pair.then.point in met else MISSES_MAX
            untried = pair not in self.results and not self._is_missed(pair, most)
            if untried and pair.then.point not in gone:
                yield pair

    def figures(self) -> dict[str, int]:
        """How many points of recovery, pairs that there are, pairs tried, and failures."""
        points, pairs = self.points(), self.pairs()
        gone = self.passed_by(pairs)
        chosen = [pair for pair in pairs if pair.then.point not in gone]
        tried = [self.results[pair] for pair in chosen if pair in self.results]
        return {
            "firsts": len(set(points.values())),
            "points": len(points) - len(gone),
            "rare": self.rare() + len(gone),
            "pairs": sum(len(FAULTS[point.kind]) for point in points.keys() - gone),
            "chosen": len(chosen),
            "tried": len(tried),
            "failures": sum(bool(told["findings"]) for told in tried) + len(self.findings),
        }


def _of(cell: Cell, kinds: list[Kind]) -> Recovery:
    return Recovery(cell, tuple(kinds))


def _read(points: list[str]) -> set[Point]:
    return {point for point in map(Point.read, points) if point.state != "gone"}


def _turn_of(cell: Cell) -> int:
    if cell.point.kind is Kind.EXCHANGE:
        return 0
    if cell.point.place.endswith(" COMMIT") and cell.fault is Fault.DROP_AFTER:
        return 1
    if cell.fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.STOPPED):
        return 2
    return 3


class SecondFolder(Folder):
    """Where second faults are kept, beside the first ones."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "second")

    def seconds(self, flows: tuple[str, ...] = FLOWS_CHOSEN) -> dict[str, Seconds]:
        """By flow, what was kept of this very code."""
        found = {flow: Seconds(flow, PAIRS_MAX // len(FLOWS_CHOSEN)) for flow in flows}
        for told in self.kept():
            if told["flow"] in found:
                found[told["flow"]].take(told)
        return found


def write_figures(seconds: dict[str, Seconds], file: Path) -> dict[str, dict[str, int]]:
    """Writes them beside the first layer's, under `second`; returns them."""
    figures = {flow: of.figures() for flow, of in seconds.items()}
    keep(file, {"second": figures})
    return figures

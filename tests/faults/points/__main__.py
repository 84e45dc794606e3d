"""`python -m tests.faults.points`: tries every point × fault, and writes what came of it."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from strongroom.cli.progress import Bar
from tests.faults.code import code_of_runs
from tests.faults.points.flows import FLOWS
from tests.faults.points.plan import DRY_RUNS, KINDS, Folder, Plan
from tests.faults.points.points import Cell
from tests.faults.points.report import write_report, write_summary
from tests.faults.points.second import FLOWS_CHOSEN, SecondFolder, Seconds, write_figures
from tests.plugins.memory import in_memory

FOLDER: Final = Path("build/faults")
SHOWN_MAX: Final = 20
ROOT: Final = Path(__file__).parents[3]


class Runners:
    """Some runners, each with one job at a time."""

    def __init__(self, number: int, module: str = "tests.faults.points.runner") -> None:
        self._number, self._module = number, module
        self._free: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
        self._all: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        for _ in range(self._number):
            await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._all:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._all:
            await process.wait()

    async def _start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24, cwd=ROOT,
        )  # fmt: skip
        self._all.append(process)
        self._free.put_nowait(process)

    async def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """What a runner answers. Raises RuntimeError where it ended instead."""
        process = await self._free.get()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        line = await process.stdout.readline()
        if not line:
            self._all.remove(process)
            raise RuntimeError("a runner has ended; what it said stands above")
        self._free.put_nowait(process)
        told: dict[str, Any] = json.loads(line)
        return told


async def count_points(runners: Runners, folder: Folder, plan: Plan, flows: Sequence[str]) -> None:
    """Dry runs of the flows that were not counted yet."""
    wanted = [flow for flow in flows if flow not in plan.points]
    bar = Bar("counting points")
    for done, flow in enumerate(wanted, 1):
        jobs = [{"flow": flow, "kinds": kinds} for kinds in KINDS for _ in range(DRY_RUNS)]
        runs = await asyncio.gather(*map(runners.do, jobs))
        for told in runs:
            folder.keep(told)
        plan.count(flow, runs)
        bar(done, len(wanted))
    bar.end()


async def try_cells(runners: Runners, folder: Folder, plan: Plan, at_once: int) -> None:
    """Whatever is left of the plan."""
    bar, total = Bar("trying cells"), sum(len(plan.cells(flow)) for flow in plan.points)
    while waiting := list(plan.left()):
        turn = iter(waiting)

        async def some(turn: Any = turn) -> None:
            for flow, cell in turn:
                told = await runners.do({"flow": flow, "cell": str(cell)})
                folder.keep(told)
                plan.take(told)
                if told["findings"]:
                    print(f"\n{flow} {cell}\n  {told['findings'][0]}", file=sys.stderr)
                bar(len(plan.results), total)

        await asyncio.gather(*(some() for _ in range(at_once)))
    bar.end()


async def try_one(flow: str, cell: str, then: str | None) -> int:
    """One cell, or a pair of them, with all that is to be seen of it."""
    job = {"flow": flow, "cell": str(Cell.read(cell))}
    if then is not None:
        job["then"] = str(Cell.read(then))
    async with Runners(1) as runners:
        told = await runners.do(job)
    print(json.dumps({key: told[key] for key in ("struck", "seconds", "findings")}, indent=2))
    if told["findings"]:
        print(told["said"])
    return 0 if told["struck"] and not told["findings"] else 1


async def try_second(flows: Sequence[str], at_once: int, path: Path) -> int:
    """A fault at each point of recovery of these flows; returns an exit status."""
    folder, bad = SecondFolder(path), 0
    every = folder.seconds(tuple(flows))
    async with Runners(at_once) as runners:
        for of in every.values():
            await look_at_recoveries(runners, folder, of, at_once)
            await try_pairs(runners, folder, of, at_once)
            write_figures(every, path / "latest.json")
    for flow, row in write_figures(every, path / "latest.json").items():
        print(f"{flow:24} {row['firsts']:3} first faults {row['points']:5} points of recovery "
              f"{row['pairs']:6} pairs {row['tried']:5} tried "
              f"{row['failures']:3} failures")  # fmt: skip
        bad += row["failures"] + row["chosen"] - row["tried"]
    for finding in [one for of in every.values() for one in of.findings]:
        print(finding)
    return 1 if bad else 0


async def look_at_recoveries(
    runners: Runners, folder: SecondFolder, of: Seconds, at_once: int
) -> None:
    """What is met without a fault, and after each first one."""
    bar, done = Bar(f"{of.flow}: recoveries"), 0

    async def ask(job: dict[str, Any]) -> None:
        told = await runners.do(job)
        folder.keep(told)
        of.take(told)

    wanted = [{"flow": of.flow, "kinds": kinds} for kinds in of.dry_runs_left()]
    await asyncio.gather(*map(ask, wanted))
    while waiting := list(of.recoveries_left()):
        turn = iter(waiting)

        async def some(turn: Any = turn, of_many: int = len(waiting)) -> None:
            nonlocal done
            for first, kinds in turn:
                cell = {"cell": str(first), "records": True, "kinds": list(kinds)}
                await ask({"flow": of.flow} | cell)
                done += 1
                bar(done, max(done, of_many))

        await asyncio.gather(*(some() for _ in range(at_once)))
    bar.end()


async def try_pairs(runners: Runners, folder: SecondFolder, of: Seconds, at_once: int) -> None:
    """The pairs that are left."""
    bar, total = Bar(f"{of.flow}: pairs"), len(of.pairs())
    while waiting := list(of.pairs_left()):
        turn = iter(waiting)

        async def some(turn: Any = turn) -> None:
            for first, then in turn:
                told = await runners.do({"flow": of.flow, "cell": str(first), "then": str(then)})
                folder.keep(told)
                of.take(told)
                if told["findings"]:
                    print(f"\n--flow {of.flow} --cell '{first}' --then '{then}'\n"
                          f"  {told['findings'][0]}", file=sys.stderr)  # fmt: skip
                bar(len(of.results), total)

        await asyncio.gather(*(some() for _ in range(at_once)))
    bar.end()


async def try_all(flows: Sequence[str], at_once: int, folder: Folder) -> int:
    """Everything; returns an exit status."""
    plan = folder.load()
    async with Runners(at_once) as runners:
        await count_points(runners, folder, plan, flows)
        await try_cells(runners, folder, plan, at_once)
    write_report(plan, folder.path / "report.html")
    summary = write_summary(plan, folder.path / "latest.json")
    bad = 0
    for flow, row in summary["flows"].items():
        print(f"{flow:24} {row['points']:6} points {row['cells']:6} cells "
              f"{row['tried']:6} tried {row['failures']:4} failures")  # fmt: skip
        bad += row["failures"] + row["cells"] - row["tried"]
    for flow, findings in plan.dry_findings.items():
        print(f"{flow} without any fault: {findings[0]}")
    print(f"the grid: {folder.path / 'report.html'}")
    return 1 if bad or plan.dry_findings else 0


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.points", description=__doc__)
    parser.add_argument(
        "--flow", action="append", choices=list(FLOWS), help="only this; repeatable"
    )
    parser.add_argument("--cell", help="one cell of one flow, as the report writes it")
    parser.add_argument("--then", help="a second cell, which strikes once the first has")
    parser.add_argument(
        "--second", action="store_true", help="second faults, at each point of recovery"
    )
    parser.add_argument("--runners", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where a run is kept")
    given = parser.parse_args()
    if given.then and not given.cell:
        parser.error("--then wants the --cell before it")
    if given.cell:
        if not given.flow:
            parser.error("--cell wants its --flow")
        with in_memory():
            return asyncio.run(try_one(given.flow[0], given.cell, given.then))
    code_of_runs()  # as it is now, at the beginning
    if given.second:
        with in_memory():
            chosen = given.flow or FLOWS_CHOSEN
            return asyncio.run(try_second(chosen, given.runners, given.folder))
    flows = given.flow or list(FLOWS)
    with in_memory():
        return asyncio.run(try_all(flows, given.runners, Folder(given.folder)))


if __name__ == "__main__":
    sys.exit(main())

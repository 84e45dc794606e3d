"""`python -m tests.faults.walks`: walks until so many processes were killed; writes what it saw."""

import argparse
import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from strongroom.cli.progress import Bar
from tests.faults.code import code_of_runs
from tests.faults.kept import keep
from tests.faults.points.__main__ import FOLDER, Runners
from tests.faults.walks.steps import drawn
from tests.plugins.memory import in_memory

KILLS: Final = 1000
RUNNER: Final = "tests.faults.walks.runner"


def figures_of(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Walks, steps, kills, and the seeds of the walks that went wrong."""
    return {
        "walks": len(told),
        "steps": sum(one["steps"] for one in told),
        "payments": sum(one["payments"] for one in told),
        "taken": dict(sum((Counter(one["taken"]) for one in told), Counter())),
        "kills": sum(one["kills"] for one in told),
        "failures": [one["seed"] for one in told if one["findings"]],
    }


def bound_of(figures: dict[str, Any]) -> str:
    """What none in n says: at 95 %, less than 3/n are (the rule of three)."""
    if figures["failures"]:
        return f"{len(figures['failures'])} of {figures['walks']} walks failed"
    if not figures["kills"]:
        return "nothing was killed, which says nothing"
    return (
        f"none failed: at 95 %, less than {3 / figures['kills']:.2%} of kills and "
        f"{3 / figures['walks']:.2%} of walks lead to a failure"
    )


async def walk_one(seed: int) -> int:
    """One walk, with all that is to be seen of it."""
    for number, step in enumerate(drawn(seed), 1):
        print(f"{number:3} {step}")
    async with Runners(1, RUNNER) as runners:
        told = await runners.do({"seed": seed})
    said = told.pop("said", "")
    print(json.dumps(told, indent=2), said, sep="\n")
    return 1 if told["findings"] else 0


async def walk_until(kills: int, first: int, at_once: int, folder: Path) -> int:
    """Walk after walk until so many kills; returns an exit status."""
    told: list[dict[str, Any]] = []
    bar = Bar("kills")
    print(f"seeds from {first}")

    async def some(seeds: Iterator[int]) -> None:
        for seed in seeds:
            if sum(one["kills"] for one in told) >= kills:
                return
            told.append(one := await runners.do({"seed": seed}))
            write_figures(figures_of(told), folder / "latest.json")
            if one["findings"]:
                print(f"\npython -m tests.faults.walks --seed {seed}\n  {one['findings'][0]}",
                      file=sys.stderr)  # fmt: skip
            bar(min(kills, sum(one["kills"] for one in told)), kills)

    async with Runners(at_once, RUNNER) as runners:
        seeds = count(first)
        await asyncio.gather(*(some(seeds) for _ in range(at_once)))
    bar.end()
    figures = figures_of(told)
    print(f"{figures['walks']} walks, {figures['steps']} steps, {figures['payments']} payments, "
          f"{figures['kills']} kills; {bound_of(figures)}")  # fmt: skip
    return 1 if figures["failures"] else 0


def write_figures(figures: dict[str, Any], file: Path) -> None:
    """Beside those of the points, under `walks`."""
    keep(file, {"walks": figures})


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.walks", description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS, help="how many processes are killed")
    parser.add_argument("--seed", type=int, help="one walk, that of this seed")
    parser.add_argument("--seeds-from", type=int, help="the seed of the first walk")
    parser.add_argument("--runners", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the figures go")
    given = parser.parse_args()
    code_of_runs()  # as it is now, at the beginning
    with in_memory():
        if given.seed is not None:
            return asyncio.run(walk_one(given.seed))
        first = given.seeds_from
        if first is None:
            first = random.SystemRandom().randrange(1_000_000)
        return asyncio.run(walk_until(given.kills, first, given.runners, given.folder))


if __name__ == "__main__":
    raise SystemExit(main())

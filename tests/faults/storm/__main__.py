"""`python -m tests.faults.storm`: delivers genuine webhooks again and again, and judges the end."""

import argparse
import asyncio
import random
import sys
from pathlib import Path
from typing import Final

import msgspec

from tests.faults.code import code_of_runs, commit_of_code
from tests.faults.deployment import Deployment
from tests.faults.kept import bound, keep
from tests.faults.storm.run import DEADLINE_SECONDS, Figures, storm

FILE: Final = Path("build/faults/storm.json")


def told(figures: Figures) -> str:
    """Lines for a person."""
    memory = ", ".join(
        f"{name} {weight.warm:.0f} → {weight.most:.0f}" for name, weight in figures.memory.items()
    )
    return (
        f"{figures.webhooks} deliveries of {figures.events} events of {figures.payments} payments "
        f"and {figures.refunds} refunds in {figures.seconds:.0f} s, {figures.per_second:.0f} a "
        f"second; {figures.held_back} events were held back until the storm\n"
        f"MB: {memory}\n"
        f"answers: {figures.answers}\n" + found(figures)
    )


def found(figures: Figures) -> str:
    """What was found, or what it says that nothing was."""
    if figures.findings:
        return f"{len(figures.findings)} findings:\n" + "\n".join(figures.findings)
    return (
        f"none of {figures.webhooks} was lost or took effect twice: {bound(figures.webhooks)} "
        "would be (3/n)"
    )


def main() -> int:
    """Parses the command line; returns 0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--payments", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    random.seed(given.seed)
    commit = commit_of_code()
    code_of_runs()  # as it is now, at the beginning
    deployment = Deployment(deadline_seconds=DEADLINE_SECONDS)
    try:
        deployment.start()
        figures = asyncio.run(storm(deployment, given.deliveries, given.payments))
    finally:
        print(f"logged: {dict(deployment.complaints())}", file=sys.stderr)
        deployment.remove()
    print(told(figures))
    keep(given.out, msgspec.to_builtins(figures) | {"commit": commit})
    return 1 if figures.findings else 0


if __name__ == "__main__":
    sys.exit(main())

"""The figures that are committed, composed of what runs of one and the same code left.

    python -m tests.faults.figures

writes docs/faults/latest.json, and docs/faults.md anew between its marks. What is missing, of other
code, or does not hold is told, and then nothing is written.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.faults.code import ROOT, code_of_runs, commit_of_code
from tests.faults.kept import bound
from tests.faults.points.flows import FLOWS
from tests.faults.points.second import FLOWS_CHOSEN

RUNS: Final = ROOT / "build" / "faults"
FILE: Final = ROOT / "docs" / "faults" / "latest.json"
PAGE: Final = ROOT / "docs" / "faults.md"
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "latest.json": ("flows", "second", "walks"),
    "seeded.json": ("seeded_bugs", "caught"),
    "storm.json": ("webhooks",),
}
"""By file of a run, the figures that are taken from it."""
LEAST: Final = {"seeded_bugs": 40, "kills": 1000, "webhooks": 1_000_000}
"""What is promised: fewer prove less than the page says."""
BEGIN: Final = "<!-- From here to the end mark: made by `python -m tests.faults.figures`. -->"
END: Final = "<!-- The end mark. -->"
NONE: Final = "There are none of this state yet: no run of all of it was committed."

Figures = Mapping[str, Any]


class Refused(Exception):
    """What the parts were refused for, a line each."""


def composed(folder: Path, code: str, commit: str) -> dict[str, Any]:
    """All figures of the parts in a folder. Raises Refused."""
    parts = {name: _read(folder / name) for name in PARTS}
    refusals = [one for name, part in parts.items() for one in _unfit(name, part, code)]
    if "+" in commit:
        refusals.append("the code is not as it was committed")
    if refusals:
        raise Refused("\n".join(refusals))
    figures = {key: parts[name][key] for name, keys in PARTS.items() for key in keys}
    walks = figures.pop("walks")
    figures["kills"] = walks["kills"]
    broken = [f"the walk of seed {seed} failed" for seed in walks["failures"]]
    if broken := [*broken, *_broken(figures)]:
        raise Refused("\n".join(broken))
    return {**figures, "commit": commit}


def _read(file: Path) -> Figures:
    found: Figures = json.loads(file.read_text()) if file.exists() else {}
    return found


def _unfit(name: str, part: Figures, code: str) -> Iterator[str]:
    """Why a part cannot be taken."""
    if not part:
        yield f"{name} is missing"
        return
    yield from (f"{name} has no {key}" for key in PARTS[name] if key not in part)
    if part.get("code") != code:
        yield f"{name} is of other code"
    if part.get("findings"):
        yield f"{name} has findings: {part['findings']}"


def _broken(figures: Figures) -> Iterator[str]:
    """What does not hold."""
    for key, flows in {"flows": FLOWS, "second": FLOWS_CHOSEN}.items():
        yield from (f"{flow} is not in {key}" for flow in flows if flow not in figures[key])
    for flow, row in figures["flows"].items():
        yield from _of_flow(flow, row, "cells")
    for flow, row in figures["second"].items():
        yield from _of_flow(f"second faults of {flow}", row, "chosen")
    if left := figures["seeded_bugs"] - figures["caught"]:
        yield f"{left} seeded bugs were not caught"
    for key, least in LEAST.items():
        if figures[key] < least:
            yield f"{figures[key]} {key} are fewer than {least}"


def _of_flow(flow: str, row: Figures, wanted: str) -> Iterator[str]:
    if not row["points"]:
        yield f"{flow} has no point"
    if left := row[wanted] - row["tried"]:
        yield f"{left} {wanted} of {flow} were not tried"
    if row["failures"]:
        yield f"{row['failures']} failures in {flow}"


def told(figures: Figures | None) -> str:
    """What the page says of them, as Markdown."""
    if figures is None:
        return NONE
    flows = figures["flows"].values()
    points = sum(row["points"] for row in flows)
    cells = sum(row["tried"] for row in flows)
    pairs = sum(row["tried"] for row in figures["second"].values())
    kills, webhooks = figures["kills"], figures["webhooks"]
    lines = [
        f"At commit `{figures['commit'][:12]}`, all of it tried and nothing found:",
        "",
        f"- {points:,} points in {len(flows)} flows, {cells:,} faults at them;",
        f"- {pairs:,} second faults at points of recovery;",
        f"- {kills:,} random kills: {bound(kills)} loses anything (3/n);",
        f"- {webhooks:,} deliveries of webhooks: {bound(webhooks)} loses anything (3/n);",
        f"- {figures['seeded_bugs']} seeded bugs, of which {figures['caught']} were caught.",
        "",
        "| flow | points | faults tried | failures |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{flow}` | {row['points']:,} | {row['tried']:,} | {row['failures']} |"
        for flow, row in figures["flows"].items()
    ]
    lines += [
        f"| `{flow}`, second faults | {row['points']:,} | {row['tried']:,} | {row['failures']} |"
        for flow, row in figures["second"].items()
    ]
    return "\n".join(lines)


def page_with(text: str, figures: Figures | None) -> str:
    """The page with its figures made anew. Raises ValueError where the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has not got the marks between which its figures stand")
    return f"{before}{BEGIN}\n\n{told(figures)}\n\n{END}{after}"


def main() -> int:
    """Parses the command line; returns 0 where the figures were written."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.figures", description=__doc__)
    parser.add_argument("--folder", type=Path, default=RUNS, help="where runs were kept")
    given = parser.parse_args()
    try:
        figures = composed(given.folder, code_of_runs(), commit_of_code())
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(figures, indent=2) + "\n")
    PAGE.write_text(page_with(PAGE.read_text(), figures))
    print(told(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())

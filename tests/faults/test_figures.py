"""The committed figures: composed of runs of one code, refused where anything is left open."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.faults.code import code_of_runs
from tests.faults.figures import FILE, PAGE, Refused, composed, page_with, told
from tests.faults.kept import keep
from tests.faults.points.flows import FLOWS
from tests.faults.points.second import FLOWS_CHOSEN

CODE, COMMIT = "c0de", "a" * 40
ROW = {"points": 5, "rare": 0, "cells": 9, "tried": 9, "failures": 0}
SECOND = {"firsts": 2, "points": 4, "rare": 0, "pairs": 20, "chosen": 8, "tried": 8, "failures": 0}
FIRST, CHOSEN = next(iter(FLOWS)), FLOWS_CHOSEN[0]
PARTS: dict[str, dict[str, Any]] = {
    "latest.json": {
        "flows": dict.fromkeys(FLOWS, ROW), "second": dict.fromkeys(FLOWS_CHOSEN, SECOND),
        "walks": {"walks": 400, "kills": 1200, "failures": []}, "findings": {},
    },
    "seeded.json": {"seeded_bugs": 41, "caught": 41, "by": []},
    "storm.json": {"webhooks": 1_000_123, "findings": [], "events": 9000},
}  # fmt: skip
"""Made up, and as they would be where all is well."""


def write(folder: Path, parts: Mapping[str, Mapping[str, Any] | None]) -> None:
    for name, part in parts.items():
        if part is not None:
            (folder / name).write_text(json.dumps({"code": CODE, **part}))


def flows(**changes: int) -> dict[str, Any]:
    part = PARTS["latest.json"]
    return {"latest.json": part | {"flows": part["flows"] | {FIRST: ROW | changes}}}


def second(**changes: int) -> dict[str, Any]:
    part = PARTS["latest.json"]
    return {"latest.json": part | {"second": part["second"] | {CHOSEN: SECOND | changes}}}


def walks(**changes: Any) -> dict[str, Any]:
    part = PARTS["latest.json"]
    return {"latest.json": part | {"walks": part["walks"] | changes}}


def test_parts_of_one_code_are_composed(tmp_path: Path) -> None:
    write(tmp_path, PARTS)
    assert composed(tmp_path, CODE, COMMIT) == {
        "flows": PARTS["latest.json"]["flows"], "second": PARTS["latest.json"]["second"],
        "seeded_bugs": 41, "caught": 41, "kills": 1200, "webhooks": 1_000_123, "commit": COMMIT,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"seeded.json": None}, "seeded.json is missing"),
        ({"latest.json": PARTS["latest.json"] | {"findings": {FIRST: ["stuck"]}}},
         f"latest.json has findings: {{'{FIRST}': ['stuck']}}"),
        ({"latest.json": {"flows": {}}}, "latest.json has no second"),
        ({"storm.json": PARTS["storm.json"] | {"code": "other"}}, "storm.json is of other code"),
        ({"storm.json": PARTS["storm.json"] | {"findings": ["evt_1 is lost"]}},
         "storm.json has findings: ['evt_1 is lost']"),
        (flows(tried=8), f"1 cells of {FIRST} were not tried"),
        (flows(failures=2), f"2 failures in {FIRST}"),
        (flows(points=0), f"{FIRST} has no point"),
        ({"latest.json": PARTS["latest.json"] | {"flows": {}}}, f"{FIRST} is not in flows"),
        (second(tried=6), f"2 chosen of second faults of {CHOSEN} were not tried"),
        (second(failures=1), f"1 failures in second faults of {CHOSEN}"),
        ({"latest.json": PARTS["latest.json"] | {"second": {FIRST: SECOND}}},
         f"{FLOWS_CHOSEN[-1]} is not in second"),
        ({"seeded.json": {"seeded_bugs": 41, "caught": 40}}, "1 seeded bugs were not caught"),
        ({"seeded.json": {"seeded_bugs": 39, "caught": 39}}, "39 seeded_bugs are fewer than 40"),
        (walks(kills=999), "999 kills are fewer than 1000"),
        (walks(failures=[7]), "the walk of seed 7 failed"),
        ({"storm.json": {"webhooks": 10}}, "10 webhooks are fewer than 1000000"),
    ],
)  # fmt: skip
def test_what_is_left_open_is_refused_by_name(
    changes: dict[str, Any], refusal: str, tmp_path: Path
) -> None:
    write(tmp_path, PARTS | changes)
    with pytest.raises(Refused) as refused:
        composed(tmp_path, CODE, COMMIT)
    assert refusal in str(refused.value).splitlines()


def test_code_that_is_not_committed_has_no_figures(tmp_path: Path) -> None:
    write(tmp_path, PARTS)
    with pytest.raises(Refused, match="not as it was committed"):
        composed(tmp_path, CODE, COMMIT + " + changes")


def test_a_run_keeps_its_figures_beside_those_of_the_same_code(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "latest.json"
    keep(file, {"flows": {}})
    keep(file, {"second": {}})
    assert json.loads(file.read_text()) == {"flows": {}, "second": {}, "code": code_of_runs()}
    file.write_text(json.dumps({"flows": {}, "second": {}, "code": CODE}))
    keep(file, {"flows": {"a": 1}})
    assert json.loads(file.read_text()) == {"flows": {"a": 1}, "code": code_of_runs()}


def test_the_page_says_what_stands_in_the_committed_figures() -> None:
    figures = json.loads(FILE.read_text()) if FILE.exists() else None
    text = PAGE.read_text()
    assert text == page_with(text, figures)


def test_the_page_names_each_figure(tmp_path: Path) -> None:
    write(tmp_path, PARTS)
    said = told(composed(tmp_path, CODE, COMMIT))
    assert f"{5 * len(FLOWS)} points in {len(FLOWS)} flows, {9 * len(FLOWS)} faults" in said
    assert "24 second faults" in said
    assert "1,200 random kills: with 95 % confidence fewer than one in 400 loses" in said
    assert (
        "1,000,123 deliveries of webhooks: with 95 % confidence fewer than one in 333,374" in said
    )
    assert "41 seeded bugs, of which 41 were caught" in said
    assert f"| `{FIRST}` | 5 | 9 | 0 |" in said

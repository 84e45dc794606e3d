"""Walks: a few in each run, and what makes them up. More are `python -m tests.faults.walks`."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.points.verdict import charged_once_for_an_order, is_voided
from tests.faults.walks.__main__ import bound_of, figures_of, write_figures
from tests.faults.walks.runner import WalkRunner
from tests.faults.walks.steps import GATEWAYS, PAYMENTS_FIRST, Act, drawn

pytestmark = [pytest.mark.faults, pytest.mark.needs("procfs")]

KILLS = 4


async def test_several_payments_at_once_survive_whatever_comes(seed: int) -> None:
    runner = WalkRunner()
    told: list[dict[str, Any]] = []
    try:
        await runner.ground.start()
        while sum(one["kills"] for one in told) < KILLS:
            told.append(one := await runner.do({"seed": seed + len(told)}))
            again = f"python -m tests.faults.walks --seed {one['seed']}"
            assert one["findings"] == [], (again, one["findings"], one["said"])
            assert one["payments"] >= PAYMENTS_FIRST, again
    finally:
        await runner.ground.stop()
    print(figures_of(told), bound_of(figures_of(told)))


def test_a_seed_draws_the_same_walk_each_time() -> None:
    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert [str(step) for step in drawn(7)] == [str(step) for step in drawn(7)]


def test_walks_do_everything_that_there_is() -> None:
    steps = [step for seed in range(100) for step in drawn(seed)]
    acts = Counter(step.act for step in steps)
    assert acts.keys() == set(Act)
    assert {step.gateway for step in steps if step.act is Act.CREATE} == set(GATEWAYS)
    wrong = [step.hours for step in steps if step.act is Act.SET]
    assert min(wrong) < -20
    assert max(wrong) > 20
    assert all(step.hours >= 0 for step in steps if step.act is Act.PASSES)


def told(seed: int, kills: int, *findings: str) -> dict[str, Any]:
    """What a runner says of a walk."""
    return {"seed": seed, "kills": kills, "findings": list(findings), "steps": 20, "payments": 4,
            "taken": {"refund": 1}}  # fmt: skip


def test_what_was_seen_is_bounded_by_the_rule_of_three(tmp_path: Path) -> None:
    figures = figures_of([told(1, 2), told(2, 4)])
    assert "less than 50.00% of kills and 150.00% of walks" in bound_of(figures)
    assert "nothing was killed" in bound_of(figures_of([told(1, 0)]))
    failed = figures_of([told(1, 2), told(2, 4, "charged twice")])
    assert failed["failures"] == [2]
    assert bound_of(failed) == "1 of 2 walks failed"
    file = tmp_path / "faults" / "latest.json"
    write_figures(figures, file)
    assert json.loads(file.read_text())["walks"] == {
        "walks": 2, "steps": 40, "payments": 8, "taken": {"refund": 2}, "kills": 6, "failures": [],
    }  # fmt: skip


def test_an_order_that_two_payments_charge_is_found() -> None:
    orders = {"pay_a": "order-1", "pay_b": "order-1", "pay_c": "order-2"}
    taken = {"pay_a": [{"kind": "taken"}], "pay_b": [{"kind": "held"}], "pay_c": []}
    assert charged_once_for_an_order(orders, taken) == []
    taken["pay_b"] = [{"kind": "taken"}]
    [finding] = charged_once_for_an_order(orders, taken)
    assert finding.startswith("order-1 was charged by")


def test_only_what_was_given_back_whole_may_be_missing_at_the_gateway() -> None:
    whole = {"captured_minor": 1999, "refunded_minor": 1999}
    assert is_voided(("braintree",), whole, [])
    assert not is_voided(("braintree",), whole, [1999])
    assert not is_voided(("braintree",), whole | {"refunded_minor": 700}, [])
    assert not is_voided(("braintree",), {"captured_minor": 0, "refunded_minor": 0}, [])
    assert not is_voided(("stripe",), whole, [])

"""Bugs that are put in on purpose are caught, and what is no verdict is not taken for one.

All of them are `make seeded`; docs/faults.md says how.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.seeded import __main__ as command
from tests.faults.seeded.bugs import FOLDER, PROMISES, ROOT, Bug, Edit, Misfit, all_bugs
from tests.faults.seeded.trying import (
    Run,
    Tried,
    copied,
    digest_of,
    held,
    run_checks,
    try_bug,
    verdict,
)

BUGS = all_bugs()
NUMBER_MIN = 40
QUICK = ("unknown-called-failed", "refund-not-reserved", "witness-checks-no-consistency")
"""Those that each run puts in."""
BUG = Bug(
    name="a-bug",
    what="",
    breaks=1,
    check="tests/unit/test_money.py::test_tables_agree",
    edit=(Edit("strongroom/money.py", "import", "import"),),
)


@pytest.fixture(scope="module")
def clean() -> Iterator[Path]:
    with copied(ROOT) as tree:
        yield tree


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_it_fits_the_product_as_it_is(bug: Bug) -> None:
    bug.find_check()
    for name, text in bug.changed().items():
        assert text != (ROOT / "src" / name).read_text("utf-8")


def test_there_are_enough_and_each_promise_is_broken() -> None:
    assert len(BUGS) >= NUMBER_MIN
    assert {bug.breaks for bug in BUGS} == set(PROMISES)
    assert {name for name in QUICK if name in {bug.name for bug in BUGS}} == set(QUICK)


@pytest.mark.parametrize(
    "bug",
    [
        pytest.param(bug, marks=[] if bug.name in QUICK else [pytest.mark.slow], id=bug.name)
        for bug in BUGS
    ],
)
def test_it_is_caught(bug: Bug, clean: Path) -> None:
    tried = try_bug(bug, clean)
    assert tried.ended == "caught", f"{tried.ended}\n{tried.said}"


def test_without_a_bug_its_check_holds(clean: Path) -> None:
    checks = [bug.check for bug in BUGS if bug.name in QUICK]
    run = run_checks(clean, checks)
    assert run.status == 0, run.said
    assert all(held(run, check) for check in checks)


def test_what_is_tested_is_the_copy(clean: Path) -> None:
    """A bug that makes each import of the product fail breaks the run, and is not caught."""
    worst = Bug(
        name="no-import",
        what="",
        breaks=1,
        check="tests/unit/test_money.py::test_tables_agree",
        edit=(
            Edit(
                "strongroom/__init__.py",
                '__version__ = "0.1.0"',
                '__version__ = "0.1.0"\nraise ImportError',
            ),
        ),
    )
    assert try_bug(worst, clean).ended == "broken"


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (Edit("strongroom/money.py", "no such text", ""), "has its text 0 times"),
        (Edit("strongroom/money.py", "\n", ""), "times and not once"),
        (Edit("strongroom/no_such_file.py", "a", "b"), "there is no src/strongroom/no_such"),
        (Edit("strongroom/money.py", '"""', ""), "times and not once"),
        (Edit("strongroom/__init__.py", "__version__ =", "__version__"), "is no Python"),
    ],
)
def test_a_bug_that_does_not_fit_is_an_error_by_its_name(edit: Edit, why: str) -> None:
    with pytest.raises(Misfit, match=f"a-bug: .*{why}"):
        Bug("a-bug", "", 1, BUG.check, (edit,)).changed()


@pytest.mark.parametrize(
    "check",
    [
        "tests/unit/test_money.py::test_that_is_not_there",
        "tests/unit/no_such_file.py::test_tables_agree",
    ],
)
def test_a_check_that_is_not_there_is_an_error_by_the_bugs_name(check: str) -> None:
    with pytest.raises(Misfit, match="a-bug: there is no test"):
        Bug("a-bug", "", 1, check, BUG.edit).find_check()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[bug]]\nname = 'a-bug'", "missing required field"),
        ("[[bug", "odd.toml"),
        ("[[nothing]]\n", "odd.toml"),
        ("[[bug]]\nname='a'\nwhat=''\nbreaks=1\ncheck=''\nedit=[]", "has a name of its own"),
        ("[[bug]]\nname='a-b'\nwhat=''\nbreaks=9\ncheck=''\nedit=[]", "breaks one of the promises"),
    ],
)
def test_what_is_no_bug_is_refused(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(Misfit, match=why):
        all_bugs(tmp_path)


def heard(outcome: str, when: str = "call", *, is_finding: bool = True) -> dict[str, Any]:
    return {
        "test": "t.py::one[a]", "when": when, "outcome": outcome, "seconds": 0.1,
        "error": "AssertionError", "is_finding": is_finding,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "lines", "ended"),
    [
        (1, [heard("passed"), heard("failed")], "caught"),
        (1, [heard("failed", "setup")], "broken"),
        (1, [heard("failed", "teardown")], "broken"),
        (1, [heard("failed", is_finding=False)], "broken"),
        (0, [heard("passed")], "missed"),
        (0, [heard("skipped")], "broken"),
        (2, [heard("failed")], "broken"),
        (4, [], "broken"),
        (5, [], "broken"),
        (None, [heard("failed")], "broken"),
    ],
)
def test_caught_is_only_what_a_test_found_by_running(
    status: int | None, lines: list[dict[str, Any]], ended: str
) -> None:
    assert verdict(Run(status, 1.0, lines, "")).ended == ended


@pytest.mark.parametrize(
    ("lines", "is_held"),
    [
        ([heard("passed")], True),
        ([heard("passed"), heard("failed", "teardown")], False),
        ([heard("skipped")], False),
        ([], False),
    ],
)
def test_a_check_holds_where_all_of_it_has_passed(
    lines: list[dict[str, Any]], is_held: bool
) -> None:
    run = Run(0, 1.0, lines, "")
    assert held(run, "t.py::one") is is_held
    assert held(run, "t.py::one[a]") is is_held
    assert held(run, "t.py::on") is False


def test_what_is_known_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried("caught", 1.5, "t.py::one: AssertionError")
    command.Kept(tmp_path).keep(digest_of(BUG), BUG, tried)
    kept = command.Kept(tmp_path)
    assert kept.of(BUG) == tried
    command.try_all([BUG], 1, kept)
    figures = command.figures_of([BUG, BUGS[0]], kept)
    assert (figures["seeded_bugs"], figures["caught"]) == (2, 1)
    assert [one["check"] for one in figures["by"]] == [BUG.check]
    monkeypatch.setattr(command, "digest_of", lambda _: "of other code")
    assert kept.of(BUG) is None


def test_every_file_of_bugs_is_read() -> None:
    assert len(list(FOLDER.iterdir())) == len(list(FOLDER.glob("*.toml")))

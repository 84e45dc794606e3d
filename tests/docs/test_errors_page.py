"""The page of errors says what the catalogue says, and is made from it."""

import shutil
from pathlib import Path

import pytest

from strongroom.errors import InvariantBroken
from strongroom.http.reference.errors_page import main, page_with, tables
from strongroom.problems import CATALOGUE
from tests.docs.pages import ROOT

FILE = ROOT / "docs" / "errors.md"


def test_the_page_is_current() -> None:
    text = FILE.read_text("utf-8")
    assert page_with(text) == text, "run `make docs`"


def test_each_problem_has_one_row_with_all_that_a_caller_needs() -> None:
    rows = [line.split(" | ") for line in tables().splitlines() if line.startswith("| `")]
    assert [row[0].strip("|` ") for row in rows] == list(CATALOGUE)
    for row, known in zip(rows, CATALOGUE.values(), strict=True):
        assert row[1:3] == [str(known.status), "yes" if known.retry_safe else "no"]
        assert len(row) == 5, "a | in a text would be a column more"
        assert "{" not in row[3] + row[4]


def test_the_page_is_written_anew_in_place(tmp_path: Path) -> None:
    page = tmp_path / "errors.md"
    shutil.copy(FILE, page)
    text = page.read_text("utf-8")
    page.write_text(text.replace("| `queue_full` | 503 |", "| `queue_full` | 200 |"), "utf-8")
    assert page.read_text("utf-8") != text
    assert main([str(page)]) == 0
    assert page.read_text("utf-8") == text


def test_a_page_without_marks_is_left_alone() -> None:
    with pytest.raises(InvariantBroken):
        page_with("# Errors\n")


def test_a_page_has_to_be_named() -> None:
    assert main([]) == 2

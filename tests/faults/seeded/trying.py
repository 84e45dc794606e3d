"""One copy of the repository after the other: with a bug in it, and the test that has to see it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from msgspec import Struct

from tests.faults.code import digest_of_code
from tests.faults.seeded import hearing
from tests.faults.seeded.bugs import ROOT, Bug

CHECK_SECONDS_MAX: Final = 300.0
"""A test that does not end catches nothing."""
LEFT_OUT: Final = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "*.log")
TAIL: Final = 3000
"""Characters of what pytest said that are kept of a check that went wrong."""
FAILED: Final = 1
"""pytest's exit status where tests ran and some failed; other numbers are no verdict."""


class Tried(Struct, frozen=True):
    """What a check came to. `ended`: caught, missed, or broken, which is no verdict."""

    ended: str
    seconds: float
    by: str = ""
    """The test that failed, with its parameters, and by what."""
    said: str = ""


class Run(Struct, frozen=True):
    """One run of pytest: its exit status, None where it did not end; what was heard of tests."""

    status: int | None
    seconds: float
    heard: list[dict[str, Any]]
    said: str


@contextmanager
def copied(tree: Path) -> Iterator[Path]:
    """A copy of a tree, for as long as it is needed."""
    with TemporaryDirectory(prefix="seeded-") as base:
        copy = Path(base).resolve() / "tree"
        shutil.copytree(tree, copy, ignore=LEFT_OUT)
        yield copy


def run_checks(tree: Path, checks: Sequence[str], *more: str) -> Run:
    """Runs tests on a copy; nothing but the copy is imported, by children neither."""
    with TemporaryDirectory(prefix="seeded-") as base:
        return _run(tree, Path(base), [*more, *checks], CHECK_SECONDS_MAX * len(checks))


def _run(tree: Path, base: Path, arguments: Sequence[str], seconds_max: float) -> Run:
    heard, output = base / "heard", base / "output"
    heard.touch()
    argv = [sys.executable, "-m", "pytest", "-p", hearing.__name__, "-p", "no:cacheprovider",
            "-q", "--hypothesis-seed=0", *arguments]  # fmt: skip
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": f"{tree / 'src'}:{tree}"}
    env |= {hearing.TREE: str(tree), hearing.HEARD: str(heard)}
    begun = time.monotonic()
    with output.open("wb") as stream:
        process = subprocess.Popen(
            argv, cwd=tree, env=env, stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            status: int | None = process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(process)
    seconds = round(time.monotonic() - begun, 1)
    lines = [json.loads(line) for line in heard.read_text().splitlines()]
    return Run(status, seconds, lines, output.read_text(errors="replace")[-TAIL:])


def try_bug(bug: Bug, clean: Path) -> Tried:
    """Puts it into a copy of `clean`, and runs its check. Raises Misfit."""
    with copied(clean) as tree:
        bug.put_into(tree)
        run = run_checks(tree, [bug.check], "-x")
    return verdict(run)


def verdict(run: Run) -> Tried:
    """Caught is only what a test found out by running: not what it could not begin with."""
    failed = [one for one in run.heard if one["outcome"] == "failed"]
    found = [one for one in failed if one["when"] == "call" and one["is_finding"]]
    if run.status == FAILED and found:
        return Tried("caught", run.seconds, f"{found[0]['test']}: {found[0]['error']}")
    if run.status == 0 and any(one["outcome"] == "passed" for one in run.heard):
        return Tried("missed", run.seconds, said=run.said)
    return Tried("broken", run.seconds, said=run.said)


def held(run: Run, check: str) -> bool:
    """Whether a check ran and all of it passed, of a run of many on the clean copy."""
    of_it = [one for one in run.heard if one["test"] == check or _is_of(one["test"], check)]
    passed = [one for one in of_it if one["outcome"] == "passed" and one["when"] == "call"]
    return bool(passed) and not any(one["outcome"] == "failed" for one in of_it)


def digest_of(bug: Bug) -> str:
    """Of all that decides what comes of it: the product, what tests share, its test, itself."""
    test = (ROOT / bug.check.partition("::")[0]).read_bytes()
    return hashlib.sha256(f"{_digest_of_shared()} {bug} ".encode() + test).hexdigest()[:16]


@cache
def _digest_of_shared() -> str:
    def is_own(file: Path) -> bool:
        return file.name.startswith("test_") or file.parent == Path(__file__).parent

    return digest_of_code(("src", "tests"), is_own)


def _is_of(test: str, check: str) -> bool:
    return test.startswith((f"{check}[", f"{check}::"))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """It and whatever it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

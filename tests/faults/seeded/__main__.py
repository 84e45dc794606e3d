"""`python -m tests.faults.seeded`: puts each bug into a copy, and sees whether its test fails."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

import msgspec

from strongroom.cli.progress import Bar
from tests.faults.code import code_of_runs
from tests.faults.kept import keep
from tests.faults.seeded.bugs import PROMISES, ROOT, Bug, Misfit, all_bugs
from tests.faults.seeded.trying import Tried, copied, digest_of, held, run_checks, try_bug

FOLDER: Final = Path("build/faults")


class Kept:
    """What is known of bugs, by the digest of all that decides it; a line each, in one file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "seeded.jsonl"
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self._known: dict[str, Tried] = {}
        for line in lines:
            told = json.loads(line)
            self._known[told["digest"]] = msgspec.convert(told["tried"], Tried)

    def of(self, bug: Bug) -> Tried | None:
        """What came of this very bug in this very code."""
        return self._known.get(digest_of(bug))

    def keep(self, digest: str, bug: Bug, tried: Tried) -> None:
        """One line more; the digest is of what was tried."""
        self._known[digest] = tried
        with self._file.open("a") as stream:
            told = {"digest": digest, "bug": bug.name, "tried": msgspec.to_builtins(tried)}
            stream.write(json.dumps(told) + "\n")


def try_all(bugs: Sequence[Bug], at_once: int, kept: Kept) -> None:
    """Whatever is not known yet: the checks on a clean copy first, then each bug in its own."""
    left = [bug for bug in bugs if kept.of(bug) is None]
    if not left:
        return
    digests = {bug.name: digest_of(bug) for bug in left}
    with copied(ROOT) as clean, ThreadPoolExecutor(at_once) as threads:
        good = sound_checks(clean, left, threads)
        sound = [bug for bug in left if bug.check in good]
        bar = Bar("bugs")
        trying = {threads.submit(try_bug, bug, clean): bug for bug in sound}
        for done, future in enumerate(as_completed(trying), 1):
            bug, tried = trying[future], future.result()
            if tried.ended == "caught":
                kept.keep(digests[bug.name], bug, tried)
            else:
                print(f"\n{bug.name}: {tried.ended}\n{tried.said}", file=sys.stderr)
            bar(done, len(sound))
        bar.end()


def sound_checks(clean: Path, bugs: Sequence[Bug], threads: ThreadPoolExecutor) -> set[str]:
    """Those checks of these bugs that hold without them; the others are told of."""
    by_file: dict[str, list[str]] = {}
    for check in dict.fromkeys(bug.check for bug in bugs):
        by_file.setdefault(check.partition("::")[0], []).append(check)
    bar, good = Bar("checks without a bug"), set[str]()
    running = {threads.submit(run_checks, clean, checks): checks for checks in by_file.values()}
    for done, future in enumerate(as_completed(running), 1):
        run, checks = future.result(), running[future]
        holding = {check for check in checks if held(run, check)}
        for check in set(checks) - holding:
            print(f"\n{check} does not hold without any bug\n{run.said}", file=sys.stderr)
        good |= holding
        bar(done, len(running))
    bar.end()
    return good


def figures_of(bugs: Sequence[Bug], kept: Kept) -> dict[str, Any]:
    """How many there are, how many were caught, and by what."""
    by = [
        {"bug": bug.name, "breaks": PROMISES[bug.breaks], "check": bug.check, "by": tried.by,
         "seconds": tried.seconds}
        for bug in bugs
        if (tried := kept.of(bug)) is not None
    ]  # fmt: skip
    return {"seeded_bugs": len(bugs), "caught": len(by), "by": by}


def print_table(bugs: Sequence[Bug], kept: Kept) -> None:
    """A line for each bug."""
    for bug in bugs:
        tried = kept.of(bug)
        ended = "NOT CAUGHT" if tried is None else f"{tried.seconds:8.1f} s"
        print(f"{ended:>10}  {bug.name:45}  {bug.check.rpartition('::')[2]}")


def main() -> int:
    """Parses the command line; returns 0 where every bug is caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.seeded", description=__doc__)
    parser.add_argument("--bug", action="append", help="only this, by its name; repeatable")
    parser.add_argument("--at-once", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where a run is kept")
    given = parser.parse_args()
    try:
        bugs = all_bugs()
        if given.bug:
            bugs = [bug for bug in bugs if bug.name in given.bug]
            if unknown := set(given.bug) - {bug.name for bug in bugs}:
                parser.error(f"there is no bug called {min(unknown)}")
        for bug in bugs:
            bug.changed()
            bug.find_check()
    except Misfit as misfit:
        print(misfit, file=sys.stderr)
        return 2
    code_of_runs()  # as it is now, at the beginning
    kept = Kept(given.folder)
    try_all(bugs, given.at_once, kept)
    print_table(bugs, kept)
    figures = figures_of(bugs, kept)
    if not given.bug:
        keep(given.folder / "seeded.json", figures)
    print(f"{figures['caught']} of {figures['seeded_bugs']} seeded bugs were caught")
    return 0 if figures["caught"] == figures["seeded_bugs"] else 1


if __name__ == "__main__":
    sys.exit(main())

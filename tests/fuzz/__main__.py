"""`make fuzz`: walks through a deployment of its own until enough was asked; prints how it goes.

Gateway and database fail now and then meanwhile. Ends with 1 when an answer was wrong.
"""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg

from strongroom.clock import monotonic_seconds
from tests.acceptance.conftest import new_merchant
from tests.acceptance.running import Running, up
from tests.fuzz.books import close_books
from tests.fuzz.gateway import faulty_gateway
from tests.fuzz.oracle import Wrong
from tests.fuzz.rounds import Run, run
from tests.fuzz.walks import Target

CASES: Final = 20_000
WORKERS: Final = 3
OUTAGES: Final = 3
OUTAGE_SECONDS: Final = 4.0
LOOK_SECONDS: Final = 0.05
SEED_BITS: Final = 31
TABLE_CASES: Final = 2_500
"""How often everything is printed; a line comes every LINE_SECONDS."""
LINE_SECONDS: Final = 5.0


def main() -> int:
    """Runs it all; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=…", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help="requests to send, at least")
    parser.add_argument("--seed", type=int, default=secrets.randbits(SEED_BITS))
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes that send")
    parser.add_argument("--outages", type=int, default=OUTAGES, help="kill -9 of the database")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}, {chosen.cases} cases, {chosen.workers} workers", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="strongroom-fuzz-"))
    try:
        with up(folder / "home") as running:
            return _fuzz(running, chosen)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fuzz(running: Running, chosen: argparse.Namespace) -> int:
    other = new_merchant(running, "Other Ltd")
    target = Target(running.api_url, running.api_key, other.api_key)
    progress = Progress(running, chosen.cases, chosen.outages)
    with faulty_gateway(running):
        found = run(
            target,
            cases=chosen.cases,
            first_seed=chosen.seed,
            workers=chosen.workers,
            failures_max=chosen.failures,
            tell=progress.tell,
        )
    print(found.tally.table())
    print(f"{found.seconds:.0f} s, {found.tally.cases / found.seconds:.0f} requests a second")
    for wrong in found.failures:
        print(f"\nWRONG, with --seed {wrong.seed}:\n{wrong.failure}")
    try:
        print(close_books(target, running.stripe_url, running.knob_token).table())
    except Wrong as wrong:
        print(f"\nWRONG in the end: {wrong}")
        return 1
    errors = list(_errors(running))
    for line in errors:
        print(f"\nLOGGED: {line}")
    print(
        f"{found.tally.cases} cases, {len(found.failures)} wrong answers, "
        f"{progress.cuts} outages of the database, {len(errors)} errors logged; "
        f"seeds {min(found.seeds)} to {max(found.seeds)}"
    )
    return 1 if found.failures or errors else 0


class Progress:
    """Prints how far it is, and has the database fail when it is time."""

    def __init__(self, running: Running, cases: int, outages: int) -> None:
        self.cuts = 0
        self._running, self._cases, self._outages = running, cases, outages
        self._line_at, self._table_at = 0.0, TABLE_CASES

    def tell(self, found: Run) -> None:
        """After each round."""
        cases = found.tally.cases
        if monotonic_seconds() >= self._line_at:
            self._line_at = monotonic_seconds() + LINE_SECONDS
            print(
                f"{cases:6} of {self._cases}  {cases / found.seconds:4.0f}/s  "
                f"{len(found.failures)} wrong  {found.tally.line()}",
                flush=True,
            )
        if cases >= self._table_at:
            self._table_at += TABLE_CASES
            print(found.tally.table(), flush=True)
        if self.cuts < self._outages and cases * (self._outages + 1) >= self._cases * (
            self.cuts + 1
        ):
            self.cuts += 1
            keep_database_down(self._running)


def keep_database_down(running: Running) -> None:
    """kill -9 of PostgreSQL, again whenever the supervisor has started it, for a while."""
    pid_file = Path(asyncio.run(_data_directory(running)), "postmaster.pid")
    up_again = monotonic_seconds() + OUTAGE_SECONDS
    killed: set[int] = set()
    while monotonic_seconds() < up_again:
        with suppress(OSError, IndexError, ValueError):
            pid = int(pid_file.read_text().split()[0])
            if pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(LOOK_SECONDS)
    print(f"(the database was killed {len(killed)} times)", flush=True)


async def _data_directory(running: Running) -> str:
    connection = await asyncpg.connect(running.owner_url)
    try:
        return str(await connection.fetchval("SHOW data_directory"))
    finally:
        await connection.close()


def _errors(running: Running) -> Iterator[str]:
    for name in ("api.log", "worker.log"):
        for line in running.log_texts()[name].splitlines():
            if json.loads(line)["level"] == "error":
                yield f"{name}: {line}"


if __name__ == "__main__":
    sys.exit(main())

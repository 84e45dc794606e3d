"""`python -m bench`: measures, prints a table, writes bench/results/latest.json."""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from bench import comparisons, log, machine, measures, pgbench, vault, verify, webhooks, whole
from bench.children import Failed
from bench.cluster import Server, running_server, sync_us
from bench.figures import medians, number, table, targets
from bench.measures import QUICK, Lengths, Outcome
from strongroom.local.errors import LocalError

RESULTS: Final = Path(__file__).resolve().parent / "results"
NAMES: Final = (
    "pgbench",
    "unbatched",
    "accept",
    "bulk",
    "end_to_end",
    "grown",
    "guarded",
    "vaulted",
    "vault",
    "webhooks",
    "webhooks_braintree",
    "log",
    "verify",
    "settle",
    "stripe_sdk",
    "start",
)
SHOWN: Final = (
    *("writers", "backlog", "others_cores"),
    *("pps_with", "pps_without", "us_with", "us_without", "caught_up_ms"),
)
"""Details that stand beside the figures while it runs."""
WARM_UP_SECONDS: Final = 3.0
_EXIT_WRONG: Final = 1


class Run:
    """One run of the bench: figures by round, details, and what did not add up."""

    def __init__(self, server: Server, lengths: Lengths, only: list[str]) -> None:
        self.server = server
        self.lengths = lengths
        self.only = only
        self.rounds: dict[str, list[float]] = {}
        self.details: dict[str, list[dict[str, object]]] = {}
        self.wrong: list[str] = []

    def everything(self) -> None:
        """Interleaved, so that a slow minute of the machine does not fall on one figure alone."""
        server, lengths = self.server, self.lengths
        if len(self.only) > 1:
            self._warm_up()
        for _ in range(lengths.rounds):
            self._do("pgbench", lambda: measures.pgbench_tps(server, lengths))
            self._do("accept", lambda: measures.accept(server, lengths))
            self._do("webhooks", lambda: webhooks.stripe(server, lengths))
            self._do("webhooks_braintree", lambda: webhooks.braintree(server, lengths))
            self._do("bulk", lambda: measures.bulk(server, lengths))
            self._do("end_to_end", lambda: measures.end_to_end(server, lengths))
            self._do("unbatched", lambda: measures.unbatched(server, lengths))
        self._do("grown", lambda: comparisons.grown(server, lengths))
        self._do("guarded", lambda: comparisons.guarded(server, lengths))
        self._do("vaulted", lambda: comparisons.vaulted(server, lengths))
        self._do("vault", lambda: vault.measure(server))
        self._do("log", lambda: log.measure(server, lengths))
        self._do("verify", lambda: verify.measure(lengths))
        self._do("settle", lambda: measures.settle(server, lengths))
        self._do("stripe_sdk", lambda: whole.stripe_sdk(server, lengths))
        self._do("start", lambda: whole.start(lengths))

    def _warm_up(self) -> None:
        """Makes the WAL's files, which a server does once, before anything is measured."""
        say("warm-up")
        with self.server.deployment() as deployment:
            pgbench.sweep(self.server, deployment, WARM_UP_SECONDS / 2)

    def _do(self, name: str, measure: Callable[[], Outcome]) -> None:
        if name not in self.only:
            return
        began = time.monotonic()
        outcome = measure()
        for figure, value in outcome.figures.items():
            self.rounds.setdefault(figure, []).append(value)
        self.details.setdefault(name, []).append(outcome.details)
        self.wrong += [f"{name}: {problem}" for problem in outcome.wrong]
        shown = ", ".join(f"{key} {number(value)}" for key, value in outcome.figures.items())
        say(f"{name:<12}{shown}{_aside(outcome)}  [{time.monotonic() - began:.0f} s]")
        for line in outcome.wrong:
            say(f"    WRONG: {line}")


def _aside(outcome: Outcome) -> str:
    parts = []
    for key in ("forms", "by_writers", "cpu_us", "cpu_us_empty", "cpu_us_grown", "rows_read"):
        found = outcome.details.get(key)
        if isinstance(found, dict):
            values = " ".join(f"{name}={number(value)}" for name, value in found.items())
            parts.append(f"  {key}: {values}")
    parts += [f"  {key} {outcome.details[key]}" for key in SHOWN if outcome.details.get(key)]
    return "".join(parts)


def say(line: str) -> None:
    """A line of progress, with the time since the start."""
    print(f"{time.monotonic() - _BEGAN:6.1f}  {line}", file=sys.stderr, flush=True)


_BEGAN: Final = time.monotonic()


def main() -> int:
    """Measures; 0 unless requests failed or rows did not add up."""
    options = _options()
    lengths = QUICK if options.quick else Lengths()
    only = options.only or list(NAMES)
    signal.signal(signal.SIGTERM, _end)
    try:
        with running_server() as server:
            facts = machine.describe() | server.settings() | {"sync_us": round(sync_us())}
            run = Run(server, lengths, only)
            run.everything()
    except (Failed, LocalError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return _EXIT_WRONG
    except KeyboardInterrupt:
        return 130
    print("\n" + "  ".join(f"{name}: {value}" for name, value in facts.items()) + "\n")
    print(table(run.rounds))
    _write(run, facts, quick=options.quick, partly=bool(options.only))
    for line in run.wrong:
        print(f"WRONG: {line}")
    return _EXIT_WRONG if run.wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, for tuning")
    parser.add_argument("--only", action="append", choices=NAMES, help="may be repeated")
    return parser.parse_args()


def _write(run: Run, facts: dict[str, str | int | float], *, quick: bool, partly: bool) -> None:
    figures = medians(run.rounds)
    document = {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "quick": quick,
        "machine": facts,
        "figures": {name: round(value, 2) for name, value in figures.items()},
        "targets": [
            {
                "name": target.name,
                "value": round(target.value, 3),
                "relation": target.relation,
                "bound": round(target.bound, 3),
                "met": target.met,
            }
            for target in targets(figures)
            if target.value is not None
        ],
        "rounds": {name: [round(v, 2) for v in values] for name, values in run.rounds.items()},
        "details": run.details,
        "wrong": run.wrong,
    }
    RESULTS.mkdir(exist_ok=True)
    name = "partly.json" if partly else "quick.json" if quick else "latest.json"
    file = RESULTS / name
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    print(f"\nwritten: {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")


def _end(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

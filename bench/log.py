"""What the log costs payments, and how long an event waits for its place in it."""

import asyncio
import contextlib
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from statistics import median
from typing import Final, NamedTuple

import asyncpg

from bench.children import signer
from bench.cluster import Deployment, Server, query
from bench.load import Result
from bench.measures import Lengths, Outcome, details_of, run_end_to_end
from strongroom.config import Home
from strongroom.ids import to_text
from strongroom.log.notes import NoteRefused, NoteVerifier
from strongroom.log.tiles import PUBLIC_KEY, TileFolder
from strongroom.log.verifying import LogRefused, verify_folder

UNLOGGED: Final = ("bench.unlogged_worker",)
LOOK_SECONDS: Final = 0.005
STILL_SECONDS: Final = 2.0
"""A log that has not grown for so long is complete; its events are not counted while it grows."""
PLACED_SECONDS_MAX: Final = 30.0
HALF: Final = 0.5
PROCESSES: Final = ("api", "worker", "signer", "postgres")

SIZES: Final = """
SELECT coalesce((SELECT max(size) FROM log_heads), 0),
  coalesce((SELECT max(size) FROM log_checkpoints), 0)
"""
EVENTS: Final = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM customer_events)"
ENTRY_BYTES: Final = "SELECT avg(octet_length(entry))::float, count(*) FROM log_entries"
BEGINNINGS: Final = """
SELECT l.index, extract(epoch FROM e.at)::float AS at
FROM log_entries l JOIN events e ON e.legal_entity_id = l.legal_entity_id
  AND e.payment_id = l.subject_id AND e.version = l.version
CROSS JOIN (SELECT min(at) AS at FROM events WHERE kind = 'payment.accepted') begun
WHERE e.at >= begun.at + $1::float * interval '1 second'
  AND e.at < begun.at + $2::float * interval '1 second'
"""
"""From the first payment on: before it the deployment was set up."""


class Look(NamedTuple):
    """What could be seen at a moment, in seconds of the clock that events have their time from."""

    at: float
    placed: int
    signed: int


class Run(NamedTuple):
    """One run: what came back, rows read by table, and until all had its place and was signed."""

    result: Result
    reads: dict[str, float]
    wrong: list[str]
    caught_up_ms: float


def measure(server: Server, lengths: Lengths) -> Outcome:
    """Pairs of runs with the log and without, in turns; then one at half the rate, watched."""
    sides: dict[str, list[Run]] = {"with": [], "without": []}
    times = (lengths.warm_up_seconds, lengths.log_seconds)
    for number in range(lengths.log_rounds):
        for name in ("with", "without") if number % 2 else ("without", "with"):
            with server.deployment() as deployment:
                run = (logged if name == "with" else unlogged)(server, deployment, times)
            sides[name].append(run)
    rates = {name: [run.result.end_to_end_pps for run in runs] for name, runs in sides.items()}
    lags, lag_details, wrong = lag(server, lengths, median(rates["with"]) * HALF)
    details: dict[str, object] = {"lag": lag_details}
    for name, runs in sides.items():
        details[f"pps_{name}"] = [round(rate, 1) for rate in rates[name]]
        details[f"us_{name}"] = [round(cpu_us(run.result), 1) for run in runs]
        details[name] = details_of(runs[-1].result) | {"rows_read": runs[-1].reads}
        wrong += [f"{name} the log: {problem}" for run in runs for problem in run.wrong]
    details["caught_up_ms"] = [round(run.caught_up_ms) for run in sides["with"]]
    return Outcome(
        {
            "end_to_end_log_ratio": median(
                with_it / without
                for with_it, without in zip(rates["with"], rates["without"], strict=True)
            ),
            "sequencing_lag_p99_ms": percentile(lags, 0.99),
        },
        details,
        wrong,
    )


def cpu_us(result: Result) -> float:
    """Microseconds of all processes but the load generator, for each payment accepted."""
    return sum(used for name, used in result.cpu_us.items() if name in PROCESSES)


def logged(
    server: Server, deployment: Deployment, times: tuple[float, float], pps_max: float | None = None
) -> Run:
    """API, worker with its sequencer, and signer; what was signed is verified afterwards."""
    took = [0.0]

    def catch_up() -> None:
        began = moved = now = time.monotonic()
        seen = (-1, -1)
        while now < moved + STILL_SECONDS and now < began + PLACED_SECONDS_MAX:
            placed, signed = query(deployment.owner_url, SIZES)[0]
            now = time.monotonic()
            if seen != (placed, signed):
                seen, moved = (placed, signed), now
        took[0] = (moved - began) * 1000

    with signer(deployment.home) as signing:
        result, reads, wrong = run_end_to_end(
            server,
            deployment,
            times,
            pps_max=pps_max,
            beside={"signer": signing},
            then=catch_up,
        )
    return Run(result, reads, wrong + _unlike_its_events(deployment), took[0])


def unlogged(server: Server, deployment: Deployment, times: tuple[float, float]) -> Run:
    """API and worker, without sequencer and signer: events are written, and have no place."""
    result, reads, wrong = run_end_to_end(server, deployment, times, UNLOGGED)
    placed = int(query(deployment.owner_url, SIZES)[0][0])
    return Run(result, reads, wrong + ([f"{placed} events have a place"] if placed else []), 0.0)


def lag(
    server: Server, lengths: Lengths, pps_max: float
) -> tuple[list[float], dict[str, object], list[str]]:
    """Milliseconds from an event's time, before its commit, until its place is seen; in order."""
    times = (lengths.warm_up_seconds, lengths.lag_seconds)
    with server.deployment() as deployment:
        with watching(deployment) as looks:
            run = logged(server, deployment, times, pps_max)
        rows = query(deployment.owner_url, BEGINNINGS, times[0], sum(times))
        size, entries = query(deployment.owner_url, ENTRY_BYTES)[0]
    begun = [(int(row["index"]), float(row["at"])) for row in rows]
    placed = waited_ms(begun, [(look.at, look.placed) for look in looks])
    signed = waited_ms(begun, [(look.at, look.signed) for look in looks])
    wrong = [f"lag: {problem}" for problem in run.wrong]
    if len(placed) < len(begun) or not begun:
        wrong.append(f"lag: {len(begun) - len(placed)} of {len(begun)} events have no place")
    details = details_of(run.result) | {
        "pps_max": round(pps_max, 1),
        "events": len(begun),
        "looks": len(looks),
        "lag_p50_ms": round(percentile(placed, 0.5), 1),
        "lag_max_ms": round(percentile(placed, 1.0), 1),
        "signed_p50_ms": round(percentile(signed, 0.5), 1),
        "signed_p99_ms": round(percentile(signed, 0.99), 1),
        "entry_bytes": round(float(size or 0), 1),
        "entries": int(entries),
    }
    return placed, details, wrong


@contextlib.contextmanager
def watching(deployment: Deployment) -> Iterator[list[Look]]:
    """Looks, one every few milliseconds, at how far the log has come; all are there at the end."""
    looks: list[Look] = []
    ended = threading.Event()

    async def watch() -> None:
        connection = await asyncpg.connect(
            deployment.owner_url, server_settings={"search_path": "strongroom"}
        )
        try:
            while not ended.is_set():
                [(placed, signed)] = await connection.fetch(SIZES)
                looks.append(Look(time.time(), placed, signed))
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(watch()), daemon=True)
    thread.start()
    try:
        yield looks
    finally:
        ended.set()
        thread.join()


def waited_ms(begun: list[tuple[int, float]], looks: list[tuple[float, int]]) -> list[float]:
    """Milliseconds until a look showed more entries than an index, in order of length.

    `begun` are pairs of index and time, `looks` are pairs of time and entries, both in seconds.
    What no look showed is left out.
    """
    sizes = [size for _, size in looks]
    found = [(bisect_right(sizes, index), at) for index, at in begun]
    return sorted((looks[look][0] - at) * 1000 for look, at in found if look < len(looks))


def percentile(ordered: list[float], share: float) -> float:
    """The value that this share of them does not exceed, 0.0 of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _unlike_its_events(deployment: Deployment) -> list[str]:
    """What an auditor finds wrong with the log, and whether it has all events."""
    folder = Home(deployment.home).logs / to_text("ent", deployment.legal_entity)
    events = int(query(deployment.owner_url, EVENTS)[0][0])
    try:
        verifier = NoteVerifier.read((folder / PUBLIC_KEY).read_text("utf-8").strip())
        size = verify_folder(TileFolder(folder), verifier).size
    except (OSError, NoteRefused, LogRefused) as problem:
        return [f"the log does not hold: {problem}"]
    return [] if size == events else [f"{size} entries are signed, of {events} events"]

"""The measurements, each from a freshly migrated database to a checked end."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench import pgbench
from bench.audit import audit, index_reads, rows_read
from bench.children import API, Failed, Process, api, load, tail, worker
from bench.cluster import Deployment, Server, query
from bench.load import Plan, Result
from bench.process_times import snapshot
from bench.tally import Tally
from strongroom.local.children import api_processes
from strongroom.local.ports import LOOPBACK

CONNECTIONS: Final = 256
BULK_PAYMENTS: Final = 100
BULK_CONNECTIONS: Final = 32
WORKER: Final = ("bench.sleeping_worker",)
BACKLOG_MAX: Final = 4000
UNBATCHED_WRITERS: Final = (4, 16, 32)
DRAIN_SECONDS_MAX: Final = 60.0
STUCK_SECONDS_MAX: Final = 5.0
EDGE_SHARE: Final = 0.05
"""Of a run over prefilled payments the first and last part are left out of the rate."""


@dataclass(frozen=True)
class Lengths:
    """How long the parts of a run take, in seconds, and how often."""

    rounds: int = 3
    pgbench_seconds: float = 4
    warm_up_seconds: float = 2
    accept_seconds: float = 10
    bulk_seconds: float = 6
    unbatched_seconds: float = 5
    grown_payments: int = 1_000_000
    grown_rounds: int = 3
    grown_seconds: float = 6
    guarded_rounds: int = 10
    guarded_seconds: float = 4
    log_rounds: int = 5
    log_seconds: float = 6
    lag_seconds: float = 10
    verify_entries: int = 1_000_000
    verify_rounds: int = 3
    settle_payments: int = 40_000
    sdk_payments: int = 3_000
    starts: int = 3


QUICK: Final = Lengths(
    rounds=1,
    pgbench_seconds=2,
    warm_up_seconds=1,
    accept_seconds=3,
    bulk_seconds=3,
    unbatched_seconds=2,
    grown_payments=200_000,
    grown_rounds=1,
    grown_seconds=3,
    guarded_rounds=3,
    guarded_seconds=1,
    log_rounds=1,
    log_seconds=3,
    lag_seconds=3,
    verify_entries=100_000,
    verify_rounds=1,
    settle_payments=20_000,
    sdk_payments=600,
    starts=1,
)


@dataclass
class Outcome:
    """Figures of one measurement, details for the JSON, and what did not add up."""

    figures: dict[str, float]
    details: dict[str, object] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def pgbench_tps(server: Server, lengths: Lengths) -> Outcome:
    """The best of all forms and both numbers of clients."""
    with server.deployment() as deployment:
        found = pgbench.sweep(server, deployment, lengths.pgbench_seconds)
    best = max(found, key=lambda name: found[name].tps)
    return Outcome(
        {"pgbench_tps": found[best].tps},
        {
            "forms": {name: round(speed.tps, 1) for name, speed in found.items()},
            "cpu_us": {
                "postgres": round(found[best].postgres_us, 1),
                "pgbench": round(found[best].pgbench_us, 1),
            },
            "others_cores": round(found[best].others_cores, 2),
        },
    )


def accept(server: Server, lengths: Lengths, module: Sequence[str] = API) -> Outcome:
    """The API alone, 256 connections. `module` is another program to run in its place."""
    with server.deployment() as deployment:
        result, reads, wrong = run_accept(
            server, deployment, lengths.warm_up_seconds, lengths.accept_seconds, module
        )
    figures = {
        "accept_rps": result.rps,
        "accept_p50_ms": result.p50_ms,
        "accept_p99_ms": result.p99_ms,
    }
    return Outcome(figures, details_of(result) | {"rows_read": reads}, wrong)


def bulk(server: Server, lengths: Lengths, module: Sequence[str] = API) -> Outcome:
    """The API alone, a hundred payments a request."""
    with server.deployment() as deployment:
        result, reads, wrong = run_accept(
            server,
            deployment,
            lengths.warm_up_seconds,
            lengths.bulk_seconds,
            module,
            bulk=BULK_PAYMENTS,
        )
    return Outcome({"bulk_pps": result.rps}, details_of(result) | {"rows_read": reads}, wrong)


def unbatched(server: Server, lengths: Lengths) -> Outcome:
    """The same server with batches of one: the best of several numbers of writers."""
    found: dict[int, Result] = {}
    wrong: list[str] = []
    for count in UNBATCHED_WRITERS:
        with server.deployment(
            accept_writers=count // api_processes(), accept_batch_max=1
        ) as deployment:
            found[count], _, problems = run_accept(
                server, deployment, lengths.warm_up_seconds / 2, lengths.unbatched_seconds
            )
            wrong += problems
    best = max(found, key=lambda count: found[count].rps)
    return Outcome(
        {"accept_unbatched_rps": found[best].rps},
        {
            "writers": best,
            "by_writers": {str(count): round(result.rps) for count, result in found.items()},
            **details_of(found[best]),
        },
        wrong,
    )


def run_accept(
    server: Server,
    deployment: Deployment,
    warm_up_seconds: float,
    seconds: float,
    module: Sequence[str] = API,
    bulk: int | None = None,
    stored: int = 0,
) -> tuple[Result, dict[str, float], list[str]]:
    """One run on a deployment that holds `stored` payments already."""
    reads_before = index_reads(deployment)
    with api(deployment.home, module) as (serving, port):
        result = load(
            deployment.home,
            Plan(
                host=LOOPBACK,
                port=port,
                api_key_file=str(deployment.api_key_file),
                connections=CONNECTIONS if bulk is None else BULK_CONNECTIONS,
                warm_up_seconds=warm_up_seconds,
                seconds=seconds,
                bulk=bulk,
                watched={"api": [one.pid for one in serving], "postgres": [server.pid]},
            ),
        )
        for one in serving:
            _check_alive(one.poll(), deployment, "api")
    reads = rows_read(deployment, result.accepted, reads_before)
    return result, reads, _failures(result) + audit(deployment, stored + result.accepted)


def end_to_end(server: Server, lengths: Lengths) -> Outcome:
    """API and worker at once; the generator holds back while 4,000 payments are unsettled."""
    with server.deployment() as deployment:
        result, reads, wrong = run_end_to_end(
            server, deployment, (lengths.warm_up_seconds, lengths.accept_seconds)
        )
    return Outcome(
        {"end_to_end_pps": result.end_to_end_pps}, details_of(result) | {"rows_read": reads}, wrong
    )


def run_end_to_end(
    server: Server,
    deployment: Deployment,
    times: tuple[float, float],
    module: Sequence[str] = WORKER,
    *,
    pps_max: float | None = None,
    beside: Mapping[str, Process] | None = None,
    then: Callable[[], None] = lambda: None,
) -> tuple[Result, dict[str, float], list[str]]:
    """One run of both, warm-up and measured seconds. `module` is the program that settles.

    `beside` are other processes that run, by name; `then` is called when all is settled and all of
    them are still there.
    """
    home, others = deployment.home, beside or {}
    tally_file = home / "tally"
    tally = Tally.create(tally_file)
    command = [*module, str(home), str(tally_file)]
    with api(home) as (serving, port), worker(home, command) as working:
        watched = {"api": [one.pid for one in serving], "worker": [working.pid]}
        watched |= {name: [one.pid] for name, one in others.items()}
        result = load(
            home,
            Plan(
                host=LOOPBACK,
                port=port,
                api_key_file=str(deployment.api_key_file),
                connections=CONNECTIONS,
                warm_up_seconds=times[0],
                seconds=times[1],
                tally_file=str(tally_file),
                backlog_max=BACKLOG_MAX,
                pps_max=pps_max,
                watched=watched | {"postgres": [server.pid]},
            ),
        )
        _watch_settled(tally, result.accepted, working)
        then()
        for one in serving:
            _check_alive(one.poll(), deployment, "api")
        for name, one in {"worker": working, **others}.items():
            _check_alive(one.poll(), deployment, name)
    reads = rows_read(deployment, result.accepted)  # before the audit reads all
    wrong = _failures(result) + audit(deployment, result.accepted, settled=result.accepted)
    tally.close()
    return result, reads, _unsettled(deployment, wrong)


def settle(server: Server, lengths: Lengths, module: Sequence[str] = WORKER) -> Outcome:
    """The worker alone, over payments that are all due."""
    count = lengths.settle_payments
    with server.deployment() as deployment:
        prefill(server, deployment, count)
        home = deployment.home
        tally_file = home / "tally"
        tally = Tally.create(tally_file)
        with worker(home, [*module, str(home), str(tally_file)]) as process:
            watched = {"worker": [process.pid], "postgres": [server.pid]}
            before = snapshot(watched)
            seen = _watch_settled(tally, count, process)
            used = snapshot(watched)
        wrong = _unsettled(deployment, audit(deployment, count, settled=count))
        tally.close()
    cpu_us = {name: round((used[name] - before[name]) * 1e6 / count, 1) for name in used}
    return Outcome(
        {"settle_pps": middle_rate(seen, count)}, {"payments": count, "cpu_us": cpu_us}, wrong
    )


def prefill(server: Server, deployment: Deployment, count: int) -> None:
    """Accepted payments, due now, written by one statement each table."""
    statements = (pgbench.HERE / "prefill.sql").read_text("utf-8").split(";\n")
    for statement in statements:
        if statement.strip():
            query(
                deployment.owner_url,
                statement.replace(":entity", f"'{deployment.legal_entity}'")
                .replace(":account", f"'{deployment.gateway_account}'")
                .replace(":bucket", str(deployment.bucket))
                .replace(":count", str(count)),
            )
    server.calm(deployment.owner_url.rpartition("/")[2])


def middle_rate(seen: list[tuple[float, int]], count: int) -> float:
    """Payments a second between the first and the last twentieth of `count`.

    `seen` are pairs of time and total, in order; 0.0 when they do not reach that far.
    """
    low, high = count * EDGE_SHARE, count * (1 - EDGE_SHARE)
    inside = [(at, total) for at, total in seen if low <= total]
    ends = [index for index, (_, total) in enumerate(inside) if total >= high]
    if not ends or ends[0] == 0:
        return 0.0
    (begin, first), (end, last) = inside[0], inside[ends[0]]
    return (last - first) / (end - begin)


def _watch_settled(tally: Tally, wanted: int, process: Process) -> list[tuple[float, int]]:
    """Pairs of time and payments settled, until all are, nothing moves or the worker ends."""
    now = time.monotonic()
    seen, deadline, moved = [(now, tally.settled)], now + DRAIN_SECONDS_MAX, now
    while tally.settled < wanted and now < min(deadline, moved + STUCK_SECONDS_MAX):
        if process.poll() is not None:
            break
        time.sleep(0.01)
        now = time.monotonic()
        if tally.settled != seen[-1][1]:
            moved = now
        seen.append((now, tally.settled))
    return seen


def _unsettled(deployment: Deployment, wrong: list[str]) -> list[str]:
    """With the end of the worker's log, when something is wrong."""
    return [*wrong, tail(deployment.home / "logs" / "worker.log")] if wrong else []


def _check_alive(code: int | None, deployment: Deployment, name: str) -> None:
    if code is not None:
        log = tail(deployment.home / "logs" / f"{name}.log")
        raise Failed(f"{name} ended with {code}:\n{log}")


def _failures(result: Result) -> list[str]:
    if not result.failed:
        return []
    return [f"{result.failed} requests failed: {result.statuses}; first: {result.first_failure}"]


def details_of(result: Result) -> dict[str, object]:
    """What the JSON has of a run of the load generator."""
    return {
        "requests": result.accepted,
        "p50_ms": round(result.p50_ms, 2),
        "p99_ms": round(result.p99_ms, 2),
        "max_ms": round(result.max_ms, 2),
        "accepted_rps": round(result.rps, 1),
        "settled_pps": round(result.settled_pps, 1),
        "backlog": result.backlog,
        "others_cores": round(result.others_cores, 2),
        "cpu_us": {name: round(used, 1) for name, used in result.cpu_us.items()},
    }

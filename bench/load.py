"""The load of a measurement: a closed loop over keep-alive connections, in a process of its own.

`python -m bench.load PLAN RESULT` reads a plan and writes a result, both JSON. The callers are
those of `strongroom bench load`. Each payment has an Idempotency-Key and a merchant_reference of
its own; any answer but 201 and 202 is a failure.
"""

import asyncio
import resource
import sys
from array import array
from pathlib import Path
from time import perf_counter
from typing import Final

import msgspec
import uvloop
from msgspec import Struct

from bench.hooks import Sender, orders_of
from bench.process_times import machine_seconds, snapshot
from bench.tally import ACCEPTED, SETTLED, Tally
from strongroom.load.callers import CONNECT_AT_ONCE_MAX, Callers, Connection
from strongroom.load.orders import Orders

LAST_ANSWERS_SECONDS_MAX: Final = 30.0
PAUSE_SECONDS: Final = 0.002


class Plan(Struct, kw_only=True):
    """What to send: single requests, or `bulk` payments a request.

    `backlog_max` stops sending while that many accepted payments are unsettled; `pps_max` is sent
    at most, evenly. `webhooks`: these are sent, not payments. `watched` names processes whose CPU
    time is read at both ends of the measured window.
    """

    host: str
    port: int
    api_key_file: str
    connections: int
    warm_up_seconds: float
    seconds: float
    bulk: int | None = None
    requests_max: int | None = None
    instrument: bool = True
    tally_file: str | None = None
    backlog_max: int | None = None
    pps_max: float | None = None
    watched: dict[str, list[int]] = {}
    webhooks: Sender | None = None


class Result(Struct, kw_only=True):
    """What came back: totals of the whole run, rates and latencies of the measured window.

    All counts are of payments; a bulk that fails counts all of its own.
    """

    accepted: int
    failed: int
    statuses: dict[str, int]
    first_failure: str
    seconds: float
    rps: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    settled_pps: float
    backlog: int
    cpu_us: dict[str, float]
    """CPU microseconds per payment accepted in the window, by process; `load` is our own."""
    others_cores: float
    """Cores that were busy with something else: how far the machine was not ours."""

    @property
    def end_to_end_pps(self) -> float:
        """The lesser of the rates of what was accepted and what was settled."""
        return min(self.rps, self.settled_pps)


class Load(Callers):
    """Callers that are held back by a plan's limits."""

    def __init__(self, plan: Plan, api_key: str) -> None:
        place = f"{plan.host}:{plan.port}"
        super().__init__(
            orders_of(place, plan.webhooks)
            if plan.webhooks
            else Orders(place, api_key, bulk=plan.bulk, instrument=plan.instrument)
        )
        self.plan = plan
        self.tally = Tally(Path(plan.tally_file)) if plan.tally_file else None
        self.paused: list[Connection] = []
        self.began = perf_counter()

    def may_send(self, connection: Connection) -> bool:
        """Whether the connection sends its next request now; when held back it is sent later."""
        if self.ending or self.sent == self.plan.requests_max:
            self.hush()
            return False
        if self._is_early() or self._is_backed_up():
            self.paused.append(connection)
            return False
        return True

    def _is_early(self) -> bool:
        rate = self.plan.pps_max
        return rate is not None and self.sent >= (perf_counter() - self.began) * rate

    def _is_backed_up(self) -> bool:
        limit, tally = self.plan.backlog_max, self.tally
        return (
            limit is not None and tally is not None and self.sent - tally.counts[SETTLED] >= limit
        )

    def answered(self, status: str, answer: bytes, seconds: float) -> None:
        """Counts it, for others to see too."""
        if self.plan.webhooks and status == "200":
            status = "201"  # what is counted as taken
        super().answered(status, answer, seconds)
        if self.tally:
            self.tally.counts[ACCEPTED] = self.accepted

    async def resume_paused(self) -> None:
        """Lets connections go on that waited for the backlog to shrink, or for their time."""
        while not self.quiet.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
            waiting, self.paused = self.paused, []
            for connection in waiting:
                connection.send()


async def run(plan: Plan, api_key: str) -> Result:
    """One run: connect, warm up, measure, let the last answers come in."""
    load = Load(plan, api_key)
    connections = await _connect(load)
    watched = dict(plan.watched)
    tally = load.tally
    resuming = asyncio.create_task(load.resume_paused())
    load.began = perf_counter()
    for _, connection in connections:
        connection.send()
    await _wait(load, plan.warm_up_seconds)
    load.latencies = array("d")
    settled_before, accepted_before = tally.settled if tally else 0, load.accepted
    cpu_before, began = _cpu(watched), perf_counter()
    await _wait(load, plan.seconds)
    seconds = perf_counter() - began
    latencies, load.latencies = load.latencies, array("d")
    settled = tally.settled - settled_before if tally else 0
    accepted = load.accepted - accepted_before
    backlog = load.accepted - tally.settled if tally else 0
    cpu = {name: used - cpu_before[name] for name, used in _cpu(watched).items()}
    ours = sum(used for name, used in cpu.items() if name in watched) + cpu["load"]
    others = cpu.pop("machine") - ours
    load.ending = True
    if load.in_flight:
        await _wait(load, LAST_ANSWERS_SECONDS_MAX)
    if load.in_flight:
        load.statuses["unanswered"] = load.in_flight
        load.failed += load.in_flight
    load.quiet.set()
    await resuming
    for transport, _ in connections:
        transport.close()
    ordered = sorted(latencies)
    return Result(
        accepted=load.accepted,
        failed=load.failed,
        statuses=load.statuses,
        first_failure=load.first_failure,
        seconds=seconds,
        rps=accepted / seconds,
        p50_ms=_percentile_ms(ordered, 0.50),
        p99_ms=_percentile_ms(ordered, 0.99),
        max_ms=_percentile_ms(ordered, 1.0),
        settled_pps=settled / seconds,
        backlog=backlog,
        cpu_us={name: used * 1e6 / max(1, accepted) for name, used in cpu.items()},
        others_cores=max(0.0, others / seconds),
    )


async def _connect(load: Load) -> list[tuple[asyncio.BaseTransport, Connection]]:
    loop = asyncio.get_running_loop()
    plan = load.plan
    made: list[tuple[asyncio.BaseTransport, Connection]] = []
    while len(made) < plan.connections:
        some = min(CONNECT_AT_ONCE_MAX, plan.connections - len(made))
        made += await asyncio.gather(
            *(
                loop.create_connection(lambda: Connection(load), plan.host, plan.port)
                for _ in range(some)
            )
        )
    return made


async def _wait(load: Load, seconds: float) -> None:
    try:
        await asyncio.wait_for(load.quiet.wait(), seconds)
    except TimeoutError:
        return


def _percentile_ms(ordered: list[float], share: float) -> float:
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def _cpu(watched: dict[str, list[int]]) -> dict[str, float]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return snapshot(watched) | {
        "load": own.ru_utime + own.ru_stime,
        "machine": machine_seconds(),
    }


def main() -> int:
    """Runs the plan in the first file and writes the result to the second."""
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    result = uvloop.run(run(plan, Path(plan.api_key_file).read_text("utf-8").strip()))
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

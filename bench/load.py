"""A load generator of one process: closed loop over keep-alive connections, POST /v1/payments.

`python -m bench.load PLAN RESULT` reads a plan and writes a result, both JSON. Each request has an
Idempotency-Key and a merchant_reference of its own; any answer but 201 and 202 is a failure.
"""

import asyncio
import resource
import secrets
import sys
from array import array
from pathlib import Path
from time import perf_counter
from typing import Final, cast

import msgspec
import uvloop
from msgspec import Struct

from bench.process_times import machine_seconds, snapshot
from bench.tally import ACCEPTED, SETTLED, Tally

LAST_ANSWERS_SECONDS_MAX: Final = 30.0
CONNECT_AT_ONCE_MAX: Final = 32
PAUSE_SECONDS: Final = 0.002
FAILURE_BYTES_KEPT: Final = 600
_RANDOM_BYTES: Final = 27  # 18 for the key, 9 for the reference
_RANDOM_CHARACTERS: Final = 2 * _RANDOM_BYTES
_KEY_CHARACTERS: Final = 36
_CHUNK: Final = 1024


class Plan(Struct, kw_only=True):
    """What to send. `backlog_max` stops sending while that many accepted payments are unsettled.

    `watched` names processes whose CPU time is read at both ends of the measured window.
    """

    host: str
    port: int
    api_key_file: str
    connections: int
    warm_up_seconds: float
    seconds: float
    requests_max: int | None = None
    instrument: bool = True
    tally_file: str | None = None
    backlog_max: int | None = None
    watched: dict[str, list[int]] = {}


class Result(Struct, kw_only=True):
    """What came back: totals of the whole run, rates and latencies of the measured window."""

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
    """CPU microseconds per request accepted in the window, by process; `load` is our own."""
    others_cores: float
    """Cores that were busy with something else: how far the machine was not ours."""


class Load:
    """Counters of a run and what its connections share."""

    def __init__(self, plan: Plan, api_key: str) -> None:
        self.plan = plan
        instrument = b'"instrument":{"gateway":"stripe","token":"pm_card_visa"},'
        before = b'{"amount":1999,"currency":"EUR","merchant_reference":"order-'
        after = (
            b'",'
            + (instrument if plan.instrument else b"")
            + b'"description":"Two tickets, row 7","metadata":{"channel":"web"}}'
        )
        length = len(before) + _RANDOM_CHARACTERS - _KEY_CHARACTERS + len(after)
        self._head = (
            f"POST /v1/payments HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\n"
            f"Authorization: Bearer {api_key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\nIdempotency-Key: "
        ).encode()
        self._middle = b"\r\n\r\n" + before
        self._after = after
        self._noise = ""
        self._noise_at = 0
        self.tally = Tally(Path(plan.tally_file)) if plan.tally_file else None
        self.accepted = 0
        self.sent = 0
        self.in_flight = 0
        self.failed = 0
        self.statuses: dict[str, int] = {}
        self.first_failure = ""
        self.latencies = array("d")
        self.ending = False
        self.paused: list[Connection] = []
        self.quiet = asyncio.Event()

    def request(self) -> bytes:
        """The next request's bytes: a template with 144 and 72 random bits put in."""
        at = self._noise_at
        if at == len(self._noise):
            self._noise, at = secrets.token_hex(_RANDOM_BYTES * _CHUNK), 0
        key_end, end = at + _KEY_CHARACTERS, at + _RANDOM_CHARACTERS
        self._noise_at = end
        noise = self._noise
        return b"".join(
            (
                self._head,
                noise[at:key_end].encode(),
                self._middle,
                noise[key_end:end].encode(),
                self._after,
            )
        )

    def may_send(self, connection: "Connection") -> bool:
        """Whether the connection sends its next request now; when held back it is sent later."""
        if self.ending or self.sent == self.plan.requests_max:
            if not self.in_flight:
                self.quiet.set()
            return False
        limit, tally = self.plan.backlog_max, self.tally
        if limit is not None and tally and self.sent - tally.counts[SETTLED] >= limit:
            self.paused.append(connection)
            return False
        return True

    def fail(self, status: str, answer: bytes) -> None:
        """Notes what should not have happened."""
        self.failed += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if not self.first_failure:
            self.first_failure = answer[:FAILURE_BYTES_KEPT].decode("utf-8", "replace")

    async def resume_paused(self) -> None:
        """Lets connections go on that waited for the backlog to shrink."""
        while not self.quiet.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
            waiting, self.paused = self.paused, []
            for connection in waiting:
                connection.send()


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("_expected", "_load", "_rest", "_sent_at", "_transport")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._rest = b""
        self._expected = 0
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Sends the next request, if there is to be one."""
        load = self._load
        if self._transport is not None and load.may_send(self):
            load.sent += 1
            load.in_flight += 1
            self._sent_at = perf_counter()
            self._transport.write(load.request())

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if not self._expected:
            head_end = data.find(b"\r\n\r\n")
            if head_end < 0:
                self._rest = data
                return
            at = data.find(b"ontent-length: ", 0, head_end) + 15
            if at < 15:
                self._load.fail("no content-length", data)
                self._close()
                return
            self._expected = head_end + 4 + int(data[at : data.find(b"\r", at)])
        if len(data) < self._expected:
            self._rest = data
            return
        self._answered(data)

    def _answered(self, data: bytes) -> None:
        self._rest, self._expected = b"", 0
        load, sent_at, self._sent_at = self._load, self._sent_at, 0.0
        load.in_flight -= 1
        status = data[9:12]
        if status in (b"202", b"201"):
            load.accepted += 1
            load.latencies.append(perf_counter() - sent_at)
            if load.tally:
                load.tally.counts[ACCEPTED] = load.accepted
        else:
            load.fail(status.decode("ascii", "replace"), data)
        self.send()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._sent_at:
            self._load.in_flight -= 1
            self._load.fail("connection lost", repr(exc).encode())
            if not self._load.in_flight:
                self._load.quiet.set()


async def run(plan: Plan, api_key: str) -> Result:
    """One run: connect, warm up, measure, let the last answers come in."""
    load = Load(plan, api_key)
    connections = await _connect(load)
    watched = dict(plan.watched)
    tally = load.tally
    resuming = asyncio.create_task(load.resume_paused())
    for _, connection in connections:
        connection.send()
    await _wait(load, plan.warm_up_seconds)
    load.latencies = array("d")
    settled_before = tally.settled if tally else 0
    cpu_before, began = _cpu(watched), perf_counter()
    await _wait(load, plan.seconds)
    seconds = perf_counter() - began
    latencies, load.latencies = load.latencies, array("d")
    settled = tally.settled - settled_before if tally else 0
    backlog = load.accepted - tally.settled if tally else 0
    cpu = {name: used - cpu_before[name] for name, used in _cpu(watched).items()}
    ours = sum(used for name, used in cpu.items() if name in watched) + cpu["load"]
    others = cpu.pop("machine") - ours
    load.ending = True
    if load.in_flight:
        await _wait(load, LAST_ANSWERS_SECONDS_MAX)
    if load.in_flight:
        load.fail("unanswered", b"")
    load.quiet.set()
    await resuming
    for transport, _ in connections:
        transport.close()
    ordered = sorted(latencies)
    count = max(1, len(ordered))
    return Result(
        accepted=load.accepted,
        failed=load.failed,
        statuses=load.statuses,
        first_failure=load.first_failure,
        seconds=seconds,
        rps=len(ordered) / seconds,
        p50_ms=_percentile_ms(ordered, 0.50),
        p99_ms=_percentile_ms(ordered, 0.99),
        max_ms=_percentile_ms(ordered, 1.0),
        settled_pps=settled / seconds,
        backlog=backlog,
        cpu_us={name: used * 1e6 / count for name, used in cpu.items()},
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

"""One run: connect, send at the pace that was asked for, count, let the last answers come in."""

import asyncio
import signal
import ssl
from array import array
from collections.abc import Callable, Sequence
from math import exp, log
from typing import Final

from msgspec import Struct

from strongroom.clock import monotonic_seconds
from strongroom.config import ConfigurationError
from strongroom.load.callers import CONNECT_AT_ONCE_MAX, Callers, Connection, Party
from strongroom.load.followed import Followed
from strongroom.load.orders import Orders
from strongroom.load.plan import LoadPlan, Target, target_of

TICK_SECONDS: Final = 0.02
SHOWN_SECONDS: Final = 1.0
BURST_SECONDS: Final = 0.1
"""After a stall no more is made up for than this."""
LAST_ANSWERS_SECONDS_MAX: Final = 30.0
SETTLE_SECONDS_MAX: Final = 10.0
"""How long the sample may take to come to rest, after the last request."""
CONNECT_SECONDS_MAX: Final = 5.0
_FINENESS: Final = 100
"""Buckets a factor of e: latencies are kept to about one percent."""


class Latencies:
    """How often which latency was met, to one percent: as large for ten as for a million."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._total = 0

    def add(self, seconds: Sequence[float]) -> None:
        """Notes some more."""
        for one in seconds:
            bucket = round(log(max(one, 1e-6)) * _FINENESS)
            self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self._total += len(seconds)

    def percentile_ms(self, share: float) -> float:
        """The milliseconds that this share of all stayed below."""
        left = self._total * share
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                return exp(bucket / _FINENESS) * 1000
        return 0.0


class Sample(Struct, frozen=True, kw_only=True):
    """How a run stands; `rate`, `p50_ms` and `p99_ms` are of the last second, or of the whole."""

    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    sent: int
    accepted: int
    in_flight: int
    statuses: dict[str, int]
    states: dict[str, int]
    """Where the payments of the sample stand."""
    unseen: str | None
    """The status by which looking at payments was refused."""


class Paced(Callers):
    """Callers that are held back by the plan's rate and number of payments."""

    def __init__(self, plan: LoadPlan, orders: Orders, followed: Followed) -> None:
        super().__init__(orders)
        self._plan = plan
        self._followed = followed
        self._allowed = 0.0
        self._sampled_at = 0.0
        self._held: list[Connection] = []

    def may_send(self, connection: Connection) -> bool:
        """Whether there is allowance for one more request."""
        if self.sent + self.payments_each > self._plan.payments_max:
            self.ending = True
        if not super().may_send(connection):
            return False
        if self._plan.rate is None:
            return True
        if self._allowed < self.payments_each:
            self._held.append(connection)
            return False
        self._allowed -= self.payments_each
        return True

    def answered(self, status: str, answer: bytes, seconds: float) -> None:
        """Counts it; one a tick is followed."""
        super().answered(status, answer, seconds)
        now = monotonic_seconds()
        if status < "300" and now - self._sampled_at >= TICK_SECONDS:
            self._sampled_at = now
            self._followed.take(answer)

    def allow(self, seconds: float) -> None:
        """So much time has passed: as many payments more may be begun."""
        rate = self._plan.rate
        if rate is not None:
            most = max(rate * BURST_SECONDS, self.payments_each)
            self._allowed = min(most, self._allowed + seconds * rate)
        held, self._held = self._held, []
        for connection in held:
            connection.send()


async def run(plan: LoadPlan, show: Callable[[Sample], None]) -> Sample:
    """Runs the plan; `show` sees how it stands, once a second. Returns how it went on the whole.

    SIGINT and SIGTERM end it early. Raises ConfigurationError when it may not be run, or nobody
    answers at the address.
    """
    target = target_of(plan)
    followed = Followed(target.authority, plan.api_key)
    orders = Orders(target.authority, plan.api_key, bulk=plan.bulk, instrument=plan.instrument)
    callers = Paced(plan, orders, followed)
    connections = await _connect(target, callers, plan.clients)
    looking = (await _connect(target, followed, 1))[0]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _end, callers)
    try:
        return await _Run(plan, target, callers, followed, connections, looking).go(show)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _end(callers: Callers) -> None:
    callers.ending = True
    callers.hush()


class _Run:
    """A run under way."""

    def __init__(
        self,
        plan: LoadPlan,
        target: Target,
        callers: Paced,
        followed: Followed,
        connections: list[Connection],
        looking: Connection,
    ) -> None:
        self._plan = plan
        self._target = target
        self._callers = callers
        self._followed = followed
        self._connections = connections
        self._looking = looking
        self._latencies = Latencies()
        self._began = monotonic_seconds()

    async def go(self, show: Callable[[Sample], None]) -> Sample:
        """Until time or payments are used up, and the sample has come to rest."""
        callers, ends = self._callers, self._began + self._plan.seconds
        for connection in self._connections:
            connection.send()
        shown, accepted, last = self._began, 0, self._began
        while not callers.ending:
            await asyncio.sleep(TICK_SECONDS)
            now = monotonic_seconds()
            self._tick(now - last)
            last = now
            if now >= ends:
                _end(callers)
            if now - shown >= SHOWN_SECONDS:
                rate = (callers.accepted - accepted) / (now - shown)
                show(self._sample(now, rate, self._window()))
                shown, accepted = now, callers.accepted
                await self._mend()
        sent_until = monotonic_seconds()
        await self._last_answers()
        rate = callers.accepted / (sent_until - self._began)
        await self._come_to_rest()
        self._window()
        for connection in (*self._connections, self._looking):
            connection.close()
        return self._sample(sent_until, rate, self._latencies)

    def _tick(self, seconds: float) -> None:
        self._callers.allow(seconds)
        self._followed.allow(seconds)
        self._looking.send()

    def _window(self) -> Latencies:
        """The latencies since the last look, which go into those of the whole."""
        window, self._callers.latencies = self._callers.latencies, array("d")
        self._latencies.add(window)
        latest = Latencies()
        latest.add(window)
        return latest

    def _sample(self, now: float, rate: float, latencies: Latencies) -> Sample:
        callers = self._callers
        return Sample(
            seconds=now - self._began,
            rate=rate,
            p50_ms=latencies.percentile_ms(0.50),
            p99_ms=latencies.percentile_ms(0.99),
            sent=callers.sent,
            accepted=callers.accepted,
            in_flight=callers.in_flight * callers.payments_each,
            statuses=dict(sorted(callers.statuses.items())),
            states=self._followed.counts(),
            unseen=self._followed.refused,
        )

    async def _mend(self) -> None:
        """Connects again what was cut off; where nobody answers, the next second tries."""
        cut = [number for number, one in enumerate(self._connections) if not one.is_open]
        try:
            if cut:
                made = await _connect(self._target, self._callers, len(cut))
                for number, connection in zip(cut, made, strict=True):
                    self._connections[number] = connection
                    connection.send()
            if not self._looking.is_open:
                [self._looking] = await _connect(self._target, self._followed, 1)
        except ConfigurationError:
            return

    async def _last_answers(self) -> None:
        callers = self._callers
        callers.hush()
        try:
            async with asyncio.timeout(LAST_ANSWERS_SECONDS_MAX):
                await callers.quiet.wait()
        except TimeoutError:
            unanswered = callers.in_flight * callers.payments_each
            callers.statuses["unanswered"] = unanswered
            callers.failed += unanswered

    async def _come_to_rest(self) -> None:
        deadline = monotonic_seconds() + SETTLE_SECONDS_MAX
        while (
            self._followed.moving
            and self._followed.refused is None
            and self._looking.is_open
            and monotonic_seconds() < deadline
        ):
            await asyncio.sleep(TICK_SECONDS)
            self._tick(TICK_SECONDS)


async def _connect(target: Target, party: Party, count: int) -> list[Connection]:
    """So many connections. Raises ConfigurationError when they cannot be had."""
    loop = asyncio.get_running_loop()
    tls = ssl.create_default_context() if target.tls else None
    made: list[Connection] = []
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            while len(made) < count:
                some = min(CONNECT_AT_ONCE_MAX, count - len(made))
                ends = await asyncio.gather(
                    *(
                        loop.create_connection(
                            lambda: Connection(party), target.host, target.port, ssl=tls
                        )
                        for _ in range(some)
                    )
                )
                made += [connection for _, connection in ends]
    except (OSError, TimeoutError):
        for connection in made:
            connection.close()
        raise ConfigurationError(f"nobody answers at {target.authority}.") from None
    return made

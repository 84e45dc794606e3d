"""Gauges that need the database: what is open, since when, and what is overdue.

Read by the worker from `jobs`, which holds a row for each payment that something is still to be
done for, and from there by key; payments are never walked through. Of each bucket the jobs due
first are looked at, so that a large backlog costs no more than a small one.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from strongroom.clock import Clock, monotonic_seconds
from strongroom.database import UNREACHABLE, begin, rollback, see, statements
from strongroom.payments.rows import job_buckets

SQL: Final = statements("strongroom.telemetry", "open_work.sql")
READ_SECONDS: Final = 10.0
"""Between two readings; longer where a reading takes long."""
SHARE_OF_TIME: Final = 0.02
JOBS_OF_BUCKET_MAX: Final = 5000
STALE_SECONDS: Final = 90.0
"""A reading that is older is not shown: no value is better than one that no longer holds."""

OPEN: Final = {
    "payments": (
        "requires_payment_method",
        "processing",
        "requires_action",
        "authorized",
        "outcome_unknown",
    ),
    "refunds": ("processing", "pending", "outcome_unknown"),
}
"""By lane, the states that something is still to be done in."""
_STATEMENTS: Final = {
    "payments": ("jobs_due", "payments_at_work"),
    "refunds": ("refund_jobs_due", "refunds_at_work"),
}

log = structlog.get_logger()


class Lane(NamedTuple):
    """One reading of one lane."""

    planned: int
    due: int
    late_seconds: float
    open: dict[str, tuple[int, float]]
    """By status, how many there are, and for how many seconds the oldest has stood there."""


class OpenWork:
    """Reads now and then; a collector of the library's."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock, buckets: Sequence[int]) -> None:
        self._pool = pool
        self._clock = clock
        self._buckets = job_buckets(buckets)
        self._lanes: dict[str, Lane] = {}
        self._read_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to read in the running loop."""
        self._task = asyncio.create_task(self._read_forever())

    async def close(self) -> None:
        """Stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def read(self) -> None:
        """One reading of all lanes, each in a transaction of its own."""
        self._lanes = {lane: await self._read_lane(lane) for lane in OPEN}
        self._read_at = monotonic_seconds()

    def collect(self) -> Iterator[Metric]:
        """The last reading; nothing when it is too old."""
        if self._read_at is None or monotonic_seconds() - self._read_at > STALE_SECONDS:
            return
        yield from (
            self._family("strongroom_jobs_planned", "Jobs, due or not.", "planned"),
            self._family("strongroom_jobs_due", "Jobs whose time has come.", "due"),
            self._family(
                "strongroom_jobs_overdue_seconds", "Lateness of the job due first.", "late_seconds"
            ),
        )
        count = GaugeMetricFamily(
            "strongroom_open", "Payments and refunds not at their end.", labels=["lane", "status"]
        )
        oldest = GaugeMetricFamily(
            "strongroom_open_oldest_seconds",
            "For how long the oldest of them has stood in its state.",
            labels=["lane", "status"],
        )
        for name, lane in self._lanes.items():
            for status, (number, seconds) in lane.open.items():
                count.add_metric([name, status], number)
                oldest.add_metric([name, status], seconds)
        yield count
        yield oldest

    def _family(self, metric: str, text: str, field: str) -> Metric:
        family = GaugeMetricFamily(metric, text, labels=["lane"])
        for name, lane in self._lanes.items():
            family.add_metric([name], getattr(lane, field))
        return family

    async def _read_lane(self, name: str) -> Lane:
        jobs_statement, open_statement = _STATEMENTS[name]
        now = self._clock.now()
        async with self._pool.acquire() as connection:
            await begin(connection, [], read_only=True, buckets=self._buckets)
            try:
                jobs = await connection.fetch(
                    SQL[jobs_statement], self._buckets, now, JOBS_OF_BUCKET_MAX
                )
                await see(connection, [row["legal_entity_id"] for row in jobs])
                rows = await connection.fetch(
                    SQL[open_statement], self._buckets, JOBS_OF_BUCKET_MAX
                )
            finally:
                await rollback(connection)
        found = {row["status"]: (row["number"], _age(row["since"], now)) for row in rows}
        first = min((row["first_run_at"] for row in jobs), default=now)
        return Lane(
            planned=sum(row["planned"] for row in jobs),
            due=sum(row["due"] for row in jobs),
            late_seconds=_age(first, now),
            open={status: found.get(status, (0, 0.0)) for status in OPEN[name]},
        )

    async def _read_forever(self) -> None:
        while True:
            started = monotonic_seconds()
            try:
                await self.read()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("open_work_not_read", error=type(error).__name__)
            took = monotonic_seconds() - started
            await asyncio.sleep(max(READ_SECONDS, took / SHARE_OF_TIME))


def _age(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())

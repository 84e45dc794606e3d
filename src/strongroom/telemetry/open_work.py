"""Gauges that need the database: what is open, since when, and what is overdue.

Read by the worker from `jobs`, which holds a row for each payment that something is still to be
done for, and from there by key; and from `reviews`, for what only a person can go on with. Payments
are never walked through. Of each bucket the jobs due first are looked at, so that a large backlog
costs no more than a small one.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from strongroom.clock import Clock
from strongroom.database import reading, see, statements
from strongroom.payments.rows import job_buckets
from strongroom.telemetry.readings import Readings

SQL: Final = statements("strongroom.telemetry", "open_work.sql")
READ_SECONDS: Final = 10.0
"""Between two readings; longer where a reading takes long."""
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
    "payment_methods": ("processing", "requires_action", "detaching"),
    "taxes": ("asked", "unreported"),
}
"""By lane, the states that something is still to be done in."""
_STATEMENTS: Final = {
    "payments": ("jobs_due", "payments_at_work"),
    "refunds": ("refund_jobs_due", "refunds_at_work"),
    "payment_methods": ("method_jobs_due", "methods_at_work"),
    "taxes": ("tax_jobs_due", "taxes_at_work"),
}

log = structlog.get_logger()


class Lane(NamedTuple):
    """One reading of one lane."""

    planned: int
    due: int
    late_seconds: float
    open: dict[str, tuple[int, float]]
    """By status, how many there are, and for how many seconds the oldest has stood there."""
    under_review: int = 0
    review_seconds: float = 0.0
    """How many wait for a person, and for how many seconds the oldest does."""


class OpenWork(Readings):
    """Reads now and then; a collector of the library's."""

    every_seconds = READ_SECONDS

    def __init__(self, pool: asyncpg.Pool, clock: Clock, buckets: Sequence[int]) -> None:
        super().__init__()
        self._pool = pool
        self._clock = clock
        self._buckets = job_buckets(buckets)
        self._lanes: dict[str, Lane] = {}

    def _tell(self, error: str) -> None:
        log.warning("open_work_not_read", error=error)

    async def _take(self) -> None:
        """One reading of all lanes, each in a transaction of its own."""
        lanes = {lane: await self._read_lane(lane) for lane in OPEN}
        for lane, (number, seconds) in (await self._read_reviews()).items():
            lanes[lane] = lanes[lane]._replace(under_review=number, review_seconds=seconds)
        self._lanes = lanes

    def collect(self) -> Iterator[Metric]:
        """The last reading; nothing when it is too old."""
        if self.is_older_than(STALE_SECONDS):
            return
        yield from (
            self._family("strongroom_jobs_planned", "Jobs, due or not.", "planned"),
            self._family("strongroom_jobs_due", "Jobs whose time has come.", "due"),
            self._family(
                "strongroom_jobs_overdue_seconds", "Lateness of the job due first.", "late_seconds"
            ),
            self._family(
                "strongroom_under_review", "Frozen until a person has looked.", "under_review"
            ),
            self._family(
                "strongroom_under_review_oldest_seconds",
                "For how long the oldest of them has been frozen.",
                "review_seconds",
            ),
        )
        count = GaugeMetricFamily(
            "strongroom_open", "What is not at its end, by lane.", labels=["lane", "status"]
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
        async with reading(self._pool, [], buckets=self._buckets) as connection:
            jobs = await connection.fetch(
                SQL[jobs_statement], self._buckets, now, JOBS_OF_BUCKET_MAX
            )
            await see(connection, [row["legal_entity_id"] for row in jobs])
            rows = await connection.fetch(SQL[open_statement], self._buckets, JOBS_OF_BUCKET_MAX)
        found = {row["status"]: (row["number"], _age(row["since"], now)) for row in rows}
        first = min((row["first_run_at"] for row in jobs), default=now)
        return Lane(
            planned=sum(row["planned"] for row in jobs),
            due=sum(row["due"] for row in jobs),
            late_seconds=_age(first, now),
            open={status: found.get(status, (0, 0.0)) for status in OPEN[name]},
        )

    async def _read_reviews(self) -> dict[str, tuple[int, float]]:
        now = self._clock.now()
        async with reading(self._pool, [], buckets=self._buckets) as connection:
            rows = await connection.fetch(SQL["reviews_open"], self._buckets, JOBS_OF_BUCKET_MAX)
        return {row["lane"]: (row["number"], _age(row["since"], now)) for row in rows}


def _age(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())

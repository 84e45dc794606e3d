"""Gauges of webhooks that need the database: how many wait to be followed up, how many are parked,
which endpoints do not take ours, and which alarms nobody has cleared.

Read by the worker, of its buckets, by indexes that hold nothing else.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import asyncpg
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from strongroom.alarms.raising import KINDS
from strongroom.alarms.raising import SQL as ALARMS_SQL
from strongroom.clock import Clock
from strongroom.database import Connection, reading, statements
from strongroom.telemetry.readings import Readings
from strongroom.webhooks.endpoint_rows import SQL as ENDPOINTS_SQL
from strongroom.webhooks.endpoints import LOST

SQL: Final = statements("strongroom.webhooks", "webhooks.sql")
READ_SECONDS: Final = 10.0
STALE_SECONDS: Final = 90.0
OF_BUCKET_MAX: Final = 5000
"""More than this in one bucket are not counted, so that a backlog costs no more than a look."""
_STATES: Final = {"received": "hints_open", "parked": "hints_parked"}

log = structlog.get_logger()


class OpenHints(Readings):
    """Reads now and then; a collector of the library's."""

    every_seconds = READ_SECONDS

    def __init__(self, pool: asyncpg.Pool, clock: Clock, buckets: Sequence[int]) -> None:
        super().__init__()
        self._pool, self._clock, self._buckets = pool, clock, list(buckets)
        self._found: dict[str, tuple[int, float]] = {}
        """By state, how many there are, and the age of the oldest in seconds."""
        self._alarms: dict[str, int] = {}
        """By kind, how many are open."""
        self._endpoints: dict[str, int] = {}
        self._failing_seconds = self._behind_seconds = 0.0

    def _tell(self, error: str) -> None:
        log.warning("hints_not_read", error=error)

    async def _take(self) -> None:
        """One reading."""
        now = self._clock.now()
        async with reading(self._pool, [], buckets=self._buckets) as connection:
            self._found = {
                state: await self._count(connection, statement, now)
                for state, statement in _STATES.items()
            }
            rows = await connection.fetch(
                ALARMS_SQL["alarms_counted"], self._buckets, OF_BUCKET_MAX
            )
            found = {row["kind"]: row["number"] for row in rows}
            self._alarms = dict.fromkeys(KINDS, 0) | found
            [row] = await connection.fetch(
                ENDPOINTS_SQL["endpoints_failing"], self._buckets, list(LOST)
            )
            self._endpoints = {"failing": row["failing"], "lost": row["lost"]}
            self._failing_seconds = _age(row["since"], now)
            self._behind_seconds = _age(row["due_since"], now)

    def collect(self) -> Iterator[Metric]:
        """The last reading; nothing when it is too old."""
        if self.is_older_than(STALE_SECONDS):
            return
        count = GaugeMetricFamily(
            "strongroom_webhooks_open", "Webhooks that wait, by state.", labels=["state"]
        )
        oldest = GaugeMetricFamily(
            "strongroom_webhooks_oldest_seconds",
            "For how long the oldest of them has waited.",
            labels=["state"],
        )
        for state, (number, seconds) in self._found.items():
            count.add_metric([state], number)
            oldest.add_metric([state], seconds)
        yield count
        yield oldest
        alarms = GaugeMetricFamily(
            "strongroom_alarms_open", "Alarms that nobody has cleared, by kind.", labels=["kind"]
        )
        for kind, number in self._alarms.items():
            alarms.add_metric([kind], number)
        yield alarms
        endpoints = GaugeMetricFamily(
            "strongroom_endpoints",
            "Endpoints that take no webhooks: failing ones, and lost ones, which are disabled.",
            labels=["state"],
        )
        for state, number in self._endpoints.items():
            endpoints.add_metric([state], number)
        yield endpoints
        yield GaugeMetricFamily(
            "strongroom_endpoints_failing_seconds",
            "For how long nothing has gone through to the one that fails longest.",
            self._failing_seconds,
        )
        yield GaugeMetricFamily(
            "strongroom_endpoints_behind_seconds",
            "For how long what is due to an endpoint has not been tried.",
            self._behind_seconds,
        )

    async def _count(
        self, connection: Connection, statement: str, now: datetime
    ) -> tuple[int, float]:
        [row] = await connection.fetch(SQL[statement], self._buckets, OF_BUCKET_MAX)
        return row["number"], _age(row["since"] if row["number"] else None, now)


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())

"""Gauges of the log that need the database: how long events wait for their place in it, and
entries for their signature.

Read by each worker under the login of the sequencer, which sees all logs, on a connection of its
own: what is measured must not wait for who is measured. A look goes to the first of what waits, by
indexes, and costs the same with a million events in the log or waiting for it. Who edits rows of
the database can make these numbers lie, so that a log was rewritten is told by the signer and its
witnesses alone.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import asyncpg
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from strongroom.clock import Clock
from strongroom.database import Connection, connect_pool, reading, see
from strongroom.log.sequencing import SQL, is_elsewhere, newest_of, open_in
from strongroom.telemetry.readings import Readings

READ_SECONDS: Final = 5.0
STALE_SECONDS: Final = 60.0
EVENTS_MAX: Final = 512
"""Events of the first transactions that are looked at: their times differ by what a batch takes."""
LOGS_MAX: Final = 512
"""Logs whose first unsigned entry is asked for at once."""

log = structlog.get_logger()


class LogLag(Readings):
    """Reads now and then; a collector of the library's."""

    every_seconds = READ_SECONDS

    def __init__(self, url: str, clock: Clock) -> None:
        """`url` is of the login that the sequencer has."""
        super().__init__()
        self._url, self._clock = url, clock
        self._pool: asyncpg.Pool | None = None
        self._unsequenced: float | None = None
        """None where the database cannot say what is new."""
        self._unsigned = (0, 0.0)

    async def close(self) -> None:
        """Stops, and leaves the database."""
        await super().close()
        if self._pool is not None:
            self._pool.terminate()

    def _tell(self, error: str) -> None:
        log.warning("log_lag_not_read", error=error)

    async def _take(self) -> None:
        """One reading, of all logs."""
        if self._pool is None:
            self._pool = await connect_pool(self._url, size_max=1, application="strongroom-log-lag")
        async with reading(self._pool, []) as connection:
            unsequenced = await self._read_unsequenced(connection)
            unsigned = await self._read_unsigned(connection)
        self._unsequenced, self._unsigned = unsequenced, unsigned

    def collect(self) -> Iterator[Metric]:
        """The last reading; nothing when it is too old."""
        if self.is_older_than(STALE_SECONDS):
            return
        if self._unsequenced is not None:
            yield GaugeMetricFamily(
                "strongroom_log_unsequenced_seconds",
                "Age of the oldest committed event that has no place in a log.",
                self._unsequenced,
            )
        entries, seconds = self._unsigned
        yield GaugeMetricFamily(
            "strongroom_log_unsigned_entries",
            "Entries that have a place in a log and are not signed.",
            entries,
        )
        yield GaugeMetricFamily(
            "strongroom_log_unsigned_seconds",
            "For how long the oldest of them has had its place.",
            seconds,
        )

    async def _read_unsequenced(self, connection: Connection) -> float | None:
        cursor = await connection.fetchrow(SQL["cursor"])
        if (
            cursor is None
            or is_elsewhere(cursor)
            or newest_of(cursor["now"]) < newest_of(cursor["seen"])
        ):
            return None  # a copy without its transactions: the sequencer says so, and stops
        seen = cursor["seen"]
        row = await connection.fetchrow(
            SQL["waiting"], newest_of(seen), open_in(seen), not cursor["is_begun"], EVENTS_MAX
        )
        return self._age(row["since"] if row else None)

    async def _read_unsigned(self, connection: Connection) -> tuple[int, float]:
        rows = await connection.fetch(SQL["unsigned"])
        oldest = 0.0
        for start in range(0, len(rows), LOGS_MAX):
            part = rows[start : start + LOGS_MAX]
            entities = [row["legal_entity_id"] for row in part]
            await see(connection, entities)
            found = await connection.fetchrow(
                SQL["placed"], entities, [row["signed"] for row in part]
            )
            oldest = max(oldest, self._age(found["since"] if found else None))
        return sum(row["size"] - row["signed"] for row in rows), oldest

    def _age(self, since: datetime | None) -> float:
        return 0.0 if since is None else max(0.0, (self._clock.now() - since).total_seconds())

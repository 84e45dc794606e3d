"""A gauge that needs the database: by when evidence for disputes has to be given."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import asyncpg
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.clock import Clock
from strongroom.database import reading, see
from strongroom.settlement.rows import SQL
from strongroom.telemetry.readings import Readings

READ_SECONDS: Final = 60.0
STALE_SECONDS: Final = 600.0

log = structlog.get_logger()


class DisputesDue(Readings):
    """Reads now and then; a collector of the library's."""

    every_seconds = READ_SECONDS

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        super().__init__()
        self._pool, self._clock = pool, clock
        self._number = 0
        self._due_by: datetime | None = None

    def _tell(self, error: str) -> None:
        log.warning("disputes_due_not_read", error=error)

    async def _take(self) -> None:
        """One reading, of all legal entities."""
        async with reading(self._pool, []) as connection:
            entities = [
                row["legal_entity_id"] for row in await connection.fetch(ACCESS_SQL["entities"])
            ]
            await see(connection, entities)
            [row] = await connection.fetch(SQL["evidence_due"], entities, self._clock.now())
        self._number, self._due_by = row["number"], row["due_by"]

    def collect(self) -> Iterator[Metric]:
        """The last reading; nothing when it is too old, and no deadline where nothing is due."""
        if self.is_older_than(STALE_SECONDS):
            return
        number = GaugeMetricFamily(
            "strongroom_disputes_awaiting_evidence", "Disputes that wait for evidence, or for more."
        )
        number.add_metric([], self._number)
        yield number
        due = GaugeMetricFamily(
            "strongroom_dispute_evidence_due_timestamp_seconds",
            "When the first deadline for evidence passes.",
        )
        if self._due_by is not None:
            due.add_metric([], self._due_by.timestamp())
        yield due

"""A gauge that needs the database: by when secrets have to be rotated."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import asyncpg
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.database import reading, see
from strongroom.telemetry.readings import Readings
from strongroom.vault.secrets import SQL

READ_SECONDS: Final = 600.0
"""Dates move once in weeks."""


log = structlog.get_logger()


class SecretsDue(Readings):
    """Reads now and then; a collector of the library's. It never touches what a secret is."""

    every_seconds = READ_SECONDS

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__()
        self._pool = pool
        self._due: dict[str, datetime] = {}

    def _tell(self, error: str) -> None:
        log.warning("secrets_due_not_read", error=error)

    async def _take(self) -> None:
        """One reading, of all legal entities."""
        async with reading(self._pool, []) as connection:
            entities = [
                row["legal_entity_id"] for row in await connection.fetch(ACCESS_SQL["entities"])
            ]
            await see(connection, entities)
            rows = await connection.fetch(SQL["secrets_due"], entities)
        self._due = {row["kind"]: row["rotate_by"] for row in rows}

    def collect(self) -> Iterator[Metric]:
        """The last reading; nothing before the first."""
        family = GaugeMetricFamily(
            "strongroom_secret_rotation_due_timestamp_seconds",
            "When the first secret of a kind has to be rotated.",
            labels=["kind"],
        )
        for kind, rotate_by in self._due.items():
            family.add_metric([kind], rotate_by.timestamp())
        yield family

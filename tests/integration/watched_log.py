"""A log whose lag is measured, at a time that the test says."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from strongroom.database import connect_pool
from strongroom.telemetry.log_lag import LogLag
from strongroom.telemetry.reporting import Telemetry
from tests.integration.conftest import NOW, Deployment
from tests.integration.test_signing import Log
from tests.unit.hands import Hands
from tests.unit.test_metrics import samples

NEW_EVENT = """
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
VALUES ($1, $2, 1, 'payment.changed', 'test', $3, $4, '')
"""


class Watched:
    """A log and what its process tells of it, at a time that the test says."""

    def __init__(
        self, deployment: Deployment, pools: dict[str, asyncpg.Pool], folder: Path
    ) -> None:
        self.hands = Hands(NOW)
        self.told = Telemetry(self.hands, deadline_seconds=1.0)
        self.log = Log(deployment, pools, folder, self.hands, self.told)
        self.owner, self.entity = pools["owner"], self.log.entity
        self.lag = LogLag(deployment.url("sequencer"), self.hands)
        self.told.metrics.add(self.lag)
        self.told.watch_signing(self.stopped, list)

    async def add(self, statement: str = NEW_EVENT, connection: Any = None) -> UUID:
        """An event that is written now."""
        subject, where = uuid4(), connection or self.owner
        await where.execute(statement, self.entity, subject, self.hands.now(), b"d" * 32)
        return subject

    def stopped(self) -> Mapping[str, int]:
        return self.log.signer.stopped()  # whichever it is now

    async def sequence(self) -> int | None:
        return await self.log.sequencer.step(self.log.pools["sequencer"])

    async def seen(self) -> tuple[float, float, float]:
        """Seconds without a place; entries and seconds without a signature."""
        await self.lag.read()
        names = ("unsequenced_seconds", "unsigned_entries", "unsigned_seconds")
        first, second, third = (self.gauge(f"log_{name}") for name in names)
        return first, second, third

    def gauge(self, name: str, labels: str = "") -> float:
        return samples(self.told.metrics, f"strongroom_{name}")[labels]


@asynccontextmanager
async def watched_log(deployment: Deployment, folder: Path) -> AsyncIterator[Watched]:
    """Nothing of it has a place yet."""
    urls = {one: deployment.url(one) for one in ("sequencer", "signer")}
    urls["owner"] = deployment.owner_url
    pools = {
        name: await connect_pool(url, size_max=4, application="test") for name, url in urls.items()
    }
    made = Watched(deployment, pools, folder)
    try:
        yield made
    finally:
        await made.lag.close()
        for pool in pools.values():
            await pool.close()


@pytest.fixture
async def watched(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched_log(deployment, tmp_path) as made:
        yield made


@pytest.fixture
async def watched_from_now(watched: Watched) -> Watched:
    """What the deployment began with has its place, and is signed."""
    await watched.log.go_on()
    return watched

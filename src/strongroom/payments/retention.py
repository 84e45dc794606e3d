"""How long idempotency keys are kept: forever while their payment is open, else KEPT.

A worker walks through the keys of each legal entity in the order of their primary key, a page at a
time and a round a day. So no index is needed that each accepted payment would have to write to; a
table too large for one round a day loses its keys that much later.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from strongroom.clock import Clock
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, statements, writing
from strongroom.errors import described

SQL: Final = statements("strongroom.payments", "retention.sql")
KEPT: Final = timedelta(days=400)
PAGE_KEYS: Final = 512
WALKS_MAX: Final = 8
"""Entities that a worker takes a page of at a time."""
PAGE_EVERY: Final = timedelta(seconds=1)
ROUND_EVERY: Final = timedelta(days=1)
LEASE: Final = timedelta(minutes=1)
BUSY_WAIT_SECONDS: Final = 1.0
IDLE_WAIT_SECONDS: Final = 30.0
NEW_ENTITIES_EVERY: Final = timedelta(hours=1)

log = structlog.get_logger()


class Retention:
    """Deletes what has been kept long enough, over one pool of the worker's connections."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock, buckets: Sequence[int]) -> None:
        self._pool = pool
        self._clock = clock
        self._buckets = list(buckets)
        self._begins_at = clock.now()

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again."""
        while True:
            try:
                walked = await self.step()
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("retention_failed", error=type(error).__name__)
                walked = 0
            except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                log.error("retention_failed", **described(fault))
                walked = 0
            await asyncio.sleep(BUSY_WAIT_SECONDS if walked else IDLE_WAIT_SECONDS)

    async def step(self) -> int:
        """One page of each walk that is due, at most WALKS_MAX; returns how many there were."""
        now = self._clock.now()
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            if now >= self._begins_at:
                await connection.execute(SQL["begin_walks"], self._buckets, now)
                self._begins_at = now + NEW_ENTITIES_EVERY
            due = await connection.fetch(
                SQL["claim_walks"], self._buckets, now, WALKS_MAX, now + LEASE
            )
        for walk in due:
            await self._page(walk["legal_entity_id"], walk["reached"])
        return len(due)

    async def _page(self, legal_entity_id: UUID, reached: str) -> None:
        now = self._clock.now()
        async with writing(self._pool, [legal_entity_id]) as connection:
            [page] = await connection.fetch(
                SQL["expire_keys"], legal_entity_id, reached, PAGE_KEYS, now - KEPT
            )
            at_end = page["looked_at"] < PAGE_KEYS
            await connection.execute(
                SQL["go_on"],
                legal_entity_id,
                "" if at_end else page["reached"],
                now + (ROUND_EVERY if at_end else PAGE_EVERY),
            )
        if page["deleted"]:
            log.info("idempotency_keys_expired", items=page["deleted"])

"""A webhook whose payment or refund somebody is writing waits for its turn, and holds up nobody."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from strongroom.clock import ShiftedClock
from strongroom.database import connect_pool
from strongroom.ids import BUCKETS, bucket_of
from strongroom.webhooks.follow_up import FollowUp
from tests.integration.conftest import NEVER, Deployment

HINT = """
INSERT INTO webhook_events (legal_entity_id, gateway_account_id, gateway_event_id, bucket, kind,
  object_type, gateway_object_id, lane, owner_id, attempt_no, body_digest, state, happened_at,
  received_at, run_at)
SELECT legal_entity_id, gateway_account_id, 'evt_' || $4, $2, 'x', 'x', 'x', $4, payment_id, $5,
  decode(repeat('00', 32), 'hex'), 'received', $3, $3, $3
FROM attempts WHERE legal_entity_id = $1
"""


@pytest.fixture
async def owner(deployment: Deployment) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect_pool(deployment.owner_url, size_max=3, application="test")
    yield pool
    await pool.close()


@pytest.mark.parametrize(
    ("lane", "table", "attempt"), [("payments", "jobs", 1), ("refunds", "refund_jobs", None)]
)
async def test_it_looks_again_later(
    deployment: Deployment, owner: asyncpg.Pool, lane: str, table: str, attempt: int | None
) -> None:
    entity, clock = deployment.ours.legal_entity_id, ShiftedClock()
    await owner.execute(HINT, entity, bucket_of(entity), clock.now(), lane, attempt)
    pool = await connect_pool(deployment.url("worker"), size_max=3, application="test")
    follow_up = FollowUp(pool, clock, range(BUCKETS))
    try:
        async with owner.acquire() as settling, settling.transaction():
            await settling.fetch(f"SELECT FROM {table} WHERE legal_entity_id = $1 FOR UPDATE",
                                 entity)  # fmt: skip
            # Who waits here is refused by the database after a while: LockNotAvailableError.
            assert await follow_up.step() == 1
            hint = await owner.fetchrow("SELECT * FROM webhook_events")
            assert hint is not None
            assert (hint["state"], hint["tries"]) == ("received", 1)
            assert hint["run_at"] > clock.now() - timedelta(seconds=60)
        clock.advance(timedelta(minutes=1))
        assert await follow_up.step() == 1
    finally:
        await pool.close()
    hint = await owner.fetchrow("SELECT * FROM webhook_events")
    run_at = await owner.fetchval(f"SELECT run_at FROM {table} WHERE legal_entity_id = $1", entity)
    assert hint is not None
    assert hint["state"] == "applied"
    assert run_at < NEVER

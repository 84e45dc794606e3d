"""The gauges that need the database, read under the worker's own login."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.database import connect_pool
from strongroom.ids import BUCKETS, bucket_of, new_id
from strongroom.telemetry import open_work
from strongroom.telemetry.metrics import Metrics
from strongroom.telemetry.open_work import OpenWork
from tests.integration.conftest import Deployment
from tests.unit.test_metrics import samples

NEW_PAYMENT = """
INSERT INTO payments (legal_entity_id, payment_id, version, status, amount_minor, captured_minor,
  currency, merchant_reference, metadata, attempt_no, not_after, gateway_key_seed, digest_salt,
  created_at, updated_at)
VALUES ($1, $2, 2, $3, 1, 0, 'EUR', $4, '{}', 1, $5, $6, $6, $5, $5)
"""
NEW_JOB = "INSERT INTO jobs (legal_entity_id, payment_id, bucket, run_at) VALUES ($1, $2, $3, $4)"
NEW_REFUND = """
INSERT INTO refunds (legal_entity_id, refund_id, payment_id, status, amount_minor, currency,
  metadata, gateway, gateway_account_id, gateway_key, digest_salt, created_at, updated_at)
VALUES ($1, $2, $2, $3, 1, 'EUR', '{}', 'stripe', $2, 'key', $4, $5, $5)
"""
NEW_REFUND_JOB = (
    "INSERT INTO refund_jobs (legal_entity_id, refund_id, bucket, run_at) VALUES ($1, $2, $3, $4)"
)
NEW_METHOD = """
INSERT INTO payment_methods (legal_entity_id, payment_method_id, customer_id, version, status,
  not_after, digest_salt, created_at, updated_at) VALUES ($1, $2, $2, 1, $3, $5, $4, $5, $5)
"""
NEW_METHOD_JOB = (
    "INSERT INTO payment_method_jobs (legal_entity_id, payment_method_id, bucket, run_at) "
    "VALUES ($1, $2, $3, $4)"
)
NEW_REVIEW = """
INSERT INTO reviews (legal_entity_id, owner_id, lane, bucket, review, since)
VALUES ($1, $2, $3, $4, 'amount_mismatch', $5)
"""
SEEN_SECONDS_MAX = 60


async def until_seen(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SEEN_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


class Books:
    """Writes rows as the database's owner; reads gauges as the worker."""

    def __init__(self, owner: asyncpg.Connection, worker: asyncpg.Pool) -> None:
        self.owner = owner
        self.now = SystemClock().now()
        self.metrics = Metrics()
        self.work = OpenWork(worker, SystemClock(), range(BUCKETS))
        self.metrics.add(self.work)

    def at(self, seconds_ago: int) -> datetime:
        return self.now - timedelta(seconds=seconds_ago)

    async def payment(self, entity: UUID, status: str, since: int, due: int | None) -> None:
        """A payment that has stood there for `since` seconds, with a job due `due` seconds ago."""
        one = new_id(microseconds_since_epoch(self.now), entity)
        await self.owner.execute(
            NEW_PAYMENT, entity, one, status, str(one), self.at(since), b"x" * 16
        )
        if due is not None:
            await self.owner.execute(NEW_JOB, entity, one, bucket_of(entity), self.at(due))

    async def hold(self, entity: UUID, since: int) -> None:
        """A payment that is captured on request: its job lies apart from the others'."""
        one = new_id(microseconds_since_epoch(self.now), entity)
        row = (entity, one, "authorized", str(one), self.at(since), b"x" * 16)
        await self.owner.execute(NEW_PAYMENT, *row)
        bucket = bucket_of(entity) + BUCKETS
        await self.owner.execute(NEW_JOB, entity, one, bucket, self.at(-500))

    async def refund(self, entity: UUID, status: str, since: int, due: int) -> None:
        one = new_id(microseconds_since_epoch(self.now), entity)
        await self.owner.execute(NEW_REFUND, entity, one, status, b"x" * 16, self.at(since))
        await self.owner.execute(NEW_REFUND_JOB, entity, one, bucket_of(entity), self.at(due))

    async def method(self, entity: UUID, status: str, since: int, due: int) -> None:
        one = new_id(microseconds_since_epoch(self.now), entity)
        await self.owner.execute(NEW_METHOD, entity, one, status, b"x" * 16, self.at(since))
        await self.owner.execute(NEW_METHOD_JOB, entity, one, bucket_of(entity), self.at(due))

    async def review(self, entity: UUID, lane: str, since: int) -> None:
        one = new_id(microseconds_since_epoch(self.now), entity)
        await self.owner.execute(NEW_REVIEW, entity, one, lane, bucket_of(entity), self.at(since))

    def gauge(self, name: str, lane: str, status: str | None = None) -> float:
        labels = f'lane="{lane}"' + (f',status="{status}"' if status else "")
        return samples(self.metrics, f"strongroom_{name}")[labels]


@pytest.fixture
async def books(deployment: Deployment) -> AsyncIterator[Books]:
    owner = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": "strongroom, directory"}
    )
    worker = await connect_pool(deployment.url("worker"), size_max=2, application="test")
    await owner.execute("DELETE FROM jobs")
    try:
        yield Books(owner, worker)
    finally:
        await worker.close()
        await owner.close()


async def test_what_is_open_is_told_by_state_with_the_age_of_the_oldest(books, deployment):
    ours, theirs = deployment.ours.legal_entity_id, deployment.theirs.legal_entity_id
    await books.payment(ours, "outcome_unknown", since=700, due=-20)
    await books.payment(theirs, "outcome_unknown", since=900, due=-20)
    await books.payment(ours, "processing", since=5, due=3)
    await books.payment(theirs, "processing", since=65, due=60)
    await books.payment(ours, "succeeded", since=10_000, due=None)
    await books.hold(theirs, since=4000)
    await books.refund(theirs, "outcome_unknown", since=300, due=-5)
    await books.refund(ours, "processing", since=2, due=1)
    await books.work.read()
    assert books.gauge("open", "payments", "outcome_unknown") == 2
    assert 900 <= books.gauge("open_oldest_seconds", "payments", "outcome_unknown") < 930
    assert books.gauge("open", "payments", "processing") == 2
    assert 65 <= books.gauge("open_oldest_seconds", "payments", "processing") < 95
    assert books.gauge("open", "payments", "requires_action") == 0
    assert books.gauge("open_oldest_seconds", "payments", "requires_action") == 0
    assert books.gauge("open", "payments", "authorized") == 1
    assert books.gauge("jobs_planned", "payments") == 5
    assert books.gauge("jobs_due", "payments") == 2
    assert 60 <= books.gauge("jobs_overdue_seconds", "payments") < 90
    assert books.gauge("open", "refunds", "outcome_unknown") == 1
    assert 300 <= books.gauge("open_oldest_seconds", "refunds", "outcome_unknown") < 330
    assert books.gauge("jobs_due", "refunds") == 1


async def test_payment_methods_that_something_is_to_be_done_for_are_told(books, deployment):
    ours, theirs = deployment.ours.legal_entity_id, deployment.theirs.legal_entity_id
    await books.owner.execute("DELETE FROM payment_method_jobs")
    await books.method(ours, "processing", since=40, due=30)
    await books.method(theirs, "detaching", since=500, due=-20)
    await books.work.read()
    assert books.gauge("jobs_planned", "payment_methods") == 2
    assert books.gauge("jobs_due", "payment_methods") == 1
    assert 30 <= books.gauge("jobs_overdue_seconds", "payment_methods") < 60
    assert books.gauge("open", "payment_methods", "requires_action") == 0
    assert books.gauge("open", "payment_methods", "processing") == 1
    assert 500 <= books.gauge("open_oldest_seconds", "payment_methods", "detaching") < 530


async def test_nothing_open_is_zero_and_nothing_is_overdue(books):
    await books.work.read()
    assert books.gauge("open", "payments", "processing") == 0
    assert books.gauge("jobs_overdue_seconds", "payments") == 0
    assert books.gauge("open", "refunds", "pending") == 0


async def test_what_is_under_review_is_told_with_the_age_of_the_oldest(books, deployment):
    ours, theirs = deployment.ours.legal_entity_id, deployment.theirs.legal_entity_id
    await books.work.read()
    for lane in ("payments", "refunds"):
        assert books.gauge("under_review", lane) == 0
        assert books.gauge("under_review_oldest_seconds", lane) == 0
    await books.review(ours, "payments", since=50)
    await books.review(theirs, "payments", since=7000)
    await books.review(theirs, "refunds", since=90)
    await books.work.read()
    assert books.gauge("under_review", "payments") == 2
    assert 7000 <= books.gauge("under_review_oldest_seconds", "payments") < 7030
    assert books.gauge("under_review", "refunds") == 1
    assert 90 <= books.gauge("under_review_oldest_seconds", "refunds") < 120


async def test_of_a_large_backlog_only_what_is_due_first_is_looked_at(
    books, deployment, monkeypatch
):
    monkeypatch.setattr(open_work, "JOBS_OF_BUCKET_MAX", 3)
    entity = deployment.ours.legal_entity_id
    for due in (10, 20, 30, 40, 50):
        await books.payment(entity, "processing", since=due, due=due)
    await books.work.read()
    assert books.gauge("jobs_due", "payments") == 3
    assert 50 <= books.gauge("jobs_overdue_seconds", "payments") < 80


async def test_a_reading_that_no_longer_holds_is_not_shown(books, monkeypatch):
    await books.work.read()
    assert b"strongroom_open{" in books.metrics.text()
    monkeypatch.setattr(open_work, "STALE_SECONDS", -1.0)
    assert b"strongroom_open{" not in books.metrics.text()


async def test_a_database_that_is_away_is_noticed_and_read_again_later(books, monkeypatch):
    monkeypatch.setattr(open_work.OpenWork, "every_seconds", 0.05)
    pool = books.work._pool
    nowhere = await connect_pool("postgresql://127.0.0.1:9/x", size_max=1, application="test")
    books.work._pool = nowhere
    with capture_logs() as logged:
        books.work.start()
        await until_seen(lambda: bool(logged))
        books.work._pool = pool
        await until_seen(lambda: b"strongroom_open{" in books.metrics.text())
        await books.work.close()
    await nowhere.close()
    assert {line["event"] for line in logged} == {"open_work_not_read"}

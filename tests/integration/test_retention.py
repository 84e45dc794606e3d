"""Idempotency keys: kept while their payment is open, and 400 days after that."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from strongroom.clock import ShiftedClock, microseconds_since_epoch
from strongroom.database import SEARCH_PATH, connect_pool, writing
from strongroom.ids import BUCKETS, new_id
from strongroom.payments.retention import (
    KEPT,
    LEASE,
    PAGE_EVERY,
    PAGE_KEYS,
    ROUND_EVERY,
    SQL,
    Retention,
)
from tests.contract import plans
from tests.integration.conftest import NEW_PAYMENT, Deployment

DAY = timedelta(days=1)
OLD = KEPT + DAY
NEW_KEY = """
INSERT INTO idempotency_keys (legal_entity_id, idempotency_key, operation, fingerprint, payment_id,
  refund_id, created_at) VALUES ($1, $2, 'test', $3, $4, $5, $6)
"""
NEW_REFUND = """
INSERT INTO refunds (legal_entity_id, refund_id, payment_id, status, review, amount_minor, currency,
  metadata, gateway, gateway_account_id, gateway_key, digest_salt, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, 1, 'EUR', '{}', 'stripe', $1, 'k', $6, $7, $7)
"""


class Books:
    """One entity's payments and keys, as they were some time ago."""

    def __init__(self, owner: asyncpg.Connection, entity: Any, clock: ShiftedClock) -> None:
        self.owner, self.entity, self.clock = owner, entity, clock

    async def payment(
        self, key: str, status: str, ago: timedelta, review: str | None = None, **more: Any
    ) -> Any:
        """A payment with a key of its own, both last touched so long ago."""
        then = self.clock.now() - ago
        identifier = new_id(microseconds_since_epoch(then), self.entity)
        await self.owner.execute(
            NEW_PAYMENT, self.entity, identifier, f"order-{key}", then, b"x" * 16
        )
        await self.owner.execute(
            "UPDATE payments SET status = $2, review = $3, updated_at = $4 WHERE payment_id = $1",
            identifier, status, review, self.clock.now() - more.get("changed", ago),
        )  # fmt: skip
        await self.key(key, identifier, ago)
        return identifier

    async def key(self, key: str, payment: Any, ago: timedelta, refund: Any = None) -> None:
        then = self.clock.now() - ago
        await self.owner.execute(NEW_KEY, self.entity, key, b"x" * 33, payment, refund, then)

    async def refund(
        self, key: str, payment: Any, status: str, ago: timedelta, review: str | None = None
    ) -> None:
        then = self.clock.now() - ago
        identifier = new_id(microseconds_since_epoch(then), self.entity)
        await self.owner.execute(
            NEW_REFUND, self.entity, identifier, payment, status, review, b"x" * 16, then
        )
        await self.key(key, payment, ago, identifier)

    async def keys(self) -> set[str]:
        rows = await self.owner.fetch(
            "SELECT idempotency_key FROM idempotency_keys WHERE legal_entity_id = $1", self.entity
        )
        return {row[0] for row in rows}


@pytest.fixture
async def worker(deployment: Deployment) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect_pool(deployment.url("worker"), size_max=2, application="worker")
    yield pool
    await pool.close()


@pytest.fixture
async def books(deployment: Deployment) -> AsyncIterator[Books]:
    owner = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": SEARCH_PATH}
    )
    await owner.execute("DELETE FROM idempotency_keys")
    yield Books(owner, deployment.ours.legal_entity_id, ShiftedClock())
    await owner.close()


async def walk(retention: Retention, clock: ShiftedClock) -> int:
    """A whole round; returns in how many steps."""
    steps = 0
    while await retention.step():
        steps += 1
        clock.advance(PAGE_EVERY)
    return steps


def a_retention(worker: asyncpg.Pool, clock: ShiftedClock) -> Retention:
    return Retention(worker, clock, range(BUCKETS))


async def test_only_keys_of_what_has_long_been_over_are_deleted(
    books: Books, worker: asyncpg.Pool
) -> None:
    for status in ("succeeded", "failed", "canceled"):
        await books.payment(f"gone-{status}", status, OLD)
        await books.payment(f"young-{status}", status, KEPT - DAY)
        await books.payment(f"just-over-{status}", status, OLD, changed=DAY)
    for status in (
        "requires_payment_method", "processing", "requires_action", "authorized", "outcome_unknown",
    ):  # fmt: skip
        await books.payment(f"open-{status}", status, OLD)
    await books.payment("under-review", "succeeded", OLD, review="charged_after_failed")
    paid = await books.payment("gone-paid", "succeeded", OLD)
    await books.key("gone-confirm", paid, OLD)
    await books.key("young-confirm", paid, KEPT - DAY)
    for status in ("succeeded", "failed"):
        await books.refund(f"gone-refund-{status}", paid, status, OLD)
        await books.refund(f"young-refund-{status}", paid, status, KEPT - DAY)
    for status in ("processing", "pending", "outcome_unknown"):
        await books.refund(f"open-refund-{status}", paid, status, OLD)
    await books.refund("refund-under-review", paid, "succeeded", OLD, review="amount_mismatch")
    before = await books.keys()
    await walk(a_retention(worker, books.clock), books.clock)
    assert before - await books.keys() == {key for key in before if key.startswith("gone-")}


async def test_a_walk_goes_page_by_page_and_rests_between_rounds(
    books: Books, worker: asyncpg.Pool
) -> None:
    paid = await books.payment("k", "succeeded", OLD)
    then = books.clock.now() - OLD
    await books.owner.executemany(
        NEW_KEY,
        [
            (books.entity, f"key-{number:05}", b"x" * 33, paid, None, then)
            for number in range(2 * PAGE_KEYS + 7)
        ],
    )
    first = a_retention(worker, books.clock)
    await first.step()
    assert len(await books.keys()) == PAGE_KEYS + 8
    assert await first.step() == 0  # the next page is not due yet
    books.clock.advance(PAGE_EVERY)
    second = a_retention(worker, books.clock)
    assert (await second.step(), await first.step()) == (1, 0)  # one goes on where the other was
    assert len(await books.keys()) == 8
    books.clock.advance(PAGE_EVERY)
    assert await walk(second, books.clock) == 1
    assert await books.keys() == set()
    await books.payment("later", "failed", OLD)
    await walk(first, books.clock)
    assert await books.keys() == {"later"}
    books.clock.advance(ROUND_EVERY)
    await walk(first, books.clock)
    assert await books.keys() == set()


async def test_a_worker_that_dies_on_its_way_is_followed_by_another(
    books: Books, worker: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await books.payment("k", "failed", OLD)
    dying = a_retention(worker, books.clock)

    async def dies(*_: Any) -> None:
        raise asyncpg.ConnectionDoesNotExistError

    monkeypatch.setattr(dying, "_page", dies)
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await dying.step()
    other = a_retention(worker, books.clock)
    assert await other.step() == 0
    books.clock.advance(LEASE)
    assert await other.step() > 0
    assert await books.keys() == set()


async def test_a_page_is_read_by_its_place_in_the_primary_key(
    books: Books, worker: asyncpg.Pool
) -> None:
    paid = await books.payment("k", "succeeded", OLD)
    await books.owner.execute(
        "INSERT INTO idempotency_keys (legal_entity_id, idempotency_key, operation, fingerprint, "
        "payment_id, created_at) SELECT $1, 'key-' || n, 'test', $2, $3, $4 "
        "FROM generate_series(1, 20000) AS n",
        books.entity, b"x" * 33, paid, books.clock.now() - OLD,
    )  # fmt: skip
    await books.owner.execute("ANALYZE idempotency_keys, payments, refunds")
    async with writing(worker, [books.entity]) as connection:
        explained = await connection.fetchval(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + SQL["expire_keys"],
            books.entity, "key-5", PAGE_KEYS, books.clock.now(),
        )  # fmt: skip
    assert plans.slow_reads(explained) == []
    assert rows_of(explained, "idempotency_keys_pkey") <= 2 * PAGE_KEYS


def rows_of(explained: str, index: str) -> int:
    """How many rows a plan read by an index."""
    found: Sequence[dict[str, Any]] = list(plans.nodes(json.loads(explained)[0]["Plan"]))
    return int(
        sum(n["Actual Rows"] * n["Actual Loops"] for n in found if n.get("Index Name") == index)
    )

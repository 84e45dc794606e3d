"""The bell: it wakes the lanes for which something is due, and no lane depends on it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from strongroom.clock import SystemClock
from strongroom.ids import bucket_of, new_entity_id, new_id
from strongroom.work.bell import BELL_SECONDS, NO_BELL, UNRUNG_SECONDS_MAX, Bell, Lane
from tests.contract import text
from tests.integration.conftest import Deployment

STATEMENTS = text.named_statements()
CLAIMS = {
    "payments/engine.sql": ("claim", "payments_due"),
    "payments/refunds.sql": ("claim_refunds", "refunds_due"),
    "settlement/looks.sql": ("claim_looks", "looks_due"),
    "customers/methods.sql": ("claim_methods", "methods_due"),
    "customers/keeping.sql": ("claim_kept", "kept_due"),
    "tax/tax.sql": ("claim_tax_jobs", "taxes_due"),
    "checkout/client_tokens.sql": ("claim_client_tokens", "client_tokens_due"),
    "checkout/card_looks.sql": ("claim_card_looks", "card_looks_due"),
    "webhooks/webhooks.sql": ("due_hints", "hints_due"),
}
"""By file, the statement that claims and the one that a bell asks."""
FAR = 60.0
SOON = 20 * BELL_SECONDS
ADD_JOB = """
INSERT INTO jobs (legal_entity_id, payment_id, bucket, run_at, held, lease, tries)
VALUES ($1, $2, $3, $4, false, 0, 0)
"""


def sought(sql: str) -> tuple[str, set[str]]:
    """The table that is looked through, and the conditions on its rows."""
    found = re.search(
        r"FROM (\w+)(?: (\w+))?\s+WHERE (.+?)(?:\s+ORDER BY|;|$)", _inner(sql), re.DOTALL
    )
    assert found, sql
    table, alias, conditions = found.groups()
    parts = re.sub(rf"\b{alias}\.", "", conditions) if alias else conditions
    parts = parts.replace("bucket = served.bucket", "bucket = ANY ($1::smallint[])")
    return table, {part.strip() for part in parts.split(" AND ")}


def _inner(sql: str) -> str:
    """What stands in the LATERAL of a claim: there it says what is due."""
    _, found, lateral = sql.partition("LATERAL (")
    return lateral if found else sql


@pytest.mark.parametrize("file", CLAIMS)
def test_what_a_bell_asks_is_what_the_lane_claims(file: str) -> None:
    claim, due = CLAIMS[file]
    assert sought(STATEMENTS[f"{file}:{due}"]) == sought(STATEMENTS[f"{file}:{claim}"])


def test_each_statement_for_a_bell_belongs_to_a_claim() -> None:
    asked = {
        name for name, sql in STATEMENTS.items() if "SELECT FROM" in sql and "served" not in sql
    }
    known = {f"{file}:{due}" for file, (_, due) in CLAIMS.items()}
    assert {name for name in asked if name.endswith("_due")} == known


@asynccontextmanager
async def ringing(url: str, buckets: list[int]) -> AsyncIterator[tuple[Lane, Lane]]:
    """Lanes of payments and of refunds, of a bell that looks."""
    bell = Bell(url, SystemClock(), buckets)
    payments = bell.lane(STATEMENTS["payments/engine.sql:payments_due"])
    refunds = bell.lane(STATEMENTS["payments/refunds.sql:refunds_due"])
    running = asyncio.create_task(bell.run())
    try:
        async with asyncio.timeout(10):
            while not bell.rings:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(BELL_SECONDS)
        yield payments, refunds
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not bell.rings


async def rested(lane: Lane, seconds: float = FAR) -> float:
    """How long it did."""
    begun = asyncio.get_running_loop().time()
    await lane.rest(seconds)
    return asyncio.get_running_loop().time() - begun


async def add_job(url: str, entity: UUID, due_in: timedelta) -> None:
    settings = {"search_path": "strongroom"}
    connection = await asyncpg.connect(url, server_settings=settings)
    try:
        run_at = SystemClock().now() + due_in
        await connection.execute(ADD_JOB, entity, new_id(1, entity), bucket_of(entity), run_at)
    finally:
        await connection.close()


async def test_a_lane_wakes_when_something_is_due_and_no_other_does(deployment: Deployment) -> None:
    entity = new_entity_id(1)
    other = next(one for one in range(64) if one != bucket_of(entity))
    async with ringing(deployment.url("worker"), [bucket_of(entity)]) as (payments, refunds):
        assert await rested(payments) >= UNRUNG_SECONDS_MAX  # and looks all the same
        await add_job(deployment.owner_url, entity, timedelta(seconds=0.3))
        assert 0.2 < await rested(payments) < UNRUNG_SECONDS_MAX
        assert await rested(payments) < SOON  # it is due until it is claimed
        assert await rested(refunds) >= UNRUNG_SECONDS_MAX
    async with ringing(deployment.url("worker"), [other]) as (payments, _):
        assert await rested(payments) >= UNRUNG_SECONDS_MAX


async def test_who_stops_does_not_rest(deployment: Deployment) -> None:
    async with ringing(deployment.url("worker"), [0]) as (payments, _):
        resting = asyncio.create_task(rested(payments))
        await asyncio.sleep(0.05)
        payments.wake()
        assert await resting < UNRUNG_SECONDS_MAX / 2


async def test_what_is_told_while_a_lane_claims_is_heard_when_it_rests(
    deployment: Deployment,
) -> None:
    async with ringing(deployment.url("worker"), [0]) as (payments, _):
        payments.wake()
        assert await rested(payments) < SOON
        assert await rested(payments) >= UNRUNG_SECONDS_MAX


async def test_a_table_that_is_held_silences_the_bell_and_no_lane(deployment: Deployment) -> None:
    owner = await asyncpg.connect(deployment.owner_url)
    try:
        async with ringing(deployment.url("worker"), [0]) as (payments, _):
            async with owner.transaction():
                await owner.execute("LOCK TABLE strongroom.refund_jobs IN ACCESS EXCLUSIVE MODE")
                await rested(payments)  # which began before the bell knew
                assert 0.05 <= await rested(payments, 0.05) < SOON
            async with asyncio.timeout(10):
                while await rested(payments, 0.05) < SOON:
                    pass  # until the bell can ask again
    finally:
        await owner.close()


async def test_without_a_bell_a_lane_sleeps_as_long_as_it_says() -> None:
    assert 0.05 <= await rested(NO_BELL.lane(""), 0.05) < UNRUNG_SECONDS_MAX


async def test_while_the_database_is_away_lanes_look_at_their_own_pace(
    deployment: Deployment,
) -> None:
    bell = Bell(deployment.url("worker").replace("worker", "nobody"), SystemClock(), [0])
    lane = bell.lane(STATEMENTS["payments/engine.sql:payments_due"])
    running = asyncio.create_task(bell.run())
    await asyncio.sleep(0.3)
    assert not bell.rings
    assert 0.05 <= await rested(lane, 0.05) < UNRUNG_SECONDS_MAX
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

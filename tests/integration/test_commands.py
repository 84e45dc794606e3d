"""Commands of many callers in one transaction: what the database decides between them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from strongroom.clock import ShiftedClock
from strongroom.database import connect_pool
from strongroom.payments.commands import Commander, Denied, Done, NoSuchPayment, Order
from strongroom.payments.idempotency import fingerprint
from strongroom.payments.rows import payment_of
from strongroom.payments.states import CancelAsked, CaptureAsked, Command
from strongroom.work.batch import OutcomeOfCommitUnknown
from tests.integration.conftest import Deployment, Entity


@pytest.fixture
async def commander(deployment: Deployment) -> AsyncIterator[Commander]:
    """Takes orders from the start; writes once it is started, so that a test rules the batch."""
    pool = await connect_pool(deployment.url("api"), size_max=2, application="api")
    yield Commander(pool)
    await pool.close()


def order(entity: Entity, payment_id: UUID, key: str, wish: Command) -> Order:
    return Order(
        legal_entity_id=entity.legal_entity_id,
        payment_id=payment_id,
        idempotency_key=key,
        operation="payments.test",
        fingerprint=fingerprint("POST", f"/v1/payments/{payment_id}", type(wish).__name__),
        actor=f"key {entity.api_key_id}",
        at=ShiftedClock().now(),
        wish=lambda _: wish,
    )


async def in_one_batch(commander: Commander, *orders: Order) -> list[Any]:
    waiting = [asyncio.create_task(commander.carry_out(order)) for order in orders]
    await asyncio.sleep(0)
    commander.start()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    await commander.drain()
    return done


async def rows(deployment: Deployment, query: str, *values: object) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": "strongroom, directory"}
    )
    try:
        return [tuple(row) for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()


@pytest.mark.parametrize("owners", [CancelAsked(), CaptureAsked(None)], ids=["done", "refused"])
async def test_nobody_reaches_a_payment_that_its_owner_commands_in_the_same_batch(
    deployment: Deployment, commander: Commander, owners: Command
) -> None:
    ours, theirs = deployment.ours, deployment.theirs
    done = await in_one_batch(
        commander,
        order(theirs, ours.payment_id, "a stranger's", CancelAsked()),
        order(ours, ours.payment_id, "its owner's", owners),
    )
    assert done[0] == NoSuchPayment()
    is_done = isinstance(owners, CancelAsked)
    assert isinstance(done[1], Done if is_done else Denied)
    actors = "SELECT actor FROM events WHERE payment_id = $1 AND version > 1"
    by = [(f"key {ours.api_key_id}",)] if is_done else []
    assert await rows(deployment, actors, ours.payment_id) == by
    keys = "SELECT FROM idempotency_keys WHERE idempotency_key = $1"
    assert await rows(deployment, keys, "a stranger's") == []


async def test_the_event_of_a_command_has_the_digest_of_the_row_that_it_leaves(
    deployment: Deployment, commander: Commander
) -> None:
    ours = deployment.ours
    [done] = await in_one_batch(commander, order(ours, ours.payment_id, "cancel", CancelAsked()))
    events = "SELECT version, row_digest FROM events WHERE payment_id = $1 ORDER BY version DESC"
    newest = (await rows(deployment, events, ours.payment_id))[0]
    connection = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": "strongroom"}
    )
    [row] = await connection.fetch("SELECT * FROM payments WHERE payment_id = $1", ours.payment_id)
    await connection.close()
    assert payment_of(row) == done.payment
    assert newest == (done.payment.version, done.payment.row_digest())


NEVER = """
CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'never' USING ERRCODE = '40001'; END $$;
CREATE TRIGGER never BEFORE UPDATE ON payments
FOR EACH ROW WHEN (OLD.payment_id = '{}') EXECUTE FUNCTION never()
"""


async def test_a_command_that_never_gets_through_fails_alone(
    deployment: Deployment, commander: Commander
) -> None:
    """The database says 40001 to it each time; the others of its batch are carried out."""
    ours, theirs = deployment.ours, deployment.theirs
    connection = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": "strongroom"}
    )
    await connection.execute(NEVER.format(ours.payment_id))
    await connection.close()
    stuck, done = await in_one_batch(
        commander,
        order(ours, ours.payment_id, "stuck", CancelAsked()),
        order(theirs, theirs.payment_id, "free", CancelAsked()),
    )
    assert isinstance(stuck, OutcomeOfCommitUnknown)
    assert isinstance(done, Done)
    kinds = "SELECT kind FROM events WHERE payment_id = $1 AND version > 1"
    assert await rows(deployment, kinds, ours.payment_id) == []
    assert await rows(deployment, kinds, theirs.payment_id) == [("payment.closing",)]

"""Every committed event gets one place in its log, whatever the transactions do."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec.structs import replace

from strongroom.clock import SystemClock
from strongroom.database import connect_pool
from strongroom.errors import InvariantBroken
from strongroom.log.entries import Entry
from strongroom.log.sequencing import Sequencer
from tests.integration.conftest import NOW, Deployment

NEW_EVENT = """
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
VALUES ($1, $2, $3, 'payment.changed', 'test', $4, $5, $6)
"""
ENTRIES = "SELECT * FROM log_entries ORDER BY legal_entity_id, index"


@pytest.fixture
async def owner(deployment: Deployment) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect_pool(deployment.owner_url, size_max=20, application="test")
    yield pool
    await pool.close()


@pytest.fixture
async def pool(deployment: Deployment) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect_pool(deployment.url("sequencer"), size_max=4, application="test")
    yield pool
    await pool.close()


@pytest.fixture
def sequencer(deployment: Deployment) -> Sequencer:
    return Sequencer(deployment.url("sequencer"), SystemClock())


async def add(connection: Any, entity: UUID, subject: UUID, version: int) -> None:
    await connection.execute(NEW_EVENT, entity, subject, version, NOW, b"d" * 32, b"{}")


async def logs(owner: asyncpg.Pool) -> dict[UUID, list[tuple[UUID, int]]]:
    """By legal entity, what its log holds, in order; no gap may be in it."""
    found: dict[UUID, list[tuple[UUID, int]]] = defaultdict(list)
    for row in await owner.fetch(ENTRIES):
        assert row["index"] == len(found[row["legal_entity_id"]])
        found[row["legal_entity_id"]].append((row["subject_id"], row["version"]))
    return found


async def test_what_was_there_and_what_comes_gets_its_place_once(
    deployment: Deployment, owner: asyncpg.Pool, pool: asyncpg.Pool, sequencer: Sequencer
) -> None:
    ours, theirs = deployment.ours, deployment.theirs
    await owner.execute("UPDATE events SET xid = NULL")  # as before there was a log
    await add(owner, ours.legal_entity_id, ours.payment_id, 2)
    assert [await sequencer.step(pool) for _ in range(3)] == [3, 0, 0]
    await add(owner, ours.legal_entity_id, ours.payment_id, 3)
    assert await sequencer.step(pool) == 1
    found = await logs(owner)
    assert found[ours.legal_entity_id] == [(ours.payment_id, n) for n in (1, 2, 3)]
    assert found[theirs.legal_entity_id] == [(theirs.payment_id, 1)]


async def test_an_entry_says_what_the_event_says(
    deployment: Deployment, owner: asyncpg.Pool, pool: asyncpg.Pool, sequencer: Sequencer
) -> None:
    ours, payload = deployment.ours, '{"reference":"Ä"}'.encode()
    await owner.execute(
        NEW_EVENT, ours.legal_entity_id, ours.payment_id, 2, NOW, bytes(range(32)), payload
    )
    await sequencer.step(pool)
    entry = await owner.fetchval(
        "SELECT entry FROM log_entries WHERE legal_entity_id = $1 AND index = 1",
        ours.legal_entity_id,
    )
    head, _, rest = entry.partition(b"\n")
    assert head.decode() == (
        f"strongroom/1 payment.changed {ours.payment_id} 2 {int(NOW.timestamp()) * 1_000_000} 1 "
        f"{bytes(range(32)).hex()} test"
    )
    assert rest == payload


async def test_a_version_comes_after_those_before_it_though_it_began_earlier(
    deployment: Deployment, owner: asyncpg.Pool, pool: asyncpg.Pool, sequencer: Sequencer
) -> None:
    """The later transaction writes version 2 of what the earlier one, which is older, goes on."""
    ours = deployment.ours
    entity, subject = ours.legal_entity_id, uuid4()
    async with owner.acquire() as older, owner.acquire() as later, owner.acquire() as third:
        await older.execute("BEGIN")
        await add(older, entity, uuid4(), 1)  # has its number now
        await third.execute("BEGIN")
        await add(third, entity, uuid4(), 1)
        await later.execute("BEGIN")
        await add(later, entity, subject, 1)
        await later.execute("COMMIT")
        await add(older, entity, subject, 2)
        await older.execute("COMMIT")
        await sequencer.step(pool)
        await third.execute("COMMIT")
    assert await sequencer.step(pool) == 1
    log = (await logs(owner))[entity]
    assert log.index((subject, 1)) < log.index((subject, 2))
    assert len(log) == 1 + 4


async def test_what_is_rolled_back_has_no_place_and_leaves_no_gap(
    deployment: Deployment, owner: asyncpg.Pool, pool: asyncpg.Pool, sequencer: Sequencer
) -> None:
    entity = deployment.ours.legal_entity_id
    async with owner.acquire() as connection:
        await connection.execute("BEGIN")
        await add(connection, entity, uuid4(), 1)
        assert await sequencer.step(pool) == 2
        await connection.execute("ROLLBACK")
    await add(owner, entity, uuid4(), 1)
    assert [await sequencer.step(pool), await sequencer.step(pool)] == [1, 0]
    assert len((await logs(owner))[entity]) == 2


async def test_whatever_is_written_meanwhile_by_many_has_one_place_in_order(
    deployment: Deployment, owner: asyncpg.Pool, pool: asyncpg.Pool, sequencer: Sequencer
) -> None:
    """Eight writers go on with the same subjects, two sequencers look as often as they can."""
    entities = [deployment.ours.legal_entity_id, deployment.theirs.legal_entity_id]
    subjects = [(entity, uuid4(), asyncio.Lock()) for entity in entities for _ in range(6)]
    versions: dict[UUID, int] = defaultdict(int)
    committed: set[tuple[UUID, int]] = set()

    async def write(number: int) -> None:
        choose = random.Random(number)
        for _ in range(40):
            chosen = choose.sample(subjects, 2)
            async with owner.acquire() as connection:
                await connection.execute("BEGIN")
                written, held = [], []
                # The first lock is taken long after the transaction has its number.
                await add(connection, chosen[0][0], uuid4(), 1)
                for entity, subject, lock in sorted(chosen, key=lambda one: one[1]):
                    await lock.acquire()
                    held.append(lock)
                    await asyncio.sleep(choose.random() / 500)
                    written.append((subject, versions[subject] + 1))
                    await add(connection, entity, *written[-1])
                if choose.random() < 0.2:
                    await connection.execute("ROLLBACK")
                else:
                    await connection.execute("COMMIT")
                    versions.update(dict(written))
                    committed.update(written)
                for lock in held:
                    lock.release()

    async def look() -> None:
        while True:
            await sequencer.step(pool)

    looking = [asyncio.create_task(look()) for _ in range(2)]
    await asyncio.gather(*(write(number) for number in range(8)))
    for task in looking:
        task.cancel()
    ends = await asyncio.gather(*looking, return_exceptions=True)
    # One at a time: neither of them met a place that the other one had given out.
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    await sequencer.step(pool)
    found = await logs(owner)
    ours = {subject for _, subject, _ in subjects}
    for log in found.values():
        for subject in ours & {subject for subject, _ in log}:
            places = [version for one, version in log if one == subject]
            assert places == list(range(1, versions[subject] + 1))
    assert {one for log in found.values() for one in log if one[0] in ours} == committed


async def test_a_copy_with_other_transactions_is_noticed(
    deployment: Deployment, owner: asyncpg.Pool, pool: asyncpg.Pool, sequencer: Sequencer
) -> None:
    await sequencer.step(pool)
    ahead = "9000000000:9000000000:"
    await owner.execute("UPDATE directory.log_cursor SET seen = $1::text::pg_snapshot", ahead)
    await add(owner, deployment.ours.legal_entity_id, uuid4(), 1)
    for _ in range(2):
        with pytest.raises(InvariantBroken):
            await sequencer.step(pool)
    seen = await owner.fetchval("SELECT seen::text FROM directory.log_cursor")
    assert seen == ahead, "it does not move, so nothing is lost"


async def test_a_payload_that_is_too_long_stands_as_its_digest(
    deployment: Deployment, owner: asyncpg.Pool, pool: asyncpg.Pool, sequencer: Sequencer
) -> None:
    ours, long = deployment.ours, b"x" * 60_001
    await owner.execute(NEW_EVENT, ours.legal_entity_id, ours.payment_id, 2, NOW, b"d" * 32, long)
    await sequencer.step(pool)
    content = await owner.fetchval("SELECT entry FROM log_entries WHERE version = 2")
    read = Entry.read(content)
    assert read.is_digested
    assert read.payload == f"sha256 {sha256(long).hexdigest()}".encode()
    assert replace(read, payload=long, is_digested=False).content() == content


ATTACKS = (
    "UPDATE strongroom.log_entries SET entry = ''",
    "DELETE FROM strongroom.log_entries",
    "UPDATE strongroom.events SET payload = ''",
    "DELETE FROM strongroom.events",
    "TRUNCATE strongroom.log_entries",
    "DELETE FROM directory.log_cursor",
    "INSERT INTO directory.log_cursor (seen) VALUES ('3:3:')",
    *(
        f"INSERT INTO strongroom.{table} (legal_entity_id, {owner}, version, kind, actor, at, "
        f"row_digest, payload, xid) VALUES ('{UUID(int=1)}', '{UUID(int=1)}', 1, 'a.b', 'x', "
        "'2026-01-01', '', '', 1)"
        for table, owner in (("events", "payment_id"), ("customer_events", "owner_id"))
    ),
)


async def test_nobody_changes_what_is_in_the_log(deployment: Deployment) -> None:
    for login in ("api", "worker", "sequencer", "signer"):
        connection = await asyncpg.connect(deployment.url(login))
        try:
            for attack in ATTACKS:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(attack)
        finally:
            await connection.close()

"""Bringing a database up to date: in turns, giving way to requests, and what older versions see."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from strongroom import migrations
from strongroom.cli import main
from strongroom.config import ConfigurationError, Home
from strongroom.database import SEARCH_PATH, begin, connect_pool
from strongroom.directory import WAIT_SECONDS, check_schema, check_workers
from strongroom.ids import first_at, new_id
from strongroom.migrations import MigrationStopped, files, migrate, patiently, session_name
from strongroom.migrations.partitions import MONTHS_AHEAD, extend_events
from strongroom.payments.reads import Filters, list_payments, read_payments
from tests.contract.first_version import make_first_version
from tests.integration.conftest import NEW_EVENT, NEW_PAYMENT, NOW, Deployment

FIRST, *LATER = files()
EXPANDING = [one.name for one in LATER if not one.finishes]
FINISHING = [one.name for one in LATER if one.finishes]
EXPANDING_FIRST = [FIRST.name, *EXPANDING, *FINISHING]
REQUEST_SECONDS_MAX = 3.0
LATE_2028 = datetime(2028, 12, 15, tzinfo=UTC)


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner of an empty database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def older(owner: asyncpg.Connection) -> asyncpg.Connection:
    """The owner of a database as the first version left it."""
    await make_first_version(owner, NOW)
    return owner


async def shape(owner: asyncpg.Connection) -> list[tuple[str, ...]]:
    """All columns of all tables, with their types."""
    rows = await owner.fetch(
        "SELECT table_schema, table_name, column_name, data_type, column_default "
        "FROM information_schema.columns WHERE table_schema LIKE 'strongroom%' ORDER BY 1, 2, 3"
    )
    return [tuple(row) for row in rows]


async def test_a_new_database_is_finished_at_once_and_by_one_of_two(database_url: str) -> None:
    connections = [await asyncpg.connect(database_url) for _ in range(3)]
    applied = await asyncio.gather(*(migrate(connection, NOW) for connection in connections))
    assert sorted(name for names in applied for name in names) == [one.name for one in files()]
    assert await migrate(connections[0], NOW) == []
    for connection in connections:
        await connection.close()


async def test_an_upgrade_ends_in_the_schema_of_a_new_database(
    older: asyncpg.Connection,
) -> None:
    told: list[str] = []
    assert await migrate(older, NOW, tell=told.append) == EXPANDING
    waiting = [line for line in told if "waits for `strongroom migrate --finish`" in line]
    assert [line.partition(":")[0] for line in waiting] == FINISHING
    assert await migrate(older, NOW) == []
    assert await migrate(older, NOW, finish=True) == FINISHING
    after = await shape(older)
    await older.execute(
        "DROP SCHEMA strongroom, directory CASCADE; DROP TABLE public.strongroom_migrations"
    )
    assert await migrate(older, NOW) == EXPANDING_FIRST
    assert await shape(older) == after


async def test_what_finishes_waits_until_no_older_version_is_connected(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await asyncpg.connect(deployment.owner_url)
    await owner.execute(
        "CREATE SCHEMA strongroom_next; "
        "ALTER TABLE strongroom.payments SET SCHEMA strongroom_next; "
        "CREATE VIEW strongroom.payments AS SELECT * FROM strongroom_next.payments; "
    )
    await owner.execute("DELETE FROM strongroom_migrations WHERE name = $1", FINISHING[0])
    same, older = [
        await asyncpg.connect(deployment.url("api"), server_settings={"application_name": name})
        for name in (session_name("strongroom-api"), "strongroom-api")
    ]
    monkeypatch.setattr(migrations, "LEAVE_SECONDS", 0.2)
    with pytest.raises(MigrationStopped, match=r"still use: strongroom-api \(1 sessions\)\."):
        await migrate(owner, NOW, finish=True)
    monkeypatch.setattr(migrations, "LEAVE_SECONDS", 60.0)
    finishing = asyncio.create_task(migrate(owner, NOW, finish=True))
    await asyncio.sleep(0.3)
    assert not finishing.done()
    await older.close()
    assert await finishing == FINISHING[:1]
    for connection in (same, owner):
        await connection.close()


async def test_a_migration_gives_way_to_requests(older: asyncpg.Connection, database_url) -> None:
    """Behind a transaction that keeps the table, no request waits as long as it may."""
    holder, request = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    await holder.execute("BEGIN; SELECT FROM strongroom.payments")
    told: list[str] = []
    migrating = asyncio.create_task(migrate(older, NOW, tell=told.append))
    slowest, ends = 0.0, time.monotonic() + 6
    while time.monotonic() < ends:
        begun = time.monotonic()
        await request.fetch("SELECT FROM strongroom.payments")
        slowest = max(slowest, time.monotonic() - begun)
        await asyncio.sleep(0.01)
    assert not migrating.done()
    await holder.execute("COMMIT")
    assert await migrating == EXPANDING
    tries = [line for line in told if "others use the table" in line]
    print(f"{len(tries)} tries; the slowest request waited {slowest:.2f} s")
    assert len(tries) >= 3
    assert slowest < REQUEST_SECONDS_MAX
    for connection in (holder, request):
        await connection.close()


async def test_a_migration_that_never_gets_its_table_names_who_may_be_in_the_way(
    older: asyncpg.Connection, database_url, monkeypatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", (0.05,))
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", (0.05,))
    monkeypatch.setattr(migrations, "TRIES_MAX", 3)
    before = await shape(older)
    holder = await asyncpg.connect(
        database_url, server_settings={"application_name": "a long report"}
    )
    await holder.execute("BEGIN; SELECT FROM strongroom.payments")
    with pytest.raises(MigrationStopped, match=r"0002.*nothing of it stays.*pid .*a long report"):
        await migrate(older, NOW)
    assert await shape(older) == before
    await holder.close()


async def test_what_the_server_refuses_leaves_nothing_and_says_why(
    older: asyncpg.Connection,
) -> None:
    await migrate(older, NOW)
    before = await shape(older)

    async def bad(connection: asyncpg.Connection) -> bool:
        await connection.execute(
            "CREATE TABLE strongroom.t (a int); CREATE TABLE strongroom.jobs (a int)"
        )
        return True

    told: list[str] = []
    with pytest.raises(MigrationStopped, match=r"0009.*\"jobs\" already exists \(42P07\)"):
        await patiently(older, "0009_bad.sql", bad, told.append)
    assert await shape(older) == before


async def test_a_file_that_was_edited_after_it_was_applied_is_refused(
    older: asyncpg.Connection,
) -> None:
    await older.execute("UPDATE strongroom_migrations SET digest = 'another'")
    with pytest.raises(MigrationStopped, match=FIRST.name):
        await migrate(older, NOW)


# What a process needs.


async def test_a_process_does_not_start_on_a_schema_that_is_too_old(
    deployment: Deployment,
) -> None:
    owner = await asyncpg.connect(deployment.owner_url)
    pool = await connect_pool(deployment.url("api"), size_max=1, application="strongroom-api")
    await check_schema(pool)
    await owner.execute("DELETE FROM strongroom_migrations WHERE name = $1", EXPANDING[-1])
    with pytest.raises(ConfigurationError, match=rf"lacks {EXPANDING[-1]}: run .strongroom migr"):
        await check_schema(pool)
    await owner.execute("REVOKE SELECT ON strongroom_migrations FROM strongroom_api")
    with pytest.raises(ConfigurationError, match=f"lacks {', '.join(EXPANDING)}: run"):
        await check_schema(pool)
    await pool.close()
    await owner.close()


async def test_an_api_does_not_start_beside_workers_of_the_version_before(
    deployment: Deployment, monkeypatch
) -> None:
    assert WAIT_SECONDS > 10
    monkeypatch.setattr("strongroom.directory.WAIT_SECONDS", 0.3)
    pool = await connect_pool(deployment.url("api"), size_max=1, application="strongroom-api")
    older = await asyncpg.connect(
        deployment.url("worker"), server_settings={"application_name": "strongroom-worker"}
    )
    same = await asyncpg.connect(
        deployment.url("worker"),
        server_settings={"application_name": session_name("strongroom-worker")},
    )
    with pytest.raises(ConfigurationError, match=r"\(1 sessions\).* replace the workers first"):
        await check_workers(pool)
    await older.close()
    monkeypatch.setattr("strongroom.directory.WAIT_SECONDS", 5.0)
    await check_workers(pool)
    await same.close()
    await pool.close()


async def test_rows_that_change_their_shape_disturb_no_request(deployment: Deployment) -> None:
    """Statements that give whole rows are prepared anew, also where a transaction is open."""
    owner = await asyncpg.connect(deployment.owner_url)
    pool = await connect_pool(deployment.url("api"), size_max=1, application="strongroom-api")
    ours = deployment.ours

    async def asked() -> list[int]:
        entity = ours.legal_entity_id
        page = await list_payments(pool, entity, Filters(), None, 5)
        return [len(await read_payments(pool, {ours.payment_id: entity})), len(page.payments)]

    assert await asked() == [1, 1]
    for number in range(3):
        await owner.execute(f"ALTER TABLE strongroom.payments ADD COLUMN more_{number} int")
        assert await asked() == [1, 1]
    await pool.close()
    await owner.close()


# Partitions of the events.


async def test_partitions_are_made_ahead_while_events_are_written(deployment: Deployment) -> None:
    owner = await asyncpg.connect(deployment.owner_url)
    worker = await asyncpg.connect(
        deployment.url("worker"), server_settings={"search_path": SEARCH_PATH}
    )
    ours = deployment.ours
    await begin(worker, [ours.legal_entity_id])
    await worker.execute(
        NEW_EVENT.replace(", 1,", ", 2,"), ours.legal_entity_id, ours.payment_id, NOW, b"x" * 32
    )
    made: list[str] = []
    begun = time.monotonic()
    last = await extend_events(owner, LATE_2028, made.append)
    seconds = time.monotonic() - begun
    print(f"{len(made)} partitions in {seconds:.2f} s beside an open transaction")
    await worker.execute("COMMIT")
    assert last == "events_2030_12"
    assert made == [line for line in made if line.endswith(": made")]
    assert len(made) == MONTHS_AHEAD
    assert seconds < 2
    assert await extend_events(owner, LATE_2028, made.append) == last
    assert len(made) == MONTHS_AHEAD
    for moment, partition in (
        (datetime(2028, 12, 31, 23, 59, 59, tzinfo=UTC), "events_2028_12"),
        (datetime(2029, 1, 1, tzinfo=UTC), "events_2029_01"),
        (datetime(2030, 12, 31, tzinfo=UTC), "events_2030_12"),
    ):
        identifier = new_id(int(moment.timestamp() * 1_000_000), ours.legal_entity_id)
        await begin(worker, [ours.legal_entity_id])
        await worker.execute(NEW_EVENT, ours.legal_entity_id, identifier, moment, b"x" * 32)
        await worker.execute("COMMIT")
        found = await owner.fetchval(
            "SELECT tableoid::regclass::text FROM strongroom.events WHERE payment_id = $1",
            identifier,
        )
        assert found.endswith(partition)
    assert await owner.fetchval("SELECT count(*) FROM strongroom.events_beyond") == 0
    await worker.close()
    await owner.close()


async def test_a_partition_that_comes_too_late_says_so(deployment: Deployment) -> None:
    owner = await asyncpg.connect(deployment.owner_url)
    late = first_at(int(datetime(2029, 3, 5, tzinfo=UTC).timestamp() * 1_000_000))
    entity = deployment.ours.legal_entity_id
    await owner.execute(
        NEW_EVENT.replace("events", "strongroom.events"), entity, late, NOW, b"x" * 32
    )
    with pytest.raises(MigrationStopped, match=r"events_2029_03 .*default partition"):
        await extend_events(owner, LATE_2028)
    await owner.close()


async def test_an_older_version_writes_through_the_view(older: asyncpg.Connection) -> None:
    """What it inserts and reads has the old shape; the table has the new one."""
    await migrate(older, NOW)
    entity = first_at(1_000_000)
    await older.execute("SET search_path = strongroom, directory")
    whole = await older.prepare("SELECT p.* FROM payments p")
    await older.execute(NEW_PAYMENT, entity, entity, "order", NOW, b"x" * 16)
    assert "capture" not in (await whole.fetch())[0]
    await older.execute(f"SET search_path = {SEARCH_PATH}")
    row = await older.fetchrow("SELECT * FROM payments")
    assert (row["capture"], row["refunded_minor"]) == ("automatic", 0)


async def test_a_database_out_of_reach_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Home(tmp_path).write_secret("database_owner_url", "postgresql://x:y@127.0.0.1:1/none")
    assert await asyncio.to_thread(main, ["migrate", "--home", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be used as its owner: ConnectionRefusedError" in said

"""How far the log is behind: sequencer and signer stand still for real, and it is measured."""

import asyncio
import json
from collections.abc import Callable

import asyncpg
import pytest
from structlog.testing import capture_logs

from strongroom.database import reading
from strongroom.errors import InvariantBroken
from strongroom.ids import to_text
from strongroom.log import sequencing
from strongroom.log.sequencing import SQL
from strongroom.telemetry import log_lag, readings
from strongroom.telemetry.log_lag import EVENTS_MAX, LogLag
from tests.contract import plans
from tests.integration.conftest import Deployment
from tests.integration.watched_log import NEW_EVENT, Watched, watched, watched_from_now
from tests.unit.test_metrics import samples

NEW_CUSTOMER_EVENT = NEW_EVENT.replace("events", "customer_events").replace(
    "payment_id", "owner_id"
)
MANY_EVENTS = """
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
SELECT $1, gen_random_uuid(), 1, 'payment.changed', 'test', $2, $3, ''
FROM generate_series(1, $4::int)
"""
MANY = 50_000
WAIT_SECONDS_MAX = 60.0


__all__ = ["watched", "watched_from_now"]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


# Without a place.


async def test_a_log_where_nothing_happens_is_not_behind(watched_from_now: Watched) -> None:
    for _ in range(2):
        watched_from_now.hands.turn(86_400)
        assert await watched_from_now.seen() == (0, 0, 0)


async def test_while_no_sequencer_works_the_age_grows_and_it_falls_afterwards(
    watched_from_now: Watched,
) -> None:
    one = watched_from_now
    await one.add()
    assert await one.seen() == (0, 0, 0)
    one.hands.turn(90)
    await one.add()
    assert await one.seen() == (90, 0, 0), "the oldest counts"
    one.hands.turn(30)
    assert await one.seen() == (120, 0, 0)
    assert await one.sequence() == 2
    assert await one.seen() == (0, 2, 0)


async def test_a_sequencer_that_hangs_is_one_that_does_not_work(watched_from_now: Watched) -> None:
    one = watched_from_now
    await one.add()
    one.hands.turn(75)
    async with one.owner.acquire() as other, other.transaction():
        await other.execute("SELECT FROM directory.log_cursor FOR UPDATE")
        assert await one.sequence() is None
        assert await one.seen() == (75, 0, 0)
    assert await one.sequence() == 1
    assert (await one.seen())[0] == 0


async def test_a_sequencer_that_fails_is_heard_and_goes_on_when_it_can(
    watched_from_now: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = watched_from_now
    monkeypatch.setattr(sequencing, "FAILED_WAIT_SECONDS", 0.05)
    await one.owner.execute("REVOKE INSERT ON log_entries FROM strongroom_sequencer")
    await one.add()
    one.hands.turn(61)
    with capture_logs() as lines:
        running = asyncio.create_task(one.log.sequencer.run())
        try:
            await until(lambda: len(lines) > 2)
            assert (await one.seen())[0] == 61
            await one.owner.execute("GRANT INSERT ON log_entries TO strongroom_sequencer")
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                while (await one.seen())[0] > 0:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert {line["event"] for line in lines} == {"log_not_sequenced"}
    assert "error" in {line["log_level"] for line in lines}
    assert await one.seen() == (0, 1, 0)


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
async def test_a_transaction_that_ends_late_counts_once_it_is_committed(
    watched_from_now: Watched, ends: str
) -> None:
    one = watched_from_now
    async with one.owner.acquire() as older:
        await older.execute("BEGIN")
        await one.add(connection=older)
        await one.add()
        assert await one.sequence() == 1, "the cursor is beyond the older one now"
        one.hands.turn(200)
        assert (await one.seen())[0] == 0, "what is not committed is not there"
        await older.execute(ends)
    assert (await one.seen())[0] == (200 if ends == "COMMIT" else 0)
    await one.sequence()
    assert (await one.seen())[0] == 0


async def test_events_of_customers_count_too(watched_from_now: Watched) -> None:
    one = watched_from_now
    await one.add(NEW_CUSTOMER_EVENT)
    one.hands.turn(61)
    assert (await one.seen())[0] == 61
    await one.sequence()
    assert (await one.seen())[0] == 0


async def test_what_was_there_before_the_log_waits_until_the_first_look(watched: Watched) -> None:
    await watched.owner.execute("UPDATE events SET xid = NULL")
    watched.hands.turn(3600)
    assert (await watched.seen())[0] == 3600
    await watched.sequence()
    assert (await watched.seen())[0] == 0


async def test_a_copy_with_other_transactions_has_no_age_and_the_failure_is_counted(
    watched_from_now: Watched,
) -> None:
    one = watched_from_now
    ahead = "9000000000:9000000000:"
    await one.owner.execute("UPDATE directory.log_cursor SET seen = $1::text::pg_snapshot", ahead)
    await one.add()
    with pytest.raises(InvariantBroken):
        await one.sequence()
    await one.lag.read()
    assert samples(one.told.metrics, "strongroom_log_unsequenced_seconds") == {}
    assert one.gauge("log_unsigned_entries") == 0
    assert 'event="log_not_sequenced",level="error"' in samples(
        one.told.metrics, "strongroom_log_lines_total"
    )


# Without a signature.


async def test_while_no_signer_works_entries_and_age_grow_and_fall_afterwards(
    watched_from_now: Watched,
) -> None:
    one = watched_from_now
    for _ in range(3):
        await one.add()
        await one.sequence()
        one.hands.turn(40)
    assert await one.seen() == (0, 3, 120)
    await one.log.signer.step()
    assert await one.seen() == (0, 0, 0)


async def test_the_oldest_of_all_logs_counts_and_all_entries(
    watched: Watched, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lag, "LOGS_MAX", 1)
    await watched.sequence()  # an event of each log, and nothing was ever signed
    watched.hands.turn(10)
    await watched.add()
    await watched.sequence()
    watched.hands.turn(10)
    assert await watched.seen() == (0, 3, 20)
    await watched.log.signer.step()
    assert await watched.seen() == (0, 0, 0)
    assert deployment.theirs.legal_entity_id != watched.entity


@pytest.mark.parametrize("heard_by", ["the same signer", "the next"])
async def test_what_the_database_did_not_hear_is_told_again(
    watched_from_now: Watched, heard_by: str
) -> None:
    """It was signed, so nobody may be called because a row says otherwise."""
    one = watched_from_now
    await one.add()
    await one.sequence()
    one.hands.turn(5)
    await one.owner.execute("REVOKE INSERT, UPDATE ON log_checkpoints FROM strongroom_signer")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await one.log.signer.step()
    await one.owner.execute("GRANT INSERT, UPDATE ON log_checkpoints TO strongroom_signer")
    assert await one.seen() == (0, 1, 5)
    if heard_by == "the next":
        one.log.signer = await one.log.restarted()
    assert await one.log.signer.step() == 0
    assert await one.seen() == (0, 0, 0)


# How it is read.


async def test_a_long_backlog_costs_no_more_than_a_short_one(watched_from_now: Watched) -> None:
    """Of many events that wait, and many entries, only the first are touched, by an index."""
    one = watched_from_now
    values = (one.entity, one.hands.now(), b"d" * 32, MANY)
    await one.owner.execute(MANY_EVENTS, *values, timeout=WAIT_SECONDS_MAX)
    await one.sequence()
    await one.owner.execute(MANY_EVENTS, *values, timeout=WAIT_SECONDS_MAX)
    await one.owner.execute("ANALYZE", timeout=WAIT_SECONDS_MAX)
    one.hands.turn(9)
    assert await one.seen() == (9, MANY, 9)
    pool = one.lag._pool
    assert pool is not None
    async with reading(pool, [one.entity]) as connection:
        cursor = await connection.fetchrow(SQL["cursor"])
        assert cursor is not None
        xmax = int(cursor["seen"].split(":")[1])
        for name, *arguments in (
            ("waiting", xmax, [1, 2, 3], False, EVENTS_MAX),
            ("waiting", xmax, [1, 2, 3], True, EVENTS_MAX),
            ("unsigned",),
            ("placed", [one.entity], [1]),
        ):
            explained = json.loads(
                await connection.fetchval(
                    "EXPLAIN (ANALYZE, FORMAT JSON) " + SQL[str(name)], *arguments
                )
            )
            for node in plans.nodes(explained[0]["Plan"]):
                if "Relation Name" in node:
                    rows = node["Actual Rows"] * node["Actual Loops"]
                    assert rows <= EVENTS_MAX, (name, node)
                    assert node.get("Rows Removed by Filter", 0) <= EVENTS_MAX, (name, node)
                if node.get("Relation Name", "").startswith(("events", "log_entries")):
                    assert "Index Cond" in node, (name, node)


async def test_a_reading_that_no_longer_holds_is_not_shown(
    watched_from_now: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watched_from_now.seen()
    monkeypatch.setattr(log_lag, "STALE_SECONDS", -1.0)
    assert b"strongroom_log_uns" not in watched_from_now.told.metrics.text()


async def test_a_database_that_is_away_is_noticed_and_read_again_later(
    watched_from_now: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = watched_from_now
    monkeypatch.setattr(LogLag, "every_seconds", 0.05)
    monkeypatch.setattr(readings, "SHARE_OF_TIME", 1.0)
    url, one.lag._url = one.lag._url, "postgresql://127.0.0.1:9/x"
    with capture_logs() as lines:
        one.lag.start()
        await until(lambda: bool(lines))
        assert one.lag._pool is not None
        one.lag._pool.terminate()
        one.lag._url, one.lag._pool = url, None
        await until(lambda: b"strongroom_log_unsigned_seconds" in one.told.metrics.text())
    assert {line["event"] for line in lines} == {"log_lag_not_read"}


async def test_who_reads_it_sees_sizes_and_times_and_no_entry(deployment: Deployment) -> None:
    allowed = (
        "SELECT legal_entity_id, size FROM strongroom.log_checkpoints",
        "SELECT legal_entity_id, index, sequenced_at FROM strongroom.log_entries",
    )
    refused = (
        "SELECT note FROM strongroom.log_checkpoints",
        "SELECT entry FROM strongroom.log_entries",
        "SELECT subject_id FROM strongroom.log_entries",
        "UPDATE strongroom.log_checkpoints SET size = 0",
        "INSERT INTO strongroom.log_checkpoints SELECT gen_random_uuid(), 1, '', '2026-01-01'",
    )
    connection = await asyncpg.connect(deployment.url("sequencer"))
    try:
        for statement in allowed:
            assert await connection.fetch(statement) == []
        for statement in refused:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_no_series_is_of_a_legal_entity(watched_from_now: Watched) -> None:
    await watched_from_now.seen()
    text = watched_from_now.told.metrics.text().decode()
    assert "strongroom_log_unsequenced_seconds" in text
    for word in (str(watched_from_now.entity), to_text("ent", watched_from_now.entity), '"ent_'):
        assert word not in text

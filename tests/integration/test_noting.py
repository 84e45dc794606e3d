"""What operators do leaves events with gapless versions, whoever does what at the same time."""

import asyncio
import getpass
import os
import pwd
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from strongroom.cli import main
from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.config import ConfigurationError, Home
from strongroom.database import SEARCH_PATH, begin, connect_pool, lock_timeout
from strongroom.ids import new_id, to_text
from strongroom.local.first_entity import prepare_dev
from strongroom.log import noting
from strongroom.log.comparing import Comparing
from strongroom.log.noting import note, operator
from strongroom.log.sequencing import Sequencer
from strongroom.migrations.partitions import extend_events
from strongroom.vault.destruction import destroy
from tests.integration.conftest import NOW, Deployment
from tests.integration.vaults import Ours, our_vault

EVENTS = "SELECT * FROM events WHERE payment_id = $1 ORDER BY version"
AT_ONCE = 12
LONG_AGO = datetime(2019, 3, 5, tzinfo=UTC)
NOBODY = 4_294_967_295
"""The login of a process that no login led to."""


@pytest.fixture
async def owner(deployment: Deployment) -> AsyncIterator[asyncpg.Pool]:
    """Without time limits: some wait for each other."""
    async with asyncpg.create_pool(
        deployment.owner_url, min_size=0, max_size=AT_ONCE + 2,
        server_settings={"search_path": SEARCH_PATH},
    ) as pool:  # fmt: skip
        yield pool


@pytest.fixture
async def ours(deployment: Deployment) -> AsyncIterator[Ours]:
    async with our_vault(deployment) as made:
        yield made


async def noted(owner: asyncpg.Pool, entity: UUID, subject: UUID, end: str = "COMMIT") -> int:
    async with owner.acquire() as connection:
        await begin(connection, [entity])
        version = await note(connection, entity, subject, "gateway_account.watched", NOW)
        await connection.execute(end)
    return version


async def sequence(deployment: Deployment) -> None:
    """Whatever was committed gets its place."""
    url = deployment.url("sequencer")
    pool = await connect_pool(url, size_max=1, application="test")
    while await Sequencer(url, SystemClock()).step(pool):
        pass
    await pool.close()


async def test_those_who_note_at_once_get_one_version_each(
    deployment: Deployment, owner: asyncpg.Pool
) -> None:
    entities = deployment.ours.legal_entity_id, deployment.theirs.legal_entity_id
    subjects = [(entity, uuid4()) for entity in entities for _ in range(2)]
    rounds = [
        asyncio.gather(
            *(noted(owner, *one, "ROLLBACK" if turn % 3 == 2 else "COMMIT") for one in subjects)
        )
        for turn in range(AT_ONCE)
    ]
    await asyncio.gather(*rounds)
    for _, subject in subjects:
        found = [row["version"] for row in await owner.fetch(EVENTS, subject)]
        assert found == list(range(1, AT_ONCE - AT_ONCE // 3 + 1))


async def test_who_notes_waits_for_nobody_of_another_legal_entity(
    deployment: Deployment, owner: asyncpg.Pool
) -> None:
    ours, theirs = deployment.ours.legal_entity_id, deployment.theirs.legal_entity_id
    async with owner.acquire() as open_one:
        await begin(open_one, [ours])
        await note(open_one, ours, uuid4(), "gateway_account.watched", NOW)
        assert await noted(owner, theirs, uuid4()) == 1
        patience = lock_timeout.set("300ms")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await noted(owner, ours, uuid4())
        lock_timeout.reset(patience)
        await open_one.execute("ROLLBACK")


async def test_an_event_has_the_six_fields_and_a_digest_of_them(
    deployment: Deployment, owner: asyncpg.Pool
) -> None:
    entity, subject = deployment.ours.legal_entity_id, uuid4()
    async with owner.acquire() as connection:
        await begin(connection, [entity])
        await note(
            connection, entity, subject, "encryption_key.reencrypted", NOW, outcome="failed", left=2
        )
        await connection.execute("COMMIT")
    [row] = await owner.fetch(EVENTS, subject)
    assert (row["actor"], row["kind"], row["at"]) == (operator(), "encryption_key.reencrypted", NOW)
    assert msgspec.json.decode(row["payload"]) == {
        "left": 2,
        "origin": {"by": "command_line", "host": os.uname().nodename},
        "outcome": "failed",
    }
    assert row["row_digest"] == sha256(row["payload"]).digest()


async def test_an_account_from_long_ago_goes_on_where_its_archived_events_ended(
    deployment: Deployment, owner: asyncpg.Pool
) -> None:
    """Its month has no partition, and what was in it is in the log alone."""
    entity = deployment.ours.legal_entity_id
    account = new_id(microseconds_since_epoch(LONG_AGO), entity)
    for version in (1, 2):
        assert await noted(owner, entity, account) == version
    await sequence(deployment)
    await owner.execute("DELETE FROM events WHERE payment_id = $1", account)
    assert await noted(owner, entity, account) == 3
    [row] = await owner.fetch("SELECT tableoid::regclass::text AS part, version FROM events_beyond")
    assert (row["part"], row["version"]) == ("events_beyond", 3)
    await sequence(deployment)
    places = "SELECT version FROM log_entries WHERE subject_id = $1 ORDER BY index"
    assert [row["version"] for row in await owner.fetch(places, account)] == [1, 2, 3]
    connection = await asyncpg.connect(deployment.owner_url)  # other months are made beside it
    assert await extend_events(connection, datetime(2031, 1, 1, tzinfo=UTC)) == "events_2033_01"
    await connection.close()


async def test_what_was_noted_agrees_with_the_log(
    deployment: Deployment, owner: asyncpg.Pool
) -> None:
    entity, subjects = deployment.ours.legal_entity_id, [uuid4(), uuid4()]
    for subject in (*subjects, *subjects, entity):
        await noted(owner, entity, subject)
    await sequence(deployment)
    content = "SELECT entry FROM log_entries WHERE legal_entity_id = $1 ORDER BY index"
    entries = [row["entry"] for row in await owner.fetch(content, entity)]
    compared = await Comparing(owner, entity, NOW).compare(entries)
    assert compared.events == 1 + 5
    of_rows = ("payment pay_", "refund ref_")  # which the deployment has without a word of ours
    assert [one for one in compared.problems if not one.startswith(of_rows)] == []
    await owner.execute("UPDATE events SET actor = 'nobody' WHERE payment_id = $1", entity)
    edited = await Comparing(owner, entity, NOW).compare(entries)
    assert any("gateway_account.watched) is not what the log" in one for one in edited.problems)


async def test_of_a_legal_entity_that_is_not_there_nothing_is_noted(owner: asyncpg.Pool) -> None:
    entity = new_id(microseconds_since_epoch(NOW), uuid4())
    with pytest.raises(ConfigurationError, match="no such legal entity"):
        await noted(owner, entity, entity)
    assert await owner.fetchval("SELECT count(*) FROM events WHERE payment_id = $1", entity) == 0


def test_nobody_becomes_another_by_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert getpass.getuser() == "somebody-else"
    monkeypatch.setattr(noting, "LOGIN", tmp_path / "loginuid")
    me, other = pwd.getpwuid(os.getuid()).pw_name, pwd.getpwnam("daemon")
    assert operator() == f"operator:{me}"
    for login, name in ((f"{NOBODY}\n", me), (f"{other.pw_uid}\n", "daemon"), ("", me)):
        noting.LOGIN.write_text(login)
        assert operator() == f"operator:{name}"
    monkeypatch.setattr(os, "getuid", lambda: NOBODY - 1)
    assert operator() == f"operator:uid-{NOBODY - 1}"


async def test_killed_between_both_commits_a_command_leaves_its_event_when_it_is_run_again(
    ours: Ours, owner: asyncpg.Pool
) -> None:
    """What it had done by then is done: a key destroyed, and no event of it."""
    [subject] = await ours.made(1)
    assert await destroy(ours.owner, ours.tombstones, ours.entity, subject, NOW)
    assert await owner.fetch(EVENTS, ours.entity) == []
    words = ["vault", "subjects", "destroy", to_text("sub", subject), "--yes"]
    named = ["--entity", to_text("ent", ours.entity), "--home", str(ours.deployment.home.path)]
    assert await asyncio.to_thread(main, [*words, *named]) == 0
    [event] = await owner.fetch(EVENTS, ours.entity)
    content = msgspec.json.decode(event["payload"])
    assert (event["kind"], content["data_subject"]) == ("data_subject.destroyed", words[3])
    assert content["had_key"] is False


async def test_without_the_payments_nothing_is_done_to_keys(ours: Ours) -> None:
    """So nothing is done that the log could not be told."""
    home = ours.deployment.home
    [subject] = await ours.made(1)
    url = home.secret("database_owner_url")
    home.write_secret("database_owner_url", "postgresql://nobody@127.0.0.1:1/nothing")
    entity, place = to_text("ent", ours.entity), ["--home", str(home.path)]
    for words in (
        ["subjects", "destroy", to_text("sub", subject), "--yes", "--entity", entity],
        ["rotate", "--no-wait", "--entity", entity],
        ["reencrypt", "--entity", entity],
        ["retire", "--yes", "--entity", entity],
    ):
        assert await asyncio.to_thread(main, ["vault", *words, *place]) == 1
    home.write_secret("database_owner_url", url)
    assert not ours.tombstones.has(ours.entity, subject)
    async with ours.looking() as keys:
        await begin(keys, [ours.entity])
        assert await keys.fetchval("SELECT max(version) FROM entity_keys") == 1
        assert await keys.fetchval("SELECT count(*) FROM subject_keys") == 1


async def test_root_keys_and_older_keys_leave_an_event_of_each_legal_entity(
    ours: Ours, owner: asyncpg.Pool
) -> None:
    place, theirs = ["--home", str(ours.deployment.home.path)], ours.deployment.theirs
    entity = ["--entity", to_text("ent", ours.entity)]
    kinds: dict[UUID, list[tuple[str, int | None]]] = {}
    for words in (["rotate-root"], ["rotate", "--no-wait", *entity]):
        assert await asyncio.to_thread(main, ["vault", *words, *place]) == 0
    await ours.execute("UPDATE entity_keys SET created_at = created_at - interval '2 days'")
    assert await asyncio.to_thread(main, ["vault", "retire", "--yes", *entity, *place]) == 0
    for one in (ours.entity, theirs.legal_entity_id):
        rows = await owner.fetch(EVENTS, one)
        told = [msgspec.json.decode(row["payload"]) for row in rows]
        kinds[one] = [
            (row["kind"], content.get("versions")) for row, content in zip(rows, told, strict=True)
        ]
    rotated = ("encryption_key.root_rotated", 1)
    assert kinds == {
        ours.entity: [rotated, ("encryption_key.rotated", None), ("encryption_key.retired", 1)],
        theirs.legal_entity_id: [rotated],
    }


async def test_up_notes_what_it_makes_and_the_second_time_nothing(
    database_url: str, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    home.write_secret("stripe_key", "sk_test_0123456789abcdef")
    api_keys = {
        (
            await prepare_dev(home.path, database_url, "http://127.0.0.1:1", "http://127.0.0.1")
        ).api_key
        for _ in range(2)
    }
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT kind, payload FROM strongroom.events ORDER BY kind")
    await connection.close()
    assert [row["kind"] for row in rows] == [
        "api_key.created", "gateway_account.added", "gateway_account.secret_set",
        "legal_entity.created",
    ]  # fmt: skip
    everything = b"".join(row["payload"] for row in rows)
    assert b"sk_test" not in everything
    [api_key] = api_keys
    assert api_key.encode() not in everything

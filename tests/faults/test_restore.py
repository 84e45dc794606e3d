"""Yesterday's backups, restored: who was destroyed today stays so, and no backup holds both."""

import asyncio
import base64
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest

from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.config import ConfigurationError, Home, Settings
from strongroom.database import begin
from strongroom.directory import create_entity
from strongroom.ids import new_id, to_text
from strongroom.setup import ensure_entity_keys, initialise, keys_owner, replay_tombstones
from strongroom.vault import errors, rotation
from strongroom.vault.destruction import destroy, journal_of
from strongroom.vault.envelope import Column
from strongroom.vault.keys import SQL as KEYS_SQL
from strongroom.vault.keys import context_of
from strongroom.vault.opening import open_kms, open_vault
from strongroom.vault.subjects import unwrapped
from tests.faults.servers import OwnServer

pytestmark = [pytest.mark.faults, pytest.mark.needs("embedded-postgresql")]

LABEL = Column("texts", "sealed").label
NAMES = {"gone": b"Ada Lovelace of the gone", "kept": b"Grace Hopper of the kept"}


class Two(NamedTuple):
    """The server of the payments, and that of the keys."""

    payments: OwnServer
    keys: OwnServer


@pytest.fixture(scope="module")
def servers() -> Iterator[Two]:
    base = Path(tempfile.mkdtemp(prefix="strongroom-restore-"))
    base.chmod(0o711)
    two = Two(*(OwnServer(base / name) for name in Two._fields))
    try:
        for server in two:
            server.start()
        yield two
    finally:
        for server in two:
            server.stop()
        shutil.rmtree(base, ignore_errors=True)


class Story:
    """One deployment over both servers, with a value of each of two subjects."""

    def __init__(self, servers: Two, folder: Path) -> None:
        self.servers, self.folder = servers, folder
        self.home = Home(folder / "home")
        self.database = f"restore_{uuid.uuid4().hex[:8]}"
        self.keys_database = self.database + "_k"
        self.subjects: dict[str, UUID] = {}

    async def begin(self) -> None:
        await initialise(
            self.home, self.servers.payments.url(self.database), "dev", "strongroom.test/1",
            keys_owner_url=self.servers.keys.url(self.keys_database),
        )  # fmt: skip
        self.home.write_settings(Settings())
        now = SystemClock().now()
        async with self._payments() as owner:
            self.entity = await create_entity(owner, "Example Ltd", now)
        await ensure_entity_keys(self.home)
        vault = await open_vault(self.home, Settings(), "api")
        for name, value in NAMES.items():
            subject = new_id(microseconds_since_epoch(now), self.entity)
            self.subjects[name] = subject
            key = await vault.subjects.create(self.entity, subject, now)
            sealed = key.seal(LABEL, subject.bytes, value)
            async with self._payments() as owner:
                await begin(owner, [self.entity])
                await owner.execute(
                    "INSERT INTO texts VALUES ($1, $2, $3)", self.entity, subject, sealed
                )
                await owner.execute("COMMIT")
        await vault.close()

    async def read(self, name: str) -> bytes:
        """By the product's own way, in a process that begins now."""
        subject = self.subjects[name]
        async with self._payments() as owner:
            await begin(owner, [self.entity])
            sealed = await owner.fetchval("SELECT sealed FROM texts WHERE owner_id = $1", subject)
        vault = await open_vault(self.home, Settings(), "api")
        try:
            return await vault.subjects.open(self.entity, subject, LABEL, subject.bytes, sealed)
        finally:
            await vault.close()

    async def destroy(self, name: str) -> None:
        now = SystemClock().now()
        async with keys_owner(self.home) as owner:
            tombstones = await journal_of(owner, self.home.tombstones(), now)
            assert await destroy(owner, tombstones, self.entity, self.subjects[name], now)

    async def wrapped_keys(self) -> dict[UUID, bytes]:
        async with keys_owner(self.home) as owner:
            await begin(owner, [self.entity])
            rows = await owner.fetch("SELECT subject_id, wrapped FROM subject_keys")
            return {row["subject_id"]: row["wrapped"] for row in rows}

    async def secrets(self) -> dict[str, bytes]:
        """Everything that opens something: wrapped, and in the clear."""
        found = {to_text("sub", one): key for one, key in (await self.wrapped_keys()).items()}
        kms = open_kms(self.home, Settings())
        async with keys_owner(self.home) as owner:
            keys = await rotation.entity_keys(owner, kms, self.entity)
            for subject, wrapped in (await self.wrapped_keys()).items():
                found[f"keyset of {to_text('sub', subject)}"] = unwrapped(
                    keys, subject, wrapped
                ).reveal()
            await begin(owner, [self.entity])
            for row in await owner.fetch(KEYS_SQL["entity_keys_of"], self.entity):
                found["wrapped bundle"] = row["wrapped"]
                context = context_of(self.entity, row["version"])
                found["bundle"] = (await kms.unwrap(row["wrapped"], context)).reveal()
        return found

    def _payments(self) -> Any:
        return _Connected(self.servers.payments.url(self.database))


class _Connected:
    """A connection of an owner, closed at the end."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await asyncpg.connect(
            self._url, server_settings={"search_path": "strongroom, directory"}
        )
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


def back_up(story: Story, how: str) -> tuple[Path, Path]:
    folder, servers = story.folder, story.servers
    if how == "pg_basebackup":
        return (
            servers.payments.base_backup(folder / "payments"),
            servers.keys.base_backup(folder / "keys"),
        )
    return (
        servers.payments.dump(story.database, folder / "payments.dump"),
        servers.keys.dump(story.keys_database, folder / "keys.dump"),
    )


def restore(story: Story, how: str, backups: tuple[Path, Path]) -> None:
    databases = (story.database, story.keys_database)
    for server, database, backup in zip(story.servers, databases, backups, strict=True):
        if how == "pg_basebackup":
            server.stop()
            server.restore_base(backup)
            server.start()
        else:
            server.restore_dump(database, backup)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["pg_basebackup", "pg_dump"])
def test_who_was_destroyed_stays_so_after_a_restore(servers, tmp_path, how):
    story = Story(servers, tmp_path)
    asyncio.run(story.begin())
    backups = back_up(story, how)
    asyncio.run(story.destroy("gone"))
    with pytest.raises(errors.SubjectDestroyed):
        asyncio.run(story.read("gone"))
    restore(story, how, backups)
    there = asyncio.run(story.wrapped_keys())
    assert story.subjects["gone"] in there, "the backup did bring the key back"
    with pytest.raises(errors.SubjectDestroyed):
        asyncio.run(story.read("gone"))
    assert asyncio.run(story.read("kept")) == NAMES["kept"]
    assert asyncio.run(replay_tombstones(story.home)).keys_destroyed == 1
    assert asyncio.run(story.wrapped_keys()).keys() == {story.subjects["kept"]}
    with pytest.raises(errors.SubjectDestroyed):
        asyncio.run(story.read("gone"))
    assert asyncio.run(story.read("kept")) == NAMES["kept"]


@pytest.mark.slow
def test_a_backup_of_the_payments_holds_no_key(servers, tmp_path):
    story = Story(servers, tmp_path)
    asyncio.run(story.begin())
    of_payments, of_keys = back_up(story, "pg_basebackup")
    dumps = [
        servers.payments.dump(story.database, tmp_path / "payments.sql", plain=True),
        servers.keys.dump(story.keys_database, tmp_path / "keys.sql", plain=True),
    ]
    found = asyncio.run(story.secrets())
    wanted = {f"{name} in {form}": text for name, content in found.items()
              for form, text in forms(content).items()}  # fmt: skip
    assert names_in(of_payments, wanted) == names_in(dumps[0], wanted) == set()
    # The scan would find them: it does, where they lie.
    wrapped = {name for name in found if name.startswith("sub_") or name == "wrapped bundle"}
    assert {f"{name} in bytes" for name in wrapped} <= names_in(of_keys, wanted)
    assert {f"{name} in hex" for name in wrapped} == names_in(dumps[1], wanted)
    clear = {name: forms(value)["bytes"] for name, value in NAMES.items()}
    for backup in (of_payments, of_keys, *dumps):
        assert names_in(backup, clear) == set()


def forms(content: bytes) -> dict[str, bytes]:
    """How a dump or a file may write it."""
    return {
        "bytes": content,
        "hex": content.hex().encode(),
        "base64": base64.b64encode(content)[: len(content) // 3 * 4],
    }


def names_in(backup: Path, wanted: dict[str, bytes]) -> set[str]:
    files = [file for file in backup.rglob("*") if file.is_file()] if backup.is_dir() else [backup]
    assert files
    contents = (file.read_bytes() for file in files)
    return {name for content in contents for name, text in wanted.items() if text in content}


def test_live_mode_takes_keys_on_another_server_and_refuses_the_same(servers, tmp_path):
    home, name = Home(tmp_path / "live"), f"live_{uuid.uuid4().hex[:8]}"
    url = servers.payments.url(name)
    for keys_url, why in ((None, "server of their own"), (url + "_k", "server of the payments")):
        with pytest.raises(ConfigurationError, match=why):
            asyncio.run(initialise(home, url, "live", "strongroom.test/1", keys_owner_url=keys_url))
    keys_url = servers.keys.url(name)
    asyncio.run(initialise(home, url, "live", "strongroom.test/1", keys_owner_url=keys_url))
    assert home.secret("keys_owner_url") == keys_url
    assert not home.has_secret("kms_root"), "no key file in live mode"

"""What was destroyed stays so: journal and database of the keys, made to say the same."""

import os
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from strongroom.config import ConfigurationError, Settings
from strongroom.ids import new_id, to_text
from strongroom.setup import initialise, keys_url_beside, replay_tombstones
from strongroom.vault import errors
from strongroom.vault.destruction import destroy, journal_of, replay
from strongroom.vault.opening import open_vault
from tests.acceptance.running import environment, program
from tests.integration.conftest import NOW, Deployment
from tests.integration.vaults import MOMENT, Ours, our_vault

RESTORED = "INSERT INTO subject_keys VALUES ($1, $2, 1, $3, $4)"


@pytest.fixture
async def ours(deployment: Deployment) -> AsyncIterator[Ours]:
    async with our_vault(deployment) as made:
        yield made


async def wrapped(ours, subject):
    async with ours.owner.transaction():
        await ours.owner.execute(f"SET LOCAL strongroom.legal_entities = '{ours.entity}'")
        return await ours.owner.fetchval(
            "SELECT wrapped FROM subject_keys WHERE subject_id = $1", subject
        )


async def restored(ours, subject, key):
    """As a backup of yesterday leaves the database: the key there, the tombstone not."""
    await ours.execute("DELETE FROM tombstones")
    await ours.execute(RESTORED, ours.entity, subject, key, NOW)


async def test_what_a_restore_brought_back_is_destroyed_again(ours):
    gone, kept = await ours.made(2)
    key = await wrapped(ours, gone)
    await destroy(ours.owner, ours.tombstones, ours.entity, gone, NOW)
    await restored(ours, gone, key)
    other = await ours.another_vault()
    with pytest.raises(errors.SubjectDestroyed):
        await other.subjects.of(ours.entity, gone)
    assert await other.subjects.of(ours.entity, kept)
    done = await replay_tombstones(ours.deployment.home)
    assert (done.tombstones, done.written_back, done.keys_destroyed) == (1, 0, 1)
    assert await wrapped(ours, gone) is None
    done = await replay_tombstones(ours.deployment.home)
    assert (done.tombstones, done.written_back, done.keys_destroyed) == (1, 0, 0)
    await other.close()


async def test_migrating_replays(ours):
    [gone] = await ours.made(1)
    key = await wrapped(ours, gone)
    await destroy(ours.owner, ours.tombstones, ours.entity, gone, NOW)
    await restored(ours, gone, key)
    await initialise(ours.deployment.home, ours.deployment.owner_url, "dev", "strongroom.test/1")
    assert await wrapped(ours, gone) is None


async def test_what_the_journal_lost_is_written_back(ours):
    subjects = await ours.made(600)  # more than a page
    for subject in subjects:
        ours.tombstones.add(ours.entity, subject, NOW)
    await replay(ours.owner, ours.tombstones, [ours.entity], NOW)
    folder = ours.tombstones.folder / to_text("ent", ours.entity)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    done = await replay(ours.owner, ours.tombstones, [ours.entity], NOW)
    assert (done.tombstones, done.written_back, done.keys_destroyed) == (600, 600, 0)
    assert sorted(one.subject_id for one in ours.tombstones.of(ours.entity)) == subjects


async def test_an_entity_that_the_payments_lost_is_replayed_too(ours):
    [gone] = await ours.made(1)
    ours.tombstones.add(ours.entity, gone, NOW)
    assert (await replay(ours.owner, ours.tombstones, [], NOW)).keys_destroyed == 1


async def test_a_damaged_file_destroys_and_is_named(ours):
    gone, other = await ours.made(2)
    ours.tombstones.add(ours.entity, gone, NOW)
    ours.tombstones.add(ours.entity, other, NOW)
    file = ours.tombstones.folder / to_text("ent", ours.entity) / f"{to_text('sub', gone)}.json"
    file.write_bytes(b"{}")
    with pytest.raises(ConfigurationError, match=to_text("sub", gone)):
        await replay_tombstones(ours.deployment.home)
    assert await wrapped(ours, gone) is await wrapped(ours, other) is None
    file.unlink()  # there is no copy: the database remembers
    assert (await replay_tombstones(ours.deployment.home)).written_back == 1


async def test_a_kill_between_journal_and_database_is_made_good(ours):
    [gone] = await ours.made(1)
    lost: Any = _Lost()
    with pytest.raises(asyncpg.InterfaceError):
        await destroy(lost, ours.tombstones, ours.entity, gone, NOW)
    assert await wrapped(ours, gone) is not None
    with pytest.raises(errors.SubjectDestroyed):
        await ours.subjects.of(ours.entity, gone)
    assert (await replay_tombstones(ours.deployment.home)).keys_destroyed == 1


class _Lost:
    """A connection that is lost at the first statement."""

    async def execute(self, *_: object) -> None:
        raise asyncpg.InterfaceError("connection is closed")

    def is_in_transaction(self) -> bool:
        return False


async def test_a_process_does_not_begin_without_the_journal(ours):
    home = ours.deployment.home
    folder = home.tombstones()
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(ConfigurationError, match=r"journal\.json is missing"):
        await open_vault(home, Settings(), "api")
    with pytest.raises(ConfigurationError, match=r"journal\.json is missing"):
        await initialise(home, ours.deployment.owner_url, "dev", "strongroom.test/1")
    home.write_settings(Settings(tombstones=str(folder.with_name("elsewhere"))))
    vault = await open_vault(home, Settings(), "api")
    await vault.close()


async def test_another_deployments_journal_is_not_taken(ours, tmp_path):
    with pytest.raises(ConfigurationError, match=r"is missing"):
        await journal_of(ours.owner, tmp_path / "other", NOW)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "journal.json").write_bytes(
        msgspec.json.encode({"format": "strongroom tombstones 1", "journal_id": "0" * 32})
    )
    with pytest.raises(ConfigurationError, match="another deployment"):
        await journal_of(ours.owner, tmp_path / "other", NOW)


async def test_a_subject_of_another_entity_is_not_destroyed(ours):
    theirs = new_id(MOMENT, ours.deployment.theirs.legal_entity_id)
    with pytest.raises(ConfigurationError):
        await destroy(ours.owner, ours.tombstones, ours.entity, theirs, NOW)
    assert not ours.tombstones.has(ours.entity, theirs)


def command(ours, *words: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program("vault", *words), "--home", os.fspath(ours.deployment.home.path)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False, input=said,
    )  # fmt: skip


async def test_the_command_line_destroys_and_replays(ours):
    [gone] = await ours.made(1)
    key, subject = await wrapped(ours, gone), to_text("sub", gone)
    named = ("subjects", "destroy", subject, "--entity", to_text("ent", ours.entity))
    asked = command(ours, *named, said="yes\n")
    assert asked.returncode == 1, "nobody was there to ask"
    assert "--yes" in asked.stderr
    assert await ours.subjects.of(ours.entity, gone)
    done = command(ours, *named, "--yes")
    assert (done.returncode, done.stdout) == (0, f"destroyed {subject}\n"), done.stderr
    with pytest.raises(errors.SubjectDestroyed):
        await ours.subjects.of(ours.entity, gone)
    await restored(ours, gone, key)
    done = command(ours, "replay")
    assert done.returncode == 0, done.stderr
    assert "keys destroyed again: 1" in done.stdout
    again = command(ours, *named, "--yes")
    assert again.stdout == "it had no key; its tombstone is written\n"
    assert command(ours, "subjects", "destroy", "sub_1", "--entity", "ent_1").returncode == 1


async def test_live_mode_wants_the_keys_on_another_server(database_url, tmp_path):
    from strongroom.config import Home

    home = Home(tmp_path / "live")
    with pytest.raises(ConfigurationError, match="server of their own"):
        await initialise(home, database_url, "live", "strongroom.test/1")
    with pytest.raises(ConfigurationError, match="server of the payments"):
        await initialise(
            home, database_url, "live", "strongroom.test/1",
            keys_owner_url=keys_url_beside(database_url),
        )  # fmt: skip
    assert not home.has_secret("keys_owner_url")

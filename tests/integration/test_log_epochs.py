"""After a restore of an older backup: both sides open an epoch, or nothing is signed."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from strongroom.config import ConfigurationError
from strongroom.ids import to_text
from strongroom.log.comparing import Comparing
from strongroom.log.entries import Entry
from strongroom.log.epochs import OPENED, opened_by
from strongroom.log.memory import Accepted, Memory
from strongroom.log.notes import Checkpoint, sign_note
from strongroom.log.tiles import TileFolder
from strongroom.log.tree import leaf_hash, root_of
from strongroom.log.verifying import LogRefused, verify_folder
from tests.integration.conftest import NOW, Deployment
from tests.integration.log.folders import verdict
from tests.integration.restoring import BECAUSE, Restorable, restorable
from tests.integration.test_signing import KEY, NEW_EVENTS, ORIGIN
from tests.plugins.parts import require


@pytest.fixture
async def log(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Restorable]:
    async with restorable(deployment, tmp_path) as log:
        yield log


async def test_until_both_sides_have_opened_an_epoch_nothing_is_signed(log: Restorable) -> None:
    await log.lose()
    before = log.files_of(1)
    assert await log.why() == [("log_rewritten", "shorter_than_signed")]
    assert await log.accept() == 1, "nothing is open that could be accepted"
    assert await log.open() == 0
    assert await log.why() == [("log_epoch_waits", "not_accepted")]
    await log.add(40)  # beyond what was signed before
    assert await log.why() == [("log_epoch_waits", "not_accepted")]
    assert log.signer.stopped()["epoch_waits"] == 1, "somebody is called"
    assert log.files_of(1) == before
    assert not log.folder_of(2).exists()
    assert await log.accept() == 0
    assert await log.go_on() == 47
    assert set(log.signer.stopped().values()) == {0}
    assert log.files_of(1) == before, "what was lost is still there to be seen"


async def test_the_new_epoch_keeps_what_there_is_and_says_what_was_lost(log: Restorable) -> None:
    await log.lose(signed=10, kept=5)
    old = log.checkpoint_of(1)
    assert (await log.open(), await log.accept(), await log.go_on()) == (0, 0, 7)
    new = log.checkpoint_of(2)
    assert (new.origin, new.size) == (f"{ORIGIN}/{log.name}/2", 7)
    entries = list(TileFolder(log.folder_of(2)).entries(0, 7))
    assert entries[:6] == list(TileFolder(log.folder_of(1)).entries(0, 6))
    opening, opened = Entry.read(entries[6]), opened_by(entries[6])
    assert opening.subject_id == log.entity
    assert opening.actor.startswith("operator:")
    assert opened is not None
    assert (opened.epoch, opened.because, opened.previous_origin) == (2, BECAUSE, old.origin)
    assert (opened.signed_size, opened.kept, opened.size) == (16, 6, 6)


async def test_afterwards_all_goes_on(log: Restorable) -> None:
    await log.lose()
    await log.open()
    await log.accept()
    await log.go_on()
    subject = await log.add(300)
    assert await log.go_on() == 300
    log.signer = await log.restarted()
    await log.add(1)
    assert await log.go_on() == 1
    assert log.verified(2).size == 308
    assert (log.folder_of(2) / "key").read_text().strip() == log.verifier_of(2).text()
    versions = [one.version for one in await log.entries() if one.subject_id == subject]
    assert versions == list(range(1, 301))
    row = await log.pools["owner"].fetchrow(
        "SELECT size, note FROM log_checkpoints WHERE legal_entity_id = $1", log.entity
    )
    assert (row["size"], row["note"]) == (308, (log.folder_of(2) / "checkpoint").read_bytes())


async def test_prove_and_verify_go_by_the_newest_epoch(
    log: Restorable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await log.lose()
    await log.open()
    await log.accept()
    await log.go_on()
    (log.home / "log").symlink_to(log.folder / "log")
    proof = tmp_path / "proof.json"
    payment = to_text("pay", log.deployment.ours.payment_id)
    for one in (payment, log.name):
        assert await log.say("prove", one, "--out", str(proof)) == 0
        key = log.folder_of(2) / "key"
        assert await log.say("verify", "--proof", str(proof), "--key", str(key)) == 0
        assert f"{ORIGIN}/{log.name}/2" in capsys.readouterr().out
    comparing = Comparing(log.pools["api"], log.entity, NOW)
    compared = await comparing.compare(TileFolder(log.folder_of(2)).entries(0, 7))
    assert compared.events == 7
    assert [one for one in compared.problems if "event" in one and "row" not in one] == []


async def test_older_checkpoints_hold_as_far_as_they_can(
    log: Restorable, capsys: pytest.CaptureFixture[str]
) -> None:
    await log.add(5)
    await log.go_on()
    kept = (log.own / "checkpoint").read_bytes()
    await log.back_up()
    await log.add(10)
    await log.go_on()
    lost = (log.own / "checkpoint").read_bytes()
    await log.restore()
    await log.open()
    await log.accept()
    await log.add(50)
    await log.go_on()
    newer = (log.folder_of(2) / "checkpoint").read_bytes()
    assert log.verified(2, [kept, newer]).lost == ()
    (sentence,) = log.verified(2, [lost, kept]).lost
    for part in ("16 entries", "ended at 16", "entry 6", "from 6 on", "lost in a restore"):
        assert part in sentence
    assert BECAUSE in sentence
    older = log.folder / "older"
    older.write_bytes(lost)
    words = ("verify", "--log", str(log.folder_of(2)), "--key", str(log.folder_of(2) / "key"))
    assert await log.say(*words) == 0
    assert await log.say(*words, "--older", str(older)) == 1
    assert "lost in a restore" in capsys.readouterr().err
    with pytest.raises(LogRefused, match="nobody who is known"):
        log.verified(1, [newer])  # a first epoch has none before it


@pytest.mark.parametrize("opens", [True, False])
async def test_what_no_entry_accounts_for_was_rewritten(log: Restorable, opens: bool) -> None:
    """Whoever has the key signs an epoch that changes more than its entry says, or has none."""
    await log.add(2)
    await log.go_on()
    kept = (log.own / "checkpoint").read_bytes()
    await log.lose()
    await log.open()
    entries = [one.content() for one in await log.entries()]
    entries[1] = b"other"
    key = KEY.named(f"{ORIGIN}/{log.name}/2")
    folder = TileFolder(log.folder / "forged")
    folder.append(0, entries if opens else entries[:-1])
    size = len(entries) if opens else len(entries) - 1
    root = root_of(size, folder.hash_of(size))
    folder.write_checkpoint(sign_note(Checkpoint(key.name, size, root).text(), key))
    lost = (log.own / "checkpoint").read_bytes()
    with pytest.raises(LogRefused, match="no entry of it says why"):
        verify_folder(folder, key.verifier, older=[kept if opens else lost])


async def test_code_of_others_accepts_the_new_epoch(log: Restorable) -> None:
    require("foreign-verifier")
    await log.lose()
    await log.open()
    await log.accept()
    await log.add(600)
    await log.go_on()
    key = KEY.named(f"{ORIGIN}/{log.name}/2")
    said = await asyncio.to_thread(verdict, key, "-log", log.folder_of(2), beside=log.folder)
    assert said.accepted


async def test_entries_that_came_after_the_restore_are_no_lost_ones(log: Restorable) -> None:
    """Nobody noticed for a while: the log has grown again, with other entries than were signed."""
    await log.lose(signed=10, kept=5)
    await log.add(3)
    await log.sequencer.step(log.pools["sequencer"])
    assert (await log.open(), await log.accept(), await log.go_on()) == (0, 0, 10)
    opened = opened_by(next(TileFolder(log.folder_of(2)).entries(9, 10)))
    assert opened is not None
    assert (opened.kept, opened.size, opened.signed_size) == (6, 9, 16)


async def test_the_owner_of_the_database_alone_opens_nothing(log: Restorable) -> None:
    """An edit is not hidden by an epoch: not by a row, and not by what was accepted before."""
    await log.lose()
    await log.open()
    owner = log.pools["owner"]
    await log.accept()
    await owner.execute(  # another entry than the one that was accepted
        "UPDATE log_entries SET entry = convert_to(replace(convert_from(entry, 'UTF8'), "
        "'\"kept\":6', '\"kept\":5'), 'UTF8') WHERE legal_entity_id = $1 AND index = 6",
        log.entity,
    )
    assert await log.why() == [("log_epoch_waits", "not_accepted")]
    await owner.execute("UPDATE log_epochs SET opened_at_index = 0")
    assert await log.why() == [("log_epoch_waits", "no_entry")]
    await owner.execute("UPDATE log_epochs SET epoch = 3")
    assert await log.why() == [("log_epoch_waits", "no_entry")]
    await owner.execute("DELETE FROM log_epochs")
    assert await log.why() == [("log_rewritten", "shorter_than_signed")]


async def test_without_what_was_signed_nothing_is_said_to_be_whole(
    log: Restorable, capsys: pytest.CaptureFixture[str]
) -> None:
    await log.lose()
    before = await log.entries()
    (log.folder / "empty").mkdir()
    for folder, why in (("nowhere", "is not here"), ("empty", "no checkpoint of ent_")):
        assert await log.open("--logs", str(log.folder / folder)) == 1
        assert why in capsys.readouterr().err
    assert await log.entries() == before


async def test_an_epoch_goes_on_from_what_was_signed_last(log: Restorable) -> None:
    """Whoever opens it with an older copy of the folder leaves out what was signed since."""
    await log.add(2)
    await log.go_on()
    older = log.folder / "older"
    shutil.copytree(log.folder / "log", older)
    await log.add(2)
    await log.go_on()
    assert await log.open("--entity", log.name, "--logs", str(older)) == 0
    assert await log.accept() == 1
    (opening,) = [one for one in await log.entries() if one.kind == OPENED]
    accepted = Accepted(leaf_hash(opening.content()), "operator:hasty", NOW)
    log.memory.accept(log.entity, 2, accepted)
    assert await log.why() == [("log_epoch_waits", "another_checkpoint")]
    assert await log.open("--entity", log.name) == 0
    assert await log.why() == [("log_epoch_waits", "not_accepted")]
    assert (await log.accept(), await log.go_on()) == (0, 7)


async def test_an_edit_of_what_is_kept_is_not_signed(log: Restorable) -> None:
    """Both agreed on a restore, and one of the two used it to change the past."""
    await log.lose()
    await log.open()
    await log.accept()
    await log.pools["owner"].execute(
        "UPDATE log_entries SET entry = entry || '!' WHERE legal_entity_id = $1 AND index = 3",
        log.entity,
    )
    assert await log.why() == [("log_epoch_waits", "kept_differs")]
    assert not (log.folder_of(2) / "checkpoint").exists()
    assert (await log.open(), await log.accept(), await log.go_on()) == (0, 0, 8)
    opened = opened_by(next(TileFolder(log.folder_of(2)).entries(7, 8)))
    assert opened is not None
    assert opened.kept == 3, "whoever opens it has to say that all from the edit on is gone"


async def test_the_operator_of_the_signer_alone_opens_nothing(log: Restorable) -> None:
    await log.lose()
    leaf = leaf_hash(b"anything")
    accepted = {"leaf": leaf.hex(), "by": "operator:x", "at": NOW.isoformat()}
    (log.folder / "signer" / f"{log.name}.2.accepted").write_text(json.dumps(accepted))
    assert await log.why() == [("log_rewritten", "shorter_than_signed")]
    assert await log.accept() == 1
    for worker in ("sequencer", "signer", "api"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await log.pools[worker].execute("INSERT INTO log_epochs VALUES ($1, 2, 0)", log.entity)


async def test_another_entity_is_not_touched(log: Restorable, deployment: Deployment) -> None:
    await log.lose()
    await log.open()
    rows = await log.pools["owner"].fetch("SELECT legal_entity_id FROM log_epochs")
    assert [row["legal_entity_id"] for row in rows] == [log.entity]
    theirs = deployment.theirs.legal_entity_id
    await log.pools["owner"].execute(NEW_EVENTS, theirs, uuid4(), NOW, b"d" * 32, 4)
    assert await log.go_on() == 4, "their log lost nothing, and goes on"


async def test_an_epoch_without_a_restore_is_there_to_be_seen(
    log: Restorable, capsys: pytest.CaptureFixture[str]
) -> None:
    await log.add(5)
    await log.go_on()
    old = (log.own / "checkpoint").read_bytes()
    assert await log.open() == 0
    assert "no epoch was opened" in capsys.readouterr().out
    assert await log.open("--entity", log.name) == 0
    assert await log.why() == [("log_epoch_waits", "not_accepted")]
    assert (await log.accept(), await log.go_on()) == (0, 7)
    opened = opened_by(next(TileFolder(log.folder_of(2)).entries(6, 7)))
    assert opened is not None
    assert opened.kept == opened.signed_size == opened.size == 6
    assert log.verified(2, [old]).lost == ()


async def test_to_open_again_changes_nothing_that_waits(log: Restorable) -> None:
    await log.lose()
    await log.open()
    before = await log.entries()
    await log.open()
    assert await log.entries() == before
    assert (await log.accept(), await log.go_on()) == (0, 7)
    await log.open()
    assert len(await log.entries()) == 7
    assert log.checkpoint_of(2).size == 7


async def test_a_memory_of_before_the_epoch_signs_nothing(log: Restorable) -> None:
    await log.lose()
    files = {file: file.read_bytes() for file in (log.folder / "signer").glob("*.json")}
    await log.open()
    await log.accept()
    await log.go_on()
    for file in (log.folder / "signer").glob("*.json"):
        file.unlink()
    for file, content in files.items():
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="does not remember"):
        await log.restarted()
    shutil.move(log.folder_of(2), log.folder / "away")  # the database knows it as well
    with pytest.raises(ConfigurationError, match="does not remember"):
        await log.restarted()


async def test_what_was_accepted_begins_no_epoch_twice(log: Restorable) -> None:
    """The acceptance of the second epoch is no leave to sign another second one."""
    await log.lose()
    await log.open()
    await log.accept()
    await log.go_on()
    await log.restore()  # before the epoch was opened
    await log.add(3)
    assert await log.why() == [("log_rewritten", "epoch_before")]
    assert await log.open() == 0
    assert await log.why() == [("log_epoch_waits", "not_accepted")]
    assert await log.accept(2) == 1
    assert await log.accept(3) == 0
    assert await log.go_on() == 10
    assert log.checkpoint_of(3).origin == f"{ORIGIN}/{log.name}/3"


@pytest.mark.parametrize("written", ["tiles", "memory"])
async def test_a_signer_that_was_killed_half_way_goes_on(
    log: Restorable, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    await log.lose()
    await log.open()
    await log.accept()
    log.signer = await log.restarted()
    owner: type = Memory if written == "tiles" else type(log.signer)
    await log.die_at(owner, "write" if written == "tiles" else "_publish", monkeypatch)
    assert (log.folder_of(2) / "tile").exists()
    assert not (log.folder_of(2) / "checkpoint").exists()
    log.signer = await log.restarted()
    await log.add(4)
    await log.go_on()
    assert log.verified(2).size == 11


async def test_tiles_of_an_epoch_that_was_never_signed_are_in_nobodys_way(
    log: Restorable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signer was killed as it began, and then the database was restored once more."""
    await log.lose()
    await log.open()
    await log.accept()
    await log.die_at(Memory, "write", monkeypatch)
    await log.restore()  # so the entry that opens it is another one
    log.signer = await log.restarted()
    assert (await log.open(), await log.accept(), await log.go_on()) == (0, 0, 7)
    assert log.verified(2).size == 7


async def test_two_epochs_in_a_row(log: Restorable) -> None:
    await log.lose()
    first = (log.own / "checkpoint").read_bytes()
    await log.open()
    await log.accept()
    await log.go_on()
    await log.lose(signed=20, kept=2)
    second = (log.folder_of(2) / "checkpoint").read_bytes()
    evidence = log.files_of(1), log.files_of(2)
    assert (await log.open(), await log.accept(3), await log.go_on()) == (0, 0, 10)
    assert (log.files_of(1), log.files_of(2)) == evidence
    assert log.checkpoint_of(3).size == 10
    assert len(log.verified(3, [second]).lost) == 1
    assert len(log.verified(3, [first, second]).lost) == 2
    assert [
        one.epoch for one in map(opened_by, TileFolder(log.folder_of(3)).entries(0, 10)) if one
    ] == [2, 3]

"""The journal of destroyed subjects: written once, by several, and damaged in every way."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.config import ConfigurationError, Home, Settings
from strongroom.ids import new_entity_id, new_id, to_text
from strongroom.vault.errors import TombstonesMissing
from strongroom.vault.tombstones import MARKER, Tombstone, Tombstones

NOW = datetime(2026, 11, 15, 12, 0, 0, 123456, tzinfo=UTC)
MOMENT = int(NOW.timestamp() * 1_000_000)
ENTITY = new_entity_id(MOMENT)
SUBJECT = new_id(MOMENT, ENTITY)


@pytest.fixture
def journal(tmp_path: Path) -> Tombstones:
    return Tombstones.make(tmp_path / "tombstones")


def file_of(journal: Tombstones) -> Path:
    return journal.folder / to_text("ent", ENTITY) / f"{to_text('sub', SUBJECT)}.json"


def test_what_is_written_is_there_for_everybody(journal):
    other = Tombstones(journal.folder)
    assert not other.has(ENTITY, SUBJECT)
    assert journal.add(ENTITY, SUBJECT, NOW)
    assert other.has(ENTITY, SUBJECT)
    assert other.entities() == [ENTITY]
    assert list(other.of(ENTITY)) == [Tombstone(ENTITY, SUBJECT, NOW)]


def test_the_first_one_stays(journal):
    journal.add(ENTITY, SUBJECT, NOW)
    written = file_of(journal).read_bytes()
    assert not journal.add(ENTITY, SUBJECT, NOW + timedelta(days=1))
    assert file_of(journal).read_bytes() == written


def test_many_write_at_once(journal):
    subjects = [new_id(MOMENT + number, ENTITY) for number in range(40)]
    ready = threading.Barrier(8)

    def write(_: int) -> int:
        ready.wait()
        return sum(journal.add(ENTITY, subject, NOW) for subject in subjects)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(8))) == len(subjects)
    found = list(journal.of(ENTITY))
    assert sorted(one.subject_id for one in found) == subjects
    assert all(one.destroyed_at == NOW for one in found)
    assert all(not file.name.startswith(".") for file in file_of(journal).parent.iterdir())


def test_a_torn_write_leaves_nothing_that_counts(journal, monkeypatch):
    def torn(*_: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "link", torn)
    with pytest.raises(OSError, match="no space"):
        journal.add(ENTITY, SUBJECT, NOW)
    (file_of(journal).parent / ".new-torn").write_bytes(b'{"legal')
    assert not journal.has(ENTITY, SUBJECT)
    assert list(journal.of(ENTITY)) == []


@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "another's", "no json", "a folder"])
def test_a_damaged_file_still_destroys_and_says_so(journal, how):
    journal.add(ENTITY, SUBJECT, NOW)
    file, other = file_of(journal), new_id(MOMENT + 1, ENTITY)
    content = file.read_bytes()
    if how == "another's":
        journal.add(ENTITY, other, NOW)
        content = (file.parent / f"{to_text('sub', other)}.json").read_bytes()
        (file.parent / f"{to_text('sub', other)}.json").unlink()
    file.unlink()
    if how == "a folder":
        file.mkdir()
        assert journal.has(ENTITY, SUBJECT)
        with pytest.raises(OSError, match="directory"):
            list(journal.of(ENTITY))
        return
    file.write_bytes({
        "empty": b"", "cut": content[:-20], "flipped": content.replace(b"2026", b"2027"),
        "another's": content, "no json": b"\0" * 100,
    }[how])  # fmt: skip
    assert journal.has(ENTITY, SUBJECT)
    assert list(journal.of(ENTITY)) == [Tombstone(ENTITY, SUBJECT, None)]


@pytest.mark.parametrize("place", ["", "entity"])
def test_a_file_of_another_name_is_an_error(journal, place):
    journal.add(ENTITY, SUBJECT, NOW)
    folder = file_of(journal).parent if place else journal.folder
    (folder / "sub_renamed.json").write_text("")
    with pytest.raises(ConfigurationError, match="does not belong"):
        list(journal.of(ENTITY)) if place else journal.entities()


def test_who_cannot_look_does_not_say_no(journal, tmp_path):
    journal.add(ENTITY, SUBJECT, NOW)
    folder = file_of(journal).parent
    file_of(journal).unlink()
    folder.rmdir()
    folder.write_text("not a folder")
    with pytest.raises(TombstonesMissing):
        journal.has(ENTITY, SUBJECT)


def test_a_journal_that_is_gone_or_another_is_noticed(journal, tmp_path):
    journal.check_there()
    journal.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(TombstonesMissing):
        journal.check_there()
    other = Tombstones.make(journal.folder)
    with pytest.raises(TombstonesMissing):
        journal.check_there()
    other.check_there()
    (journal.folder / MARKER).unlink()
    (tmp_path / "elsewhere" / MARKER).rename(journal.folder / MARKER)
    journal.check_there()  # the same one, copied back


@pytest.mark.parametrize("content", [None, "", "{}", '{"format": "other", "journal_id": "1"}'])
def test_it_does_not_begin_without_its_marker(journal, content):
    (journal.folder / MARKER).unlink()
    if content is not None:
        (journal.folder / MARKER).write_text(content)
    with pytest.raises(ConfigurationError, match=MARKER):
        Tombstones(journal.folder)


def test_making_one_twice_keeps_the_first(journal):
    assert Tombstones.make(journal.folder).journal_id == journal.journal_id


def test_nobody_else_reads_it(journal):
    journal.add(ENTITY, SUBJECT, NOW)
    assert file_of(journal).stat().st_mode & 0o777 == 0o600
    assert journal.folder.stat().st_mode & 0o777 == 0o700


def test_the_folder_may_be_said(tmp_path):
    home = Home(tmp_path)
    assert home.tombstones() == tmp_path / "tombstones"
    home.write_settings(Settings(tombstones="/elsewhere"))
    assert home.tombstones() == Path("/elsewhere")
    with pytest.raises(ValueError, match="absolute"):
        Settings(tombstones="elsewhere")

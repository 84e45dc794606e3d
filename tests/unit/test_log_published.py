"""What another process reads of a log that was published: its own files, and behind no link."""

import os
import stat
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.ids import to_text
from strongroom.log.notes import Checkpoint, NoteKey, sign_note
from strongroom.log.published import LogsAway, Published
from strongroom.log.tiles import (
    ENTRIES,
    TILE_WIDTH,
    TileFolder,
    TilesRefused,
    read_tile_name,
    tile_name,
)
from strongroom.log.tree import SIZE_MAX

OURS, THEIRS = UUID(int=1), UUID(int=2)
BYTES_MAX = 10_000
ENTRIES_OF_OURS = [b"entry %d" % number for number in range(300)]
SECRET = b"what only this process can read"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The logs of two legal entities."""
    for entity, entries in ((OURS, ENTRIES_OF_OURS), (THEIRS, [b"theirs"])):
        folder = tmp_path / "log" / to_text("ent", entity)
        folder.mkdir(parents=True)
        TileFolder(folder).append(0, entries)
        TileFolder(folder).write_checkpoint(b"checkpoint of %d" % entity.int)
    (tmp_path / "secret").write_bytes(SECRET)
    return tmp_path / "log"


def ours(logs: Path) -> Path:
    return logs / to_text("ent", OURS)


def test_each_file_is_read_as_it_was_written(logs: Path) -> None:
    published = Published(logs)
    files = [file for file in ours(logs).rglob("*") if file.is_file()]
    assert len(files) == 1 + 2 * 2 + 1
    for file in files:
        name = str(file.relative_to(ours(logs)))
        assert published.read(OURS, 1, name, BYTES_MAX) == file.read_bytes()


def test_what_is_not_there_is_none(logs: Path) -> None:
    published = Published(logs)
    for name in ("key", "tile/0/002", "tile/0/001.p/45", "tile/1/x001/000", "tile/9/000"):
        assert published.read(OURS, 1, name, BYTES_MAX) is None
    assert published.read(UUID(int=3), 1, "checkpoint", BYTES_MAX) is None


def test_a_machine_without_the_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(LogsAway, match="FileNotFoundError"):
        Published(tmp_path / "nowhere").read(OURS, 1, "checkpoint", BYTES_MAX)
    (tmp_path / "file").touch()
    with pytest.raises(LogsAway, match="NotADirectoryError"):
        Published(tmp_path / "file").read(OURS, 1, "checkpoint", BYTES_MAX)


def test_the_folder_of_the_logs_may_be_a_link_and_nothing_below_it(
    logs: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(logs)
    assert Published(link).read(OURS, 1, "checkpoint", BYTES_MAX) == b"checkpoint of 1"


@pytest.mark.parametrize("place", ["checkpoint", "tile/0/001.p/44", "tile/0", "tile", "."])
def test_no_link_is_followed(logs: Path, tmp_path: Path, place: str) -> None:
    """Not to a file, and not to a folder that has such a file in it, also one of another log."""
    name = place if place == "checkpoint" else "tile/0/001.p/44"
    kept = tmp_path / "kept"
    target = ours(logs) / place
    target.rename(kept)
    target.symlink_to(kept)
    assert (ours(logs) / name).read_bytes(), "whoever follows links gets there"
    with pytest.raises(TilesRefused):
        Published(logs).read(OURS, 1, name, BYTES_MAX)


def test_a_link_to_a_secret_gives_nothing_of_it(logs: Path, tmp_path: Path) -> None:
    (ours(logs) / "key").symlink_to(tmp_path / "secret")
    with pytest.raises(TilesRefused):
        Published(logs).read(OURS, 1, "key", BYTES_MAX)


def test_what_is_no_plain_file_is_refused_without_a_wait(logs: Path) -> None:
    os.mkfifo(ours(logs) / "key")
    (ours(logs) / "tile" / "0" / "002").mkdir()
    os.mknod(ours(logs) / "checkpoint.cosigned", stat.S_IFSOCK | 0o600)
    for name in ("key", "tile/0/002", "checkpoint.cosigned", "checkpoint/000"):
        with pytest.raises(TilesRefused):
            Published(logs).read(OURS, 1, name, BYTES_MAX)


def test_what_is_longer_than_it_can_be_is_not_read(logs: Path) -> None:
    length = len(Published(logs).read(OURS, 1, "checkpoint", BYTES_MAX) or b"")
    assert Published(logs).read(OURS, 1, "checkpoint", length) == b"checkpoint of 1"
    with pytest.raises(TilesRefused):
        Published(logs).read(OURS, 1, "checkpoint", length - 1)


def epoch_of_ours(logs: Path, epoch: int) -> Path:
    folder = logs / f"{to_text('ent', OURS)}.{epoch}"
    folder.mkdir()
    key = NoteKey.new(f"example.com/{to_text('ent', OURS)}/{epoch}")
    note = sign_note(Checkpoint(key.name, epoch, b"r" * 32).text(), key)
    TileFolder(folder).write_checkpoint(note)
    return folder


def test_an_epoch_has_files_of_its_own(logs: Path) -> None:
    published = Published(logs)
    folder = epoch_of_ours(logs, 2)
    assert published.read(OURS, 2, "checkpoint", BYTES_MAX) == (folder / "checkpoint").read_bytes()
    assert published.read(OURS, 1, "checkpoint", BYTES_MAX) == b"checkpoint of 1"
    assert published.read(OURS, 3, "checkpoint", BYTES_MAX) is None
    assert published.read(THEIRS, 2, "checkpoint", BYTES_MAX) is None
    assert published.read(OURS, 2, "tile/0/000", BYTES_MAX) is None


def test_epochs_are_listed_as_far_as_they_are_signed(logs: Path) -> None:
    (ours(logs) / "checkpoint").unlink()
    assert Published(logs).epochs(OURS) == []
    key = NoteKey.new(f"example.com/{to_text('ent', OURS)}")
    note = sign_note(Checkpoint(key.name, 300, b"r" * 32).text(), key)
    TileFolder(ours(logs)).write_checkpoint(note)
    epoch_of_ours(logs, 2)
    (logs / f"{to_text('ent', OURS)}.3").mkdir()  # begun, and not signed
    found = Published(logs).epochs(OURS)
    assert [(one.origin, one.size) for one in found] == [(key.name, 300), (f"{key.name}/2", 2)]
    assert Published(logs).epochs(UUID(int=3)) == []


@pytest.mark.parametrize("attack", ["a link", "a folder behind a link", "no note"])
def test_an_epoch_that_is_none_is_not_listed(logs: Path, tmp_path: Path, attack: str) -> None:
    folder = epoch_of_ours(logs, 1000)
    (ours(logs) / "checkpoint").unlink()
    if attack == "a link":
        (ours(logs) / "checkpoint").symlink_to(folder / "checkpoint")
    elif attack == "no note":
        (ours(logs) / "checkpoint").write_bytes(SECRET)
    else:
        ours(logs).rename(tmp_path / "moved")
        ours(logs).symlink_to(folder)
    with pytest.raises(TilesRefused) as refused:
        Published(logs).epochs(OURS)
    assert SECRET.decode() not in str(refused.value)


def test_a_read_that_gives_less_is_gone_on_with(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a mount may."""
    name, read = "tile/entries/000", os.read
    whole = (ours(logs) / name).read_bytes()
    monkeypatch.setattr(os, "read", lambda handle, most: read(handle, min(most, 100)))
    assert Published(logs).read(OURS, 1, name, BYTES_MAX) == whole
    monkeypatch.setattr(os, "read", lambda *_: b"")
    with pytest.raises(TilesRefused, match="ends before its length"):
        Published(logs).read(OURS, 1, name, BYTES_MAX)


def test_reading_leaves_no_file_open(logs: Path) -> None:
    (ours(logs) / "key").symlink_to("checkpoint")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("checkpoint", "tile/0/000", "tile/7/000", "key"):
        try:
            Published(logs).read(OURS, 1, name, BYTES_MAX)
        except TilesRefused:
            assert name == "key"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@given(
    st.sampled_from([ENTRIES, *range(64)]),
    st.integers(0, SIZE_MAX // TILE_WIDTH),
    st.integers(1, TILE_WIDTH),
)
def test_a_name_is_read_as_it_was_made(level: int | str, number: int, width: int) -> None:
    name = tile_name(level, number, width)
    assert read_tile_name(name.removeprefix("tile/")) == (level, number, width)


@given(st.text(alphabet="0123456789x/.p-entris٠１", max_size=24))
def test_whatever_is_read_is_the_name_that_is_made(text: str) -> None:
    found = read_tile_name(text)
    assert found is None or tile_name(*found) == f"tile/{text}"


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "0", "0/", "/0/000", "0/000/", "0/0", "0/00", "0/0000", "0/1000", "0/x000/001",
        "0/x000/x001/234", "0/001/234", "0/x001", "0/x1/234", "0/X001/234", "0/x001x234/067",
        "00/000", "01/000", "64/000", "-1/000", "+0/000", " 0/000", "0/000 ", "0/000\n", "0/000\0",
        "0/000.p/0", "0/000.p/00", "0/000.p/01", "0/000.p/256", "0/000.p/999", "0/000.p/-1",
        "0/000.p/", "0/000.p", "0/000.P/1", "0/000.p/1/", "0/000.p/1.p/1", "0/x001.p/234",
        "entries", "entries/", "entries/0", "Entries/000", "data/000", "entries/000.gz",
        "../checkpoint", "0/../../checkpoint", "0/x001/../000", "0/./000", "0//000", "0\\000",
        "0/٠٠٠", "0/０００", "٠/000", "0/000.p/١", "0/²00", "0/%30%30%30", "0%2F000",
        "0/%78001/234", "0/" + "x999/" * 6 + "999", "0/" + "x999/" * 500 + "999",
        "9" * 5000 + "/000", "0/" + "9" * 5000,
    ],
)  # fmt: skip
def test_what_names_no_tile_is_none(text: str) -> None:
    assert read_tile_name(text) is None

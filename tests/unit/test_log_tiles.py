"""Tiles in a folder: where they lie, that they are the tree, and that nothing is written twice."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvariantBroken
from strongroom.log import tiles
from strongroom.log.notes import NOTE_BYTES_MAX
from strongroom.log.tiles import (
    ENTRY_BYTES_MAX,
    TileFolder,
    TilesMissing,
    TilesRefused,
    join_bundle,
    split_bundle,
    tile_name,
)
from strongroom.log.tree import (
    NO_LEAVES,
    SIZE_MAX,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

ENTRIES = [b"entry %d" % number for number in range(70_000)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def root(size: int) -> bytes:
    return NO_LEAVES.extended(LEAVES[:size]).root()


def files(folder: TileFolder) -> set[str]:
    return {str(file.relative_to(folder.path)) for file in folder.path.rglob("*") if file.is_file()}


def contents(folder: TileFolder) -> dict[str, bytes]:
    return {name: (folder.path / name).read_bytes() for name in files(folder)}


def appended(path: Path, *sizes: int) -> TileFolder:
    folder = TileFolder(path)
    for before, after in pairwise((0, *sizes)):
        folder.append(before, ENTRIES[before:after])
    return folder


def needed(size: int) -> set[str]:
    """The files of a log of this size, as tlog-tiles counts them."""
    names = set()
    level, width = 0, size
    while width:
        numbers = range(width // 256)
        names |= {tile_name(level, number) for number in numbers}
        names |= {tile_name("entries", number) for number in numbers if level == 0}
        if width % 256:
            names.add(tile_name(level, width // 256, width % 256))
            if level == 0:
                names.add(tile_name("entries", width // 256, width % 256))
        level, width = level + 1, width // 256
    return names


@pytest.mark.parametrize(
    ("level", "number", "width", "name"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 999, 256, "tile/0/999"),
        (0, 1_000, 256, "tile/0/x001/000"),
        (0, 1_234_067, 256, "tile/0/x001/x234/067"),
        (2, 0, 1, "tile/2/000.p/1"),
        ("entries", 273, 112, "tile/entries/273.p/112"),
        (0, 12_345_678_901, 256, "tile/0/x012/x345/x678/901"),
    ],
)
def test_tiles_lie_where_the_specification_says(level, number, width, name) -> None:
    assert tile_name(level, number, width) == name


def test_a_log_of_70000_entries_has_the_files_that_the_specification_counts(tmp_path) -> None:
    folder = appended(tmp_path, 70_000)
    found = files(folder)
    assert needed(70_000) <= found
    assert sum(name.startswith("tile/0/") for name in found) == 274
    assert {name for name in found if name.startswith(("tile/1/", "tile/2/"))} >= {
        "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1",
    }  # fmt: skip
    assert root_of(70_000, folder.hash_of(70_000)) == root(70_000)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 1_000])
def test_a_small_log_has_its_files_and_no_others(tmp_path, size: int) -> None:
    folder = appended(tmp_path, size)
    assert files(folder) == needed(size)
    for name, content in contents(folder).items():
        number, width = int(name.split("/")[2][:3]), name.partition(".p/")[2] or "256"
        if name.startswith("tile/0/"):
            at = number * 256
            assert content == b"".join(LEAVES[at : at + int(width)])
    assert list(folder.entries(0, size)) == ENTRIES[:size]
    assert root_of(size, folder.hash_of(size)) == root(size)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_however_it_grew_a_log_is_the_same(tmp_path_factory, steps: list[int]) -> None:
    sizes = [sum(steps[: at + 1]) for at in range(len(steps))]
    folder = appended(tmp_path_factory.mktemp("log"), *sizes)
    whole = appended(tmp_path_factory.mktemp("log"), sizes[-1])
    found, expected = contents(folder), contents(whole)
    assert expected.items() <= found.items()
    assert all(".p/" in name for name in found.keys() - expected.keys())
    for size in sizes:
        assert root_of(size, folder.hash_of(size)) == root(size)
        assert list(folder.entries(0, size)) == ENTRIES[:size]


def test_every_size_that_a_log_once_had_can_still_be_read(tmp_path) -> None:
    folder = appended(tmp_path, 3, 250, 300, 302, 600)
    for size in (3, 250, 300, 302, 600, 1, 251, 301):
        assert root_of(size, folder.hash_of(size)) == root(size)
        assert list(folder.entries(0, size)) == ENTRIES[:size]


def test_partial_files_go_when_the_full_one_is_there(tmp_path) -> None:
    folder = appended(tmp_path, 3, 250)
    assert {"tile/0/000.p/3", "tile/0/000.p/250", "tile/entries/000.p/3"} <= files(folder)
    folder.append(250, ENTRIES[250:260])
    assert files(folder) == needed(260)


def test_proofs_are_made_from_tiles(tmp_path) -> None:
    folder = appended(tmp_path, 66_000, 66_700)
    new_root, hash_of = root(66_700), folder.hash_of(66_700)
    for index in (0, 255, 256, 65_535, 65_536, 66_000, 66_699):
        proof = inclusion_proof(index, 66_700, hash_of)
        assert verify_inclusion(LEAVES[index], index, 66_700, proof, new_root)
    for old in (1, 255, 256, 65_536, 65_537, 66_000, 66_700):
        proof = consistency_proof(old, 66_700, hash_of)
        assert verify_consistency(old, root(old), 66_700, new_root, proof)


def test_the_same_may_be_said_again(tmp_path) -> None:
    folder = appended(tmp_path, 100, 600)
    before = contents(folder)
    folder.append(100, ENTRIES[100:600])
    folder.append(0, ENTRIES[:600])
    folder.append(0, ENTRIES[:100])
    folder.append(600, [])
    assert contents(folder) == before


@pytest.mark.parametrize("lost", sorted(needed(600)))
def test_what_a_crash_left_out_is_written_when_it_is_said_again(tmp_path, lost: str) -> None:
    folder = appended(tmp_path, 100, 600)
    before = contents(folder)
    (folder.path / lost).unlink()
    folder.append(0, ENTRIES[:600])
    assert contents(folder) == before


class Killed(BaseException):
    """The process ends here."""


def test_a_crash_at_any_file_leaves_whole_files_and_can_be_repeated(tmp_path, monkeypatch) -> None:
    whole = contents(appended(tmp_path / "whole", 200, 900))
    rename = Path.rename
    for survivors in range(9):
        folder = appended(tmp_path / str(survivors), 200)
        left = survivors

        def dying(file: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return rename(file, target)

        monkeypatch.setattr(Path, "rename", dying)
        with pytest.raises(Killed):
            folder.append(200, ENTRIES[200:900])
        monkeypatch.undo()
        found = contents(folder)
        assert len(found.keys() & (whole.keys() - needed(200))) == survivors
        assert all(whole[name] == found[name] for name in whole.keys() & found.keys())
        assert list(folder.entries(0, 200)) == ENTRIES[:200]
        folder.append(200, ENTRIES[200:900])
        assert contents(folder) == whole


def test_content_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch) -> None:
    order: list[tuple[str, str]] = []
    rename, fsync = Path.rename, os.fsync

    def renamed(file: Path, target: Path) -> Path:
        order.append(("rename", target.name))
        return rename(file, target)

    def synced(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        order.append(("folder", path.name) if path.is_dir() else ("content", "checkpoint"))
        fsync(handle)

    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    TileFolder(tmp_path / "log").write_checkpoint(b"note")
    assert order == [
        ("content", "checkpoint"),
        ("rename", "checkpoint"),
        ("folder", tmp_path.name),
        ("folder", "log"),
    ]


@pytest.mark.parametrize("start", [0, 255, 256, 300])
def test_other_entries_in_the_same_place_are_refused(tmp_path, start: int) -> None:
    folder = appended(tmp_path, 600)
    before = contents(folder)
    with pytest.raises(TilesRefused, match="is there already, with other content"):
        folder.append(start, [*ENTRIES[start:599], b"another"])
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["tile/0/000", "tile/entries/001", "tile/0/002.p/88"])
def test_a_file_that_was_changed_is_never_replaced(tmp_path, name: str) -> None:
    folder = appended(tmp_path, 600)
    file = folder.path / name
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    with pytest.raises(TilesRefused):
        folder.append(0, ENTRIES[:600])
    assert file.read_bytes() == changed


def test_an_entry_changed_since_is_not_carried_into_the_full_bundle(tmp_path) -> None:
    folder = appended(tmp_path, 100)
    file = folder.path / "tile/entries/000.p/100"
    file.write_bytes(file.read_bytes().replace(b"entry 7\x00", b"entry 8\x00"))
    with pytest.raises(TilesRefused, match=r"tile/entries/000.p/100 differs from its tile"):
        folder.append(100, ENTRIES[100:300])
    assert "tile/entries/000" not in files(folder)


def test_a_gap_is_not_written_over(tmp_path) -> None:
    folder = appended(tmp_path, 100)
    with pytest.raises(TilesMissing, match=r"tile/entries/000.p/101 is missing"):
        folder.append(101, ENTRIES[101:110])
    with pytest.raises(TilesMissing):
        list(folder.entries(0, 101))
    with pytest.raises(TilesMissing):
        folder.hash_of(101)(0, 100)


def test_an_entry_has_at_most_65535_bytes(tmp_path) -> None:
    folder = TileFolder(tmp_path)
    entries = [b"", b"x" * ENTRY_BYTES_MAX, b"\xff" * 300]
    folder.append(0, entries)
    assert list(folder.entries(0, 3)) == entries
    with pytest.raises(InvariantBroken, match="at most 65535"):
        folder.append(3, [b"x" * (ENTRY_BYTES_MAX + 1)])
    with pytest.raises(InvariantBroken, match="size"):
        folder.append(SIZE_MAX, [b"x"])
    with pytest.raises(InvariantBroken, match="size"):
        folder.append(-1, [b"x"])


def test_a_full_bundle_of_the_largest_entries_is_read(tmp_path) -> None:
    folder = TileFolder(tmp_path)
    largest = [bytes([number]) * ENTRY_BYTES_MAX for number in range(256)]
    folder.append(0, largest)
    assert list(folder.entries(254, 256)) == largest[254:]


def test_only_complete_subtrees_have_a_hash(tmp_path) -> None:
    hash_of = appended(tmp_path, 300).hash_of(300)
    assert hash_of(8, 0) == root(256)
    for level, index in ((8, 1), (9, 0), (0, 300), (-1, 0), (0, -1)):
        with pytest.raises(InvariantBroken):
            hash_of(level, index)


def test_many_tiles_are_read_with_a_bounded_memory(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tiles, "TILES_KEPT", 2)
    folder = appended(tmp_path, 2_000)
    hash_of = folder.hash_of(2_000)
    assert [hash_of(0, index) for index in range(0, 2_000, 100)] == LEAVES[0:2_000:100]


@given(st.lists(st.binary(max_size=20), max_size=256))
def test_a_bundle_is_split_as_it_was_joined(entries: list[bytes]) -> None:
    assert split_bundle(join_bundle(entries)) == entries


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=10), st.data())
def test_a_bundle_that_ends_within_an_entry_is_refused(entries: list[bytes], data) -> None:
    cut = data.draw(st.integers(1, len(entries[-1]) + 1))
    with pytest.raises(TilesRefused, match="ends within an entry"):
        split_bundle(join_bundle(entries)[:-cut])


def test_a_bundle_of_nothing_but_lengths_is_left_in_time() -> None:
    assert len(split_bundle(bytes(1_000_000))) == 257


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tile/0/000", b"x" * 8_193, "longer than it can be"),
        ("tile/0/000", b"x" * 8_191, "not as many hashes"),
        ("tile/0/001.p/44", b"x" * 32 * 43, "not as many hashes"),
        ("tile/entries/000", join_bundle(ENTRIES[:255]), "not as many entries"),
        ("tile/entries/000", join_bundle(ENTRIES[:257]), "not as many entries"),
        ("tile/entries/001.p/44", b"\x00\x09entry", "tile/entries/001.p/44 ends within an entry"),
        ("checkpoint", b"x" * (NOTE_BYTES_MAX + 1), "longer than it can be"),
    ],
)
def test_files_of_a_wrong_length_are_refused(tmp_path, name, content, said) -> None:
    folder = appended(tmp_path, 300)
    (folder.path / name).write_bytes(content)
    with pytest.raises(TilesRefused, match=said):
        read_all(folder)


def read_all(folder: TileFolder) -> None:
    folder.checkpoint()
    for index in range(300):
        folder.hash_of(300)(0, index)
    list(folder.entries(0, 300))


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path) -> None:
    folder = appended(tmp_path, 300)
    (folder.path / "tile/0/000").unlink()
    os.mkfifo(folder.path / "tile/0/000")
    with pytest.raises(TilesRefused, match="is no file"):
        folder.tile(0, 0, 256)
    (folder.path / "checkpoint").mkdir()
    with pytest.raises(TilesRefused, match="is no file"):
        folder.checkpoint()


def test_strange_names_beside_partial_files_do_no_harm(tmp_path) -> None:
    folder = appended(tmp_path, 10)
    for name in ("x", "-1", "999", "0", "٣", ".12.34"):
        (folder.path / "tile/0/000.p" / name).write_bytes(b"?")
    assert folder.tile(0, 0, 5) == b"".join(LEAVES[:5])


def test_the_checkpoint_is_the_newest_one(tmp_path) -> None:
    folder = TileFolder(tmp_path / "new")
    assert folder.checkpoint() is None
    folder.write_checkpoint(b"one")
    folder.write_checkpoint(b"two")
    assert folder.checkpoint() == b"two"
    assert files(folder) == {"checkpoint"}
    with pytest.raises(InvariantBroken):
        folder.write_checkpoint(b"x" * (NOTE_BYTES_MAX + 1))
    assert folder.checkpoint() == b"two"

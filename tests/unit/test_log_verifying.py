"""An auditor with a copy of a log and a public key: what was done to it, and what he is told."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.log import verifying
from strongroom.log.entries import Entry
from strongroom.log.epochs import OPENED
from strongroom.log.notes import NOTE_BYTES_MAX, Checkpoint, NoteKey, sign_note, to_base64
from strongroom.log.tiles import TileFolder, join_bundle, split_bundle, tile_name
from strongroom.log.tree import HASH_BYTES, NO_LEAVES, leaf_hash
from strongroom.log.verifying import (
    LogRefused,
    Verified,
    verify_folder,
)

SIZE = 66_000
OLD = 65_700
ORIGIN = "example.com/payments"
KEY = NoteKey.new(ORIGIN)
VERIFIER = KEY.verifier
ENTRIES = [b"entry %d" % number for number in range(SIZE)]


def root(entries: list[bytes]) -> bytes:
    return NO_LEAVES.extended([leaf_hash(entry) for entry in entries]).root()


def signed(entries: list[bytes], key: NoteKey = KEY, origin: str = ORIGIN) -> bytes:
    return sign_note(Checkpoint(origin, len(entries), root(entries)).text(), key)


def made(path: Path, entries: list[bytes], key: NoteKey = KEY, origin: str = ORIGIN) -> TileFolder:
    folder = TileFolder(path)
    folder.append(0, entries)
    folder.write_checkpoint(signed(entries, key, origin))
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> TileFolder:
    return made(tmp_path_factory.mktemp("original"), ENTRIES)


@pytest.fixture
def log(original, tmp_path) -> TileFolder:
    """A copy to do harm to."""
    return TileFolder(Path(shutil.copytree(original.path, tmp_path / "log")))


@pytest.fixture(scope="module")
def older() -> list[bytes]:
    """Checkpoints that somebody else kept."""
    return [signed(ENTRIES[:size]) for size in (0, 1, 256, 1_000, OLD, SIZE)]


def change(folder: TileFolder, name: str, how: Callable[[bytes], bytes]) -> None:
    file = folder.path / name
    before = file.read_bytes()
    after = how(before)
    assert after != before
    file.write_bytes(after)


def bundled(how: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda bundle: join_bundle(how(split_bundle(bundle)))


def at(place: int, value: bytes = b"forged") -> Callable[[list[bytes]], list[bytes]]:
    return lambda entries: [*entries[:place], value, *entries[place + 1 :]]


def hash_changed(place: int) -> Callable[[bytes], bytes]:
    start = place * HASH_BYTES
    return lambda tile: tile[:start] + leaf_hash(b"forged") + tile[start + HASH_BYTES :]


def refusal(folder: TileFolder, **more: list[bytes]) -> str:
    with pytest.raises(LogRefused) as caught:
        verify_folder(folder, VERIFIER, **more)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_log_that_nobody_touched_holds(original, older) -> None:
    expected = Verified(ORIGIN, SIZE, root(ENTRIES))
    assert verify_folder(original, VERIFIER) == expected
    assert verify_folder(original, VERIFIER, older=older) == expected
    assert verify_folder(original, VERIFIER, older=older[::-1] + older) == expected


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 600])
def test_a_small_log_holds(tmp_path, size: int) -> None:
    folder = made(tmp_path, ENTRIES[:size])
    kept = [signed(ENTRIES[:old]) for old in range(0, size + 1, 100)]
    found = verify_folder(folder, VERIFIER, older=kept)
    assert found == Verified(ORIGIN, size, root(ENTRIES[:size]))


def test_entries_after_those_of_the_checkpoint_do_no_harm(tmp_path) -> None:
    folder = made(tmp_path, ENTRIES[:300])
    folder.append(300, ENTRIES[300:900])
    assert verify_folder(folder, VERIFIER).size == 300


def test_progress_is_heard_of(original) -> None:
    heard: list[tuple[int, int]] = []
    verify_folder(original, VERIFIER, progress=lambda done, total: heard.append((done, total)))
    assert heard[0] == (0, SIZE)
    assert heard[-1] == (SIZE, SIZE)
    assert heard == sorted(heard)


@pytest.mark.parametrize("entry", [0, 255, 256, 65_535, 65_536, 65_999])
def test_an_edited_entry_is_named(log, entry: int) -> None:
    number, place = divmod(entry, 256)
    width = min(256, SIZE - number * 256)
    change(log, tile_name("entries", number, width), bundled(at(place)))
    assert refusal(log).startswith(f"Entry {entry} was changed")


@pytest.mark.parametrize("entry", [0, 300, 65_999])
def test_an_edited_hash_of_an_entry_is_named(log, entry: int) -> None:
    number, place = divmod(entry, 256)
    width = min(256, SIZE - number * 256)
    change(log, tile_name(0, number, width), hash_changed(place))
    assert "differs from its entries" in refusal(log)
    assert f"its hash of entry {entry} was changed" in refusal(log)


def test_an_entry_edited_with_its_hash_is_found_by_the_tile_above(log) -> None:
    change(log, "tile/entries/001", bundled(at(7)))
    change(log, "tile/0/001", hash_changed(7))
    assert refusal(log) == (
        "Hash 1 of the tile tile/1/000 is not the one that the entries 256 to 511 make: it was "
        "changed, or one of them was and its own tile with it."
    )


def test_an_entry_edited_with_all_tiles_fails_at_the_signature(tmp_path, original) -> None:
    folder = TileFolder(tmp_path)
    folder.append(0, at(9)(ENTRIES))
    folder.write_checkpoint(original.checkpoint())
    assert "their root is not the one that the checkpoint was signed for" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "place", "first", "last"),
    [
        ("tile/1/000", 3, 768, 1_023),
        ("tile/1/001.p/1", 0, 65_536, 65_791),
        ("tile/2/000.p/1", 0, 0, 65_535),
    ],
)
def test_an_edited_tile_above_is_named(log, name, place, first, last) -> None:
    change(log, name, hash_changed(place))
    assert refusal(log).startswith(
        f"Hash {place} of the tile {name} is not the one that the entries {first} to {last} make"
    )


@pytest.mark.parametrize("entry", [0, 300, 65_999])
def test_a_deleted_entry_is_named(log, entry: int) -> None:
    number, place = divmod(entry, 256)
    width = min(256, SIZE - number * 256)
    name = tile_name("entries", number, width)
    change(log, name, bundled(lambda entries: entries[:place] + entries[place + 1 :]))
    assert refusal(log) == f"Entry {entry} is missing: {name} has {width - 1} entries, not {width}."


def test_an_inserted_entry_is_named(log) -> None:
    change(log, "tile/entries/001", bundled(lambda es: [*es[:5], b"more", *es[5:]]))
    assert refusal(log) == "Entry 261 is one too many: tile/entries/001 should have 256 entries."


def test_a_bundle_that_ends_within_an_entry_is_named(log) -> None:
    change(log, "tile/entries/001", lambda bundle: bundle[:-1])
    assert refusal(log) == "The file tile/entries/001 ends within an entry."


def test_a_swapped_order_is_named(log) -> None:
    def swapped(entries: list[bytes]) -> list[bytes]:
        entries[3], entries[9] = entries[9], entries[3]
        return entries

    change(log, "tile/entries/002", bundled(swapped))
    assert refusal(log) == (
        "Entry 515 is in the wrong place: by the tile tile/0/002, entry 521 belongs there; their "
        "order was changed."
    )


def test_entries_swapped_between_bundles_are_found(log) -> None:
    change(log, "tile/entries/002", bundled(at(0, ENTRIES[256])))
    change(log, "tile/entries/001", bundled(at(0, ENTRIES[512])))
    assert refusal(log).startswith("Entry 256 was changed")


def test_swapped_files_are_found(log) -> None:
    for level in ("entries", "0"):
        one, other = (log.path / f"tile/{level}/{name}" for name in ("001", "002"))
        one.rename(one.with_name("x"))
        other.rename(one)
        one.with_name("x").rename(other)
    assert refusal(log).startswith("Hash 1 of the tile tile/1/000 is not")


def test_a_gap_is_named(log) -> None:
    (log.path / "tile/entries/005").unlink()
    assert refusal(log) == (
        "There is a gap: tile/entries/005 is missing, which has the entries 1280 to 1535."
    )


def test_a_cut_tail_is_named(log) -> None:
    for name in ("entries/257.p", "entries/256", "entries/255"):
        path = log.path / "tile" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert refusal(log) == (
        "The tail is cut: the checkpoint has 66000 entries, but tile/entries/255 is missing, where "
        "entry 65280 is."
    )


def test_a_missing_tile_is_named(log) -> None:
    (log.path / "tile/0/005").unlink()
    assert refusal(log) == "The file tile/0/005 is missing."


def test_a_tail_cut_with_its_checkpoint_is_shown_by_one_kept_elsewhere(tmp_path, older) -> None:
    cut = made(tmp_path, ENTRIES[:OLD])
    assert verify_folder(cut, VERIFIER, older=older[:-1]).size == OLD
    assert refusal(cut, older=older) == (
        "The tail is cut: an older checkpoint has 66000 entries, the log has 65700 now."
    )


@pytest.mark.parametrize("entry", [0, 999, 65_699])
def test_a_log_rewritten_by_its_own_key_is_shown_by_one_kept_elsewhere(
    tmp_path, older, entry: int
) -> None:
    rewritten = made(tmp_path, at(entry)(ENTRIES))
    assert verify_folder(rewritten, VERIFIER).size == SIZE
    first = next(size for size in (1, 256, 1_000, OLD) if size > entry)
    assert refusal(rewritten, older=older) == (
        f"The log does not begin as an older checkpoint of {first} entries says: among those "
        "entries something was rewritten since."
    )


def test_another_log_of_the_same_size_is_not_a_continuation(tmp_path, older) -> None:
    rewritten = made(tmp_path, at(65_999)(ENTRIES))
    assert verify_folder(rewritten, VERIFIER, older=older[:-1]).size == SIZE
    assert "older checkpoint of 66000" in refusal(rewritten, older=older)


def test_a_log_rewritten_and_signed_by_another_key_is_refused(tmp_path) -> None:
    for name in (ORIGIN, "example.com/other"):
        folder = made(tmp_path / name, at(9)(ENTRIES[:500]), NoteKey.new(name))
        assert refusal(folder) == (
            "The checkpoint does not hold: nobody who is known has signed the note."
        )


def test_a_forged_checkpoint_is_refused(log) -> None:
    change(log, "checkpoint", lambda note: note.replace(b"66000", b"65999"))
    assert "the signature of example.com/payments is not good" in refusal(log)
    log.write_checkpoint(b"")
    assert refusal(log).startswith("The checkpoint does not hold")
    (log.path / "checkpoint").unlink()
    assert refusal(log) == "The folder has no checkpoint."
    (log.path / "checkpoint").write_bytes(b"x" * (NOTE_BYTES_MAX + 1))
    assert refusal(log).startswith("The file checkpoint is no file, or longer")


def test_a_signed_text_that_is_no_checkpoint_is_refused(log) -> None:
    log.write_checkpoint(sign_note(b"hello\n", KEY))
    assert "three lines" in refusal(log)


def test_a_checkpoint_of_another_origin_is_refused(tmp_path, log, older) -> None:
    foreign = made(tmp_path / "foreign", ENTRIES[:500], origin="example.com/test")
    assert refusal(foreign) == (
        "The checkpoint is of another log: its origin is example.com/test, the key is that of "
        "example.com/payments."
    )
    kept = [*older, signed(ENTRIES[:500], origin="example.com/test")]
    assert refusal(log, older=kept).startswith("Older checkpoint 7 is of another log")


def test_an_older_checkpoint_that_nobody_signed_is_refused(log, older) -> None:
    kept = [*older, signed(ENTRIES[:500], NoteKey.new(ORIGIN))]
    assert refusal(log, older=kept).startswith("Older checkpoint 7 does not hold")


def test_older_checkpoints_have_a_limit(log, older, monkeypatch) -> None:
    monkeypatch.setattr(verifying, "OLDER_MAX", 3)
    assert "At most 3" in refusal(log, older=older)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> TileFolder:
    return made(tmp_path_factory.mktemp("small"), ENTRIES[:1_000])


@given(st.data())
def test_a_bit_flipped_in_any_file_is_found(small, data) -> None:
    names = sorted(file for file in small.path.rglob("*") if file.is_file())
    file = data.draw(st.sampled_from(names), label="file")
    before = file.read_bytes()
    bit = data.draw(st.integers(0, len(before) * 8 - 1), label="bit")
    changed = bytearray(before)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        file.write_bytes(changed)
        with pytest.raises(LogRefused):
            verify_folder(small, VERIFIER)
    finally:
        file.write_bytes(before)


# Epochs.

ENTITY_ORIGIN = f"{ORIGIN}/ent_{'0' * 26}"
SECOND = f"{ENTITY_ORIGIN}/2"
KEPT, SIGNED_SIZE = 5, 9
LOST = [b"entry %d" % number for number in range(SIGNED_SIZE)]


def opening(**more: object) -> bytes:
    said = {
        "epoch": 2, "because": "a restore", "previous_origin": ENTITY_ORIGIN,
        "signed_size": SIGNED_SIZE, "signed_root": to_base64(root(LOST)), "kept": KEPT,
        "size": KEPT,
    }  # fmt: skip
    return Entry(
        kind=OPENED, subject_id=UUID(int=0), version=1, at=datetime(2026, 12, 1, tzinfo=UTC),
        row_format=0, row_digest=b"d" * 32, actor="operator:x",
        payload=msgspec.json.encode(said | more),
    ).content()  # fmt: skip


def second(path: Path, *entries: bytes) -> TileFolder:
    return made(path, [*LOST[:KEPT], *entries], KEY.named(SECOND), SECOND)


def checked(folder: TileFolder, *older: bytes) -> Verified:
    return verify_folder(folder, KEY.named(SECOND).verifier, older=older)


def test_an_epoch_says_how_it_was_opened(tmp_path) -> None:
    found = checked(second(tmp_path, opening(), b"more"))
    assert found.lost == ()
    [sentence] = found.opened
    assert "opened by entry 5, after 9 entries were signed, of which 5 are kept" in sentence


@pytest.mark.parametrize(
    "entries",
    [(b"more",), (opening(epoch=3),), (b"more", opening()), (opening(size=4),)],
    ids=["none", "of another epoch", "in another place", "of another size"],
)
def test_an_epoch_that_nothing_opened_is_refused(tmp_path, entries) -> None:
    with pytest.raises(LogRefused, match="no entry opened that"):
        checked(second(tmp_path, *entries))


def test_what_was_lost_is_explained_only_by_what_was_really_signed(tmp_path) -> None:
    folder, key = second(tmp_path, opening()), KEY.named(ENTITY_ORIGIN)
    for size in (KEPT + 1, SIGNED_SIZE):
        [sentence] = checked(folder, signed(LOST[:size], key, ENTITY_ORIGIN)).lost
        assert f"of {size} entries is of an epoch that ended at 9" in sentence
    forked = [*LOST[:-1], b"another"]
    for entries in ([*LOST, b"hidden"], forked):
        with pytest.raises(LogRefused, match="no entry of it says why"):
            checked(folder, signed(entries, key, ENTITY_ORIGIN))

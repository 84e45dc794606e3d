"""A log is read by code of others, in another language: whole it is accepted, tampered with not.

Each test of tampering says what the verifier has to notice, so that none is refused by chance. The
product's own verifier reads the same folders, and comes to the same.
"""

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from strongroom.log.cosignatures import CosigningKey
from strongroom.log.notes import Checkpoint, NoteKey, note_parts, sign_note, with_signatures
from tests.integration.log.folders import (
    ORIGIN,
    Log,
    entries_of,
    flip,
    joined,
    kept_at,
    read_by_both,
    read_by_others,
    split,
    written,
)

pytestmark = pytest.mark.needs("foreign-verifier")

SIZES: Final = (0, 1, 2, 255, 256, 257, 1000, 65537)
SIZE: Final = 1000
EARLIER: Final = 300
EMPTY: Final = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
"""The root of no entries: the SHA-256 of nothing."""
LAST_BUNDLE: Final = (3, 232)
"""Entries 768 to 999."""


@pytest.fixture(scope="module")
def key() -> NoteKey:
    return NoteKey.new(ORIGIN)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, key: NoteKey) -> Log:
    folder = tmp_path_factory.mktemp("logs")
    return written(folder / "honest", key, entries_of(SIZE), sizes=[EARLIER])


@pytest.fixture
def log(honest: Log, tmp_path: Path) -> Log:
    """A copy for the forger of this test."""
    return honest.copy(tmp_path / "log")


@pytest.mark.parametrize("size", SIZES)
def test_a_log_that_grew_to_a_size_is_accepted(tmp_path: Path, key: NoteKey, size: int) -> None:
    log = written(tmp_path / "log", key, entries_of(size), sizes=SIZES)
    passed = [kept_at(log, smaller) for smaller in SIZES if smaller <= size]
    said = read_by_both(log, *passed)
    assert said.accepted
    _, origin, counted, root = said.line.split()
    assert (origin, counted) == (ORIGIN, str(size))
    assert root.encode() == log.checkpoint.read_bytes().splitlines()[2]


@pytest.mark.parametrize("size", SIZES[:-1])
def test_a_log_that_was_written_at_once_is_accepted(
    tmp_path: Path, key: NoteKey, size: int
) -> None:
    assert read_by_both(written(tmp_path / "log", key, entries_of(size))).accepted


def test_entries_of_any_length_are_read(tmp_path: Path, key: NoteKey) -> None:
    entries = [b"", b"\0", b"\xff" * 65535, b"", bytes(range(256)) * 200]
    assert read_by_both(written(tmp_path / "log", key, entries)).accepted


@pytest.mark.parametrize("number", [0, 255, 256, 700, SIZE - 1])
def test_an_edited_entry_is_refused_by_its_number(log: Log, number: int) -> None:
    bundle = log.bundle(number // 256, 232 if number >= 768 else 256)
    entries = split(bundle.read_bytes())
    entries[number % 256] += b"!"
    bundle.write_bytes(joined(entries))
    assert read_by_both(log).refuses("have the root", f"entry {number} is the first not to match")


def test_an_edited_entry_with_its_hashes_is_refused_by_the_root(log: Log, key: NoteKey) -> None:
    """Whoever edits every file, and has not the key, cannot make the checkpoint say so."""
    entries = entries_of(SIZE)
    entries[17] = b"another amount"
    forged = written(log.path.with_name("all-but-signed"), NoteKey.new(ORIGIN), entries)
    forged.checkpoint.write_bytes(log.checkpoint.read_bytes())
    said = read_by_both(forged, key=key)
    assert said.refuses("have the root", "the hash tiles match the entries")


def test_a_deleted_entry_is_refused(log: Log) -> None:
    bundle = log.bundle(1)
    entries = split(bundle.read_bytes())
    del entries[100]
    bundle.write_bytes(joined(entries))
    assert read_by_both(log).refuses("tile/entries/001 has 255 entries, not 256")


def test_a_deleted_entry_is_refused_when_those_behind_it_move_up(log: Log) -> None:
    left = entries_of(SIZE)
    del left[500]
    for number in range(3):
        log.bundle(number).write_bytes(joined(left[number * 256 : (number + 1) * 256]))
    last = log.bundle(*LAST_BUNDLE)
    last.write_bytes(joined(left[768:]))
    assert read_by_both(log).refuses("003.p/232 has 231 entries, not 232")
    last.write_bytes(joined([*left[768:], b"something to make up the number"]))
    assert read_by_both(log).refuses("entry 500 is the first not to match")


def test_entries_that_changed_places_are_refused(log: Log) -> None:
    entries = split(log.bundle(0).read_bytes())
    entries[3], entries[4] = entries[4], entries[3]
    log.bundle(0).write_bytes(joined(entries))
    assert read_by_both(log).refuses("entry 3 is the first not to match")


def test_bundles_that_changed_places_are_refused(log: Log) -> None:
    for one, other in ((log.bundle(0), log.bundle(1)), (log.hashes(0, 0), log.hashes(0, 1))):
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
    assert read_by_both(log).refuses("have the root")


def test_a_cut_tail_is_refused_by_the_size_of_the_checkpoint(log: Log) -> None:
    last = log.bundle(*LAST_BUNDLE)
    last.unlink()
    assert read_by_both(log).refuses("tile/entries/003.p/232", f"the checkpoint says {SIZE} ent")
    last.write_bytes(joined(entries_of(SIZE)[768:999]))
    assert read_by_both(log).refuses("003.p/232 has 231 entries, not 232")


def test_a_log_put_back_is_refused_by_whoever_kept_a_newer_checkpoint(
    honest: Log, tmp_path: Path
) -> None:
    """Nobody else can know: the log was like this once, and its signer said so."""
    earlier = written(tmp_path / "earlier", honest.key, entries_of(EARLIER))
    assert read_by_both(earlier).accepted
    assert read_by_both(earlier, kept_at(honest, EARLIER)).accepted
    said = read_by_both(earlier, kept_at(honest, EARLIER), kept_at(honest, SIZE))
    assert said.refuses(f"the log has {EARLIER} entries, and had {SIZE}", "its tail was cut")


def test_a_rewrite_by_the_holder_of_the_key_is_refused_by_an_older_checkpoint(
    honest: Log, tmp_path: Path
) -> None:
    entries = entries_of(SIZE + 500)
    entries[EARLIER - 1] = b"a smaller amount"
    rewritten = written(tmp_path / "rewritten", honest.key, entries)
    assert read_by_both(rewritten).accepted
    for size in (EARLIER, SIZE):
        said = read_by_both(rewritten, kept_at(honest, size))
        assert said.refuses("does not continue", f"its first {size} entries are not those of then")


def test_a_rewrite_of_the_same_size_is_refused_by_the_older_checkpoint(
    honest: Log, tmp_path: Path
) -> None:
    entries = entries_of(SIZE)
    entries[-1] = b"a smaller amount"
    rewritten = written(tmp_path / "rewritten", honest.key, entries)
    assert read_by_both(rewritten, kept_at(honest, EARLIER)).accepted
    assert read_by_both(rewritten, kept_at(honest, SIZE)).refuses("does not continue")


def test_a_rewrite_that_another_key_signed_is_refused(key: NoteKey, tmp_path: Path) -> None:
    for name, why in ((ORIGIN, "no verifiable signatures"), ("log.example/x", "no verifiable sig")):
        other = written(tmp_path / name.replace("/", "-"), NoteKey.new(name), entries_of(SIZE))
        assert read_by_both(other, key=key).refuses(why)


def test_an_older_checkpoint_that_another_key_signed_is_refused(honest: Log, log: Log) -> None:
    text = b"".join(honest.checkpoint.read_bytes().splitlines(keepends=True)[:3])
    forged = log.path.with_name("older-by-another-key")
    forged.write_bytes(sign_note(text, NoteKey.new(ORIGIN)))
    assert read_by_both(log, forged).refuses(str(forged), "no verifiable signatures")


def test_a_log_of_another_name_is_refused_though_its_key_is_known(
    key: NoteKey, tmp_path: Path
) -> None:
    other = written(tmp_path / "other", key, entries_of(9), origin="log.example/le_baker")
    assert read_by_both(other).refuses('is of the log "log.example/le_baker"', ORIGIN)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{ORIGIN}\n0\n", "a checkpoint has 3 lines, this has 2"),
        (f"{ORIGIN}\n", "a checkpoint has 3 lines, this has 1"),
        (f"{ORIGIN}\n0\n{EMPTY}\n\nmore\n", "line 4 of the checkpoint is empty"),
        (f"{ORIGIN}\n00\n{EMPTY}\n", 'size of the checkpoint: "00" is no decimal'),
        (f"{ORIGIN}\n-1\n{EMPTY}\n", "size of the checkpoint"),
        (f"{ORIGIN}\n9223372036854775808\n{EMPTY}\n", "size of the checkpoint"),
        (f"{ORIGIN}\n0\n{EMPTY[:-1]}\n", "root of the checkpoint"),
        (f"{ORIGIN}\n0\n{'A' * 43}=\n", "have the root"),
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(
    tmp_path: Path, key: NoteKey, text: str, why: str
) -> None:
    log = written(tmp_path / "log", key, [])
    whole = log.checkpoint.read_bytes()
    log.checkpoint.write_bytes(sign_note(text.encode(), key))
    assert read_by_both(log).refuses(why)
    older = log.kept("no-checkpoint")
    log.checkpoint.write_bytes(whole)
    assert read_by_both(log, older).refuses(
        str(older), why.replace("have the root", "has the root")
    )


def larger(text: Checkpoint) -> Checkpoint:
    return Checkpoint(text.origin, text.size + 1, text.root)


def smaller(text: Checkpoint) -> Checkpoint:
    return Checkpoint(text.origin, text.size - 1, text.root)


def other_root(text: Checkpoint) -> Checkpoint:
    return Checkpoint(text.origin, text.size, text.root[::-1])


def other_origin(text: Checkpoint) -> Checkpoint:
    return Checkpoint("log.example/le_baker", text.size, text.root)


@pytest.mark.parametrize("forge", [larger, smaller, other_root, other_origin])
def test_a_forged_checkpoint_is_refused_signed_or_not(
    log: Log, forge: Callable[[Checkpoint], Checkpoint]
) -> None:
    origin, size, root, empty, signature = log.checkpoint.read_text().splitlines()
    forged = forge(Checkpoint(origin, int(size), b64decode(root))).text()
    log.checkpoint.write_bytes(forged + f"{empty}\n{signature}\n".encode())
    assert read_by_both(log).refuses("checkpoint: invalid signature for key")
    log.checkpoint.write_bytes(sign_note(forged, log.key))
    assert not read_by_both(log).accepted


@pytest.mark.parametrize(
    ("level", "number", "width"), [(0, 0, 256), (0, 2, 256), (0, *LAST_BUNDLE), (1, 0, 3)]
)
def test_a_changed_hash_tile_is_refused(log: Log, level: int, number: int, width: int) -> None:
    tile = log.hashes(level, number, width)
    whole = tile.read_bytes()
    name = tile.relative_to(log.path).as_posix()
    flip(tile, -1)
    assert read_by_both(log).refuses(f"hash {width - 1} of {name} is not the one of the entries")
    tile.write_bytes(whole[:-32])
    assert read_by_both(log).refuses(f"{name} has {len(whole) - 32} bytes, not {len(whole)}")
    tile.write_bytes(whole + whole[:32])
    assert read_by_both(log).refuses(name)
    tile.unlink()
    assert read_by_both(log).refuses(name)


def test_tiles_of_an_earlier_size_may_not_tell_another_story(log: Log) -> None:
    """The product does not read what was left; the foreign verifier does."""
    hashes, bundle = log.hashes(0, 1, EARLIER - 256), log.bundle(1, EARLIER - 256)
    for earlier in (hashes, bundle):
        earlier.parent.mkdir()
    hashes.write_bytes(log.hashes(0, 1).read_bytes()[: (EARLIER - 256) * 32])
    bundle.write_bytes(joined(entries_of(EARLIER)[256:]))
    assert read_by_both(log).accepted
    flip(hashes, 0)
    assert read_by_others(log).refuses("hash 0 of tile/0/001.p/44 is not the one of the entries")
    hashes.unlink()
    flip(bundle, -1)
    assert read_by_others(log).refuses("entry 43 of tile/entries/001.p/44 is not the log's")


def test_what_lies_past_the_size_of_the_checkpoint_is_not_yet_the_logs(
    tmp_path: Path, key: NoteKey
) -> None:
    """Files come first, then the checkpoint: between the two the older one still holds.

    The partial files of its size may be gone by then, since the full ones answer for them.
    """
    log = written(tmp_path / "log", key, entries_of(2000), sizes=[1000, 1030])
    assert not log.bundle(3, 232).exists()
    for size in (1000, 1030):
        log.checkpoint.write_bytes(kept_at(log, size).read_bytes())
        assert read_by_both(log).accepted
    flip(log.bundle(4), -1)
    flip(log.hashes(0, 7, 208), -1)
    assert read_by_both(log).accepted
    flip(log.bundle(3), 2)
    assert not read_by_both(log).accepted


def test_no_byte_of_any_file_can_be_changed(tmp_path: Path, key: NoteKey) -> None:
    log = written(tmp_path / "log", key, entries_of(6))
    changed = 0
    for file in log.files:
        whole = file.read_bytes()
        for place in range(len(whole)):
            flip(file, place, place % 8)
            assert not read_by_both(log).accepted, (file, place)
            file.write_bytes(whole)
            changed += 1
        for cut in (whole[:-1], whole + b"\n", whole + whole):
            file.write_bytes(cut)
            assert not read_by_both(log).accepted, (file, len(cut))
        file.write_bytes(whole)
    assert changed > 400
    assert read_by_both(log).accepted


def test_what_witnesses_add_to_a_checkpoint_is_passed_over(log: Log) -> None:
    note = log.checkpoint.read_bytes()
    for name in ("witness.example/w1", ORIGIN):
        key = CosigningKey.new(name)
        note = with_signatures(note, [key.cosign(note_parts(note)[0], 1_800_000_000)])
    log.checkpoint.write_bytes(note)
    assert read_by_both(log).accepted
    assert not read_by_both(log, key=NoteKey.new(ORIGIN)).accepted

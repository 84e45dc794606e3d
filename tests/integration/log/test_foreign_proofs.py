"""That an entry is in the log, proven to code of others by a file that is carried away.

The product makes the proof; both verifiers read it, and come to the same.
"""

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Final

import pytest

from strongroom.log.notes import NoteKey
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import LogRefused, prove, verify_proof
from tests.integration.log.folders import (
    ORIGIN,
    Log,
    Verdict,
    entries_of,
    flip,
    verdict,
    written,
)

pytestmark = pytest.mark.needs("foreign-verifier")

SIZES: Final = (1, 2, 3, 255, 256, 257, 1000)
SIZE: Final = 1000
INDEX: Final = 704


@pytest.fixture(scope="module")
def key() -> NoteKey:
    return NoteKey.new(ORIGIN)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, key: NoteKey) -> Log:
    return written(tmp_path_factory.mktemp("log") / "log", key, entries_of(SIZE))


class Carried:
    """A proof and its entry as two files, away from their log."""

    def __init__(self, folder: Path, proof: bytes, entry: bytes) -> None:
        self.folder = folder
        self.proof = folder / "proof"
        self.entry = folder / "entry"
        self.proof.write_bytes(proof)
        self.entry.write_bytes(entry)

    def read_by_us(self, key: NoteKey) -> str | None:
        try:
            verify_proof(self.proof.read_bytes(), self.entry.read_bytes(), key.verifier)
        except LogRefused as refusal:
            return str(refusal)
        return None

    def read_by_both(self, key: NoteKey) -> Verdict:
        theirs = verdict(key, "-proof", self.proof, "-entry", self.entry, beside=self.folder)
        ours = self.read_by_us(key)
        assert theirs.accepted == (ours is None), (theirs, ours)
        return theirs


@pytest.fixture
def carried(log: Log, tmp_path: Path) -> Carried:
    return Carried(
        tmp_path, prove(TileFolder(log.path), INDEX, log.key.verifier), entries_of(SIZE)[INDEX]
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_proof_of_an_entry_is_accepted(key: NoteKey, tmp_path: Path, size: int) -> None:
    entries = entries_of(size)
    log = written(tmp_path / "log", key, entries)
    for index in sorted({0, 1, size // 2, 255, 256, size - 2, size - 1} & set(range(size))):
        proof = prove(TileFolder(log.path), index, key.verifier)
        said = Carried(tmp_path, proof, entries[index]).read_by_both(key)
        assert said.accepted
        assert said.line.startswith(f"accepted {ORIGIN} {size} ")
        assert said.line.endswith(f" index {index}")


def test_a_proof_with_any_changed_byte_is_refused(carried: Carried, key: NoteKey) -> None:
    whole = carried.proof.read_bytes()
    for place in range(len(whole)):
        flip(carried.proof, place, place % 8)
        assert not carried.read_by_both(key).accepted, place
        carried.proof.write_bytes(whole)
    assert carried.read_by_both(key).accepted


@pytest.mark.parametrize("line", ["hash", "signature"])
def test_base64_in_another_form_is_refused(carried: Carried, key: NoteKey, line: str) -> None:
    """The bits that its last letter has to spare are zero; decoders of base64 often let them be."""
    lines = carried.proof.read_text().splitlines(keepends=True)
    number = 3 if line == "hash" else len(lines) - 1
    stem = lines[number].rstrip("=\n")
    padding = lines[number].removeprefix(stem)
    lines[number] = stem[:-1] + chr(ord(stem[-1]) + 1) + padding
    before, after = (text.split()[-1] for text in (stem + padding, lines[number]))
    assert b64decode(before) == b64decode(after)
    carried.proof.write_text("".join(lines))
    assert not carried.read_by_both(key).accepted


def test_a_cut_or_longer_proof_is_refused(carried: Carried, key: NoteKey) -> None:
    whole = carried.proof.read_bytes()
    for end in range(len(whole)):
        if end % 7 == 0 or end > len(whole) - 4:
            carried.proof.write_bytes(whole[:end])
            assert not carried.read_by_both(key).accepted, end
    for longer in (whole + b"\n", b"\n" + whole, whole + whole, whole + b"more"):
        carried.proof.write_bytes(longer)
        assert not carried.read_by_both(key).accepted


def test_a_proof_with_a_hash_more_or_less_is_refused(carried: Carried, key: NoteKey) -> None:
    lines = carried.proof.read_bytes().splitlines(keepends=True)
    first, last = 2, lines.index(b"\n") - 1
    for changed in (
        [*lines[:first], *lines[first + 1 :]],
        [*lines[:last], *lines[last + 1 :]],
        [*lines[:last], lines[last], *lines[last:]],
        [*lines[:first], lines[first + 1], lines[first], *lines[first + 2 :]],
    ):
        carried.proof.write_bytes(b"".join(changed))
        assert carried.read_by_both(key).refuses(f"is not entry {INDEX} of the log")


def test_another_entry_is_refused(carried: Carried, key: NoteKey) -> None:
    whole = carried.entry.read_bytes()
    for place in range(len(whole)):
        flip(carried.entry, place)
        assert carried.read_by_both(key).refuses(f"is not entry {INDEX} of the log")
        carried.entry.write_bytes(whole)
    for other in (b"", whole + b"\0", whole[:-1], entries_of(SIZE)[INDEX + 1]):
        carried.entry.write_bytes(other)
        assert carried.read_by_both(key).refuses(f"is not entry {INDEX} of the log")


@pytest.mark.parametrize("index", [b"0", b"699", b"999"])
def test_the_proof_of_another_index_is_refused(
    carried: Carried, key: NoteKey, index: bytes
) -> None:
    whole = carried.proof.read_bytes()
    carried.proof.write_bytes(whole.replace(b"index 704", b"index " + index))
    assert carried.read_by_both(key).refuses("is not entry")


@pytest.mark.parametrize("index", [b"1000", b"-1", b"0704", b"+704", b"", b"9" * 30])
def test_an_index_that_the_log_cannot_have_is_refused(
    carried: Carried, key: NoteKey, index: bytes
) -> None:
    whole = carried.proof.read_bytes()
    carried.proof.write_bytes(whole.replace(b"index 704", b"index " + index))
    assert carried.read_by_both(key).refuses("index")


def test_an_index_past_the_end_is_refused_by_the_size(carried: Carried, key: NoteKey) -> None:
    carried.proof.write_bytes(carried.proof.read_bytes().replace(b"index 704", b"index 1000"))
    assert carried.read_by_both(key).refuses("index 1000 is not in a log of 1000 entries")


def test_a_proof_that_another_key_signed_is_refused(carried: Carried) -> None:
    assert carried.read_by_both(NoteKey.new(ORIGIN)).refuses("no verifiable signatures")
    assert carried.read_by_both(NoteKey.new("log.example/x")).refuses("no verifiable signatures")


def test_extra_data_proves_nothing_and_has_its_form(carried: Carried, key: NoteKey) -> None:
    name, rest = carried.proof.read_bytes().split(b"\n", 1)
    for extra in (b"", b"anything"):
        carried.proof.write_bytes(name + b"\nextra " + b64encode(extra) + b"\n" + rest)
        assert carried.read_by_both(key).accepted
    for line in (b"extra anything!", b"extra", b"extra AA==\nextra AA==", b"extra AB=="):
        carried.proof.write_bytes(name + b"\n" + line + b"\n" + rest)
        assert not carried.read_by_both(key).accepted, line


def test_an_entry_longer_than_any_is_refused(carried: Carried, key: NoteKey) -> None:
    carried.entry.write_bytes(b"x" * 65536)
    assert carried.read_by_both(key).refuses("longer than the 65535 bytes")

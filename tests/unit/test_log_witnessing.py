"""A witness among liars: it signs what extends what it signed, and nothing else."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Settings, WitnessAt
from strongroom.log import witnessing
from strongroom.log.cosignatures import CosigningKey, witnessed
from strongroom.log.notes import Checkpoint, NoteKey, NoteVerifier, sign_note, to_base64
from strongroom.log.tree import NO_LEAVES, consistency_proof, leaf_hash, parents, root_of
from strongroom.log.witnessing import (
    BODY_BYTES_MAX,
    SIZE_TYPE,
    NotCosigned,
    Submission,
    Witness,
    WitnessFolder,
    read_logs,
)

ORIGIN = "example.com/payments"
KEY = NoteKey.new(ORIGIN)
NAME = "witness.example/w1"


class Tree:
    """A history whose owner signs whatever he likes of it."""

    def __init__(self, name: str = "honest", shared: int = 0, size: int = 40) -> None:
        """The first `shared` entries are those of the honest one."""
        names = ["honest"] * shared + [name] * (size - shared)
        self.leaves = [leaf_hash(f"{one} {at}".encode()) for at, one in enumerate(names)]

    def root(self, size: int) -> bytes:
        return NO_LEAVES.extended(self.leaves[:size]).root()

    def hash_of(self, level: int, index: int) -> bytes:
        row = self.leaves[index << level : (index + 1) << level]
        while len(row) > 1:
            row = parents(row)
        return row[0]

    def note(self, size: int, key: NoteKey = KEY, origin: str = ORIGIN) -> bytes:
        assert root_of(size, self.hash_of) == self.root(size)
        return sign_note(Checkpoint(origin, size, self.root(size)).text(), key)

    def submission(self, old: int, size: int, **signing: Any) -> bytes:
        proof = consistency_proof(old, size, self.hash_of) if old <= size else []
        return Submission(old, tuple(proof), self.note(size, **signing)).body()


HONEST = Tree()


@pytest.fixture
def folder(tmp_path: Path) -> WitnessFolder:
    return WitnessFolder(tmp_path / "witness")


@pytest.fixture
def witness(folder: WitnessFolder) -> Witness:
    return opened(folder)


def opened(folder: WitnessFolder) -> Witness:
    return Witness(folder, folder.key(NAME), {ORIGIN: KEY.verifier}, SystemClock())


def refusal(witness: Witness, body: bytes) -> NotCosigned:
    with pytest.raises(NotCosigned) as told:
        witness.add_checkpoint(body)
    return told.value


def assert_cosigned(folder: WitnessFolder, note: bytes, line: bytes, size: int) -> None:
    seen = witnessed(note + line, folder.key(None).verifier)
    assert seen.checkpoint.size == size


def test_a_log_that_grows_is_cosigned_at_each_size(witness: Witness, folder: WitnessFolder) -> None:
    old = 0
    for size in (0, 1, 2, 7, 8, 8, 33, 40):
        line = witness.add_checkpoint(HONEST.submission(old, size))
        assert_cosigned(folder, HONEST.note(size), line, size)
        old = size


def test_the_first_checkpoint_may_have_any_size(witness: Witness, folder: WitnessFolder) -> None:
    line = witness.add_checkpoint(HONEST.submission(0, 23))
    assert_cosigned(folder, HONEST.note(23), line, 23)


@pytest.mark.parametrize("shared", [0, 9, 19])
def test_another_root_of_one_size_is_never_cosigned(witness: Witness, shared: int) -> None:
    witness.add_checkpoint(HONEST.submission(0, 20))
    fork = Tree("forked", shared)
    told = refusal(witness, fork.submission(20, 20))
    assert (told.status, told.text, told.content_type) == (409, "20\n", SIZE_TYPE)
    told = refusal(witness, fork.submission(0, 20))
    assert (told.status, told.text, told.content_type) == (409, "20\n", SIZE_TYPE)


@pytest.mark.parametrize("shared", [0, 9, 19])
def test_a_longer_fork_is_not_cosigned(witness: Witness, shared: int) -> None:
    witness.add_checkpoint(HONEST.submission(0, 20))
    fork = Tree("forked", shared)
    assert refusal(witness, fork.submission(20, 30)).status == 422
    honest_proof = tuple(consistency_proof(20, 30, HONEST.hash_of))
    body = Submission(20, honest_proof, fork.note(30)).body()
    assert refusal(witness, body).status == 422
    assert witness.add_checkpoint(HONEST.submission(20, 30))


def test_a_shorter_log_and_an_old_checkpoint_are_not_cosigned_again(witness: Witness) -> None:
    first = HONEST.submission(0, 10)
    witness.add_checkpoint(first)
    witness.add_checkpoint(HONEST.submission(10, 20))
    told = refusal(witness, first)
    assert (told.status, told.text) == (409, "20\n")
    assert refusal(witness, HONEST.submission(10, 15)).status == 409
    assert refusal(witness, HONEST.submission(20, 15)).status == 400
    assert refusal(witness, HONEST.submission(0, 0)).status == 409


def test_a_proof_of_something_else_is_refused(witness: Witness) -> None:
    witness.add_checkpoint(HONEST.submission(0, 10))
    note = HONEST.note(20)
    right = consistency_proof(10, 20, HONEST.hash_of)
    wrong = [
        [], right[:-1], right[::-1], [*right, right[0]], [leaf_hash(b"x"), *right[1:]],
        consistency_proof(10, 21, HONEST.hash_of), consistency_proof(9, 20, HONEST.hash_of),
    ]  # fmt: skip
    for proof in wrong:
        assert refusal(witness, Submission(10, tuple(proof), note).body()).status == 422, proof
    same = Submission(10, tuple(right), HONEST.note(10)).body()
    assert refusal(witness, same).status == 422
    assert witness.add_checkpoint(Submission(10, tuple(right), note).body())


def test_a_proof_is_empty_where_nothing_was_seen(witness: Witness) -> None:
    body = Submission(0, (leaf_hash(b"x"),), HONEST.note(10)).body()
    assert refusal(witness, body).status == 422


def test_an_unknown_log_is_refused(witness: Witness) -> None:
    other = NoteKey.new("example.com/other")
    told = refusal(witness, HONEST.submission(0, 5, key=other, origin="example.com/other"))
    assert told.status == 404
    # By its own name, but signed by the key of a log that is known.
    assert refusal(witness, HONEST.submission(0, 5, origin="example.com/other")).status == 404


@pytest.mark.parametrize("forger", [NoteKey.new(ORIGIN), NoteKey.new("example.com/other")])
def test_a_note_that_the_log_did_not_sign_is_refused(witness: Witness, forger: NoteKey) -> None:
    assert refusal(witness, HONEST.submission(0, 5, key=forger)).status == 403
    body = HONEST.submission(0, 5).replace(b"\n5\n", b"\n6\n")
    assert refusal(witness, body).status == 403


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\n\n", b"old 0", b"old 0\n", b"old 00\n\n" + HONEST.note(5),
        b"old -1\n\n" + HONEST.note(5), b"new 0\n\n" + HONEST.note(5),
        b"old 0\n" + HONEST.note(5), b"old 0\nAAAA=\n\n" + HONEST.note(5),
        b"old 0\n\n" + HONEST.note(5)[:40], b"old 9223372036854775808\n\n" + HONEST.note(5),
        b"old 0\n" + 64 * f"{to_base64(bytes(32))}\n".encode() + b"\n" + HONEST.note(5),
        "old 0\n—\n\n".encode() + HONEST.note(5), b"old 0\n\n\xff" + HONEST.note(5),
        b"old 0\n\n" + sign_note(b"no checkpoint\n", KEY),
    ],
)  # fmt: skip
def test_what_is_no_submission_is_refused(witness: Witness, body: bytes) -> None:
    assert refusal(witness, body).status == 400


def test_a_hash_of_another_length_proves_nothing(witness: Witness) -> None:
    witness.add_checkpoint(HONEST.submission(0, 10))
    body = Submission(10, (b"short",), HONEST.note(20)).body()
    assert refusal(witness, body).status == 422


def test_a_body_that_is_too_long_is_refused(witness: Witness) -> None:
    assert refusal(witness, b"old 0\n\n" + b"x" * BODY_BYTES_MAX).status == 413


def test_it_remembers_when_it_begins_anew(folder: WitnessFolder) -> None:
    opened(folder).add_checkpoint(HONEST.submission(0, 20))
    again = opened(folder)
    assert refusal(again, Tree("forked").submission(20, 20)).status == 409
    assert again.add_checkpoint(HONEST.submission(20, 21))


def test_what_it_signs_is_on_disk_first(
    folder: WitnessFolder, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full: nothing is signed, and what was signed before stays so."""
    witness.add_checkpoint(HONEST.submission(0, 10))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(witnessing, "replace_file", fail)
        with pytest.raises(OSError, match="No space"):
            witness.add_checkpoint(HONEST.submission(10, 20))
    assert folder.read()[ORIGIN].size == 10
    assert witness.add_checkpoint(HONEST.submission(10, 15))
    assert folder.read()[ORIGIN].root == HONEST.root(15)


def test_of_two_histories_at_once_one_is_cosigned(folder: WitnessFolder) -> None:
    """Many threads, two heads of one size after the same old one; each round one head wins."""
    witness = opened(folder)
    bodies = [Tree(f"branch {number % 2}", 10).submission(10, 20) for number in range(16)]
    witness.add_checkpoint(HONEST.submission(0, 10))

    def ask(number: int) -> int:
        try:
            witness.add_checkpoint(bodies[number])
        except NotCosigned as told:
            return told.status
        return number % 2

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(16)))
    assert len(set(answers) - {409}) == 1
    assert answers.count(409) == 15  # they said an old size that is no more


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"a":{"size":-1,"root":""}}'])
def test_a_witness_without_its_memory_does_not_guess(
    folder: WitnessFolder, content: bytes | None
) -> None:
    opened(folder).add_checkpoint(HONEST.submission(0, 10))
    memory = folder.path / "memory.json"
    memory.unlink()
    if content is not None:
        memory.write_bytes(content)
    with pytest.raises(ConfigurationError, match="nobody knows what was cosigned"):
        opened(folder)


def test_a_witness_whose_key_is_gone_makes_no_other(folder: WitnessFolder) -> None:
    folder.key(NAME)
    (folder.path / "key").unlink()
    with pytest.raises(ConfigurationError, match="restore it"):
        folder.key(NAME)


def test_its_files_are_its_own(folder: WitnessFolder) -> None:
    folder.key(NAME)
    folder.hold()
    assert {file.stat().st_mode & 0o777 for file in folder.path.iterdir()} == {0o600}
    with pytest.raises(ConfigurationError, match="another witness"):
        WitnessFolder(folder.path).hold()
    (folder.path / "key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by others"):
        folder.key(None)


def test_a_key_needs_a_name_once_and_keeps_it(folder: WitnessFolder) -> None:
    with pytest.raises(ConfigurationError, match="--name"):
        folder.key(None)
    for name in ("", "two words", "a+b"):
        with pytest.raises(ConfigurationError, match="a name in a note"):
            folder.key(name)
    assert not folder.path.exists()
    made = folder.key(NAME).verifier
    assert folder.key(None).verifier == folder.key(NAME).verifier == made
    with pytest.raises(ConfigurationError, match="signs in the name"):
        folder.key("another")


def test_a_log_has_one_key(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(KEY.verifier.text() + "\n")
    second.write_text(NoteKey.new(ORIGIN).verifier.text())
    assert read_logs({first: None}) == {ORIGIN: KEY.verifier}
    assert read_logs({first: "of another name"}) == {"of another name": KEY.verifier}
    with pytest.raises(ConfigurationError, match="two keys"):
        read_logs({first: None, second: None})
    second.write_text(CosigningKey.new(ORIGIN).verifier.text())
    with pytest.raises(ConfigurationError, match="no public key of a log"):
        read_logs({second: None})


def test_a_verifier_of_the_log_is_not_one_of_the_witness(folder: WitnessFolder) -> None:
    """The witness's own key, put to use as a log's, opens nothing."""
    key = folder.key(NAME)
    as_log = NoteVerifier(ORIGIN, key.verifier.public)
    witness = Witness(folder, key, {ORIGIN: as_log}, SystemClock())
    assert refusal(witness, HONEST.submission(0, 5)).status == 403


VKEY = CosigningKey.new(NAME).verifier.text()


@pytest.mark.parametrize(
    "url", ["http://witness.example", "ftp://127.0.0.1", "https://", "https://a:b@w.example", "w",
            "https://w.example?to=1"],
)  # fmt: skip
def test_a_witness_is_asked_over_https_or_on_this_machine(url: str) -> None:
    with pytest.raises(ValueError, match="https, or http on loopback"):
        WitnessAt(url=url, key=VKEY)


def test_the_settings_name_witnesses() -> None:
    one = WitnessAt(url="https://witness.example/w1", key=VKEY)
    assert Settings(witnesses=(one,)).witnesses[0].key == VKEY
    with pytest.raises(ValueError, match="its own key"):
        Settings(witnesses=(one, WitnessAt(url="http://127.0.0.1:1", key=VKEY)))
    with pytest.raises(ValueError, match=r"NAME\+ID\+BASE64"):
        WitnessAt(url="https://witness.example", key="w")

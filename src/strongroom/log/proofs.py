"""A proof in one file: all that a log says of one subject, to be checked without our database.

Each entry has its own proof in the form of C2SP's tlog-proof, so other people's tools can read it.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.ids import MalformedId, from_any_text
from strongroom.log.entries import Entry, EntryMalformed
from strongroom.log.notes import Checkpoint, NoteVerifier
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import LogRefused, prove, verify_proof

FORMAT: Final = "strongroom/proof/1"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
ENTRIES_MAX: Final = 10_000


class ProvenEntry(Struct, frozen=True):
    """An entry in base64, and the text of its proof."""

    entry: str
    proof: str


class ProofFile(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds; `id` is the subject's, as callers know it."""

    format: str
    id: str
    entries: list[ProvenEntry]


class Proven(Struct, frozen=True):
    """What a proof shows: the subject's events, in order, and the log that they are in."""

    id: str
    entries: list[Entry]
    checkpoint: Checkpoint


def make_proof(
    identifier: str,
    folder: TileFolder,
    entries: Sequence[tuple[int, bytes]],
    verifier: NoteVerifier,
) -> bytes:
    """The file for these entries, each with its index. Raises LogRefused, also for one to come."""
    proven = [proven_entry(folder, index, content, verifier) for index, content in entries]
    made = msgspec.json.encode(ProofFile(FORMAT, identifier, proven))
    content = msgspec.json.format(made) + b"\n"
    check_proof(content, verifier)  # the database and the folder may differ
    return content


def proven_entry(
    folder: TileFolder,
    index: int,
    content: bytes,
    verifier: NoteVerifier,
    note: bytes | None = None,
) -> ProvenEntry:
    """An entry with its proof under this checkpoint, the newest if none. Raises LogRefused."""
    proof = prove(folder, index, verifier, note)
    return ProvenEntry(b64encode(content).decode(), proof.decode())


def check_proof(content: bytes, verifier: NoteVerifier) -> Proven:
    """What the file proves. Raises LogRefused.

    The entries must be of one subject, its versions from the first on without a gap; whether there
    are later ones, only who has the log can say.
    """
    try:
        file = msgspec.json.decode(content, type=ProofFile)
    except (msgspec.MsgspecError, RecursionError):
        raise LogRefused("The file is no proof of this format.") from None
    if file.format != FORMAT:
        raise LogRefused("The file is no proof of this format.")
    return check_entries(file.id, file.entries, verifier)


def check_entries(identifier: str, found: Sequence[ProvenEntry], verifier: NoteVerifier) -> Proven:
    """What these entries prove of the subject that is named so. Raises LogRefused."""
    if not 0 < len(found) <= ENTRIES_MAX:
        raise LogRefused(f"A proof has 1 to {ENTRIES_MAX} entries.")
    entries: list[Entry] = []
    checkpoints: list[Checkpoint] = []
    for number, proven in enumerate(found, 1):
        entry, checkpoint = check_entry(proven, verifier, f"Entry {number} of the proof")
        if entry.version != number or entry.subject_id != (entries or [entry])[0].subject_id:
            raise LogRefused(f"Entry {number} of the proof is not version {number} of its subject.")
        entries.append(entry)
        checkpoints.append(checkpoint)
    try:
        is_named = from_any_text(identifier) == entries[0].subject_id
    except MalformedId:
        is_named = False
    if not is_named:
        raise LogRefused("The proof is of another subject than it says.")
    return Proven(identifier, entries, checkpoints[-1])


def check_entry(proven: ProvenEntry, verifier: NoteVerifier, what: str) -> tuple[Entry, Checkpoint]:
    """An entry, and the checkpoint under which the log has it. Raises LogRefused."""
    try:
        content = b64decode(proven.entry, validate=True)
        entry = Entry.read(content)
    except (ValueError, EntryMalformed):
        raise LogRefused(f"{what} is malformed.") from None
    if b64encode(content).decode() != proven.entry:
        raise LogRefused(f"{what} is malformed.")
    return entry, verify_proof(proven.proof.encode(), content, verifier)

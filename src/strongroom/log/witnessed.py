"""What an auditor finds in a copy of a log that a witness signed: how much of it, and when."""

from pathlib import Path
from typing import Final

from msgspec import Struct

from strongroom.log.cosignatures import TIME_SHOWN_MAX, CosignatureVerifier, witnessed
from strongroom.log.notes import NOTE_BYTES_MAX, Checkpoint, NoteRefused, NoteVerifier, open_note
from strongroom.log.tiles import CHECKPOINT
from strongroom.log.verifying import LogRefused

COSIGNED: Final = "checkpoint.cosigned"
"""The newest checkpoint that a witness signed; with a dot and a key's id, that it signed last."""


class Found(Struct, frozen=True):
    """A checkpoint that the log and the witness signed; the time is in seconds since 1970."""

    witness: str
    size: int
    seconds: int
    note: bytes


def cosigned_by(verifier: CosignatureVerifier) -> str:
    """The name of the file with the newest checkpoint that one witness signed."""
    return f"{COSIGNED}.{verifier.key_id.hex()}"


def find_witnessed(folder: Path, log: NoteVerifier, witness: CosignatureVerifier) -> Found:
    """The largest checkpoint in the folder that both signed; whether the log begins so is open.

    Raises LogRefused where there is none, or where one that the witness signed is not the log's.
    """
    found: Found | None = None
    for name in (CHECKPOINT, COSIGNED, cosigned_by(witness)):
        file = folder / name
        if not file.is_file() or file.stat().st_size > NOTE_BYTES_MAX:
            continue
        note = file.read_bytes()
        try:
            seen = witnessed(note, witness)
        except NoteRefused:
            continue
        try:
            checkpoint = Checkpoint.read(open_note(note, log))
        except NoteRefused as problem:
            raise LogRefused(
                f"What {witness.name} cosigned in {name} is not of this log: {problem}."
            ) from None
        if seen.seconds > TIME_SHOWN_MAX:
            raise LogRefused(f"The time at which {witness.name} cosigned cannot be.")
        if found is None or checkpoint.size > found.size:
            found = Found(witness.name, checkpoint.size, seen.seconds, note)
    if found is None:
        raise LogRefused(f"No checkpoint of this log is cosigned by {witness.name}.")
    return found

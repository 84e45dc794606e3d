"""Epochs of a log: what is signed after a restore that lost what was signed before.

    example.com/payments/ent_01k…        the first one, in the folder ent_01k…
    example.com/payments/ent_01k…/2      the next, in ent_01k….2

Each is a log of its own to whoever checks it, so that no key ever signs two histories under one
name. A new one begins with entries of the one before, and then has the entry that opened it.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.ids import MalformedId, from_text, to_text
from strongroom.log.entries import Entry, EntryMalformed
from strongroom.log.notes import Checkpoint, NoteRefused, NoteVerifier, note_parts, to_base64
from strongroom.log.tree import Frontier

OPENED: Final = "log.epoch_opened"
"""The kind of the event; its subject is the legal entity."""
EPOCHS_MAX: Final = 999_999
_ORIGIN: Final = re.compile(r"(?s)(.*/ent_[0-9a-z]{26})(?:/([1-9][0-9]{0,5}))?")
_FILE: Final = re.compile(r"(ent_[0-9a-z]{26})(?:\.([1-9][0-9]{0,5}))?")


class Opened(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the entry says: `signed_…` of the last checkpoint of the epoch before.

    `outcome` and `origin` are what each event has that a person made by hand (log/noting.py).
    `kept` of its entries are the first ones of this epoch; `size` is how many the database had.
    """

    epoch: int
    because: str
    previous_origin: str
    signed_size: int
    signed_root: str
    kept: int
    size: int
    outcome: str = "succeeded"
    origin: dict[str, str] = {}

    def payload(self) -> bytes:
        """The bytes of the event."""
        return msgspec.json.encode(self)

    def follows(self, origin: str, signed: Frontier, index: int) -> bool:
        """Whether it goes on from what was signed under this origin, as entry `index`."""
        before = (self.previous_origin, self.signed_size, self.signed_root)
        return (
            before == (origin, signed.size, to_base64(signed.root()))
            and self.epoch == split_origin(origin)[1] + 1
            and 0 <= self.kept <= min(self.size, self.signed_size)
            and index == self.size
        )


def opened_by(content: bytes) -> Opened | None:
    """What an entry says that opens an epoch; None for another one."""
    try:
        entry = Entry.read(content)
        if entry.kind != OPENED or not entry.is_of_operator:
            return None
        return msgspec.json.decode(entry.payload, type=Opened)
    except (EntryMalformed, msgspec.MsgspecError):
        return None


def origin_of(log_origin: str, legal_entity_id: UUID, epoch: int) -> str:
    """The name of one epoch of one log of a deployment."""
    first = f"{log_origin}/{to_text('ent', legal_entity_id)}"
    return first if epoch == 1 else f"{first}/{epoch}"


def split_origin(origin: str) -> tuple[str, int]:
    """The name of the first epoch, and the number of this one; what is no such name is a first."""
    found = _ORIGIN.fullmatch(origin)
    if found is None or found[2] == "1":
        return origin, 1
    return found[1], int(found[2] or 1)


def name_of(legal_entity_id: UUID, epoch: int) -> str:
    """What the folder of an epoch is called, and without its suffix a file of its memory."""
    name = to_text("ent", legal_entity_id)
    return name if epoch == 1 else f"{name}.{epoch}"


def epoch_of(name: str) -> tuple[UUID, int] | None:
    """What `name_of` made this of; None for what it never makes."""
    found = _FILE.fullmatch(name)
    if found is None or found[2] == "1":
        return None
    try:
        return from_text("ent", found[1]), int(found[2] or 1)
    except MalformedId:
        return None


def epochs_in(folder: Path, suffix: str = "") -> list[tuple[UUID, int]]:
    """The epochs that have something in a folder, in order; what bears no such name is left."""
    named = (epoch_of(path.name.removesuffix(suffix)) for path in folder.glob(f"ent_*{suffix}"))
    return sorted(one for one in named if one is not None)


def newest_epoch(logs: Path, legal_entity_id: UUID, holds: Callable[[Path], bool]) -> int:
    """The newest epoch of which the folder `holds` something; 1 where there is none."""
    of_entity = [epoch for entity, epoch in epochs_in(logs) if entity == legal_entity_id]
    there = [epoch for epoch in of_entity if holds(logs / name_of(legal_entity_id, epoch))]
    return max(there, default=1)


def lost_by(seen: Checkpoint, opened: Opened) -> bool:
    """Whether this entry says that some of what an older epoch's checkpoint has was lost.

    A checkpoint of the epoch before that has more than its last one had, or another root, shows
    that the entry does not tell the truth.
    """
    if opened.epoch <= split_origin(seen.origin)[1] or opened.kept >= seen.size:
        return False
    if seen.origin != opened.previous_origin:
        return True
    return seen.size < opened.signed_size or (seen.size, to_base64(seen.root)) == (
        opened.signed_size,
        opened.signed_root,
    )


def is_opened(epoch: int, openings: Sequence[tuple[int, Opened]]) -> bool:
    """Whether one of these entries, each behind its index, opened the epoch where it stands."""
    return epoch == 1 or any(
        opened.epoch == epoch and opened.size == index for index, opened in openings
    )


def told(openings: Sequence[tuple[int, Opened]]) -> tuple[str, ...]:
    """A sentence for each of these entries."""
    return tuple(
        f"Epoch {opened.epoch} was opened by entry {index}, after {opened.signed_size} entries "
        f"were signed, of which {opened.kept} are kept ({_shown(opened.because)})."
        for index, opened in openings
    )


def why_lost(seen: Checkpoint, openings: Sequence[tuple[int, Opened]]) -> str | None:
    """A sentence on where the entries of an older checkpoint went; None: no entry says it."""
    for index, opened in openings:
        if lost_by(seen, opened):
            return (
                f"An older checkpoint of {seen.size} entries is of an epoch that ended at "
                f"{opened.signed_size}: by entry {index}, those from {opened.kept} on were lost "
                f"in a restore ({_shown(opened.because)})."
            )
    return None


def signer_of(note: bytes, verifier: NoteVerifier) -> NoteVerifier:
    """Who signed a note that may be of an epoch before: the same key, in the name of then."""
    first, epoch = split_origin(verifier.name)
    try:
        origin = note_parts(note)[0].decode().partition("\n")[0]
    except NoteRefused:
        return verifier
    if split_origin(origin) < (first, epoch) and split_origin(origin)[0] == first:
        return NoteVerifier(origin, verifier.public)
    return verifier


def _shown(text: str) -> str:
    """On one line, whatever is in it."""
    return text.encode("unicode_escape").decode()

"""A bundle in one file: what there is to tell of a payment, and the log's word for it.

It holds the payment's entries with their proofs, as a proof does (proofs.py); the story of it
(stories.py); and the entry of its own export, which says who made it, when, and what the digest of
the story is. So the log's key vouches for the story, and nobody needs another one.

A bundle is written in one way only, so that nobody puts words beside those that are vouched for.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.ids import MalformedId, from_text, to_text
from strongroom.log.cosignatures import CosignatureVerifier, witnessed
from strongroom.log.entries import Entry
from strongroom.log.epochs import split_origin
from strongroom.log.notes import Checkpoint, NoteRefused, NoteVerifier, signers
from strongroom.log.proofs import ProvenEntry, check_entries, check_entry, proven_entry
from strongroom.log.stories import Story, check_story
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import LogRefused

FORMAT: Final = "strongroom/bundle/1"
EXPORTED: Final = "payment_bundle.exported"
"""The kind of the event; its subject is the legal entity."""
Placed = tuple[int, bytes]
"""An entry's index and its bytes."""


class BundleFile(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds; `id` is the payment's, `exported` the entry of the export."""

    format: str
    id: str
    story: Story
    exported: ProvenEntry
    entries: list[ProvenEntry]

    def content(self) -> bytes:
        """The bytes of the file."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted")) + b"\n"


class Exported(Struct, frozen=True):
    """What the event of an export says, beside what each has that a person made by hand."""

    payment: str
    version: int
    story: str


class Bundle(Struct, frozen=True):
    """What a bundle shows."""

    story: Story
    entries: list[Entry]
    exported: Entry
    checkpoint: Checkpoint
    unchecked: tuple[str, ...]
    """Names of witnesses in which it is cosigned, that nobody has looked at."""


def exported_of(story: Story) -> dict[str, Any]:
    """What the event has to say, so that a bundle with this story holds."""
    return msgspec.structs.asdict(Exported(story.payment, story.version, story.digest()))


def make_bundle(
    story: Story,
    exported: Placed,
    entries: Sequence[Placed],
    folder: TileFolder,
    verifier: NoteVerifier,
    note: bytes,
) -> bytes:
    """The file, all of it under one checkpoint. Raises LogRefused, also where it would not hold."""

    def proven(placed: Placed) -> ProvenEntry:
        return proven_entry(folder, *placed, verifier, note)

    made = BundleFile(FORMAT, story.payment, story, proven(exported), [*map(proven, entries)])
    content = made.content()
    check_bundle(content, verifier)
    return content


def check_bundle(
    content: bytes, verifier: NoteVerifier, witnesses: Sequence[CosignatureVerifier] = ()
) -> Bundle:
    """What the file shows; each of the witnesses must have cosigned it. Raises LogRefused.

    What came after the last of its entries, only who has the log can say.
    """
    file = _read(content)
    proven = check_entries(file.id, file.entries, verifier)
    exported, checkpoint = check_entry(file.exported, verifier, "The entry of the export")
    story = file.story
    try:
        entity = from_text("ent", story.legal_entity)
        from_text("pay", file.id)
    except MalformedId:
        raise LogRefused("The bundle is not of a payment.") from None
    if story.payment != file.id or not _is_log_of(checkpoint.origin, entity):
        raise LogRefused("The story is of another payment than the entries.")
    if exported.kind != EXPORTED or exported.subject_id != entity:
        raise LogRefused("The entry of the export is another one.")
    if not exported.is_of_operator:
        raise LogRefused("The export was not made by an operator.")
    try:
        said = msgspec.json.decode(exported.payload, type=Exported)
    except (msgspec.MsgspecError, RecursionError):
        raise LogRefused("The entry of the export is malformed.") from None
    if said != Exported(file.id, story.version, story.digest()):
        raise LogRefused("The story is not the one that was exported: it was changed.")
    check_story(story, proven.entries)
    parts = (file.exported, *file.entries)
    for witness in witnesses:
        for one in parts:
            _check_witness(one, witness)
    if any("\nextra " in one.proof for one in parts):
        raise LogRefused("A proof of the bundle has words that nothing vouches for.")
    checked = {verifier.name, *(witness.name for witness in witnesses)}
    names = {name for one in parts for name in signers(_note_of(one))}
    return Bundle(story, proven.entries, exported, checkpoint, tuple(sorted(names - checked)))


def _read(content: bytes) -> BundleFile:
    try:
        file = msgspec.json.decode(content, type=BundleFile)
        is_as_written = file.content() == content
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError):
        raise LogRefused("The file is no bundle of this format.") from None
    if file.format != FORMAT:
        raise LogRefused("The file is no bundle of this format.")
    if not is_as_written:
        raise LogRefused("The file is not as it was written: something in it was changed.")
    return file


def _is_log_of(origin: str, legal_entity_id: UUID) -> bool:
    return split_origin(origin)[0].endswith(f"/{to_text('ent', legal_entity_id)}")


def _note_of(proven: ProvenEntry) -> bytes:
    """The signed checkpoint of a proof that was checked."""
    return proven.proof.encode().partition(b"\n\n")[2]


def _check_witness(proven: ProvenEntry, witness: CosignatureVerifier) -> None:
    """The proof's checkpoint is signed by the log, so the witness's word is about that one."""
    try:
        witnessed(_note_of(proven), witness)
    except NoteRefused:
        raise LogRefused(f"The bundle's checkpoint is not cosigned by {witness.name}.") from None

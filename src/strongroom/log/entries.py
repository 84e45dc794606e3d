"""What an entry of a log says: one event, in bytes that are never written anew. Pure.

    strongroom/1 KIND SUBJECT VERSION MICROSECONDS ROW_FORMAT ROW_DIGEST ACTOR
    PAYLOAD

The sequencer writes them in the database (log.sql); this is the same form for who reads them.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from msgspec import Struct

FORMAT: Final = "strongroom/1"
DIGESTED: Final = "strongroom/1+digest"
"""Of an entry whose payload stands as its digest."""
PAYLOAD_BYTES_MAX: Final = 60_000
"""A longer payload stands as its digest: `sha256 ` and 64 hexadecimal digits."""
PARTS: Final = 8
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
OPERATOR: Final = "operator:"
"""How the actor of what a person has done by hand begins: only the database's owner writes it."""


class EntryMalformed(Exception):
    """Bytes that no entry of this format has."""


class Entry(Struct, frozen=True, kw_only=True):
    """One event. `row_digest` is of the row that resulted; 0 is the format of what has one only."""

    kind: str
    subject_id: UUID
    version: int
    at: datetime
    row_format: int
    row_digest: bytes
    actor: str
    payload: bytes
    is_digested: bool = False

    @property
    def is_of_operator(self) -> bool:
        """Whether a person did it by hand; no login of a process can write so."""
        return self.actor.startswith(OPERATOR)

    def content(self) -> bytes:
        """The bytes of the entry."""
        microseconds = (self.at - EPOCH) // MICROSECOND
        is_digested = self.is_digested or len(self.payload) > PAYLOAD_BYTES_MAX
        form = DIGESTED if is_digested else FORMAT
        head = (
            f"{form} {self.kind} {self.subject_id} {self.version} {microseconds} "
            f"{self.row_format} {self.row_digest.hex()} {self.actor}\n"
        )
        payload = self.payload
        if is_digested and not self.is_digested:
            payload = f"sha256 {sha256(payload).hexdigest()}".encode()
        return head.encode() + payload

    @classmethod
    def read(cls, content: bytes) -> "Entry":
        """The event of these bytes. Raises EntryMalformed."""
        head, newline, payload = content.partition(b"\n")
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise EntryMalformed("a payload of this length stands as its digest")
        try:
            parts = head.decode().split(" ", PARTS - 1)
            if not newline or len(parts) != PARTS or parts[0] not in (FORMAT, DIGESTED):
                raise EntryMalformed(f"an entry begins with {FORMAT}")
            _, kind, subject, version, microseconds, row_format, digest, actor = parts
            found = cls(
                kind=kind,
                subject_id=UUID(subject),
                version=int(version),
                at=EPOCH + int(microseconds) * MICROSECOND,
                row_format=int(row_format),
                row_digest=bytes.fromhex(digest),
                actor=actor,
                payload=payload,
                is_digested=parts[0] == DIGESTED,
            )
        except (ValueError, OverflowError):
            raise EntryMalformed("a part of the entry is not what its place says") from None
        if found.content() != content:
            raise EntryMalformed("an entry is written in one way only")
        return found


def written_at(content: bytes) -> datetime | None:
    """When the event of an entry was written; None for bytes that are no entry."""
    try:
        return Entry.read(content).at
    except EntryMalformed:
        return None

"""The journal of destroyed subjects, outside of every database, so that no restore undoes one.

    FOLDER/journal.json       which journal this is; the database of the keys knows it by its id
    FOLDER/ent_…/sub_….json   one destroyed subject: who, when, and a digest by which damage is seen

A file is written whole, synced, and then given its name; it is never changed nor taken away. So
several may write at once, a torn write leaves nothing, and copying what is new to storage that is
written once is enough. The name alone destroys: a file that is damaged, or empty, still does.

Every read of a subject's key looks for the subject's file. Where the folder is not there, nothing
is read at all.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.config import FOLDER_MODE, SECRET_MODE, ConfigurationError
from strongroom.ids import MalformedId, from_text, to_text
from strongroom.vault.errors import TombstonesMissing

FORMAT: Final = "strongroom tombstones 1"
MARKER: Final = "journal.json"
SUFFIX: Final = ".json"
UNFINISHED: Final = ".new-"
FILE_BYTES_MAX: Final = 4096


class Tombstone(NamedTuple):
    """A destroyed subject. `destroyed_at` is None where its file is damaged."""

    legal_entity_id: UUID
    subject_id: UUID
    destroyed_at: datetime | None


class _Marker(Struct, frozen=True, forbid_unknown_fields=True):
    """What journal.json says."""

    format: str
    journal_id: UUID


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file of a subject says."""

    legal_entity: str
    subject: str
    destroyed_at: datetime
    digest: str


class Tombstones:
    """One journal. Raises ConfigurationError when it is not there or cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = os.fspath(folder)
        self._marker = os.fspath(folder / MARKER)
        try:
            self._seen, self.journal_id = _seen(Path(self._marker).stat()), _journal_id(folder)
        except FileNotFoundError:
            raise ConfigurationError(
                f"{self._marker} is missing: without the journal of destroyed subjects nobody can "
                "tell who was. Mount its folder or bring back its copy, or say where it is "
                'by "tombstones" in strongroom.json. `strongroom migrate` makes that of a new '
                "deployment."
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"{self._marker} cannot be read: {error.strerror or type(error).__name__}."
            ) from None

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Makes a journal where there is none; the folder may be there already.

        Raises ConfigurationError.
        """
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            content = msgspec.json.encode(_Marker(FORMAT, UUID(bytes=os.urandom(16), version=4)))
            _write_once(folder / MARKER, content)
            _sync(folder.parent)
        except OSError as error:
            raise ConfigurationError(
                f"no journal of destroyed subjects can be made in {folder}: "
                f"{error.strerror or type(error).__name__}."
            ) from None
        return cls(folder)

    def check_there(self) -> None:
        """Raises TombstonesMissing unless the journal is there, and still the same one."""
        try:
            seen = _seen(os.stat(self._marker))  # noqa: PTH116  # a Path takes longer than this
            if seen == self._seen:
                return
            is_same = _journal_id(self.folder) == self.journal_id
        except (OSError, ConfigurationError):
            raise TombstonesMissing from None
        if not is_same:
            raise TombstonesMissing
        self._seen = seen

    def has(self, legal_entity_id: UUID, subject_id: UUID) -> bool:
        """Whether the subject was destroyed. Call `check_there` before.

        Raises TombstonesMissing when nobody can tell.
        """
        try:
            os.stat(self._name(legal_entity_id, subject_id))  # noqa: PTH116  # as above
        except FileNotFoundError:
            return False
        except OSError:
            raise TombstonesMissing from None
        return True

    def add(self, legal_entity_id: UUID, subject_id: UUID, at: datetime) -> bool:
        """Writes it down; it is on disk when this returns. False: it was there before.

        Raises OSError.
        """
        record = _record(to_text("ent", legal_entity_id), to_text("sub", subject_id), at)
        file = Path(self._name(legal_entity_id, subject_id))
        if not file.parent.is_dir():
            file.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
        _sync(self.folder)
        return _write_once(file, msgspec.json.encode(record) + b"\n")

    def entities(self) -> list[UUID]:
        """The legal entities that have tombstones. Raises OSError and ConfigurationError."""
        with os.scandir(self._root) as entries:
            return sorted(
                _named("ent", entry.name, entry.path)
                for entry in entries
                if entry.name != MARKER and not entry.name.startswith(".")
            )

    def of(self, legal_entity_id: UUID) -> Iterator[Tombstone]:
        """All tombstones of a legal entity, in no order. Raises OSError and ConfigurationError."""
        folder = Path(self._root, to_text("ent", legal_entity_id))
        if not folder.is_dir():
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    subject = _named("sub", entry.name.removesuffix(SUFFIX), entry.path)
                    at = _destroyed_at(Path(entry.path), folder.name, to_text("sub", subject))
                    yield Tombstone(legal_entity_id, subject, at)

    def _name(self, legal_entity_id: UUID, subject_id: UUID) -> str:
        return (
            f"{self._root}/{to_text('ent', legal_entity_id)}/{to_text('sub', subject_id)}{SUFFIX}"
        )


def _journal_id(folder: Path) -> UUID:
    """Raises OSError and ConfigurationError."""
    try:
        marker = msgspec.json.decode(_read(folder / MARKER), type=_Marker)
    except msgspec.MsgspecError:
        raise ConfigurationError(f"{folder / MARKER} is damaged: bring back its copy.") from None
    if marker.format != FORMAT:
        raise ConfigurationError(f"{folder / MARKER} was written by another version.")
    return marker.journal_id


def _named(prefix: Literal["ent", "sub"], name: str, path: str) -> UUID:
    try:
        return from_text(prefix, name)
    except MalformedId:
        raise ConfigurationError(
            f"{path} does not belong into a journal of destroyed subjects: if it was renamed, "
            "bring back its copy; else move it away."
        ) from None


def _record(entity: str, subject: str, at: datetime) -> _Record:
    content = f"{FORMAT}\n{entity}\n{subject}\n{at.isoformat()}".encode()
    return _Record(entity, subject, at, hashlib.sha256(content).hexdigest())


def _destroyed_at(file: Path, entity: str, subject: str) -> datetime | None:
    """When, or None for a file that does not say what it was written with."""
    try:
        record = msgspec.json.decode(_read(file), type=_Record)
    except msgspec.MsgspecError:
        return None
    if record != _record(entity, subject, record.destroyed_at):
        return None
    return record.destroyed_at


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(FILE_BYTES_MAX)


def _write_once(file: Path, content: bytes) -> bool:
    """The file is there whole and on disk, or not at all. False: there is one of that name."""
    temporary = file.with_name(UNFINISHED + secrets.token_hex(8))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, SECRET_MODE), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, file)
        except FileExistsError:
            return False
        return True
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
        _sync(file.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _seen(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

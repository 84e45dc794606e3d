"""What a signer remembers of each log, in files of its own: never two roots of one size.

A file says how far was signed: the right edge of the tree, and its last leaf, by which a log is
known again that was cut and has grown since. What is refused once stays refused: the way out is
another epoch, with a file of its own, which the operator of this folder has to accept.
"""

import fcntl
import os
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.config import ConfigurationError, replace_file
from strongroom.errors import InvariantBroken
from strongroom.log.epochs import epochs_in, name_of
from strongroom.log.tiles import sync
from strongroom.log.tree import NO_LEAVES, Frontier

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
LOCK_FILE: Final = "lock"
SIGNED: Final = ".json"
ACCEPTED: Final = ".accepted"
RETIRED: Final = ".retired"
"""Of all epochs of a log."""


class Signed(Struct, frozen=True):
    """How far an epoch of a log was signed.

    `last` is its last leaf's hash, `refused` why it is signed no more.
    """

    frontier: Frontier = NO_LEAVES
    last: bytes = b""
    refused: str | None = None
    epoch: int = 1


class Accepted(Struct, frozen=True):
    """That an epoch may begin by the entry of this leaf hash; who says so, and when."""

    leaf: bytes
    by: str
    at: datetime


class Retired(Struct, frozen=True):
    """That a log is over for good: how far it was signed, who says so, why and when."""

    epoch: int
    size: int
    by: str
    because: str
    at: datetime


NOTHING: Final = Signed()


class Memory:
    """The folder; one process at a time has it."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder

    def exists(self) -> bool:
        """Whether anything was ever signed by who has this folder."""
        return self.folder.is_dir()

    def hold(self) -> None:
        """Makes the folder and keeps other processes away. Raises ConfigurationError."""
        self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self._lock = os.open(
            self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE
        )
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigurationError(f"another signer works with {self.folder}.") from None

    def release(self) -> None:
        """Lets another process have it."""
        os.close(self._lock)

    def logs(self) -> dict[UUID, int]:
        """The legal entities of which something was signed, and the newest epoch of each."""
        return dict(epochs_in(self.folder, SIGNED))

    def read(self, legal_entity_id: UUID, epoch: int) -> Signed:
        """Raises ConfigurationError where the file cannot be read: nobody may guess it."""
        file = self._file(legal_entity_id, epoch, SIGNED)
        try:
            return msgspec.json.decode(file.read_bytes(), type=Signed)
        except FileNotFoundError:
            return Signed(epoch=epoch)
        except (OSError, msgspec.MsgspecError):
            raise ConfigurationError(
                f"{file} cannot be read, and without it nobody knows what was signed: restore it "
                "from a backup of this folder."
            ) from None

    def write(self, legal_entity_id: UUID, signed: Signed) -> None:
        """On disk when it returns. Raises InvariantBroken for less than it remembers."""
        if signed.frontier.size < self.read(legal_entity_id, signed.epoch).frontier.size:
            raise InvariantBroken("a signer never forgets what it signed")
        self._put(self._file(legal_entity_id, signed.epoch, SIGNED), signed)

    def accept(self, legal_entity_id: UUID, epoch: int, accepted: Accepted) -> None:
        """The signer may begin an epoch, by this entry and no other; also while it runs."""
        self._put(self._file(legal_entity_id, epoch, ACCEPTED), accepted)

    def accepted(self, legal_entity_id: UUID, epoch: int) -> bytes | None:
        """The leaf hash of the entry by which an epoch may begin; None where none may."""
        try:
            content = self._file(legal_entity_id, epoch, ACCEPTED).read_bytes()
            return msgspec.json.decode(content, type=Accepted).leaf
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def retire(self, legal_entity_id: UUID, retired: Retired) -> None:
        """For good; also while the signer runs."""
        self._put(self._retired(legal_entity_id), retired)

    def is_retired(self, legal_entity_id: UUID) -> bool:
        """Whether the log is over, whatever the file says."""
        return self._retired(legal_entity_id).exists()

    def _retired(self, legal_entity_id: UUID) -> Path:
        return self._file(legal_entity_id, 1, RETIRED)

    def _put(self, file: Path, content: Struct) -> None:
        replace_file(file, msgspec.json.encode(content), FILE_MODE)
        sync(self.folder)

    def _file(self, legal_entity_id: UUID, epoch: int, suffix: str) -> Path:
        return self.folder / f"{name_of(legal_entity_id, epoch)}{suffix}"

"""What a signer remembers of each log, in files of its own: never two roots of one size.

A file says how far was signed: the right edge of the tree, and its last leaf, by which a log is
known again that was cut and has grown since. What is refused once stays refused.
"""

import fcntl
import os
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.config import ConfigurationError, replace_file
from strongroom.errors import InvariantBroken
from strongroom.ids import MalformedId, from_text, to_text
from strongroom.log.tiles import sync
from strongroom.log.tree import NO_LEAVES, Frontier

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
LOCK_FILE: Final = "lock"


class Signed(Struct, frozen=True):
    """How far a log was signed; `last` is its last leaf's hash, `refused` why it is no more."""

    frontier: Frontier = NO_LEAVES
    last: bytes = b""
    refused: str | None = None


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

    def logs(self) -> list[UUID]:
        """The legal entities of which something was signed."""
        return entities_in(self.folder, ".json")

    def read(self, legal_entity_id: UUID) -> Signed:
        """Raises ConfigurationError where the file cannot be read: nobody may guess it."""
        file = self._file(legal_entity_id)
        try:
            return msgspec.json.decode(file.read_bytes(), type=Signed)
        except FileNotFoundError:
            return NOTHING
        except (OSError, msgspec.MsgspecError):
            raise ConfigurationError(
                f"{file} cannot be read, and without it nobody knows what was signed: restore it "
                "from a backup of this folder."
            ) from None

    def write(self, legal_entity_id: UUID, signed: Signed) -> None:
        """On disk when it returns. Raises InvariantBroken for less than it remembers."""
        if signed.frontier.size < self.read(legal_entity_id).frontier.size:
            raise InvariantBroken("a signer never forgets what it signed")
        replace_file(self._file(legal_entity_id), msgspec.json.encode(signed), FILE_MODE)
        sync(self.folder)

    def _file(self, legal_entity_id: UUID) -> Path:
        return self.folder / f"{to_text('ent', legal_entity_id)}.json"


def entities_in(folder: Path, suffix: str = "") -> list[UUID]:
    """The legal entities that have something in a folder; what bears no id is left alone."""
    found = []
    for path in sorted(folder.glob(f"ent_*{suffix}")):
        try:
            found.append(from_text("ent", path.name.removesuffix(suffix)))
        except MalformedId:
            continue
    return found

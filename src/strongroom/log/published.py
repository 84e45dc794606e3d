"""What the signer published, read by whoever serves it, who trusts the signer with nothing else.

The files are the signer's, and the reader may see more than the signer does. So no link below the
folder of the logs is followed, and only plain files of a length that they can have are read.
"""

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from uuid import UUID

from strongroom.log.epochs import name_of
from strongroom.log.notes import NOTE_BYTES_MAX, Checkpoint, NoteRefused, note_parts
from strongroom.log.tiles import CHECKPOINT, TilesRefused, content_of

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
EPOCHS_SHOWN_MAX: Final = 1000
"""More than any log has: each is a restore that lost something."""


class LogsAway(Exception):
    """The folder of the logs is not on this machine, or cannot be read; the message is a word."""


class Published:
    """The folder of the logs, with a folder for each epoch of each legal entity's."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs

    def epochs(self, legal_entity_id: UUID) -> list[Checkpoint]:
        """The newest checkpoint of each epoch, from the first on; whose it is nobody has checked.

        Blocks. Raises LogsAway, and TilesRefused where one is none.
        """
        found: list[Checkpoint] = []
        for epoch in range(1, EPOCHS_SHOWN_MAX + 1):
            note = self.read(legal_entity_id, epoch, CHECKPOINT, NOTE_BYTES_MAX)
            if note is None:
                break
            try:
                found.append(Checkpoint.read(note_parts(note)[0]))
            except NoteRefused:
                raise TilesRefused(f"{CHECKPOINT} is none") from None
        return found

    def read(self, legal_entity_id: UUID, epoch: int, name: str, bytes_max: int) -> bytes | None:
        """A file of one epoch, as it is now; None where there is none. Blocks while it is read.

        `name` is one of those that log/tiles.py gives. Raises LogsAway, and TilesRefused for a
        link, for what else is no plain file, and for a longer one.
        """
        *folders, file = (name_of(legal_entity_id, epoch), *name.split("/"))
        with ExitStack() as opened:
            try:
                handle = os.open(self._logs, FOLDER)
                opened.callback(os.close, handle)
            except OSError as error:
                raise LogsAway(type(error).__name__) from None
            try:
                for folder in folders:
                    handle = os.open(folder, FOLDER | os.O_NOFOLLOW, dir_fd=handle)
                    opened.callback(os.close, handle)
                handle = os.open(file, FILE, dir_fd=handle)
                opened.callback(os.close, handle)
                return content_of(handle, name, bytes_max)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                    raise TilesRefused(f"{name} is no file, or lies behind a link") from None
                raise LogsAway(type(error).__name__) from None

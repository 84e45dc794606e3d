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

from strongroom.ids import to_text
from strongroom.log.tiles import TilesRefused, content_of

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


class LogsAway(Exception):
    """The folder of the logs is not on this machine, or cannot be read; the message is a word."""


class Published:
    """The folder of the logs, with a folder for each legal entity."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs

    def read(self, legal_entity_id: UUID, name: str, bytes_max: int) -> bytes | None:
        """A file of one log, as it is now; None where there is none. Blocks while it is read.

        `name` is one of those that log/tiles.py gives. Raises LogsAway, and TilesRefused for a
        link, for what else is no plain file, and for a longer one.
        """
        *folders, file = (to_text("ent", legal_entity_id), *name.split("/"))
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

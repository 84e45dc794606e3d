"""The durable ledger of a stand-in: an append-only file of checksummed lines.

One line is one atomic change: eight hexadecimal digits of a CRC-32, a blank, JSON text, a
newline. Each CRC starts from the one of the line before, so that a line that was changed, taken
out or moved is noticed. A line is answered for only after it was synced, and its newline is part
of the same write; a last line without a newline was therefore never answered for and is cut.
Anything else that does not fit refuses the start.
"""

import asyncio
import fcntl
import os
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

FILE_NAME = "ledger.jsonl"
PENDING_BYTES_MAX = 64 * 1024 * 1024
EXIT_LEDGER_FAILED = 74  # EX_IOERR of sysexits.h
CRC_CHARACTERS = 8


class LedgerRefused(RuntimeError):
    """The ledger cannot be trusted or is in use: the server must not start on it."""


class LedgerFull(RuntimeError):
    """More than PENDING_BYTES_MAX wait for the disk. Nothing was recorded; try again later."""


class Ledger:
    """An open ledger: read once with ``replay``, then append and wait for the disk.

    ``append`` is synchronous and orders changes; ``durable`` waits until all of them are synced.
    One sync serves everyone who waits (group commit). When the disk fails, the process ends at
    once: an answer must not be given for what may not be stored.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / FILE_NAME
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise LedgerRefused(f"{self._path} is in use by another process") from None
        _sync_folder(folder)
        self._crc = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._round: asyncio.Future[None] | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self.syncs = 0

    def replay(self) -> Iterator[bytes]:
        """Yield the JSON text of each line from the start, then cut a torn tail.

        Must be exhausted before the first append. Raises LedgerRefused on a line that is not
        what was written.
        """
        end, number = 0, 0
        with self._path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break
                yield self._checked(line, number)
                end += len(line)
        if os.fstat(self._file).st_size != end:
            os.ftruncate(self._file, end)
            os.fsync(self._file)
        os.lseek(self._file, end, os.SEEK_SET)

    def _checked(self, line: bytes, number: int) -> bytes:
        text = line[CRC_CHARACTERS + 1 : -1]
        crc = zlib.crc32(text, self._crc)
        if line[: CRC_CHARACTERS + 1] != b"%08x " % crc:
            raise LedgerRefused(f"{self._path} line {number} is not what was written")
        self._crc = crc
        return text

    def check_room(self) -> None:
        """Raise LedgerFull when so much waits for the disk that a change must not begin."""
        if self._pending_bytes > PENDING_BYTES_MAX:
            raise LedgerFull

    def append(self, text: bytes) -> None:
        """Record one atomic change (JSON text without newline)."""
        self._crc = zlib.crc32(text, self._crc)
        self._pending.append(b"%08x %s\n" % (self._crc, text))
        self._pending_bytes += len(text)
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush())

    async def durable(self) -> None:
        """Wait until everything appended so far is synced to the disk."""
        waiting = self._round or self._syncing
        if waiting is not None:
            await asyncio.shield(waiting)

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._round is not None:
            lines, self._pending, self._pending_bytes = self._pending, [], 0
            self._syncing, self._round = self._round, None
            await loop.run_in_executor(self._disk, self._write, b"".join(lines))
            self.syncs += 1
            self._syncing.set_result(None)
            self._syncing = None
        self._flusher = None

    def _write(self, block: bytes) -> None:
        try:
            view = memoryview(block)
            while view:
                view = view[os.write(self._file, view) :]
            os.fdatasync(self._file)
        except OSError as error:
            # What the file holds now is unknown, and after a failed sync the kernel may drop
            # the pages: only a restart that reads the file again can tell.
            self.abandon(f"the ledger cannot be written: {error.strerror}")

    @staticmethod
    def abandon(reason: str) -> NoReturn:
        """End the process at once, because memory and ledger may differ."""
        sys.stderr.write(reason.rstrip() + "\n")
        sys.stderr.flush()
        os._exit(EXIT_LEDGER_FAILED)

    async def close(self) -> None:
        """Sync what is left and give the file free."""
        await self.durable()
        self._disk.shutdown()
        os.close(self._file)


def _sync_folder(folder: Path) -> None:
    """Make the file's name itself durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Two counters that processes share through a file: payments accepted and payments settled.

Each counter has one writer. The load generator reads how much is settled without asking the
database, so that watching costs nothing of what is measured.
"""

import mmap
from pathlib import Path
from typing import Final

ACCEPTED: Final = 0
SETTLED: Final = 1
_COUNTERS: Final = 2
_BYTES_EACH: Final = 8


class Tally:
    """The counters in `file`, mapped into this process."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), _COUNTERS * _BYTES_EACH)
        self.counts = memoryview(self._map).cast("q")

    @staticmethod
    def create(file: Path) -> "Tally":
        """A new file with all counters at zero."""
        file.write_bytes(bytes(_COUNTERS * _BYTES_EACH))
        return Tally(file)

    @property
    def accepted(self) -> int:
        return self.counts[ACCEPTED]

    @property
    def settled(self) -> int:
        return self.counts[SETTLED]

    def close(self) -> None:
        self.counts.release()
        self._map.close()

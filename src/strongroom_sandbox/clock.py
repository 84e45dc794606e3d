"""The clock of a stand-in: real time plus an offset that a test may move forward."""

import time

ADVANCE_SECONDS_MAX = 400 * 24 * 3600


class Clock:
    """Whole seconds since 1970, moved by ``offset_seconds``. It never goes back."""

    def __init__(self) -> None:
        self.offset_seconds = 0
        self._floor = 0

    def now(self) -> int:
        """Return the stand-in's time in Unix seconds."""
        self._floor = max(self._floor, int(time.time()) + self.offset_seconds)
        return self._floor

    def restore(self, offset_seconds: int, latest: int) -> None:
        """Take over an offset and the latest time that the ledger holds."""
        self.offset_seconds = offset_seconds
        self._floor = latest

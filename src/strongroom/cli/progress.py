"""How far a long command is: a bar on a terminal, a line for each tenth elsewhere."""

import sys
from typing import Final

WIDTH: Final = 40
LINES: Final = 10


class Bar:
    """Hears how many of how many are done, and shows it on stderr."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._live = sys.stderr.isatty()
        self._shown = 0

    def __call__(self, done: int, total: int) -> None:
        """Shows that so many of so many are done."""
        if self._live:
            full = WIDTH * done // max(total, 1)
            bar = "#" * full + "." * (WIDTH - full)
            print(f"\r{self._what} [{bar}] {done} of {total}", end="", file=sys.stderr, flush=True)
            return
        tenth = LINES * done // max(total, 1)
        if tenth > self._shown:
            self._shown = tenth
            print(f"{self._what}: {done} of {total}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leaves the line of the bar."""
        if self._live:
            print(file=sys.stderr, flush=True)

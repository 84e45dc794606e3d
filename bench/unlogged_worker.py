"""`python -m bench.unlogged_worker HOME TALLY`: the sleeping worker without its sequencer.

Events are written as ever, and get no place in the log. No setting of the product can do this.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from bench import sleeping_worker
from strongroom import app


class Unsequenced:
    """In the sequencer's place, and does nothing."""

    def __init__(self, url: str, clock: object) -> None:
        """As the sequencer's."""

    async def run(self) -> None:
        """Waits until it is cancelled."""
        await asyncio.Event().wait()


@contextlib.contextmanager
def unsequenced() -> Iterator[None]:
    """A worker that is put together meanwhile has no sequencer."""
    with patch.object(app, "Sequencer", Unsequenced):
        yield


if __name__ == "__main__":
    with unsequenced():
        sys.exit(sleeping_worker.run(Path(sys.argv[1]), Path(sys.argv[2])))

"""How a stand-in runs as a process: until a signal, and it says first where it is."""

import asyncio
import gc
import json
import signal
import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

import uvloop

from strongroom_sandbox.ledger import LedgerRefused
from strongroom_sandbox.listening import NotLoopback
from strongroom_sandbox.tokens import TokenFileRefused

EXIT_REFUSED = 78  # EX_CONFIG of sysexits.h
GC_ALLOCATIONS = 50_000  # large stable state: fewer full collections

Settings = TypeVar("Settings")


class Server(Protocol):
    """A stand-in that has read its ledger; ``url`` is where it will answer."""

    url: str

    async def start(self) -> None:
        """Begin to accept connections."""
        ...

    async def stop(self) -> None:
        """End, with all that is to be kept on disk."""
        ...


def run(read: Callable[[list[str]], Settings], stand_in: Callable[[Settings], Server]) -> int:
    """Run the stand-in of the settings that ``read`` finds on the command line.

    Returns 0 after SIGTERM or SIGINT, EXIT_REFUSED when it may not start.
    """
    try:
        settings = read(sys.argv[1:])
        uvloop.run(_serve(lambda: stand_in(settings)))
    except (TokenFileRefused, LedgerRefused, NotLoopback, OSError) as error:
        sys.stderr.write(f"refused to start: {error}\n")
        return EXIT_REFUSED
    return 0


async def _serve(made: Callable[[], Server]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    gc.disable()
    stand_in = made()
    # What was loaded stays; collecting it again and again would only cost time.
    gc.freeze()
    gc.enable()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)
    await stand_in.start()
    sys.stdout.write(f"ready {json.dumps({'url': stand_in.url})}\n")
    sys.stdout.flush()
    await stopping.wait()
    await stand_in.stop()

"""What all our processes share: how they end, how they collect garbage, who they do not run as."""

import asyncio
import gc
import os
import signal
from typing import Final, Protocol

from strongroom.config import ConfigurationError, Settings
from strongroom.work.lasting import lasting, let_go

GC_THRESHOLD: Final = 20_000


def calm_collector() -> None:
    """What lives as long as the process is not looked at again, and the rest less often.

    Requests leave hardly any cycles; full collections at the default pace are most of the tail.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)


def stop_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


class Listening(Protocol):
    """A server; `listen` ends some time after `stop`."""

    async def listen(self) -> None:
        """Answers until it is stopped, and what it took in is answered."""
        ...

    def stop(self) -> None:
        """Takes nothing in any more."""
        ...


class Draining(Protocol):
    """What tells who asks whether it is ready that it is not any more."""

    draining: bool


async def serve_until_stopped(server: Listening, readiness: Draining) -> None:
    """Serves until SIGTERM or SIGINT, and until what was taken in is answered."""
    calm_collector()
    stopping = stop_signals()
    serving = lasting(server.listen())
    asked = lasting(stopping.wait())
    await asyncio.wait((serving, asked), return_when=asyncio.FIRST_COMPLETED)
    await let_go(asked)
    readiness.draining = True
    server.stop()
    await serving


def refuse_unsafe(settings: Settings, *, moves_money: bool) -> None:
    """Live processes do not run as uid 0, nor take money in without a witness elsewhere.

    Raises ConfigurationError, with every reason.
    """
    if settings.mode != "live":
        return
    reasons = []
    if os.geteuid() == 0:
        reasons.append("live mode does not run as root: use a user of its own.")
    if moves_money and not settings.witnesses_elsewhere:
        reasons.append(
            "live mode takes no money in with no witness elsewhere: whoever has the signer's key "
            "could rewrite the log. Name one on another machine in `witnesses` (docs/log.md)."
        )
    if reasons:
        raise ConfigurationError("\n".join(reasons))

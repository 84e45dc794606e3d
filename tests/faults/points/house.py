"""One life of our processes: API, worker and signer as they are composed, forked ready to run.

A parent that has everything imported (`python -m tests.faults.points.house`) forks a child for each
life, so that a life begins in milliseconds. All that a child does differently from the processes of
a deployment is here: time goes by a clock that is moved from outside, the loops that a flow has no
need of stand still, and each await is asked for.
"""

import asyncio
import gc
import json
import mmap
import os
import selectors
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from litestar import Litestar

from tests.faults.points import awaits

CLOCK_BYTES: Final = 8
GO, KILL, CANCEL = b".", b"k", b"c"

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "webhooks": ("webhooks.follow_up:FollowUp", "webhooks.fetches:Fetcher"),
    "sweeps": ("webhooks.sweeps:Sweeper",),
    "settlement": ("settlement.desk:SettlementDesk",),
    "saving": ("customers.saver:Saver",),
    "errands": ("checkout.errands:Errands",),
    "sequencer": ("log.sequencing:Sequencer",),
    "deliverer": ("webhooks.deliverer:Deliverer",),
    "keeping": ("payments.retention:Retention", "customers.keeper:Keeper"),
    "rests": ("gateways.rests:Rests",),
    "bell": ("work.bell:Bell",),
    "timekeeping": ("work.timekeeper:Timekeeper",),
}
"""By part, whose `run` goes on where a flow has the part, and stands still where it has not."""
LOADED: Final = (
    "app", "checkout.errands", "cli.signer", "telemetry.logs",
    "gateways.stripe.client", "gateways.stripe.history", "gateways.stripe.settlement",
    "gateways.stripe.webhook", "gateways.braintree.client", "gateways.braintree.history",
    "gateways.braintree.settlement", "gateways.braintree.webhook",
)  # fmt: skip
"""What a life would otherwise load by itself, and mark, each time."""
LANES: Final = {"pay": "payments", "ref": "refunds", "txc": "taxes"}
"""By the prefix of a worker's ids, the part that it is."""


class Life:
    """What a child is told: where it lives, what runs, and who is asked about awaits."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.home, self.port = Path(told["home"]), int(told["port"])
        self.parts = frozenset(told["parts"])
        self.output, self.asked = told["output"], told["asked"]
        self.places: list[str] | None = told["places"]
        """The awaits that are asked for, or None for all of them."""

    async def live(self) -> NoReturn:
        """API, worker and, where it is a part, the signer, until one ends, and all at once with it.

        They are processes of their own elsewhere, so none sees another's end: a loop that is closed
        would cancel the others, wait for what they do then, and meanwhile answer requests.
        """
        from strongroom.app import run_worker, serve_api
        from strongroom.cli.signer import run_signer
        from strongroom.config import Home
        from strongroom.work.lasting import with_its_parts

        home = Home(self.home)
        running = [serve_api(home, "127.0.0.1", self.port), run_worker(home)]
        if "signer" in self.parts:
            running.append(run_signer(home))
        processes = [asyncio.create_task(with_its_parts(one)) for one in running]
        done, _ = await asyncio.wait(processes, return_when=asyncio.FIRST_COMPLETED)
        ended = await asyncio.gather(*done, return_exceptions=True)  # one may be cancelled, too
        _end([error for error in ended if isinstance(error, BaseException)])


def main() -> None:
    """Forks a life for each line on stdin, and tells on stdout who began and who ended."""
    parent = socket.socket(fileno=int(sys.argv[1]))
    clock_file = sys.argv[2]
    awaits.mark()
    _import_all()
    _go_by(clock_file)
    gc.collect()
    gc.freeze()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    parent.sendall(b'{"ready": true}\n')
    with selectors.DefaultSelector() as selector:
        selector.register(parent, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while _serve(parent, selector, wake_read):
            pass


def _serve(parent: socket.socket, selector: selectors.BaseSelector, wake_read: int) -> bool:
    for key, _ in selector.select():
        if key.fileobj is parent:
            line = parent.makefile("rb", buffering=0).readline()
            if not line:
                return False
            told = json.loads(line)
            if (pid := os.fork()) == 0:
                _be(parent, told)
            parent.sendall(json.dumps({"began": pid}).encode() + b"\n")
        else:
            os.read(wake_read, 4096)
            _reap(parent)
    return True


def _reap(parent: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        said = {"ended": pid, "code": os.waitstatus_to_exitcode(status)}
        parent.sendall(json.dumps(said).encode() + b"\n")


def _be(parent: socket.socket, told: dict[str, Any]) -> NoReturn:
    """The child: it never returns."""
    from strongroom.local.process import die_with_parent

    try:
        parent_pid = os.getppid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        parent.close()
        die_with_parent(parent_pid)
        life = Life(told)
        _say_to(life.output)
        _stand_still(life.parts)
        if life.places != []:
            _ask_at(life.asked, life.places)
        import uvloop

        uvloop.run(life.live())
    except BaseException as error:  # noqa: BLE001 - or it came back into its parent's loop
        _end([error])


def _end(errors: Sequence[BaseException]) -> NoReturn:
    """Says why, and is gone."""
    for error in errors:
        traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(bool(errors))


def _say_to(output: str) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from strongroom.telemetry.logs import set_up_logs

    set_up_logs()


def _import_all() -> None:
    from strongroom import tls

    tls.system_tls = cache(tls.system_tls)
    tls.system_tls("dev")
    for module in LOADED:
        import_module(f"strongroom.{module}")
    Litestar([])  # which loads plugins as it is made
    from strongroom.config import Settings
    from strongroom.sources import fields_of, taxes_of, wallets_of
    from strongroom.vault.envelope import load_tink

    load_tink()
    for sources in (fields_of, taxes_of, wallets_of):
        sources(Settings(), None)  # type: ignore[arg-type]


def _go_by(clock_file: str) -> None:
    """The machine's clock plus the microseconds that stand in a file, which nobody compares."""
    from strongroom.clock import SystemClock
    from strongroom.work.timekeeper import Timekeeper

    with Path(clock_file).open("rb") as stream:
        offset = mmap.mmap(stream.fileno(), CLOCK_BYTES, prot=mmap.PROT_READ)

    def now(_: SystemClock) -> datetime:
        return datetime.now(UTC) + timedelta(microseconds=struct.unpack("<q", offset[:])[0])

    async def agrees(_: Timekeeper) -> None:
        """It is the tests that set this clock wrong."""

    SystemClock.now = now  # type: ignore[method-assign, assignment]
    Timekeeper.look = agrees  # type: ignore[method-assign, assignment]


def _stand_still(parts: frozenset[str]) -> None:
    from strongroom.work.worker import Worker

    async def still(_: Any) -> None:
        await asyncio.Event().wait()

    for part, places in PARTS.items():
        if part not in parts:
            for place in places:
                module, _, name = place.partition(":")
                getattr(import_module(f"strongroom.{module}"), name).run = still
    run = Worker.run

    async def run_lane(worker: Any) -> None:
        lane = LANES[worker._desk.prefix]
        await (run(worker) if lane in parts else still(worker))

    Worker.run = run_lane  # type: ignore[method-assign, assignment]


def _ask_at(path: str, places: Collection[str] | None) -> None:
    """Each await is told to whoever listens at the path, and waits for the word to go on."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.connect(path)

    def asked(here: str) -> None:
        if places is not None and here not in places:
            return
        listener.sendall(here.encode() + b"\n")
        word = listener.recv(1)
        if word == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if word == CANCEL and (task := asyncio.current_task()) is not None:
            task.cancel()

    awaits.ask(asked)


if __name__ == "__main__":
    main()

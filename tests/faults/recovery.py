"""How long it takes until payments settle as fast as before: after each kill, after an outage.

`python -m tests.faults.recovery` prints the figures and writes them into a file. Payments come at
one pace all the time, whatever is dead; a client that is not answered asks again.
"""

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final

from msgspec import Struct, to_builtins

from strongroom.local.ports import free_ports
from strongroom.log.cosignatures import CosignatureVerifier, witnessed
from tests.acceptance.running import environment
from tests.faults.cable import Fault
from tests.faults.curves import Memory, Watch, at, back_after, rate
from tests.faults.deployment import Deployment
from tests.faults.judge import judge, until_ended
from tests.faults.judged_log import signed_size
from tests.faults.net import Net, key_of_log, restart
from tests.faults.shoppers import Order, Shoppers

KILLED: Final = (
    "api", "worker", "signer", "stripe", "postmaster", "witness", "supervisor"
)  # fmt: skip
"""The supervisor is last: what starts after it has other ports."""
GATEWAY: Final = "worker → Stripe"
DEADLINE_SECONDS: Final = 20.0
"""As it comes: the lease of who was killed is two and a half times as long."""
WARM_UP_SECONDS: Final = 4.0
BEFORE_SECONDS: Final = 5.0
BACK_SECONDS_MAX: Final = 45.0
CALM_SECONDS: Final = 4.0
DRAINED_SECONDS_MAX: Final = 120.0
OUTAGE_SECONDS: Final = 20.0
OUTAGES: Final[dict[str, Fault]] = {"refuses": "refused", "is silent": "partition"}
UNDER_WAY_SECONDS: Final = 2.0
UNDER_WAY_MIN: Final = 20
"""A backlog is drained when no more is under way than comes in so many seconds."""
LOOK_SECONDS: Final = 0.05
START_SECONDS_MAX: Final = 60.0
END_SECONDS_MAX: Final = 180.0
SPIN: Final = """
import time
wall, cpu = time.perf_counter(), time.process_time()
while time.process_time() - cpu < 0.3:
    pass
print((time.perf_counter() - wall) / 0.3)
"""
FILE: Final = Path(__file__).resolve().parents[2] / "bench" / "results" / "recovery.json"


class Kill(Struct, frozen=True, kw_only=True):
    """One kill -9: the rate before it, and the seconds from it to that rate.

    `seconds` is None where it did not come back, 0.0 where no window of a second was slower.
    `word_seconds` is until the signer, or the witness, signed more than at the kill.
    """

    what: str
    before: float
    seconds: float | None
    word_seconds: float | None = None
    slowness: float
    """How much longer than its CPU time a piece of work took on this machine meanwhile."""


class Outage(Struct, frozen=True, kw_only=True):
    """The gateway away for a while; rates are payments a second, memory MB."""

    how: str
    seconds: float
    accepted_before: float
    accepted_during: float
    settled_before: float
    backlog: int
    drained_seconds: float | None
    """From the gateway's return until nothing of the backlog is left."""
    settled_draining: float
    api_before: float
    api_most: float
    worker_before: float
    worker_most: float


class Figures(Struct, frozen=True, kw_only=True):
    """All of one run."""

    per_second: float
    machine: str
    kills: list[Kill]
    outages: list[Outage]


class Witness:
    """A witness that is started again as soon as it is dead, as whoever runs it would see to."""

    def __init__(self, deployment: Deployment, key: Path) -> None:
        self._folder, self.port = deployment.base / "witness", free_ports(1)
        self._words = ["--name", "witness.example/w1", "--log", str(key), "--port", str(self.port)]
        self._process: subprocess.Popen[str] | None = None
        self.key = ""

    def start(self) -> None:
        """Runs it; returns when it listens."""
        words = ["witness", "--folder", str(self._folder), *self._words]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "strongroom", *words], env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stderr is not None
        assert self._process.stdout is not None
        line = self._process.stderr.readline()
        assert '"event": "witness_ready"' in line, line
        self.key = self._process.stdout.readline().strip()

    def kill(self) -> None:
        """SIGKILL; harmless when it is gone already."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


@dataclass(slots=True)
class Recovery:
    """One deployment under one pace of payments."""

    net: Net
    per_second: float
    shoppers: Shoppers = field(init=False)
    watch: Watch = field(init=False)
    witness: Witness = field(init=False)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: "asyncio.Task[None] | None" = None

    async def begin(self) -> None:
        """A witness, payments, and a look at them."""
        deployment = self.net.deployment
        self.shoppers = Shoppers(deployment)
        self.watch = Watch(deployment, self.shoppers)
        self.witness = Witness(deployment, await key_of_log(deployment))
        await asyncio.to_thread(self.witness.start)
        at_witness = {"url": f"http://127.0.0.1:{self.witness.port}", "key": self.witness.key}
        self.net.set(witnesses=[at_witness])
        await restart(deployment, "signer")
        self._sending = asyncio.create_task(self._send())
        self.watch.begin()
        await asyncio.sleep(WARM_UP_SECONDS)

    async def _send(self) -> None:
        begun, number = time.monotonic(), 0
        async with self.shoppers.session() as session, asyncio.TaskGroup() as group:
            while not self._over.is_set():
                order = Order(f"paced-{number:06d}", amount=1000 + number % 9000)
                group.create_task(self.shoppers.send(session, order))
                number += 1
                await asyncio.sleep(max(0.0, begun + number / self.per_second - time.monotonic()))

    async def end(self) -> None:
        """No more payments; raises AssertionError where one was charged twice, or is lost."""
        self._over.set()
        assert self._sending is not None
        await self._sending
        await until_ended(self.net.deployment, END_SECONDS_MAX)
        await self.watch.end()
        judged = await judge(self.net.deployment, self.shoppers.accepted)
        assert judged.statuses == {"succeeded": len(self.shoppers.accepted)}, judged.statuses
        assert not self.shoppers.refused
        assert not self.shoppers.unanswered

    async def close(self) -> None:
        """Whatever happened."""
        self._over.set()
        for task in filter(None, [self._sending]):
            task.cancel()
        await asyncio.to_thread(self.witness.kill)
        await self.watch.end()

    async def _calm(self) -> None:
        """What came before has ended, and for a while payments have settled at their pace."""
        most = max(UNDER_WAY_SECONDS * self.per_second, UNDER_WAY_MIN)
        calm = await self.watch.until(
            lambda point: point.accepted - point.settled <= most, DRAINED_SECONDS_MAX
        )
        assert calm is not None, "payments come faster than this machine settles them"
        await asyncio.sleep(BEFORE_SECONDS + 0.5)

    async def kill(self, what: str) -> Kill:
        """kill -9 of all processes of that name, and what came of it."""
        await self._calm()
        words = {"signer": self._signed, "witness": self._cosigned}
        word = words.get(what)
        known = 0 if word is None else word()
        killed = time.monotonic()
        before = rate(self.watch.points, killed - BEFORE_SECONDS, killed)
        before = min(before, self.per_second)  # not what an earlier backlog adds
        await self._kill(what)
        measuring = asyncio.create_task(asyncio.to_thread(slowness_of_machine))
        said = None if word is None else await self._until_more(word, known, killed)
        seconds: float | None = None
        while time.monotonic() - killed < BACK_SECONDS_MAX:
            await asyncio.sleep(CALM_SECONDS)
            points = [p for p in self.watch.points if p.at >= killed - BEFORE_SECONDS]
            seconds = back_after(points, killed, before)
            if seconds is not None:
                break
        return Kill(
            what=what,
            before=before,
            seconds=seconds,
            word_seconds=said,
            slowness=await measuring,
        )

    async def _kill(self, what: str) -> None:
        deployment = self.net.deployment
        match what:
            case "supervisor":
                deployment.kill_supervisor()
                await deployment.start_beside()
            case "witness":
                await asyncio.to_thread(self.witness.kill)
                await asyncio.to_thread(self.witness.start)
            case _:
                assert deployment.signal(what, SIGKILL), f"no {what} to kill"

    async def _until_more(self, word: Callable[[], int], known: int, killed: float) -> float | None:
        while time.monotonic() - killed < BACK_SECONDS_MAX:
            if word() > known:
                return time.monotonic() - killed
            await asyncio.sleep(LOOK_SECONDS)
        return None

    def _folder(self) -> Path:
        [folder] = (self.net.deployment.home / "log").glob("ent_*")
        return folder

    def _signed(self) -> int:
        return signed_size(self._folder())

    def _cosigned(self) -> int:
        note = self._folder() / "checkpoint.cosigned"
        verifier = CosignatureVerifier.read(self.witness.key)
        return witnessed(note.read_bytes(), verifier).checkpoint.size if note.exists() else 0

    async def outage(self, how: str, fault: Fault, seconds: float = OUTAGE_SECONDS) -> Outage:
        """The gateway is away while payments go on coming, and then it is back."""
        await self._calm()
        cable, gone = self.net.cables[GATEWAY], time.monotonic()
        await cable.put(fault)
        await asyncio.sleep(seconds)
        await cable.heal()
        back = time.monotonic()
        points = self.watch.points
        first, last = at(points, gone - BEFORE_SECONDS), at(points, gone)
        under_way = max(UNDER_WAY_SECONDS * self.per_second, UNDER_WAY_MIN)
        drained = await self.watch.until(
            lambda point: point.accepted - point.settled <= under_way, DRAINED_SECONDS_MAX
        )
        until = time.monotonic() if drained is None else drained
        backlog = at(points, back)
        before = [one for one in self.watch.memory if one.at <= gone][-3:]
        during = [one for one in self.watch.memory if gone <= one.at <= until] or before
        return Outage(
            how=how,
            seconds=back - gone,
            accepted_before=(last.accepted - first.accepted) / BEFORE_SECONDS,
            accepted_during=(backlog.accepted - last.accepted) / (back - gone),
            settled_before=rate(points, gone - BEFORE_SECONDS, gone),
            backlog=backlog.accepted - backlog.settled,
            drained_seconds=None if drained is None else drained - back,
            settled_draining=rate(points, back, until),
            api_before=_most(before, "api"),
            api_most=_most(during, "api"),
            worker_before=_most(before, "worker"),
            worker_most=_most(during, "worker"),
        )


def slowness_of_machine() -> float:
    """1.0 where a process has a core for itself; 3.0 where others leave it a third of one."""
    argv = [sys.executable, "-c", SPIN]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return max(1.0, float(done.stdout))


def _most(memory: list[Memory], what: str) -> float:
    most: float = max(getattr(one, what) for one in memory)
    return round(most, 1)


async def measured(
    per_second: float,
    killed: tuple[str, ...] = KILLED,
    outages: dict[str, Fault] | None = None,
    outage_seconds: float = OUTAGE_SECONDS,
) -> Figures:
    """Kills and outages of one deployment, one after another; raises what a judgement finds."""
    deployment = Deployment(deadline_seconds=DEADLINE_SECONDS)
    try:
        async with Net(deployment, [GATEWAY]) as net:
            recovery = Recovery(net, per_second)
            try:
                await recovery.begin()
                away = []
                for how, fault in (OUTAGES if outages is None else outages).items():
                    away.append(await recovery.outage(how, fault, outage_seconds))
                    print(told(away[-1]), flush=True)
                kills = []
                for what in killed:
                    kills.append(await recovery.kill(what))
                    print(told(kills[-1]), flush=True)
                await recovery.end()
            finally:
                await recovery.close()
    finally:
        print(f"logged: {dict(deployment.complaints())}")
        await asyncio.to_thread(deployment.remove)
    return Figures(per_second=per_second, machine=platform.platform(), kills=kills, outages=away)


def told(figure: Kill | Outage) -> str:
    """A line for a person."""
    match figure:
        case Kill():
            back = "not back" if figure.seconds is None else f"back after {figure.seconds:.1f} s"
            word = "" if figure.word_seconds is None else f", its word {figure.word_seconds:.1f} s"
            return (
                f"kill of {figure.what}: {figure.before:.0f}/s before, {back}{word}; a core gives "
                f"{1 / figure.slowness:.0%} of itself"
            )
        case Outage():
            drained = figure.drained_seconds
            shown = "not drained" if drained is None else f"drained in {drained:.1f} s"
            return (
                f"the gateway {figure.how} for {figure.seconds:.0f} s: accepted "
                f"{figure.accepted_before:.0f}/s before, {figure.accepted_during:.0f}/s during; "
                f"backlog {figure.backlog}, {shown} at {figure.settled_draining:.0f}/s, "
                f"{figure.settled_before:.0f}/s before; MB of API {figure.api_before:.0f} → "
                f"{figure.api_most:.0f}, of worker {figure.worker_before:.0f} → "
                f"{figure.worker_most:.0f}"
            )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=float, default=25.0)
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args()
    figures = asyncio.run(measured(given.per_second))
    shown: dict[str, Any] = to_builtins(figures)
    given.out.write_text(json.dumps(shown, indent=2) + "\n")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()

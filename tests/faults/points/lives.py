"""Lives of our processes: forked by a parent that is ready, killed, and told what time it is."""

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from strongroom.local.process import child_environment
from tests.faults.points.house import CLOCK_BYTES

READY_SECONDS_MAX: Final = 180.0
ROOT: Final = Path(__file__).parents[3]


class Lives:
    """One life at a time, on a home, at a port; what they say is in `output`.

    One that was stopped goes on beside the next, which listens at the other of two `ports`.
    """

    def __init__(self, base: Path, home: Path, ports: tuple[int, int]) -> None:
        self.output, self.asked = base / "life.log", base / "asked"
        self._home, self._ports = home, ports
        self._pid = self._stopped = 0
        self._ended: dict[int, asyncio.Future[int]] = {}
        self._offset = timedelta()
        self._clock = base / "clock"
        self._clock.write_bytes(bytes(CLOCK_BYTES))
        self._forker: subprocess.Popen[bytes] | None = None
        self._say: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._began: asyncio.Future[int] | None = None

    async def start(self) -> None:
        """Starts the parent of them all, which imports everything first."""
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-m", "tests.faults.points.house", str(theirs.fileno()),
                str(self._clock)]  # fmt: skip
        self._forker = subprocess.Popen(  # noqa: ASYNC220 - once
            argv, pass_fds=[theirs.fileno()], cwd=ROOT, stdin=subprocess.DEVNULL,
            env=child_environment() | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )  # fmt: skip
        theirs.close()
        reader, self._say = await asyncio.open_connection(sock=ours)
        if not await asyncio.wait_for(reader.readline(), READY_SECONDS_MAX):
            raise RuntimeError("the parent of all lives did not start; what it said stands above")
        self._reading = asyncio.create_task(self._hear(reader))

    async def stop(self) -> None:
        """Their parent ends, and with it the last of them."""
        if self._reading is not None:
            self._reading.cancel()
        if self._forker is not None:
            self._forker.kill()
            await asyncio.to_thread(self._forker.wait)
        if self._say is not None:
            self._say.close()

    async def begin(self, parts: Collection[str], places: Collection[str] | None = ()) -> None:
        """Forks a life, which asks about awaits at these places, or at all for None."""
        assert self._say is not None
        told = {
            "home": str(self._home), "port": self.port, "parts": sorted(parts),
            "output": str(self.output), "places": None if places is None else sorted(places),
            "asked": str(self.asked),
        }  # fmt: skip
        self._began = asyncio.get_running_loop().create_future()
        self._say.write(json.dumps(told).encode() + b"\n")
        self._pid = await self._began

    @property
    def is_living(self) -> bool:
        """Whether the last one has not ended."""
        return self._pid in self._ended and not self._ended[self._pid].done()

    @property
    def port(self) -> int:
        """Where the last one listens."""
        return self._ports[0]

    async def kill(self) -> None:
        """kill -9 of the last one, and all that it had open is closed."""
        await self._kill(self._pid)

    async def kill_all(self) -> None:
        """The same for one that was stopped too."""
        await self._kill(self._stopped)
        await self._kill(self._pid)

    async def _kill(self, pid: int) -> None:
        if pid in self._ended and not self._ended[pid].done():
            _signal(pid, signal.SIGKILL)
            await asyncio.wait_for(asyncio.shield(self._ended[pid]), READY_SECONDS_MAX)

    async def pause(self) -> None:
        """SIGSTOP: the last one stands still, and is none; whoever was stopped before is killed."""
        await self._kill(self._stopped)
        self._stopped, self._pid, self._ports = self._pid, 0, self._ports[::-1]
        self._signal_stopped(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: who was stopped goes on, and has missed what was done meanwhile."""
        self._signal_stopped(signal.SIGCONT)

    def _signal_stopped(self, number: signal.Signals) -> None:
        ended = self._ended.get(self._stopped)
        if ended is not None and not ended.done():
            _signal(self._stopped, number)

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            said = json.loads(line)
            if "began" in said:
                self._ended[said["began"]] = asyncio.get_running_loop().create_future()
                assert self._began is not None
                self._began.set_result(said["began"])
            else:
                self._ended[said["ended"]].set_result(said["code"])

    # Time.

    def now(self) -> datetime:
        """What they take for now."""
        return datetime.now(UTC) + self._offset

    def go_on(self, step: timedelta) -> None:
        """Their clock goes on by `step`."""
        self.set_clock(self._offset + step)

    def set_clock(self, offset: timedelta) -> None:
        """Their clock is the machine's plus `offset`."""
        self._offset = offset
        micros = offset // timedelta(microseconds=1)
        with self._clock.open("r+b") as stream:
            stream.write(struct.pack("<q", micros))

    def said(self, characters_max: int) -> str:
        """The end of what they have logged."""
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return text[-characters_max:]

    def forget(self) -> None:
        """What they have logged so far."""
        self.output.unlink(missing_ok=True)


def _signal(pid: int, number: signal.Signals) -> None:
    """Signals a life; one that has ended, of which we have not heard yet, needs none."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)

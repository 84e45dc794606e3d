"""Keeps child processes running: starts them in order, restarts what dies, stops all at the end.

The kernel is asked to signal each child when the supervisor dies, so that also `kill -9` of the
supervisor leaves nothing behind. All waiting is by an asyncio loop on the main thread.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from strongroom.local.errors import LocalError
from strongroom.local.process import RunAs, spawn

# Wait before the n-th restart in a row; the last one is for all that follow.
BACKOFF_SECONDS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
HEALTHY_SECONDS = 30.0  # so long ready: the next death counts as the first again
LOG_BYTES_MAX = 10_000_000
KILL_SECONDS_MAX = 6.0  # from the death signal to SIGKILL: PostgreSQL ends its backends in 5
_PROBE_EVERY_SECONDS = 0.02
_LOG_TAIL_BYTES = 4_000
_LOG_TAIL_LINES = 15
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Started:
    """One start of a child: its pid, and where in the log file its output begins, in bytes."""

    pid: int
    log_offset: int


@dataclass(frozen=True, slots=True)
class Child:
    """What to run and how to treat it.

    `is_ready` is asked again and again until it says True; without it a child is ready at once.
    `before_start` runs before each start and may raise LocalError, which counts as a death.
    `death_signal` is sent by the kernel when the supervisor dies, and by the supervisor when
    `stop_signal` has had no effect for `stop_seconds_max`.
    """

    name: str
    argv: Sequence[str]
    log_file: Path
    env: Mapping[str, str]
    cwd: Path | None = None
    run_as: RunAs | None = None
    is_ready: Callable[[Started], Awaitable[bool]] | None = None
    before_start: Callable[[], Awaitable[object]] | None = None
    ready_seconds_max: float = 30.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds_max: float = 10.0
    death_signal: signal.Signals = signal.SIGKILL


class Supervisor:
    """Runs children in groups. Use as an asynchronous context on the main thread.

    A group starts together after the group before it is ready; groups stop in reverse order when
    the context ends. SIGINT, SIGTERM or SIGHUP ask for that; a second one makes it immediate.
    `tell` gets one line for each child that died or came back.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.stop_asked = asyncio.Event()
        self._immediate = asyncio.Event()
        self._tell = tell
        self._groups: list[list[_Keeper]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGCHLD, self._look_for_dead)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._stop_all()
        finally:
            loop = asyncio.get_running_loop()
            for number in (*_STOP_SIGNALS, signal.SIGCHLD):
                loop.remove_signal_handler(number)

    async def start(self, *children: Child) -> None:
        """Start a group and wait until all of it is ready.

        Raises LocalError with the end of its log when one ends or is not ready in time; after
        that first success it is restarted for ever.
        """
        group = [_Keeper(child, self._tell, self._immediate) for child in children]
        self._groups.append(group)
        for keeper in group:
            keeper.begin()
        await asyncio.gather(*(keeper.first_ready for keeper in group))

    async def until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, then wait for a signal to stop. A signal during `work` cancels it.

        Raises what `work` raises.
        """
        doing = asyncio.create_task(work)
        asked = asyncio.create_task(self.stop_asked.wait())
        try:
            await asyncio.wait({doing, asked}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                await doing
                await asked
        finally:
            for task in (doing, asked):
                task.cancel()
            await asyncio.gather(doing, asked, return_exceptions=True)

    def pids(self) -> dict[str, int]:
        """The pid of each child that runs at this moment, by name, in the order of starting."""
        keepers = (keeper for group in self._groups for keeper in group)
        return {
            keeper.child.name: keeper.running.pid
            for keeper in keepers
            if keeper.running is not None
        }

    def restarts(self) -> dict[str, int]:
        """How often each child was started again, by name."""
        return {keeper.child.name: keeper.restarts for group in self._groups for keeper in group}

    async def _stop_all(self) -> None:
        for group in reversed(self._groups):
            await asyncio.gather(*(keeper.stop() for keeper in group))

    def _asked_to_stop(self) -> None:
        if self.stop_asked.is_set():
            self._immediate.set()
        self.stop_asked.set()

    def _look_for_dead(self) -> None:
        # Signals of one kind are merged, so each child is looked at.
        for group in self._groups:
            for keeper in group:
                keeper.look()


@dataclass(slots=True)
class _Keeper:
    """One child and the task that keeps it running."""

    child: Child
    tell: Callable[[str], None]
    immediate: asyncio.Event
    first_ready: "asyncio.Future[None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    running: "subprocess.Popen[bytes] | None" = None
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    restarts: int = 0
    last_exit: str = ""
    stopping: bool = False
    task: "asyncio.Task[None] | None" = None

    def begin(self) -> None:
        self.task = asyncio.create_task(self._keep(), name=f"keep {self.child.name}")
        # A keeper that is stopped before anybody looks must not warn about a lost exception.
        self.first_ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.task.add_done_callback(self._kept)

    def look(self) -> None:
        """Notice the end of the child, if it has ended."""
        process = self.running
        if process is None:
            return
        # WNOWAIT keeps the zombie, and with it the pid, so that the group is surely still its.
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self.last_exit = _how(process.wait())
        self.running = None
        self.exited.set()

    async def stop(self) -> None:
        """End the child and the keeping; returns when both are over."""
        self.stopping = True
        # Who still waits for it learns that it was stopped, not that it failed.
        self.first_ready.cancel()
        if self.running is not None:
            await self._end(self.running)
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        if self.running is not None:  # it was just being started
            await self._end(self.running)

    def _kept(self, task: "asyncio.Task[None]") -> None:
        # A mistake in a probe must not leave a child that nobody watches, or a start that hangs.
        if task.cancelled() or (problem := task.exception()) is None:
            return
        if not self.first_ready.done():
            self.first_ready.set_exception(problem)
        self.tell(f"{self.child.name} is no longer watched: {problem!r}")

    async def _keep(self) -> None:
        deaths = 0
        while True:
            ready_since = await self._live_once()
            if not self.first_ready.done():
                self.first_ready.set_exception(self._never_ready())
                return
            if self.stopping:
                return
            if ready_since is not None and time.monotonic() - ready_since >= HEALTHY_SECONDS:
                deaths = 0
            delay = BACKOFF_SECONDS[min(deaths, len(BACKOFF_SECONDS) - 1)]
            deaths += 1
            self.restarts += 1
            when = f"in {delay:g} s" if delay else "now"
            self.tell(
                f"{self.child.name} {self.last_exit}, starting it again {when} "
                f"(see {self.child.log_file})"
            )
            await asyncio.sleep(delay)

    async def _live_once(self) -> float | None:
        """Start the child and wait for its end; returns since when it was ready, if it was."""
        begun = time.monotonic()
        try:
            if self.child.before_start is not None:
                await self.child.before_start()
            started = self._start()
        except (LocalError, OSError) as problem:
            self.last_exit = f"could not be started: {problem}"
            return None
        if not await self._becomes_ready(started):
            return None
        if not self.first_ready.done():
            self.first_ready.set_result(None)
        else:
            seconds = time.monotonic() - begun
            self.tell(f"{self.child.name} is back (pid {started.pid}, {seconds:.1f} s)")
        ready_since = time.monotonic()
        await self.exited.wait()
        return ready_since

    def _start(self) -> Started:
        self.exited.clear()
        output, offset = _open_log(self.child.log_file)
        try:
            self.running = spawn(
                self.child.argv,
                env=self.child.env,
                output=output,
                cwd=self.child.cwd,
                run_as=self.child.run_as,
                death_signal=self.child.death_signal,
            )
        finally:
            os.close(output)
        started = Started(self.running.pid, offset)
        self.look()  # its SIGCHLD may have come before `running` was set
        return started

    async def _becomes_ready(self, started: Started) -> bool:
        """True when ready; False when it ended, also because it took too long."""
        deadline = time.monotonic() + self.child.ready_seconds_max
        while not self.exited.is_set():
            if self.child.is_ready is None or await self.child.is_ready(started):
                return not self.exited.is_set()
            if time.monotonic() >= deadline:
                if self.running is not None:
                    await self._end(self.running)
                self.last_exit = f"was not ready within {self.child.ready_seconds_max:g} s"
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.exited.wait(), _PROBE_EVERY_SECONDS)
        return False

    async def _end(self, process: "subprocess.Popen[bytes]") -> None:
        steps = (
            (self.child.stop_signal, self.child.stop_seconds_max, True),
            (self.child.death_signal, KILL_SECONDS_MAX, False),
            (signal.SIGKILL, KILL_SECONDS_MAX, False),
        )
        for number, seconds_max, can_hurry in steps:
            if can_hurry and self.immediate.is_set():
                continue
            if self.running is not process:
                return
            # Not Popen.send_signal: it may reap the child, and then its group could be another's.
            os.kill(process.pid, number)
            if await self._ended_within(seconds_max, can_hurry):
                return

    async def _ended_within(self, seconds_max: float, can_hurry: bool) -> bool:
        waits = {asyncio.create_task(self.exited.wait())}
        if can_hurry:
            waits.add(asyncio.create_task(self.immediate.wait()))
        try:
            await asyncio.wait(waits, timeout=seconds_max, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self.exited.is_set()

    def _never_ready(self) -> LocalError:
        text = f"{self.child.name} {self.last_exit}; its log is {self.child.log_file}"
        tail = _log_tail(self.child.log_file)
        return LocalError(f"{text} and ends with:\n{tail}" if tail else text)


def _open_log(path: Path) -> tuple[int, int]:
    """A descriptor that appends to `path`, and its size; a big file is put aside first."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES_MAX:
            path.rename(path.with_name(path.name + ".1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    return descriptor, os.fstat(descriptor).st_size


def _log_tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in lines[-_LOG_TAIL_LINES:])


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"

"""Processes that an earlier, killed start has left behind.

PostgreSQL must not start while one of them lives: it would still be attached to the old shared
memory. The number in postmaster.pid is no evidence, it may long be some other program's.
"""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from strongroom.local.errors import LocalError
from strongroom.local.postgres import Cluster
from strongroom.local.process import MARK

SHUTDOWN_SECONDS_MAX = 6.0  # an immediate shutdown kills its backends after 5
ORPHAN_SECONDS_MAX = 2.0  # idle backends notice the death of their postmaster at once
KILL_SECONDS_MAX = 5.0
_LOOK_AGAIN_SECONDS = 0.02
_PROC = Path("/proc")
_TITLE_OF_BACKEND = b"postgres: "


@dataclass(frozen=True, slots=True)
class Leftover:
    """A living process of a cluster. A postmaster is the one that was started, not forked."""

    pid: int
    is_postmaster: bool


def find_leftovers(cluster: Cluster) -> list[Leftover]:
    """The living processes of this data directory, whoever started them."""
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    found = (_look(pid, cluster) for pid in pids if pid != os.getpid())
    return [leftover for leftover in found if leftover]


async def clear_leftovers(cluster: Cluster) -> int:
    """Wait until no process of the cluster lives, then remove its lock file; returns how many did.

    A forgotten postmaster is told to shut down at once, and each process has some seconds to go
    by itself before it is killed, which costs no committed data. The caller holds the home's lock
    and has no server running. Raises LocalError when they survive that.
    """
    first = find_leftovers(cluster)
    leave_seconds_max = ORPHAN_SECONDS_MAX
    for leftover in first:
        if leftover.is_postmaster:
            leave_seconds_max = SHUTDOWN_SECONDS_MAX
            _signal(leftover, cluster, signal.SIGQUIT)
    if not await _gone(cluster, leave_seconds_max):
        # The postmaster first: it would otherwise restart its backends.
        for leftover in sorted(find_leftovers(cluster), key=lambda each: not each.is_postmaster):
            _signal(leftover, cluster, signal.SIGKILL)
        if not await _gone(cluster, KILL_SECONDS_MAX):
            pids = ", ".join(str(leftover.pid) for leftover in find_leftovers(cluster))
            raise LocalError(f"processes {pids} still use {cluster.data_dir}: end them by hand")
    (cluster.data_dir / "postmaster.pid").unlink(missing_ok=True)
    return len(first)


def clear_strays(home: Path) -> int:
    """Kill the programs of ours that outlived an earlier supervisor of `home`; returns how many.

    Only processes of our own account that carry the home's mark in their environment, which the
    supervisor gave them. The caller holds the home's lock, so none of them is supervised. Raises
    LocalError when one survives.
    """
    first = _strays(home)
    deadline = time.monotonic() + KILL_SECONDS_MAX
    while strays := _strays(home):
        if time.monotonic() >= deadline:
            raise LocalError(f"processes {strays} of an earlier start do not end: end them by hand")
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    if _is_stray(pid, home):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)
        time.sleep(_LOOK_AGAIN_SECONDS)
    return len(first)


def _strays(home: Path) -> list[int]:
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and _is_stray(pid, home)]


def _is_stray(pid: int, home: Path) -> bool:
    folder = _PROC / str(pid)
    try:
        if folder.stat().st_uid != os.geteuid():
            return False
        environment = (folder / "environ").read_bytes()
    except OSError:
        return False
    return os.fsencode(f"{MARK}={home}") in environment.split(b"\0")


async def _gone(cluster: Cluster, seconds_max: float) -> bool:
    deadline = time.monotonic() + seconds_max
    while find_leftovers(cluster):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return True


def _look(pid: int, cluster: Cluster) -> Leftover | None:
    """The process if it is one of the cluster's.

    It must run under the server's account, be a `postgres`, and either carry our tag or work in
    the data directory. The directory decides where it can be read; inside a container even root
    may not be allowed to, and the tag is the whole evidence.
    """
    folder = _PROC / str(pid)
    expected_uid = cluster.run_as.uid if cluster.run_as else os.geteuid()
    try:
        if folder.stat().st_uid != expected_uid:
            return None
        if (folder / "comm").read_bytes().strip() != b"postgres":
            return None
        line = (folder / "cmdline").read_bytes()
    except OSError:
        return None  # it has just ended
    if not line:
        return None  # ended, and waits for its parent to notice
    try:
        works_here = (folder / "cwd").readlink() == cluster.data_dir
    except FileNotFoundError:
        return None
    except OSError:
        works_here = cluster.tag.encode() in line
    if not works_here:
        return None
    return Leftover(pid, is_postmaster=not line.startswith(_TITLE_OF_BACKEND))


def _signal(leftover: Leftover, cluster: Cluster, number: signal.Signals) -> None:
    try:
        handle = os.pidfd_open(leftover.pid)
    except ProcessLookupError:
        return
    try:
        # Looked at again with the handle in hand: from here on the pid cannot change hands.
        if _look(leftover.pid, cluster) is not None:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)

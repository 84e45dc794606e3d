"""Starting one child process that cannot outlive its parent."""

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from strongroom.local.errors import LocalError

# Set in each child that is a program of ours, and inherited by what it forks: names the home.
MARK = "STRONGROOM_SUPERVISED"
_PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
_EXIT_NO_LEASH = 126
_ENVIRONMENT_KEPT = (
    "HOME",
    "LANG",
    "LC_ALL",
    "PATH",
    "PYTHONPATH",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
)

# Resolved before any fork: between fork and exec only what is already loaded may be called.
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class RunAs:
    """The account a child runs under when its parent is root."""

    name: str
    uid: int
    gid: int


def child_environment() -> dict[str, str]:
    """The part of this process's environment that a child may see: an allow-list, no secrets."""
    return {name: os.environ[name] for name in _ENVIRONMENT_KEPT if name in os.environ}


def die_with_parent(parent_pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send us `number` when the process `parent_pid`, which forked us, ends.

    For processes that a supervised program forks itself: the supervisor's leash holds only its
    direct children. If the parent is gone already, no signal will come, and we end at once.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0 or os.getppid() != parent_pid:
        os._exit(_EXIT_NO_LEASH)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    output: int,
    cwd: Path | None = None,
    run_as: RunAs | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> "subprocess.Popen[bytes]":
    """Start `argv` in a session of its own; the kernel sends it `death_signal` if we die.

    `output` is the file descriptor for its stdout and stderr; stdin is empty. It inherits no
    other descriptor. Raises LocalError off the main thread, because the kernel's signal comes
    when the *thread* that forked ends, and when the program cannot be executed.
    """
    if threading.current_thread() is not threading.main_thread():
        raise LocalError("a child process may only be started from the main thread")
    parent_pid = os.getpid()

    def leash() -> None:
        # Runs after the change of uid, which would have cleared the setting again.
        die_with_parent(parent_pid, death_signal)

    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            # Ctrl-C in a terminal goes to the whole group: only the supervisor shall get it.
            start_new_session=True,
            user=run_as.uid if run_as else None,
            group=run_as.gid if run_as else None,
            # Not an empty list: Python 3.12.0 then kept root's groups (CVE-2023-6507).
            extra_groups=[run_as.gid] if run_as else None,
            umask=0o077,
            # Safe: only the main thread forks, and `leash` only calls what is loaded.
            preexec_fn=leash,  # noqa: PLW1509
        )
    except (OSError, subprocess.SubprocessError) as problem:
        raise LocalError(f"cannot start {argv[0]}: {problem}") from problem

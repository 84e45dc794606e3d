"""Temporary files lie in memory, where the machine has room for them there.

Tests copy a database each, of some hundred files, and that is most of what they do: 0.2 s on a disk
and 0.015 s in memory. What outlives a killed process in memory outlives it on a disk, too.
TMPDIR=/somewhere, where it is set, is used instead.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

SHARED: Final = Path("/dev/shm")
FREE_BYTES_MIN: Final = 6 * 2**30
PREFIX: Final = "strongroom-"
"""Then the process id of whoever made it; short, since paths of sockets are."""
TMPDIR: Final = "TMPDIR"


@contextmanager
def in_memory(shared: Path = SHARED) -> Iterator[None]:
    """Temporary files, our children's too, lie in a folder of `shared` until we are through."""
    if TMPDIR in os.environ or not has_room(shared):
        yield
        return
    clear(shared)
    folder = shared / f"{PREFIX}{os.getpid()}"
    folder.mkdir()
    folder.chmod(0o711)  # as root, a database runs under another account, which passes through
    os.environ[TMPDIR], before = str(folder), tempfile.tempdir
    tempfile.tempdir = None
    try:
        yield
    finally:
        del os.environ[TMPDIR]
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


def has_room(shared: Path) -> bool:
    """Whether files may lie there, may be executed there, and find room."""
    try:
        there = os.statvfs(shared)
    except OSError:
        return False
    writable = os.access(shared, os.W_OK) and not there.f_flag & (os.ST_RDONLY | os.ST_NOEXEC)
    return writable and there.f_bavail * there.f_frsize >= FREE_BYTES_MIN


def clear(shared: Path) -> None:
    """Removes what runs have left that were killed."""
    for folder in shared.glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX)
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main() -> Iterator[None]:
    """All of a run; processes that share it inherit the folder."""
    with in_memory():
        return (yield)

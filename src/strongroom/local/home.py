"""The directory that holds everything of one local deployment."""

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from strongroom.local.errors import LocalError

_SECRET_BYTES = 32
_LOCK_FILE_BYTES_MAX = 64


def prepare_home(home: Path) -> Path:
    """Create HOME, HOME/secrets, HOME/run and HOME/logs, all 0700, and return HOME resolved.

    Raises LocalError when HOME cannot be made or belongs to somebody else.
    """
    try:
        home = home.expanduser().resolve()
        for folder in (home, home / "secrets", home / "run", home / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.geteuid():
                raise LocalError(
                    f"{folder} belongs to uid {folder.stat().st_uid}, not to you "
                    f"(uid {os.geteuid()}): start as its owner, or choose another --home"
                )
            folder.chmod(0o700)
    except OSError as problem:
        raise LocalError(f"cannot use {home} as home: {problem}") from problem
    return home


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace `path` by a file with `text` that is on disk, and never seen half-written."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable: a rename alone may be lost with the power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_secret(path: Path, *, prefix: str = "") -> str:
    """The secret in `path`; at first use `prefix` and 32 random bytes in hex are written there."""
    try:
        found = path.read_text(encoding="utf-8").strip()
        if found:
            return found
    except FileNotFoundError:
        pass
    secret = prefix + secrets.token_hex(_SECRET_BYTES)
    write_atomically(path, secret + "\n")
    return secret


@dataclass(slots=True)
class HomeLock:
    """The right to run on one home. The kernel takes it back when the process ends, however."""

    path: Path
    descriptor: int

    def release(self) -> None:
        """Let another process lock the home; safe to call twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def lock_home(home: Path) -> HomeLock:
    """Take HOME/run/lock; `home` is prepared. Raises LocalError naming the process that has it.

    The descriptor is not inherited by executed children, so a stray child cannot hold the lock.
    """
    path = home / "run" / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        holder = os.pread(descriptor, _LOCK_FILE_BYTES_MAX, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise LocalError(
            f"strongroom is already up on {home} (pid {holder or 'unknown'}): "
            "stop it first, or choose another --home"
        ) from problem
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    return HomeLock(path, descriptor)

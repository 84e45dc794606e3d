"""A deployment whose processes are of two versions: the one before, and this one."""

import asyncio
import io
import json
import secrets
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from strongroom.local import postgres
from strongroom.local.ports import LOOPBACK, free_ports
from strongroom.local.probes import answers_ok
from strongroom.local.process import MARK, child_environment, spawn
from tests.faults.deployment import LOOK_SECONDS, SOURCE, STOP_SECONDS_MAX, Deployment
from tests.plugins.parts import VERSION_BEFORE

ROOT: Final = SOURCE.parent
READY_SECONDS_MAX: Final = 30.0
COMMAND_SECONDS_MAX: Final = 60.0


def source_of(commit: str, folder: Path) -> Path:
    """The program as it was at `commit`, unpacked below `folder`; returns its src."""
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", commit, "src"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


@dataclass(slots=True)
class Program:
    """One process of one version."""

    name: str
    source: Path
    process: "subprocess.Popen[bytes]"
    log_file: Path

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")


class TwoVersions(Deployment):
    """PostgreSQL and the stand-in under us, and processes of either version beside them."""

    def __init__(self, *, deadline_seconds: float) -> None:
        super().__init__(deadline_seconds=deadline_seconds)
        self.base.chmod(0o755)
        self.before = source_of(VERSION_BEFORE, self.base / "before")
        self.programs: list[Program] = []
        self.port = free_ports(2)
        self._started = 0

    def set_up(self) -> None:
        """An initialised database of the version before, with one entity, and its stand-in."""
        cluster = postgres.prepare(self.home)
        self._tag = cluster.tag.encode()
        (self.home / "logs").mkdir(exist_ok=True)
        with (self.home / "logs" / "postgres.log").open("ab") as output:
            server = spawn(
                postgres.command(cluster), env=postgres.environment(), output=output.fileno(),
                cwd=cluster.data_dir, run_as=cluster.run_as, death_signal=postgres.DEATH_SIGNAL,
            )  # fmt: skip
        self.others.append(server)
        _wait(lambda: asyncio.run(postgres.is_ready(cluster)), "PostgreSQL")
        url_file = self._secret("owner_url", postgres.url(cluster))
        key_file = self._secret("stripe_key", "sk_test_" + secrets.token_hex(12))
        token_file = self._secret("knob_token", secrets.token_hex(16))
        stripe_url = f"http://{LOOPBACK}:{self.port + 1}"
        stand_in = self.run_beside(
            SOURCE, "stripe", "strongroom_sandbox.stripe", "--port", str(self.port + 1),
            "--data", str(self.home / "stripe"), "--secret-key-file", str(key_file),
            "--knob-token-file", str(token_file),
        )  # fmt: skip
        _wait(lambda: "\nready " in "\n" + stand_in.log(), "the stand-in")
        api_url = f"http://{LOOPBACK}:{self.port}"
        self.run(
            self.before, "init", "--database-url-file", str(url_file), "--mode", "dev",
            "--origin", "upgrade.test/payments", "--api-url", api_url,
        )  # fmt: skip
        settings = json.loads((self.home / "strongroom.json").read_text())
        settings["gateway_deadline_seconds"] = self.lease_seconds / 2.5
        (self.home / "strongroom.json").write_text(json.dumps(settings))
        entity = self.run(self.before, "entities", "create", "Upgraded Ltd").strip()
        self.run(
            self.before, "gateway-accounts", "add", "--entity", entity, "--gateway", "stripe",
            "--environment", "stand_in", "--secret-file", str(key_file), "--base-url", stripe_url,
        )  # fmt: skip
        api_key = self.run(self.before, "keys", "create", "--entity", entity, "--name", "shop")
        self.ready = {
            "api_url": api_url,
            "api_key": api_key.strip(),
            "stripe_url": stripe_url,
            "knob_token": token_file.read_text().strip(),
            "postgres_url_file": str(url_file),
        }

    def run(self, source: Path, *words: str, code: int = 0) -> str:
        """Run one command of a version to its end; returns what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "strongroom", *words, "--home", str(self.home)],
            capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False,
            cwd=self.base, env=self._environment(source),
        )  # fmt: skip
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def api(self, source: Path) -> Program:
        """One more API process of a version on the shared port."""
        return self.run_beside(
            source, "api", "strongroom", "api", "--home", str(self.home), "--port", str(self.port)
        )

    def worker(self, source: Path) -> Program:
        """One more worker of a version."""
        return self.run_beside(source, "worker", "strongroom", "worker", "--home", str(self.home))

    def run_beside(self, source: Path, name: str, *module: str) -> Program:
        """Start a program of a version; it ends with the tests."""
        self._started += 1
        log_file = self.home / "logs" / f"{name}-{self._started}.log"
        with log_file.open("ab") as output:
            process = spawn(
                [sys.executable, "-m", *module],
                env=self._environment(source) | {MARK: str(self.home), "PYTHONUNBUFFERED": "1"},
                output=output.fileno(),
                cwd=self.home,
            )
        self.others.append(process)
        program = Program(name, source, process, log_file)
        self.programs.append(program)
        return program

    async def says(self, program: Program, word: str) -> None:
        """Wait until a program has logged a word."""
        begun = time.monotonic()
        while word not in program.log():
            assert program.process.poll() is None, program.log()
            assert time.monotonic() - begun < READY_SECONDS_MAX, (word, program.log())
            await asyncio.sleep(LOOK_SECONDS)

    async def retire(self, *programs: Program) -> list[int]:
        """SIGTERM, and wait until each has finished what it took in; their exit codes."""
        for program in programs:
            program.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        while any(program.process.poll() is None for program in programs):
            assert time.monotonic() - begun < STOP_SECONDS_MAX, "a process did not end"
            await asyncio.sleep(LOOK_SECONDS)
        return [program.process.wait() for program in programs]

    async def answers(self) -> bool:
        """Whether the shared port is served."""
        return await answers_ok(self.port, "/readyz")

    def _secret(self, name: str, text: str) -> Path:
        file = self.home / "secrets" / name
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(text + "\n")
        return file

    def _environment(self, source: Path) -> dict[str, str]:
        return child_environment() | {"PYTHONPATH": str(source)}


def _wait(condition: Callable[[], bool], what: str) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < READY_SECONDS_MAX, f"waited in vain for {what}"
        time.sleep(LOOK_SECONDS)

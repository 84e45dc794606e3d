"""`strongroom up` as a child of the tests, what it said of itself, and programs beside it."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from strongroom.config import Home
from strongroom.local import postgres
from strongroom.local.ports import LOOPBACK, free_ports
from strongroom.local.probes import answers_ok
from strongroom.local.process import spawn

SOURCE = Path(__file__).parents[2] / "src"
READY_SECONDS_MAX = 120
STOP_SECONDS_MAX = 60
COMMAND_SECONDS_MAX = 90
LOOK_SECONDS = 0.02


class Running(Struct, frozen=True, kw_only=True):
    """What the `ready` line says, and the home directory."""

    home: Path
    api_url: str
    api_key: str
    legal_entity: str
    stripe_url: str
    braintree_url: str
    checkout_url: str
    knob_token: str
    postgres_url_file: str
    pids: dict[str, int]
    metrics_urls: dict[str, str]

    @property
    def owner_url(self) -> str:
        return Path(self.postgres_url_file).read_text().strip()

    def log_texts(self) -> dict[str, str]:
        """Every file that a process of this deployment logs to."""
        return {
            file.name: file.read_text("utf-8", "replace") for file in (self.home / "logs").iterdir()
        }

    def command(self, *words: str) -> str:
        """Runs `strongroom WORDS --home HOME`; returns what it printed. Fails when it fails."""
        done = subprocess.run(
            [*program(*words), "--home", str(self.home)],
            env=environment(), capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def program(*words: str) -> list[str]:
    return [sys.executable, "-m", "strongroom", *words]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SOURCE)}


@contextmanager
def up(home: Path) -> Iterator[Running]:
    """Everything of one deployment; it ends with us, also when a test failed or we are killed."""
    log_file = home.with_name(home.name + ".log")
    with log_file.open("wb") as log:
        process = spawn(
            program("up", "--home", str(home), "--port", "0"),
            env=environment(),
            output=log.fileno(),
            death_signal=signal.SIGTERM,
        )
    try:
        facts = _ready(process, log_file)
        yield msgspec.convert({**facts, "home": home}, Running)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the kernel ends its children with it
            process.wait(STOP_SECONDS_MAX)
            raise
        finally:
            postgres.remove(home)


def _ready(process: "subprocess.Popen[bytes]", log_file: Path) -> dict[str, object]:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while True:
        is_over = process.poll() is not None or time.monotonic() > deadline
        for line in log_file.read_text().splitlines(keepends=True):
            if line.startswith("ready ") and line.endswith("\n"):
                facts: dict[str, object] = json.loads(line.removeprefix("ready "))
                return facts
        if is_over:
            raise AssertionError(f"`strongroom up` did not start:\n{log_file.read_text()}")
        time.sleep(LOOK_SECONDS)


class Api2(Struct, frozen=True):
    """A second API process on the same database."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    async def ended(self) -> int:
        """Its exit status, once there is one."""
        while True:
            status = self.process.poll()
            if status is not None:
                return status
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def second_api(
    running: Running, folder: Path, *, database_port: int | None = None
) -> AsyncIterator[Api2]:
    """Another API process, with a home of its own; it reaches PostgreSQL at `database_port`."""
    home = folder / "second-home"
    shutil.copytree(running.home / "secrets", home / "secrets")
    shutil.copy(running.home / "strongroom.json", home)
    shared = str(Home(running.home).tombstones())  # as a mount that all machines have
    Home(home).write_settings(msgspec.structs.replace(Home(home).settings(), tombstones=shared))
    if database_port is not None:
        url = through(Home(home).secret("database_api_url"), database_port)
        Home(home).write_secret("database_api_url", url)
    port = free_ports(1)
    log_file = folder / "second-api.log"
    with log_file.open("wb") as log:
        process = spawn(
            program("api", "--home", str(home), "--port", str(port)),
            env=environment(),
            output=log.fileno(),
        )
    second = Api2(f"http://{LOOPBACK}:{port}", process, log_file)
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            while not await answers_ok(port, "/readyz"):
                assert process.poll() is None, log_file.read_text()
                await asyncio.sleep(LOOK_SECONDS)
        yield second
    finally:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await second.ended()
        except TimeoutError:
            process.kill()
            process.wait()
            raise


def through(url: str, port: int) -> str:
    """The URL of the same database, reached at another port of this machine, without TLS."""
    head, _, database = url.rpartition("/")
    return f"{head.rpartition(':')[0]}:{port}/{database}?sslmode=disable"

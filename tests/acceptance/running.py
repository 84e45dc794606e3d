"""`strongroom up` as a child of the tests, what it said of itself, and programs beside it."""

import asyncio
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
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

SOURCE = Path(__file__).parents[2] / "src"
READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 45
COMMAND_SECONDS_MAX = 30
LOOK_SECONDS = 0.02


class Running(Struct, frozen=True, kw_only=True):
    """What the `ready` line says, and the home directory."""

    home: Path
    api_url: str
    api_key: str
    legal_entity: str
    stripe_url: str
    knob_token: str
    postgres_url_file: str
    pids: dict[str, int]

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
    """Everything of one deployment, stopped also when a test failed."""
    errors = home.with_name(home.name + ".stderr")
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            program("up", "--home", str(home), "--port", "0"),
            env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True,
            start_new_session=True,
        )  # fmt: skip
    try:
        facts = _ready(process, errors)
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


def _ready(process: subprocess.Popen[str], errors: Path) -> dict[str, object]:
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + READY_SECONDS_MAX
    while line := lines.get(timeout=max(0.0, deadline - time.monotonic())):
        if line.startswith("ready "):
            facts: dict[str, object] = json.loads(line.removeprefix("ready "))
            return facts
    raise AssertionError(f"`strongroom up` did not start:\n{errors.read_text()}")


class Api2(Struct, frozen=True):
    """A second API process on the same database."""

    url: str
    process: asyncio.subprocess.Process
    log_file: Path


@asynccontextmanager
async def second_api(
    running: Running, folder: Path, *, database_port: int | None = None
) -> AsyncIterator[Api2]:
    """Another API process, with a home of its own; it reaches PostgreSQL at `database_port`."""
    home = folder / "second-home"
    shutil.copytree(running.home / "secrets", home / "secrets")
    shutil.copy(running.home / "strongroom.json", home)
    if database_port is not None:
        url = through(Home(home).secret("database_api_url"), database_port)
        Home(home).write_secret("database_api_url", url)
    port = free_ports(1)
    log_file = folder / "second-api.log"
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *program("api", "--home", str(home), "--port", str(port)),
            env=environment(), stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            while not await answers_ok(port, "/readyz"):
                assert process.returncode is None, log_file.read_text()
                await asyncio.sleep(LOOK_SECONDS)
        yield Api2(f"http://{LOOPBACK}:{port}", process, log_file)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS_MAX):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
                raise


def through(url: str, port: int) -> str:
    """The URL of the same database, reached at another port of this machine, without TLS."""
    head, _, database = url.rpartition("/")
    return f"{head.rpartition(':')[0]}:{port}/{database}?sslmode=disable"

"""A witness as a process of its own on loopback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

from strongroom.config import WitnessAt
from tests.acceptance.running import environment

READY_SECONDS_MAX = 60
ENDED_SECONDS_MAX = 30


@dataclass(frozen=True)
class Running:
    """Where a witness listens, and its public key."""

    url: str
    vkey: str

    @property
    def at(self) -> WitnessAt:
        return WitnessAt(url=self.url, key=self.vkey)


@contextmanager
def witness(
    folder: Path, *logs: str, name: str = "witness.example/w1", port: str = "0"
) -> Iterator[Running]:
    """Runs `strongroom witness`; it ends in order."""
    words = ["witness", "--folder", str(folder), "--name", name, "--port", port]
    words += [word for log in logs for word in ("--log", log)]
    process = subprocess.Popen(
        [sys.executable, "-m", "strongroom", *words], env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    late = Timer(READY_SECONDS_MAX, process.kill)
    late.start()
    try:
        assert process.stderr is not None
        assert process.stdout is not None
        line = process.stderr.readline()
        late.cancel()
        ready = json.loads(line)
        assert ready["event"] == "witness_ready", line
        yield Running(f"http://127.0.0.1:{ready['port']}", process.stdout.readline().strip())
    finally:
        late.cancel()
        process.terminate()
        _, told = process.communicate(timeout=ENDED_SECONDS_MAX)
    assert (process.returncode, "PRIVATE" in told) == (0, False), told

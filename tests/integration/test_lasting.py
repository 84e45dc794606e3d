"""A process that loses one of its lasting parts ends; one that is asked to stop loses none."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom.config import Settings, WitnessAt
from strongroom.local.ports import LOOPBACK, free_ports
from strongroom.log.witnessing import WitnessFolder
from tests.acceptance.running import LOOK_SECONDS, environment
from tests.integration.conftest import Deployment
from tests.integration.losing import ALONE

ROOT = Path(__file__).parents[2]
READY_SECONDS_MAX = 90
END_SECONDS_MAX = 60
EACH_SECONDS_MAX = 300

PARTS = {
    "api": {"ApiKeys._check_forever", "Batcher._write", "Event.wait", "Server.listen",
            "Waiting._look_forever"},
    "checkout": {"Batcher._write", "Event.wait", "Server.listen"},
    "signer": {"Signer.run", "Submitter._ask", "Submitter.run"},
    "worker": {"Batcher._write", "Bell.run", "Deadlines._sweep_forever",
               "Deliverer._forget_now_and_then", "Deliverer.run", "Errands.run", "Fetcher.run",
               "FollowUp.run", "Keeper.run", "Rests.run", "Retention.run", "Saver.run",
               "Sequencer.run", "SettlementDesk.run", "Sweeper.run", "Timekeeper.run",
               "Worker.run"},
}  # fmt: skip
"""Everything that lives as long as a process of that kind."""


@pytest.fixture
def home(deployment: Deployment, tmp_path: Path) -> Path:
    """A home whose signer has a witness to ask, which does not answer."""
    key = WitnessFolder(tmp_path / "witness").key("witness.example/w1").verifier.text()
    witness = WitnessAt(url=f"http://{LOOPBACK}:{free_ports(1)}", key=key)
    deployment.home.write_settings(Settings(mode="dev", witnesses=(witness,)))
    return deployment.home.path


class Program:
    """A process of the product that loses what it is told to."""

    def __init__(self, kind: str, home: Path, losing: str, output: Path) -> None:
        self._kind, self._output = kind, output
        words = [kind, "--home", str(home), "--metrics-port", str(free_ports(1))]
        if kind in ("api", "checkout"):
            words += ["--port", str(free_ports(1))]
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.losing", losing, *words],
                stdout=file, stderr=file, env=environment(), cwd=ROOT,
            )  # fmt: skip

    def lines(self) -> list[dict[str, object]]:
        """What it wrote so far."""
        whole = self._output.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not any(line.get("event") == f"{self._kind}_ready" for line in self.lines()):
            assert self.process.poll() is None, self._output.read_text()
            assert time.monotonic() < deadline, self._output.read_text()
            time.sleep(LOOK_SECONDS)

    def lost(self) -> list[object]:
        """The parts of which it said that they ended."""
        return [line["operation"] for line in self.lines() if line.get("event") == "part_ended"]

    def errors(self) -> list[object]:
        """The errors that it told of."""
        return [line["event"] for line in self.lines() if line.get("level") == "error"]


@contextmanager
def running(kind: str, home: Path, losing: str) -> Iterator[Program]:
    program = Program(kind, home, losing, home.parent / f"{kind}.log")
    try:
        yield program
    finally:
        program.process.kill()
        program.process.wait()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", PARTS)
def test_the_end_of_each_part_ends_its_process(kind: str, home: Path) -> None:
    with running(kind, home, "each:" + ",".join(PARTS[kind])) as program:
        status = program.process.wait(EACH_SECONDS_MAX)
        assert status == 0, program.lines()
        found = program.lines()[-1]
    assert isinstance(lost := found["lost"], list)
    assert set(lost) == PARTS[kind] - ALONE
    assert Counter(program.lost()) == Counter(lost)
    assert found["ended"] == [1] * len(lost)
    assert isinstance(found["parts"], list)
    assert set(found["parts"]) == PARTS[kind]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("api", "Batcher._write"),
        ("api", "Server.listen"),
        ("api", "Event.wait"),
        ("checkout", "Batcher._write"),
        ("signer", "Submitter._ask"),
        ("signer", "Submitter.run"),
        ("worker", "Batcher._write"),
        ("worker", "Worker.run"),
    ],
)
def test_a_process_that_lost_a_part_is_over_at_once(kind: str, part: str, home: Path) -> None:
    with running(kind, home, part) as program:
        program.until_ready()
        program.process.send_signal(signal.SIGUSR1)
        assert program.process.wait(END_SECONDS_MAX) == 1
    assert program.lost() == [part]
    assert program.lines()[-1] | {"timestamp": ""} == {
        "event": "part_ended", "level": "error", "operation": part, "error": "CancelledError",
        "where": [], "timestamp": "",
    }  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", PARTS)
def test_a_process_that_is_asked_to_stop_loses_no_part(kind: str, home: Path) -> None:
    with running(kind, home, "none") as program:
        program.until_ready()
        program.process.terminate()
        assert program.process.wait(END_SECONDS_MAX) == 0, program.lines()
    assert program.errors() == []
    assert program.lines()[-1]["event"] == f"{kind}_stopped"

"""A process whose clock does not go with the database's works on nothing."""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from strongroom.clock import ShiftedClock
from strongroom.config import Settings
from strongroom.database import connect_pool
from strongroom.http.health import Health
from strongroom.work.timekeeper import DIFFERENCE_MAX, ClockDiffers, Timekeeper, ahead
from tests.acceptance.running import LOOK_SECONDS, environment
from tests.integration.conftest import Deployment

READY_SECONDS_MAX = 90
END_SECONDS_MAX = 60
BY = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from strongroom.cli import main
from strongroom.clock import SystemClock

def now(_):
    return datetime.now(UTC) + timedelta(seconds=float(Path(sys.argv[1]).read_text()))

SystemClock.now = now
sys.exit(main(sys.argv[2:]))
"""
"""`strongroom WORDS` on a machine whose clock is so many seconds ahead as a file says."""
MINUTE = timedelta(minutes=1)


class Told:
    """A database whose clock says what it is told, and a clock of ours that does, too."""

    def __init__(self, before: float, theirs: float, after: float) -> None:
        self._ours, self._theirs = iter((before, after)), theirs

    def now(self) -> datetime:
        return datetime.fromtimestamp(next(self._ours), UTC)

    async def fetchval(self, _: str) -> datetime:
        return datetime.fromtimestamp(self._theirs, UTC)


@pytest.mark.parametrize(
    ("before", "theirs", "after", "seconds"),
    [
        (10, 10, 10, 0),
        (10, 13, 16, 0),  # a slow answer, or a process that was stopped meanwhile
        (10, 10, 70, 0),
        (13, 10, 14, 3),
        (10, 20, 12, -8),
    ],
)
async def test_what_question_and_answer_took_is_no_difference(before, theirs, after, seconds):
    told = Told(before, theirs, after)
    assert await ahead(told, told) == timedelta(seconds=seconds)


@pytest.fixture
async def pool(deployment: Deployment) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect_pool(deployment.url("worker"), size_max=1, application="test")
    yield pool
    await pool.close()


@pytest.mark.parametrize("sense", [1, -1])
async def test_a_clock_that_differs_is_noticed_in_either_sense(
    pool: asyncpg.Pool, sense: int
) -> None:
    clock = ShiftedClock(sense * DIFFERENCE_MAX / 2)
    await Timekeeper(pool, clock).look()
    clock.advance(sense * MINUTE)
    with pytest.raises(ClockDiffers, match="ahead of" if sense > 0 else "behind") as caught:
        await Timekeeper(pool, clock).look()
    assert abs(caught.value.ahead - clock.offset) < DIFFERENCE_MAX
    assert "NTP" in str(caught.value)


@pytest.mark.parametrize("offset", [MINUTE, -MINUTE])
async def test_an_api_whose_clock_differs_is_not_ready(
    pool: asyncpg.Pool, offset: timedelta
) -> None:
    clock = ShiftedClock()
    health = Health(pool, clock)
    assert (await health.ready()).status == 200
    clock.advance(offset)
    answer = await health.ready()
    assert answer.status == 503
    assert json.loads(answer.body)["code"] == "not_ready"
    assert "clock" in json.loads(answer.body)["detail"]
    clock.advance(-offset)
    assert (await health.ready()).status == 200


@pytest.fixture
def home(deployment: Deployment) -> Path:
    """Of a worker that can begin."""
    deployment.home.write_settings(Settings(mode="dev"))
    return deployment.home.path


@contextmanager
def worker(home: Path, clock: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", BY, str(clock), "worker", "--home", str(home)],
            stdout=file, stderr=file, env=environment(),
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_worker_whose_clock_differs_does_not_begin(home: Path, tmp_path: Path) -> None:
    (clock := tmp_path / "clock").write_text("-3600")
    with worker(home, clock, output := tmp_path / "worker.log") as process:
        assert process.wait(READY_SECONDS_MAX) != 0
    told = output.read_text()
    assert "the clock of this machine is 3600." in told
    assert "s behind the database's" in told
    assert "worker_ready" not in told
    assert "Traceback" not in told


def test_a_worker_whose_clock_leaps_ends_at_once(home: Path, tmp_path: Path) -> None:
    (clock := tmp_path / "clock").write_text("0")
    with worker(home, clock, output := tmp_path / "worker.log") as process:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while "worker_ready" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline
            time.sleep(LOOK_SECONDS)
        (leapt := tmp_path / "leapt").write_text("90000")
        leapt.rename(clock)
        assert process.wait(END_SECONDS_MAX) == 1
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    found = next(line for line in lines if line["event"] == "clock_differs")
    assert found["milliseconds"] == pytest.approx(90_000_000, abs=2_000)
    assert [line["operation"] for line in lines if line["event"] == "part_ended"] == [
        "Timekeeper.run"
    ]

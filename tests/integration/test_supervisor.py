"""The supervisor, with real processes."""

import asyncio
import itertools
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from strongroom.local.errors import LocalError
from strongroom.local.home import lock_home, prepare_home
from strongroom.local.leftovers import clear_strays
from strongroom.local.probes import printed_line
from strongroom.local.process import MARK, child_environment
from strongroom.local.supervisor import (
    BACKOFF_SECONDS,
    LOG_BYTES_MAX,
    Child,
    Started,
    Supervisor,
)

SOURCE = Path(__file__).resolve().parents[2] / "src"
RUN_SECONDS = 0.15
SLEEPS = "print('ready', flush=True); import time; time.sleep(600)"


def python_child(tmp_path: Path, name: str, code: str, **more: object) -> Child:
    log_file = tmp_path / f"{name}.log"

    async def is_ready(started: Started) -> bool:
        return printed_line(log_file, started.log_offset, "ready")

    return Child(
        name=name,
        argv=[sys.executable, "-c", code],
        log_file=log_file,
        env=child_environment(),
        **({"is_ready": is_ready} | more),  # type: ignore[arg-type]
    )


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until(condition: object, seconds_max: float = 60.0) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def test_killed_child_is_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    async with Supervisor(told.append) as supervisor:
        await supervisor.start(python_child(tmp_path, "api", SLEEPS))
        first = supervisor.pids()["api"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.pids().get("api", first) != first)
        await until(lambda: len(told) == 2)
        assert supervisor.restarts() == {"api": 1}
        second = supervisor.pids()["api"]
        assert "api was killed by SIGKILL, starting it again now" in told[0]
        assert f"api is back (pid {second}" in told[1]
    assert not is_alive(second)


async def test_child_that_ends_by_itself_is_started_again_with_backoff(tmp_path: Path) -> None:
    told: list[str] = []
    starts = tmp_path / "starts"
    code = (
        f"import time; open({str(starts)!r}, 'a').write(f'{{time.time()}}\\n'); "
        f"print('ready', flush=True); time.sleep({RUN_SECONDS})"
    )
    async with Supervisor(told.append) as supervisor:
        await supervisor.start(python_child(tmp_path, "worker", code))
        await until(lambda: supervisor.restarts()["worker"] >= 4)
    times = [float(line) for line in starts.read_text().split()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    # However slow its start is, it ran and was then held back for so long.
    assert pauses[2] > RUN_SECONDS + BACKOFF_SECONDS[2]
    assert "worker ended with exit code 0, starting it again now" in told[0]
    assert any("again in 0.25 s" in line for line in told)


async def test_child_that_never_gets_ready_fails_the_start_with_its_log(tmp_path: Path) -> None:
    async with Supervisor(print) as supervisor:
        with pytest.raises(LocalError, match=r"(?s)api ended with exit code 7.*no such file: x"):
            await supervisor.start(
                python_child(tmp_path, "api", "print('no such file: x'); raise SystemExit(7)")
            )


async def test_child_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    slow = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    async with Supervisor(print) as supervisor:
        with pytest.raises(LocalError, match=r"was not ready within 4 s"):
            await supervisor.start(python_child(tmp_path, "api", slow, ready_seconds_max=4.0))
    assert not is_alive(int((tmp_path / "api.log").read_text()))


async def test_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    child = Child(name="api", argv=["/no/such/program"], log_file=tmp_path / "log", env={})
    async with Supervisor(print) as supervisor:
        with pytest.raises(LocalError, match="/no/such/program"):
            await supervisor.start(child)


async def test_probe_with_a_mistake_fails_the_start(tmp_path: Path) -> None:
    async def broken(started: Started) -> bool:
        raise ZeroDivisionError

    async with Supervisor(print) as supervisor:
        with pytest.raises(ZeroDivisionError):
            await supervisor.start(python_child(tmp_path, "api", SLEEPS, is_ready=broken))


async def test_groups_stop_in_reverse_order(tmp_path: Path) -> None:
    order = tmp_path / "order"

    def noted(name: str) -> Child:
        return python_child(
            tmp_path,
            name,
            "import signal, sys, time\n"
            "def stop(*_):\n"
            f"    time.sleep(0.1); open({str(order)!r}, 'a').write('{name} '); sys.exit(0)\n"
            "signal.signal(signal.SIGTERM, stop)\n"
            "print('ready', flush=True)\n"
            "time.sleep(600)\n",
        )

    told: list[str] = []
    async with Supervisor(told.append) as supervisor:
        await supervisor.start(noted("database"))
        await supervisor.start(noted("api"))
        await supervisor.start(noted("worker"))
        assert list(supervisor.pids()) == ["database", "api", "worker"]
    assert order.read_text().split() == ["worker", "api", "database"]
    assert told == []


async def test_child_that_ignores_the_stop_signal_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
    begun = time.monotonic()
    async with Supervisor(print) as supervisor:
        await supervisor.start(python_child(tmp_path, "api", stubborn, stop_seconds_max=0.3))
        pid = supervisor.pids()["api"]
    assert not is_alive(pid)
    assert time.monotonic() - begun < 9  # a child that says nothing of it is given ten


async def test_second_signal_stops_at_once(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
    begun = time.monotonic()
    async with Supervisor(print) as supervisor:
        await supervisor.start(python_child(tmp_path, "api", stubborn, stop_seconds_max=60))
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, os.kill, os.getpid(), signal.SIGINT)
        loop.call_later(0.4, os.kill, os.getpid(), signal.SIGINT)
        await supervisor.stop_asked.wait()
    assert 0.2 < time.monotonic() - begun < 50


async def test_signal_during_the_start_cancels_it(tmp_path: Path) -> None:
    never = "import time; time.sleep(600)"
    async with Supervisor(print) as supervisor:
        asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGTERM)
        await supervisor.until_stopped(supervisor.start(python_child(tmp_path, "api", never)))
        pid = supervisor.pids()["api"]
    assert not is_alive(pid)


async def test_processes_that_a_dead_child_forked_end_too(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('ready', child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    async with Supervisor(lambda line: None) as supervisor:
        await supervisor.start(python_child(tmp_path, "api", code))
        grandchild = int((tmp_path / "api.log").read_text().split()[1])
        assert is_alive(grandchild)
        os.kill(supervisor.pids()["api"], signal.SIGKILL)
        await until(lambda: not is_alive(grandchild))


async def test_big_log_is_put_aside(tmp_path: Path) -> None:
    log_file = tmp_path / "api.log"
    log_file.write_bytes(b"x" * (LOG_BYTES_MAX + 1))
    async with Supervisor(print) as supervisor:
        await supervisor.start(python_child(tmp_path, "api", SLEEPS))
    assert log_file.read_bytes() == b"ready\n"
    assert (tmp_path / "api.log.1").stat().st_size == LOG_BYTES_MAX + 1
    assert log_file.stat().st_mode & 0o777 == 0o600


async def test_child_gets_no_descriptor_and_its_own_session(tmp_path: Path) -> None:
    lock = lock_home(prepare_home(tmp_path / "home"))
    code = (
        "import os, time\n"
        "print('ready', os.getsid(0) == os.getpid(), sorted(os.listdir('/proc/self/fd')), "
        "flush=True)\ntime.sleep(600)\n"
    )
    async with Supervisor(print) as supervisor:
        await supervisor.start(python_child(tmp_path, "api", code))
    lock.release()
    # 3 is the listing itself.
    assert (tmp_path / "api.log").read_text() == "ready True ['0', '1', '2', '3']\n"


async def test_stray_of_an_earlier_start_is_ended_and_nobody_else(tmp_path: Path) -> None:
    home = prepare_home(tmp_path / "home")
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    stray, other = [
        await asyncio.create_subprocess_exec(*program, env={MARK: str(marked)})
        for marked in (home, f"{home}2")
    ]
    try:
        # Between fork and exec a process still has our environment.
        await until(lambda: str(home).encode() in Path(f"/proc/{stray.pid}/environ").read_bytes())
        assert await asyncio.to_thread(clear_strays, home) == 1
        assert await stray.wait() == -signal.SIGKILL
        assert is_alive(other.pid)
        assert clear_strays(home) == 0
    finally:
        other.kill()
        await other.wait()


async def test_no_child_survives_the_killing_of_the_supervisor(tmp_path: Path) -> None:
    program = tmp_path / "supervise.py"
    program.write_text(
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from strongroom.local.process import child_environment\n"
        "from strongroom.local.supervisor import Child, Supervisor\n"
        "from strongroom.local.home import lock_home, prepare_home\n"
        f"home = prepare_home(Path({str(tmp_path / 'home')!r}))\n"
        "lock = lock_home(home)\n"
        "def child(name):\n"
        f"    return Child(name, [sys.executable, '-c', {SLEEPS!r}], home / 'logs' / name, "
        "child_environment())\n"
        "async def main():\n"
        "    async with Supervisor(print) as supervisor:\n"
        "        await supervisor.start(child('one'), child('two'))\n"
        "        print(*supervisor.pids().values(), flush=True)\n"
        "        await supervisor.stop_asked.wait()\n"
        "asyncio.run(main())\n"
    )
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        stdout=asyncio.subprocess.PIPE,
        env=child_environment() | {"PYTHONPATH": str(SOURCE)},
    )
    assert supervisor.stdout is not None
    pids = [int(word) for word in (await supervisor.stdout.readline()).split()]
    assert len(pids) == 2
    with pytest.raises(LocalError, match=rf"already up on .* \(pid {supervisor.pid}\)"):
        lock_home(tmp_path / "home")

    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not any(is_alive(pid) for pid in pids))
    lock_home(tmp_path / "home").release()

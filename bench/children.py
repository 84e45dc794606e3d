"""Processes that a measurement starts; none of them outlives it."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bench.load import Plan, Result
from strongroom.local.children import api_processes
from strongroom.local.ports import free_ports
from strongroom.local.probes import printed_line
from strongroom.local.process import child_environment, spawn

ROOT: Final = Path(__file__).resolve().parent.parent
API: Final = ("strongroom",)
READY_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 40.0
LOG_CHARACTERS_SHOWN: Final = 3000
_LOOK_SECONDS: Final = 0.02


class Failed(Exception):
    """A process did not do its part; the message holds the end of its log."""


Process = subprocess.Popen[bytes]


@contextlib.contextmanager
def program(
    module: Sequence[str],
    log: Path,
    ready: Callable[[], bool] | None = None,
    extra: dict[str, str] | None = None,
) -> Iterator[Process]:
    """`python -m MODULE…` from the repository's root, ready; stopped by SIGTERM at the end.

    Raises Failed when it ends early or is not ready in time.
    """
    with log.open("ab") as output:
        process = spawn(
            [sys.executable, "-m", *module],
            env=child_environment() | {"PYTHONUNBUFFERED": "1"} | (extra or {}),
            output=output.fileno(),
            cwd=ROOT,
        )
    try:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while ready is not None and not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{' '.join(module[:2])} did not start:\n{tail(log)}")
            time.sleep(_LOOK_SECONDS)
        yield process
    finally:
        stop(process, signal.SIGTERM, STOP_SECONDS_MAX)


def stop(process: Process, number: signal.Signals, seconds_max: float) -> None:
    """Asks the process to end, and kills it when it does not."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(seconds_max)
        except BaseException as problem:
            process.kill()
            process.wait()
            if not isinstance(problem, subprocess.TimeoutExpired):
                raise


def tail(log: Path) -> str:
    """The end of a log."""
    return log.read_text("utf-8", "replace")[-LOG_CHARACTERS_SHOWN:]


@contextlib.contextmanager
def api(home: Path, module: Sequence[str] = API) -> Iterator[tuple[list[Process], int]]:
    """As many API processes as `strongroom up` starts, with the port that they share."""
    port = free_ports()
    arguments = [*module, "api", "--home", str(home), "--port", str(port)]
    with contextlib.ExitStack() as stack:
        processes = []
        for number in range(api_processes()):
            log = home / "logs" / f"api-{number + 1}.log"
            said = log.stat().st_size if log.exists() else 0  # by one that ran before
            ready = partial(_is_serving, log, said)
            processes.append(stack.enter_context(program(arguments, log, ready)))
        yield processes, port


def _is_serving(log: Path, said: int) -> bool:
    return log.exists() and b"api_ready" in log.read_bytes()[said:]


@contextlib.contextmanager
def worker(home: Path, module: Sequence[str] = ()) -> Iterator[Process]:
    """`strongroom worker`, or another program that logs `worker_ready`."""
    log = home / "logs" / "worker.log"
    command = module or ["strongroom", "worker", "--home", str(home)]
    with program(command, log, lambda: log.exists() and "worker_ready" in tail(log)) as process:
        yield process


@contextlib.contextmanager
def signer(home: Path) -> Iterator[Process]:
    """`strongroom signer`."""
    log = home / "logs" / "signer.log"
    command = ["strongroom", "signer", "--home", str(home)]
    with program(command, log, lambda: log.exists() and "signer_ready" in tail(log)) as process:
        yield process


@contextlib.contextmanager
def stand_in(home: Path, port: int) -> Iterator[Process]:
    """Stripe's stand-in."""
    log = home / "logs" / "stripe.log"
    keys = home / "secrets"
    arguments = [
        "strongroom_sandbox.stripe",
        *("--port", str(port), "--data", str(home / "stripe")),
        *("--secret-key-file", str(keys / "stripe_key")),
        *("--knob-token-file", str(keys / "knob_token")),
    ]
    with program(arguments, log, lambda: printed_line(log, 0, "ready ")) as process:
        yield process


def load(home: Path, plan: Plan) -> Result:
    """Runs the load generator in a process of its own. Raises Failed."""
    plan_file, result_file = home / "plan.json", home / "result.json"
    plan_file.write_bytes(msgspec.json.encode(plan))
    result_file.unlink(missing_ok=True)
    log = home / "logs" / "load.log"
    with program(["bench.load", str(plan_file), str(result_file)], log) as process:
        process.wait(plan.warm_up_seconds + plan.seconds + READY_SECONDS_MAX * 2)
    if process.returncode != 0 or not result_file.exists():
        raise Failed(f"the load generator ended with {process.returncode}:\n{tail(log)}")
    return msgspec.json.decode(result_file.read_bytes(), type=Result)

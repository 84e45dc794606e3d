"""Measurements of the whole: the real SDK and the stand-in, memory, and a warm start."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from bench.audit import audit
from bench.children import ROOT, Failed, api, load, stand_in, stop, worker
from bench.cluster import PLACE, Server, query
from bench.load import Plan
from bench.measures import CONNECTIONS, Lengths, Outcome, middle_rate
from bench.process_times import pss_mb
from strongroom.local import postgres
from strongroom.local.home import keep_secret
from strongroom.local.ports import LOOPBACK, free_ports
from strongroom.local.process import child_environment

SDK_SECONDS_MAX: Final = 90.0
START_SECONDS_MAX: Final = 120.0
LOOK_SECONDS: Final = 0.2
PLAIN_SECONDS: Final = 3.0


def stripe_sdk(server: Server, lengths: Lengths) -> Outcome:
    """Real API, worker, SDK and stand-in; afterwards the memory of API and worker."""
    count = lengths.sdk_payments
    port = free_ports()
    with server.deployment(stripe_url=f"http://{LOOPBACK}:{port}") as deployment:
        home = deployment.home
        keep_secret(home / "secrets" / "knob_token")
        with stand_in(home, port), api(home) as (serving, api_port):
            plan = Plan(
                host=LOOPBACK,
                port=api_port,
                api_key_file=str(deployment.api_key_file),
                connections=CONNECTIONS,
                warm_up_seconds=0.5,
                seconds=PLAIN_SECONDS,
                instrument=False,
            )
            plain = load(home, plan)
            plan.requests_max, plan.instrument, plan.seconds = count, True, SDK_SECONDS_MAX
            charged = load(home, plan)
            with worker(home) as working:
                seen = _watch_settled(deployment.owner_url, count)
                memory = pss_mb([*(one.pid for one in serving), working.pid])
                details: dict[str, object] = {
                    "payments": count,
                    "pss_api_mb": round(pss_mb([one.pid for one in serving]), 1),
                    "pss_worker_mb": round(pss_mb([working.pid]), 1),
                    "requests_before": plain.accepted + charged.accepted,
                }
        total = plain.accepted + charged.accepted
        wrong = audit(deployment, total, settled=count)
        wrong += [f"{r.failed} failed: {r.first_failure}" for r in (plain, charged) if r.failed]
    return Outcome({"stripe_sdk_pps": middle_rate(seen, count), "pss_mb": memory}, details, wrong)


def _watch_settled(owner_url: str, count: int) -> list[tuple[float, int]]:
    """Pairs of time and succeeded payments, until all have or the time is over."""
    seen: list[tuple[float, int]] = []
    deadline = time.monotonic() + SDK_SECONDS_MAX
    while time.monotonic() < deadline:
        statement = "SELECT count(*) FROM attempts WHERE state = 'approved'"
        total = int(query(owner_url, statement)[0][0])
        seen.append((time.monotonic(), total))
        if total >= count:
            break
        time.sleep(LOOK_SECONDS)
    return seen


def start(lengths: Lengths) -> Outcome:
    """`strongroom up` on a home that has run before, until its `ready` line."""
    home = PLACE / "home-up"
    try:
        with up(home) as first:
            cold = first
        warm = []
        for _ in range(lengths.starts):
            with up(home) as seconds:
                warm.append(seconds)
    finally:
        postgres.remove(home)
    return Outcome(
        {"start_seconds": median(warm)},
        {"first_start_seconds": round(cold, 2), "warm": [round(each, 2) for each in warm]},
    )


@contextlib.contextmanager
def up(home: Path) -> Iterator[float]:
    """Runs `strongroom up`; yields the seconds it took to print `ready`."""
    log = PLACE / "logs" / "up.log"
    began = time.monotonic()
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "strongroom", "up", "--home", str(home), "--port", "0"],
            cwd=ROOT,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        _await_ready(process, log)
        yield time.monotonic() - began
    finally:
        stop(process, signal.SIGTERM, START_SECONDS_MAX)


def _await_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    said, output = b"", process.stdout
    while output is not None and time.monotonic() < deadline:
        if not select.select([output], [], [], 1.0)[0]:
            continue
        part = os.read(output.fileno(), 65536)
        said += part
        if b"\nready {" in b"\n" + said:
            return
        if not part:
            break
    raise Failed(f"`strongroom up` printed no ready line:\n{log.read_text()[-2000:]}")

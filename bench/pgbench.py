"""The reference: PostgreSQL's own pgbench with the same writes, one payment a transaction."""

import re
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.children import Failed
from bench.cluster import Deployment, Server, login_environment, query
from bench.process_times import cpu_seconds, machine_seconds
from strongroom.local import binaries

HERE: Final = Path(__file__).resolve().parent
FORMS: Final = ("plain", "plain_function", "cte", "function")
CLIENTS: Final = (16, 64)
THREADS: Final = 2
GRACE_SECONDS: Final = 60.0
# As the API's own connections; the entity is set once a session, not once a transaction.
SETTINGS: Final = {
    "search_path": "strongroom,directory",
    "enable_seqscan": "off",
    "jit": "off",
}


@dataclass(frozen=True)
class Speed:
    """Transactions a second, and CPU microseconds of each."""

    tps: float
    postgres_us: float
    pgbench_us: float
    others_cores: float


def sweep(server: Server, deployment: Deployment, seconds: float) -> dict[str, Speed]:
    """Speed by form and clients. Raises Failed when a transaction failed or rows lack."""
    for called in ("function.sql", "plain_function.sql"):
        query(deployment.owner_url, (HERE / called).read_text("utf-8"))
    found: dict[str, Speed] = {}
    for form in FORMS:
        for clients in CLIENTS:
            server.empty(deployment)
            found[f"{form}_{clients}"] = run(server, deployment, form, clients, seconds)
    return found


def run(server: Server, deployment: Deployment, form: str, clients: int, seconds: float) -> Speed:
    """One run."""
    options = SETTINGS | {"strongroom.legal_entities": str(deployment.legal_entity)}
    environment = login_environment(deployment.api_login_url) | {
        "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in options.items()),
        "LC_ALL": "C",
        "PATH": "/usr/bin:/bin",
    }
    postgres, own, machine = cpu_seconds(server.pid), _children_cpu(), machine_seconds()
    began = time.monotonic()
    done = subprocess.run(
        [
            str(binaries.locate() / "pgbench"),
            *("--no-vacuum", "--protocol", "prepared", "--file", str(HERE / f"accept_{form}.sql")),
            *("--client", str(clients), "--jobs", str(THREADS), "--time", str(round(seconds))),
            *("-D", f"entity={deployment.legal_entity}"),
            *("-D", f"account={deployment.gateway_account}"),
            *("-D", f"bucket={deployment.bucket}"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds + GRACE_SECONDS,
        check=False,
    )
    took = time.monotonic() - began
    postgres, own = cpu_seconds(server.pid) - postgres, _children_cpu() - own
    machine = machine_seconds() - machine
    rate = re.search(r"tps = ([0-9.]+) ", done.stdout)
    count = re.search(r"transactions actually processed: (\d+)", done.stdout)
    failed = re.search(r"failed transactions: (\d+)", done.stdout)
    if done.returncode != 0 or not rate or not count or (failed and failed[1] != "0"):
        raise Failed(f"pgbench ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    rows = query(deployment.owner_url, "SELECT count(*) FROM payments")[0][0]
    if rows != int(count[1]):
        raise Failed(f"pgbench made {count[1]} transactions, but there are {rows} payments")
    return Speed(
        tps=float(rate[1]),
        postgres_us=postgres * 1e6 / rows,
        pgbench_us=own * 1e6 / rows,
        others_cores=max(0.0, (machine - postgres - own) / took),
    )


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

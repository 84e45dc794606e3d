"""The children of `strongroom up`: what each is started with and when it is ready."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from strongroom.local import postgres
from strongroom.local.leftovers import clear_leftovers
from strongroom.local.ports import LOOPBACK
from strongroom.local.postgres import Cluster
from strongroom.local.probes import answers_ok, printed_line
from strongroom.local.process import MARK, child_environment
from strongroom.local.supervisor import Child, Started

# After a crash PostgreSQL replays up to max_wal_size of log before it is ready.
POSTGRES_READY_SECONDS_MAX = 300.0
POSTGRES_STOP_SECONDS_MAX = 30.0
PROGRAM_READY_SECONDS_MAX = 30.0
API_PROCESSES_MAX = 2
MERCHANT_ACCOUNTS = {
    currency: f"example_{currency.lower()}" for currency in ("EUR", "USD", "JPY", "KWD", "ISK")
}
"""By currency, the merchant accounts of Braintree's stand-in; none is in pounds, on purpose."""
KEYS_PREFIX = "strongroom_dev:standinpublickey:"
CHECKOUT = "checkout"
SIGNER = "signer"
PROGRAM_STOP_SECONDS_MAX = 35.0  # a request may wait 30 s for its payment


def postgres_child(cluster: Cluster) -> Child:
    """The embedded database. Processes of a dead one are cleared away before each start."""

    async def is_ready(_: Started) -> bool:
        return await postgres.is_ready(cluster)

    async def before_start() -> int:
        return await clear_leftovers(cluster)

    return Child(
        name="postgres",
        argv=postgres.command(cluster),
        log_file=cluster.home / "logs" / "postgres.log",
        env=postgres.environment(),
        cwd=cluster.data_dir,
        run_as=cluster.run_as,
        is_ready=is_ready,
        before_start=before_start,
        ready_seconds_max=POSTGRES_READY_SECONDS_MAX,
        stop_signal=postgres.STOP_SIGNAL,
        stop_seconds_max=POSTGRES_STOP_SECONDS_MAX,
        death_signal=postgres.DEATH_SIGNAL,
    )


def stand_in_child(home: Path, port: int) -> Child:
    """Stripe's stand-in on 127.0.0.1:`port`; ready when it prints a line `ready …`."""
    log_file = home / "logs" / "stripe.log"

    async def is_ready(started: Started) -> bool:
        return printed_line(log_file, started.log_offset, "ready ")

    return _program(
        home,
        "stripe",
        [
            "strongroom_sandbox.stripe",
            *("--port", str(port), "--data", str(home / "stripe")),
            *("--secret-key-file", str(stripe_key_file(home))),
            *("--knob-token-file", str(knob_token_file(home))),
            *("--webhooks-file", str(webhooks_file(home))),
            *("--publishable-key-file", str(publishable_key_file(home))),
        ],
        is_ready=is_ready,
    )


def braintree_child(home: Path, port: int) -> Child:
    """Braintree's stand-in on 127.0.0.1:`port`; ready when it prints a line `ready …`."""
    log_file = home / "logs" / "braintree.log"

    async def is_ready(started: Started) -> bool:
        return printed_line(log_file, started.log_offset, "ready ")

    return _program(
        home,
        "braintree",
        [
            "strongroom_sandbox.braintree",
            *("--port", str(port), "--data", str(home / "braintree")),
            *("--credentials-file", str(braintree_keys_file(home))),
            *("--knob-token-file", str(knob_token_file(home))),
            *("--webhooks-file", str(braintree_webhooks_file(home))),
            *(f"--merchant-account={name}={cur}" for cur, name in MERCHANT_ACCOUNTS.items()),
        ],
        is_ready=is_ready,
    )


def api_processes() -> int:
    """How many API processes share the port: their event loops use a core each."""
    return min(API_PROCESSES_MAX, os.cpu_count() or 1)


def api_name(number: int) -> str:
    """The name of API process `number` (from 1)."""
    return "api" if number == 1 else f"api-{number}"


def worker_name(number: int, count: int) -> str:
    """The name of worker `number` (from 1) of `count`."""
    return "worker" if count == 1 else f"worker-{number}"


def api_child(home: Path, port: int, number: int, metrics_port: int) -> Child:
    """API process `number` (from 1) on 127.0.0.1:`port`; ready when GET /readyz says 200.

    Several share the port; the kernel spreads the connections over them. Each tells of itself on a
    port of its own.
    """

    async def is_ready(_: Started) -> bool:
        return await answers_ok(port, "/readyz")

    return _program(
        home,
        api_name(number),
        [
            *("strongroom", "api", "--home", str(home), "--port", str(port)),
            *("--metrics-port", str(metrics_port)),
        ],
        is_ready=is_ready,
    )


def worker_child(home: Path, number: int, count: int, metrics_port: int) -> Child:
    """Worker `number` (from 1) of `count`; nobody waits for it, so it is ready when it runs."""
    arguments = ["--home", str(home), "--metrics-port", str(metrics_port)]
    return _program(home, worker_name(number, count), ["strongroom", "worker", *arguments])


def signer_child(home: Path, metrics_port: int) -> Child:
    """The signer of the logs; nobody waits for it, so it is ready when it runs."""
    arguments = ["--home", str(home), "--metrics-port", str(metrics_port)]
    return _program(home, SIGNER, ["strongroom", "signer", *arguments])


def checkout_child(home: Path, port: int, metrics_port: int) -> Child:
    """The page for customers on 127.0.0.1:`port`; ready when GET /readyz says 200."""

    async def is_ready(_: Started) -> bool:
        return await answers_ok(port, "/readyz")

    return _program(
        home,
        CHECKOUT,
        [
            *("strongroom", "checkout", "--home", str(home), "--port", str(port)),
            *("--metrics-port", str(metrics_port)),
        ],
        is_ready=is_ready,
    )


def stripe_key_file(home: Path) -> Path:
    """Where the secret API key stands that the stand-in accepts."""
    return home / "secrets" / "stripe_key"


def braintree_keys_file(home: Path) -> Path:
    """Where merchant id, public and private key stand that Braintree's stand-in accepts."""
    return home / "secrets" / "braintree_keys"


def publishable_key_file(home: Path) -> Path:
    """Where the key stands that a browser shows the stand-in."""
    return home / "secrets" / "stripe_publishable_key"


def knob_token_file(home: Path) -> Path:
    """Where the token stands that turns the stand-ins' fault knobs."""
    return home / "secrets" / "knob_token"


def webhook_secret_file(home: Path) -> Path:
    """Where the secret stands that the stand-in signs its webhooks with."""
    return home / "secrets" / "stripe_webhook_secret"


def webhooks_file(home: Path) -> Path:
    """Where the stand-in is told to send its webhooks."""
    return home / "run" / "stripe_webhooks.json"


def braintree_webhooks_file(home: Path) -> Path:
    """Where Braintree's stand-in is told to send its webhooks."""
    return home / "run" / "braintree_webhooks.json"


def checkout_url(port: int) -> str:
    """The origin of the page: a name of its own, for browsers keep cookies by name."""
    return f"http://checkout.localhost:{port}"


def http_url(port: int) -> str:
    """The origin of a server on loopback."""
    return f"http://{LOOPBACK}:{port}"


def _program(
    home: Path,
    name: str,
    module: Sequence[str],
    is_ready: Callable[[Started], Awaitable[bool]] | None = None,
) -> Child:
    return Child(
        name=name,
        argv=[sys.executable, "-m", *module],
        log_file=home / "logs" / f"{name}.log",
        env=_python_environment(home),
        # `-m` looks for modules in the working directory first: only ours may be there.
        cwd=home,
        is_ready=is_ready,
        ready_seconds_max=PROGRAM_READY_SECONDS_MAX,
        stop_signal=signal.SIGTERM,
        stop_seconds_max=PROGRAM_STOP_SECONDS_MAX,
        death_signal=signal.SIGKILL,
    )


def _python_environment(home: Path) -> dict[str, str]:
    environment = child_environment() | {"PYTHONUNBUFFERED": "1", MARK: str(home)}
    if path := environment.get("PYTHONPATH"):
        # Its relative parts were meant from where we were started.
        parts = [str(Path(part).absolute()) for part in path.split(os.pathsep) if part]
        environment["PYTHONPATH"] = os.pathsep.join(parts)
    return environment

"""`strongroom up`: everything that a first payment needs, on this machine, by one command."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.local import children, postgres
from strongroom.local.errors import LocalError
from strongroom.local.home import keep_secret, lock_home, prepare_home, write_atomically
from strongroom.local.leftovers import clear_strays
from strongroom.local.ports import LOOPBACK, free_ports, port_is_free
from strongroom.local.postgres import Cluster
from strongroom.local.ready_screen import Running, ready_line, screen
from strongroom.local.supervisor import Child, Supervisor
from strongroom.local.targets import write_targets, write_webhooks

if TYPE_CHECKING:
    from strongroom.local.first_entity import DevDeployment

PORT_HIGHEST = 65_532  # the next three are the stand-ins' and the page's
CHECKOUT_OFFSET = 3
WORKERS_MAX = 16
_EXIT_OK = 0
_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130
_VERSION_SECONDS_MAX = 5
_SPAWN_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What to start.

    `port` is the API's on 127.0.0.1, the stand-ins for Stripe and Braintree take the next two, the
    page for customers the third; 0 chooses free ones. `database_url` names an owner's login on an
    existing server in place of the embedded one. `quiet` leaves only the `ready` line on stdout and
    errors on stderr.
    """

    home: Path
    port: int = 8080
    database_url: str | None = None
    workers: int = 1
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class _Progress:
    """Lines for the person at the terminal. A closed terminal must not stop the supervision."""

    quiet: bool

    def tell(self, line: str) -> None:
        if not self.quiet:
            with contextlib.suppress(OSError, ValueError):
                print(f"  {line}", file=sys.stderr, flush=True)

    def done(self, what: str, seconds: float) -> None:
        self.tell(f"{what:<36}{seconds:5.1f} s")

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.done(what, time.monotonic() - begun)

    async def timing(self, what: str, work: Awaitable[None]) -> None:
        with self.timed(what):
            await work


def up(options: UpOptions) -> int:
    """Start everything, print how to pay, keep it running until a signal; returns an exit status.

    0: stopped as asked. 1: something stood in the way, said on stderr. 130: Ctrl-C before the
    first child ran. Must be called on the main thread.
    """
    progress = _Progress(options.quiet)
    try:
        home = prepare_home(options.home)
        lock = lock_home(home)
        try:
            # Before the ports are looked at: a stray of an earlier start may hold them.
            if strays := clear_strays(home):
                progress.tell(f"Ended {strays} processes that an earlier start had left")
            ports = _ports(options)
            cluster = None if options.database_url else _prepare_postgres(home, progress)
            asyncio.run(_supervise(options, home, cluster, ports, progress))
        finally:
            lock.release()
    except LocalError as problem:
        print(f"strongroom: {problem}", file=sys.stderr, flush=True)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    return _EXIT_OK


@dataclass(frozen=True, slots=True)
class _Ports:
    """Where everything listens; `metrics` by the name of the process that tells of itself there."""

    api: int
    stripe: int
    braintree: int
    checkout: int
    metrics: dict[str, int]


def _ports(options: UpOptions) -> _Ports:
    if not 0 <= options.port <= PORT_HIGHEST:
        raise LocalError(f"--port must be between 0 and {PORT_HIGHEST}")
    if not 1 <= options.workers <= WORKERS_MAX:
        raise LocalError(f"--workers must be between 1 and {WORKERS_MAX}")
    count = options.workers
    telling = [
        *(children.api_name(number + 1) for number in range(children.api_processes())),
        *(children.worker_name(number + 1, count) for number in range(count)),
        children.CHECKOUT,
        children.SIGNER,
    ]
    # Where metrics are served is told, never agreed on beforehand, so any ports will do.
    if options.port == 0:
        first = free_ports(4 + len(telling))
        return _Ports(first, first + 1, first + 2, first + 3, _numbered(telling, first + 4))
    checkout = options.port + CHECKOUT_OFFSET
    for port, owner in (
        (options.port, "the API"),
        (options.port + 1, "the Stripe stand-in"),
        (options.port + 2, "the Braintree stand-in"),
        (checkout, "the checkout page"),
    ):
        if not port_is_free(port):
            raise LocalError(
                f"port {port} of {LOOPBACK}, meant for {owner}, is taken or not allowed: "
                "choose another by --port N (N to N+3 are used), or --port 0 for any"
            )
    metrics = _numbered(telling, free_ports(len(telling)))
    return _Ports(options.port, options.port + 1, options.port + 2, checkout, metrics)


def _numbered(names: list[str], first: int) -> dict[str, int]:
    return dict(zip(names, range(first, first + len(names)), strict=True))


def _prepare_postgres(home: Path, progress: _Progress) -> Cluster:
    # Before the event loop runs: here Ctrl-C still means the end.
    begun = time.monotonic()
    is_new = not (home / "postgres").exists()
    cluster = postgres.prepare(home)
    if is_new:
        progress.done("Database files created", time.monotonic() - begun)
    return cluster


async def _supervise(
    options: UpOptions,
    home: Path,
    cluster: Cluster | None,
    ports: _Ports,
    progress: _Progress,
) -> None:
    async with Supervisor(progress.tell) as supervisor:
        await supervisor.until_stopped(
            _start_all(supervisor, options, home, cluster, ports, progress)
        )
        progress.tell("Stopping (Ctrl-C once more: at once)")
    progress.tell("Stopped")


async def _start_all(
    supervisor: Supervisor,
    options: UpOptions,
    home: Path,
    cluster: Cluster | None,
    ports: _Ports,
    progress: _Progress,
) -> None:
    begun = time.monotonic()
    publishable_key, knob_token = _keep_secrets(home)
    # The stand-ins start beside everything else: nothing needs them before the worker.
    stand_in = asyncio.create_task(
        progress.timing(
            "Stand-ins started",
            supervisor.start(
                children.stand_in_child(home, ports.stripe),
                children.braintree_child(home, ports.braintree),
            ),
        )
    )
    # A failure of something else comes first, and is the one to be told.
    stand_in.add_done_callback(lambda task: task.cancelled() or task.exception())
    database = asyncio.create_task(_start_database(supervisor, cluster, progress))
    await asyncio.sleep(_SPAWN_SECONDS)
    from strongroom.local.first_entity import prepare_dev  # late, while both start

    await database
    owner_url = options.database_url or postgres.url(_given(cluster))
    postgres_url_file = home / "secrets" / "postgres_url"  # for tools: its port changes
    write_atomically(postgres_url_file, owner_url + "\n")
    with progress.timed("Schema, roles and keys ready"), _plain_refusals(options.database_url):
        deployment = await prepare_dev(
            home,
            owner_url,
            children.http_url(ports.stripe),
            children.http_url(ports.api),
            braintree_url=children.http_url(ports.braintree),
            checkout_url=children.checkout_url(ports.checkout),
            publishable_key=publishable_key,
        )
    _write_webhooks(home, f"{children.http_url(ports.api)}/webhooks", deployment)
    await asyncio.gather(
        stand_in,
        progress.timing(
            "API, worker and page started",
            supervisor.start(*_processes(home, ports, options.workers)),
        ),
    )
    progress.done("Ready", time.monotonic() - begun)
    _print_ready(
        Running(
            home=home,
            api_url=children.http_url(ports.api),
            api_key=deployment.api_key,
            api_key_file=deployment.api_key_file,
            legal_entity=deployment.legal_entity,
            stripe_url=children.http_url(ports.stripe),
            braintree_url=children.http_url(ports.braintree),
            checkout_url=children.checkout_url(ports.checkout),
            knob_token=knob_token,
            postgres_url_file=postgres_url_file,
            pids=supervisor.pids() | {"supervisor": os.getpid()},
            metrics_urls=_metrics_urls(home, ports),
        ),
        options.quiet,
    )


def _keep_secrets(home: Path) -> tuple[str, str]:
    """See to it that the stand-ins have theirs; returns the publishable key, the knobs' token."""
    keep_secret(children.stripe_key_file(home), prefix="sk_test_")
    keep_secret(children.webhook_secret_file(home), prefix="whsec_")
    keep_secret(children.braintree_keys_file(home), prefix=children.KEYS_PREFIX)
    publishable_key = keep_secret(children.publishable_key_file(home), prefix="pk_test_")
    return publishable_key, keep_secret(children.knob_token_file(home))


def _write_webhooks(home: Path, url: str, deployment: "DevDeployment") -> None:
    stripe, braintree = deployment.gateway_account, deployment.braintree_account
    secret_file = children.webhook_secret_file(home)
    write_webhooks(children.webhooks_file(home), f"{url}/stripe/{stripe}", secret_file)
    if braintree is not None:
        file = children.braintree_webhooks_file(home)
        write_webhooks(file, f"{url}/braintree/{braintree}", None)


def _metrics_urls(home: Path, ports: _Ports) -> dict[str, str]:
    """By process, where it tells of itself; nowhere, when the settings say so."""
    from strongroom.config import Home

    if not Home(home).settings().telemetry:
        return {}
    return {name: children.http_url(port) + "/metrics" for name, port in ports.metrics.items()}


def _processes(home: Path, ports: _Ports, workers: int) -> list[Child]:
    """The API's processes and the workers; their metrics are listed in a file for Prometheus."""
    write_targets(home, ports.metrics)
    return [
        *(
            children.api_child(home, ports.api, number, ports.metrics[children.api_name(number)])
            for number in range(1, children.api_processes() + 1)
        ),
        *(
            children.worker_child(
                home, number, workers, ports.metrics[children.worker_name(number, workers)]
            )
            for number in range(1, workers + 1)
        ),
        children.checkout_child(home, ports.checkout, ports.metrics[children.CHECKOUT]),
        children.signer_child(home, ports.metrics[children.SIGNER]),
    ]


async def _start_database(
    supervisor: Supervisor, cluster: Cluster | None, progress: _Progress
) -> None:
    if cluster is None:
        return
    begun = time.monotonic()
    starting = asyncio.create_task(supervisor.start(children.postgres_child(cluster)))
    await asyncio.sleep(0)
    version = _version(cluster)
    await starting
    progress.done(f"{version} started", time.monotonic() - begun)


def _version(cluster: Cluster) -> str:
    """`PostgreSQL 18.4`, as the program itself says it."""
    argv = [str(cluster.bin_dir / "postgres"), "--version"]
    try:
        said = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS_MAX,
            check=True,
            env=postgres.environment(),
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "PostgreSQL"
    return f"PostgreSQL {said.split()[-1]}"


@contextlib.contextmanager
def _plain_refusals(database_url: str | None) -> Iterator[None]:
    """Says in one line why a database that was named to us cannot be used."""
    import asyncpg

    try:
        yield
    except (
        OSError,
        asyncpg.ClientConfigurationError,
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientPrivilegeError,
    ) as problem:
        if database_url is None:
            raise
        raise LocalError(
            f"the database of --database-url cannot be used: {problem}. It wants an owner's login "
            "that may create databases and roles"
        ) from problem


def _given(cluster: Cluster | None) -> Cluster:
    if cluster is None:
        raise LocalError("there is neither an embedded database nor a --database-url")
    return cluster


def _print_ready(running: Running, quiet: bool) -> None:
    with contextlib.suppress(BrokenPipeError):
        if not quiet:
            print(screen(running))
        print(ready_line(running), flush=True)

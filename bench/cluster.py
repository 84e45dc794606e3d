"""The PostgreSQL that is measured on, and deployments on it: each a fresh, migrated database."""

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import msgspec

from bench.children import ROOT, Failed, stop
from strongroom.config import Home
from strongroom.ids import bucket_of, from_text
from strongroom.local import postgres
from strongroom.local.errors import LocalError
from strongroom.local.first_entity import prepare_dev
from strongroom.local.home import keep_secret, lock_home, prepare_home
from strongroom.local.leftovers import clear_leftovers
from strongroom.local.process import spawn
from strongroom.setup import KEYS_SUFFIX

PLACE: Final = ROOT / ".strongroom-bench"
START_SECONDS_MAX: Final = 60
STOP_SECONDS_MAX: Final = 60
SYNC_TRIES: Final = 100
DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")
TABLES: Final = "payments, idempotency_keys, merchant_references, attempts, jobs, events, texts"


@dataclass(frozen=True)
class Deployment:
    """A home and a database of one legal entity; `api_login` is the role the API works as."""

    home: Path
    owner_url: str
    api_login_url: str
    api_key_file: Path
    legal_entity: UUID
    gateway_account: UUID

    @property
    def bucket(self) -> int:
        return bucket_of(self.legal_entity)


@dataclass
class Server:
    """A running PostgreSQL; `pid` is its postmaster."""

    cluster: postgres.Cluster
    pid: int
    made: int = 0

    def url(self, database: str = "postgres") -> str:
        """The superuser's."""
        return postgres.url(self.cluster, database)

    @contextlib.contextmanager
    def deployment(
        self,
        *,
        stripe_url: str = "http://127.0.0.1:9",
        accept_writers: int | None = None,
        accept_batch_max: int | None = None,
        telemetry: bool = True,
    ) -> Iterator[Deployment]:
        """A fresh deployment; its database goes afterwards, and its pages are written out."""
        self.made += 1
        database = f"bench_{self.made}"
        home = prepare_home(PLACE / f"home-{self.made}")
        keep_secret(home / "secrets" / "stripe_key", prefix="sk_test_")
        keep_secret(home / "secrets" / "stripe_webhook_secret", prefix="whsec_")
        made = asyncio.run(
            prepare_dev(home, self.url(database), stripe_url, "http://127.0.0.1:8080")
        )
        settings = msgspec.structs.replace(Home(home).settings(), telemetry=telemetry)
        if accept_writers is not None:
            settings = msgspec.structs.replace(settings, accept_writers=accept_writers)
        if accept_batch_max is not None:
            settings = msgspec.structs.replace(settings, accept_batch_max=accept_batch_max)
        Home(home).write_settings(settings)
        entity = from_text("ent", made.legal_entity)
        owner_url = self.url(database)
        account = query(owner_url, "SELECT gateway_account_id FROM strongroom.gateway_accounts")[0][
            "gateway_account_id"
        ]
        self.calm(database)
        try:
            yield Deployment(
                home=home,
                owner_url=owner_url,
                api_login_url=Home(home).secret("database_api_url"),
                api_key_file=made.api_key_file,
                legal_entity=entity,
                gateway_account=account,
            )
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                query(self.url(), f"DROP DATABASE {database} WITH (FORCE)")
                query(self.url(), f"DROP DATABASE {database}{KEYS_SUFFIX} WITH (FORCE)")
                query(self.url(), "CHECKPOINT")
            shutil.rmtree(home, ignore_errors=True)

    def calm(self, database: str) -> None:
        """Statistics, a vacuum and a checkpoint, so that what comes next pays for nothing."""
        query(self.url(database), "VACUUM ANALYZE")
        query(self.url(database), "CHECKPOINT")

    def empty(self, deployment: Deployment) -> None:
        """No payments any more, and nothing left to write."""
        query(deployment.owner_url, f"TRUNCATE {TABLES}")
        query(deployment.owner_url, "CHECKPOINT")

    def settings(self) -> dict[str, str]:
        """Version and the settings that durability hangs on, as the server shows them."""
        shown = {name: str(query(self.url(), f"SHOW {name}")[0][0]) for name in DURABLE}
        shown["postgresql"] = str(query(self.url(), "SHOW server_version")[0][0]).split()[0]
        return shown


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Starts a server on new files; ends it and deletes them afterwards.

    Raises Failed when another bench runs, LocalError when the server cannot be prepared.
    """
    home = prepare_home(PLACE)
    try:
        lock = lock_home(home)
    except LocalError as taken:
        raise Failed("another bench runs in this clone: wait until it has ended") from taken
    try:
        if (home / "postgres").exists():  # of a bench that was killed
            asyncio.run(clear_leftovers(postgres.prepare(home)))
        _remove_all(home)
        cluster = postgres.prepare(home)
        log = home / "logs" / "postgres.log"
        with log.open("wb") as output:
            process = spawn(
                postgres.command(cluster),
                env=postgres.environment(),
                output=output.fileno(),
                cwd=cluster.data_dir,
                run_as=cluster.run_as,
                death_signal=postgres.DEATH_SIGNAL,
            )
        try:
            deadline = time.monotonic() + START_SECONDS_MAX
            while not asyncio.run(postgres.is_ready(cluster)):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
                time.sleep(0.02)
            yield Server(cluster, process.pid)
        finally:
            stop(process, postgres.STOP_SIGNAL, STOP_SECONDS_MAX)
            _remove_all(home)
    finally:
        lock.release()


def _remove_all(home: Path) -> None:
    postgres.remove(home)
    for old in home.glob("home-*"):
        postgres.remove(old)
        shutil.rmtree(old, ignore_errors=True)


def query(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Runs one statement on a connection of its own."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(
            url, timeout=20, server_settings={"search_path": "strongroom, directory"}
        )
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    return asyncio.run(run())


def login_environment(url: str) -> dict[str, str]:
    """What libpq's programs read in place of a URL on their command line."""
    parts = urlsplit(url)
    return {
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": parts.username or "",
        "PGPASSWORD": parts.password or "",
        "PGDATABASE": parts.path.lstrip("/"),
    }


def sync_us() -> float:
    """Median microseconds of a write of 8 KiB with fdatasync, beside the database's files."""
    file = PLACE / f"sync-{secrets.token_hex(4)}"
    block, took = os.urandom(8192), []
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(SYNC_TRIES):
            began = time.perf_counter()
            os.pwrite(descriptor, block, 0)
            os.fdatasync(descriptor)
            took.append((time.perf_counter() - began) * 1e6)
    finally:
        os.close(descriptor)
        file.unlink()
    return sorted(took)[len(took) // 2]

"""Fixtures for all tests: a real PostgreSQL, and an empty database for each test that asks."""

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from strongroom.clock import SystemClock
from strongroom.local import postgres
from strongroom.local.leftovers import clear_leftovers
from strongroom.local.process import spawn
from strongroom.log.indexing import index_events
from strongroom.migrations import KEYS, migrate
from strongroom.migrations.partitions import extend_events
from strongroom.setup import KEYS_SUFFIX, keys_url_beside

T = TypeVar("T")

# How long an example takes is no finding, nor how long it takes to make one.
settings.register_profile("strongroom", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("strongroom")

OTHER_SERVER = "STRONGROOM_TEST_DATABASE_URL"
START_SECONDS_MAX = 90
STOP_SECONDS_MAX = 60
BOTH = ("", KEYS_SUFFIX)
"""By suffix of the name, the database of a deployment and that of its keys."""
NOT_FLUSHED = ["-c", "fsync=off", "-c", "full_page_writes=off"]
"""A commit of these tests outlives a killed server, not a machine without power. Databases come
and go here by the hundred, and each one's files would be flushed; so they are copied as files."""


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL, as superuser, of a server that lives as long as the session.

    STRONGROOM_TEST_DATABASE_URL names another server, whose user may create databases.
    """
    if other := os.environ.get(OTHER_SERVER):
        yield other
        return
    base = Path(tempfile.mkdtemp(prefix="strongroom-test-"))
    base.chmod(0o711)  # as root, the server runs under an account that must pass through
    try:
        yield from _server(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """URL, as superuser, of a fresh empty database; it is dropped after the test."""
    name = f"test_{uuid.uuid4().hex}"
    _run(_execute(postgres_url, f'CREATE DATABASE "{name}"'))
    with _dropped(postgres_url, name) as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres_url: str) -> Iterator[str]:
    """The name of a database as migrations leave it, with that of its keys; to be copied."""
    name = f"template_{uuid.uuid4().hex}"
    _run(_execute(postgres_url, *(f'CREATE DATABASE "{name}{one}"' for one in BOTH)))
    with _dropped(postgres_url, name) as url:
        _run(_migrate(url))
        yield name


@pytest.fixture
def migrated_url(postgres_url: str, migrated: str) -> Iterator[str]:
    """As `database_url`, migrated, and that of its keys as well."""
    name = f"test_{uuid.uuid4().hex}"
    copies = (
        f'CREATE DATABASE "{name}{one}" TEMPLATE "{migrated}{one}" STRATEGY FILE_COPY'
        for one in BOTH
    )
    _run(_execute(postgres_url, *copies))
    with _dropped(postgres_url, name) as url:
        yield url


@contextmanager
def _dropped(postgres_url: str, name: str) -> Iterator[str]:
    """The URL of a database that goes afterwards, with that of its keys."""
    try:
        yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    finally:
        gone = (f'DROP DATABASE IF EXISTS "{name}{suffix}" WITH (FORCE)' for suffix in BOTH)
        _run(_execute(postgres_url, *gone))


def _server(base: Path) -> Iterator[str]:
    cluster = postgres.prepare(base / "home", system_root=base / "system")
    log = base / "postgres.log"
    with log.open("wb") as output:
        server = spawn(
            [*postgres.command(cluster), *NOT_FLUSHED],
            env=postgres.environment(),
            output=output.fileno(),
            cwd=cluster.data_dir,
            run_as=cluster.run_as,
            death_signal=postgres.DEATH_SIGNAL,  # it ends with us, also when we are killed
        )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not _run(postgres.is_ready(cluster)):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.exit(f"PostgreSQL did not start:\n{log.read_text()}", returncode=3)
            time.sleep(0.02)
        yield postgres.url(cluster, "postgres")
    finally:
        server.send_signal(postgres.STOP_SIGNAL)
        try:
            server.wait(STOP_SECONDS_MAX)
        finally:
            server.kill()
            _run(clear_leftovers(cluster))


async def _migrate(url: str) -> None:
    now = SystemClock().now()
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection, now)
        await extend_events(connection, now)
        await index_events(connection)
    finally:
        await connection.close()
    keys = await asyncpg.connect(keys_url_beside(url))
    try:
        await migrate(keys, now, package=KEYS)
    finally:
        await keys.close()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    # In a thread of its own: the test's event loop belongs to the test.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()

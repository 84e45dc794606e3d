"""Fixtures for all tests: a real PostgreSQL, and an empty database for each test that asks."""

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from strongroom.local import postgres
from strongroom.local.leftovers import clear_leftovers
from strongroom.local.process import spawn
from strongroom.setup import KEYS_SUFFIX

T = TypeVar("T")

# How long an example takes is no finding, nor how long it takes to make one.
settings.register_profile("strongroom", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("strongroom")

OTHER_SERVER = "STRONGROOM_TEST_DATABASE_URL"
START_SECONDS_MAX = 90
STOP_SECONDS_MAX = 60


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL, as superuser, of a server with durable settings that lives as long as the session.

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
    try:
        yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    finally:
        for one in (name, name + KEYS_SUFFIX):
            _run(_execute(postgres_url, f'DROP DATABASE IF EXISTS "{one}" WITH (FORCE)'))


def _server(base: Path) -> Iterator[str]:
    cluster = postgres.prepare(base / "home", system_root=base / "system")
    log = base / "postgres.log"
    with log.open("wb") as output:
        server = spawn(
            postgres.command(cluster),
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


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    # In a thread of its own: the test's event loop belongs to the test.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()

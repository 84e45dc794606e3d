"""Global records: the deployment's mode, and its legal entities."""

import asyncio
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from strongroom.clock import microseconds_since_epoch, monotonic_seconds
from strongroom.config import ConfigurationError, Mode
from strongroom.database import UNREACHABLE, Connection, statements
from strongroom.ids import bucket_of, new_entity_id, tag_of
from strongroom.migrations import files, version_of_session

SQL: Final = statements("strongroom.access", "access.sql")
TAG_TRIES_MAX: Final = 8
WAIT_SECONDS: Final = 60.0
WAIT_STEP_SECONDS: Final = 0.25
FINISHED_STEP_SECONDS: Final = 5.0
OLDEST_WORKER: Final = 2
"""The migration that a worker has to know beside this version's API. An older one would take the
money of a payment that is to be captured later at once."""
_APPLIED: Final = "SELECT name FROM public.strongroom_migrations"
_WORKERS: Final = """
SELECT application_name FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'strongroom-worker%'
"""

log = structlog.get_logger()


async def check_mode(pool: asyncpg.Pool, mode: Mode) -> None:
    """Refuses to run in another mode than the one that init wrote into the database.

    So a lost setting never turns production into dev. A database that does not answer is waited
    for. Raises ConfigurationError, and the errors of UNREACHABLE after WAIT_SECONDS.
    """
    ends = monotonic_seconds() + WAIT_SECONDS
    while True:
        try:
            async with pool.acquire() as connection:
                row = await connection.fetchrow(SQL["deployment"])
        except asyncpg.UndefinedTableError:
            row = None
        except UNREACHABLE as error:
            if monotonic_seconds() > ends:
                raise
            log.warning("waiting_for_database", error=type(error).__name__)
            await asyncio.sleep(WAIT_STEP_SECONDS)
            continue
        break
    if row is None:
        raise ConfigurationError("the database is not initialised: run `strongroom init` first.")
    if row["mode"] != mode:
        raise ConfigurationError(
            f"the database was initialised for mode {row['mode']}, this process runs in {mode}."
        )


async def log_origin(pool: asyncpg.Pool) -> str:
    """The name that init gave to all logs of this deployment. Raises the errors of UNREACHABLE."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(SQL["deployment"])
    if row is None:
        raise ConfigurationError("the database is not initialised: run `strongroom init` first.")
    origin: str = row["log_origin"]
    return origin


async def check_schema(pool: asyncpg.Pool) -> bool:
    """Refuses to run on a database that lacks what this version needs.

    Returns whether it is finished: no process of an older version will use it any more. Raises
    ConfigurationError, and the errors of UNREACHABLE.
    """
    async with pool.acquire() as connection:
        try:
            applied = {row["name"] for row in await connection.fetch(_APPLIED)}
        except asyncpg.InsufficientPrivilegeError:
            applied = {files()[0].name}  # the first version did not let its processes read it
    missing = [one.name for one in files() if not one.finishes and one.name not in applied]
    if missing:
        raise ConfigurationError(
            f"the database lacks {', '.join(missing)}: run `strongroom migrate` of this version "
            "first; an older version can go on serving meanwhile."
        )
    return all(one.name in applied for one in files())


async def until_finished(pool: asyncpg.Pool) -> None:
    """Returns once no process of an older version will use the database any more."""
    while True:
        try:
            if await check_schema(pool):
                return
        except UNREACHABLE as error:
            log.warning("waiting_for_database", error=type(error).__name__)
        await asyncio.sleep(FINISHED_STEP_SECONDS)


async def check_workers(pool: asyncpg.Pool, oldest: int = OLDEST_WORKER) -> None:
    """Refuses to take payments in while workers are connected that would get them wrong.

    `oldest` is the migration that a worker has to know.

    Those that are about to stop are waited for. Raises ConfigurationError after WAIT_SECONDS, and
    the errors of UNREACHABLE.
    """
    ends, told = monotonic_seconds() + WAIT_SECONDS, False
    while True:
        async with pool.acquire() as connection:
            names = [row["application_name"] for row in await connection.fetch(_WORKERS)]
        older = [name for name in names if version_of_session(name) < oldest]
        if not older:
            return
        if monotonic_seconds() > ends:
            raise ConfigurationError(
                f"workers of an older version are connected ({len(older)} sessions) and would "
                "treat new payments as old ones: replace the workers first, then start the API."
            )
        if not told:
            log.warning("waiting_for_older_workers", sessions=len(older))
            told = True
        await asyncio.sleep(WAIT_STEP_SECONDS)


class Entities:
    """Which legal entity an id belongs to, for one process; no entity ever goes away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._by_tag: dict[int, UUID] = {}

    def known(self, tag: int) -> UUID | None:
        """The legal entity with this tag, where it was looked up before."""
        return self._by_tag.get(tag)

    async def by_tag(self, tag: int) -> UUID | None:
        """The legal entity with this tag, None for none. Raises the errors of UNREACHABLE."""
        entity = self._by_tag.get(tag)
        if entity is None:
            async with self._pool.acquire() as connection:
                entity = await connection.fetchval(SQL["entity_by_tag"], tag)
            if entity is not None:
                self._by_tag[tag] = entity
        return entity


async def create_entity(connection: Connection, name: str, at: datetime) -> UUID:
    """A new legal entity; its tag is unlike every other's. `connection` is the owner's."""
    for _ in range(TAG_TRIES_MAX):
        entity = new_entity_id(microseconds_since_epoch(at))
        made = await connection.fetchval(
            SQL["add_entity"], entity, tag_of(entity), bucket_of(entity), name, at
        )
        if made is not None:
            return entity
    raise ConfigurationError("no free tag was found for a new legal entity: try again.")

"""Global records: the deployment's mode, and its legal entities."""

from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.clock import milliseconds_since_epoch
from strongroom.config import ConfigurationError, Mode
from strongroom.database import Connection, statements
from strongroom.ids import bucket_of, new_entity_id, tag_of

SQL: Final = statements("strongroom.access", "access.sql")
TAG_TRIES_MAX: Final = 8


async def check_mode(pool: asyncpg.Pool, mode: Mode) -> None:
    """Refuses to run in another mode than the one that init wrote into the database.

    So a lost setting never turns production into dev. Raises ConfigurationError.
    """
    async with pool.acquire() as connection:
        try:
            row = await connection.fetchrow(SQL["deployment"])
        except asyncpg.UndefinedTableError:
            row = None
    if row is None:
        raise ConfigurationError("the database is not initialised: run `strongroom init` first.")
    if row["mode"] != mode:
        raise ConfigurationError(
            f"the database was initialised for mode {row['mode']}, this process runs in {mode}."
        )


async def create_entity(connection: Connection, name: str, at: datetime) -> UUID:
    """A new legal entity; its tag is unlike every other's. `connection` is the owner's."""
    for _ in range(TAG_TRIES_MAX):
        entity = new_entity_id(milliseconds_since_epoch(at))
        try:
            await connection.execute(
                SQL["add_entity"], entity, tag_of(entity), bucket_of(entity), name, at
            )
        except asyncpg.UniqueViolationError:
            continue  # another entity has this tag; the next one is drawn anew
        return entity
    raise ConfigurationError("no free tag was found for a new legal entity: try again.")

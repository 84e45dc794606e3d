"""Migrations are plain SQL files, applied in order, each in one transaction, exactly once."""

import hashlib
from datetime import datetime
from importlib import resources
from typing import Final

import asyncpg

from strongroom.errors import InvariantBroken

LOCK_TIMEOUT: Final = "60s"
GROUP_ROLES: Final = ("strongroom_api", "strongroom_worker")

_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS public.strongroom_migrations (
  name text PRIMARY KEY, digest text NOT NULL, applied_at timestamptz NOT NULL)
"""


def files() -> list[tuple[str, str]]:
    """Every migration as (name, SQL), in the order in which they apply."""
    folder = resources.files(__name__)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(name, folder.joinpath(name).read_text("utf-8")) for name in names]


async def pending(connection: asyncpg.Connection) -> list[str]:
    """Names of the migrations that this database has not seen."""
    there = await connection.fetchval("SELECT to_regclass('public.strongroom_migrations')")
    done = (
        {row["name"] for row in await connection.fetch("SELECT name FROM strongroom_migrations")}
        if there
        else set()
    )
    return [name for name, _ in files() if name not in done]


async def migrate(connection: asyncpg.Connection, at: datetime) -> list[str]:
    """Brings the database up to date as its owner; returns the names applied now.

    Two that run at once wait for each other. Raises InvariantBroken when a file that was applied
    has been changed since, and asyncpg's errors when a statement fails (nothing of that file
    stays).
    """
    await create_group_roles(connection)
    applied = []
    for name, sql in files():
        digest = hashlib.sha256(sql.encode()).hexdigest()
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            await connection.execute(_LEDGER)
            await connection.execute("LOCK TABLE public.strongroom_migrations IN EXCLUSIVE MODE")
            seen = await connection.fetchval(
                "SELECT digest FROM public.strongroom_migrations WHERE name = $1", name
            )
            if seen is None:
                await connection.execute(sql)
                await connection.execute(
                    "INSERT INTO public.strongroom_migrations VALUES ($1, $2, $3)", name, digest, at
                )
                applied.append(name)
            elif seen != digest:
                raise InvariantBroken(f"migration {name} was changed after it was applied")
    return applied


async def create_group_roles(connection: asyncpg.Connection) -> None:
    """Creates the roles that hold the grants, where the server has not got them.

    Roles belong to the server, not to the database, so another database may have made them.
    """
    for role in GROUP_ROLES:
        there = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
        if there is None:
            try:
                await connection.execute(f"CREATE ROLE {role} NOLOGIN")
            except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                continue  # another migration of this server made it in the same moment

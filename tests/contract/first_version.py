"""A database as the first version left it: its schema, and the ledger of what was applied."""

from datetime import datetime

import asyncpg

from strongroom.migrations import create_group_roles, files

LEDGER = (
    "CREATE TABLE public.strongroom_migrations (name text PRIMARY KEY, digest text NOT NULL, "
    "applied_at timestamptz NOT NULL)"
)


async def make_first_version(owner: asyncpg.Connection, at: datetime) -> None:
    """Makes it in an empty database."""
    first = files()[0]
    await create_group_roles(owner)
    await owner.execute(first.sql)
    await owner.execute(LEDGER)
    await owner.execute(
        "INSERT INTO strongroom_migrations VALUES ($1, $2, $3)", first.name, first.digest, at
    )

"""What older keys seal: how many values, and one transaction in which they get newer ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from strongroom.database import Connection, begin, rollback
from strongroom.vault.keys import EntityKeys


async def count(connection: Connection, keys: EntityKeys, statement: str) -> int:
    """How many an older key of the entity seals. `connection` is the owner's.

    `statement` takes the entity and the number of its newest key.
    """
    await begin(connection, [keys.legal_entity_id], read_only=True)
    try:
        found: int = await connection.fetchval(statement, keys.legal_entity_id, keys.newest_bytes)
    finally:
        await rollback(connection)
    return found


@asynccontextmanager
async def at_once(connection: Connection, keys: EntityKeys) -> AsyncIterator[None]:
    """A transaction for the entity: all that is done in it stays, or nothing."""
    await begin(connection, [keys.legal_entity_id])
    try:
        yield
        await connection.execute("COMMIT")
    finally:
        if connection.is_in_transaction():
            await rollback(connection)

"""Client tokens under an older key of their legal entity: they go, for they last a day."""

from collections.abc import Callable
from datetime import datetime

from strongroom.checkout.client_tokens import SQL
from strongroom.database import Connection
from strongroom.vault import stale
from strongroom.vault.keys import EntityKeys


async def count_stale(connection: Connection, keys: EntityKeys) -> int:
    """How many an older key seals. `connection` is the owner's."""
    return await stale.count(connection, keys, SQL["count_stale_client_tokens"])


async def reseal(
    connection: Connection, keys: EntityKeys, _at: datetime, progress: Callable[[int], None]
) -> list[str]:
    """Lets all of the entity's go, and a page asks for another. Raises asyncpg's errors."""
    async with stale.at_once(connection, keys):
        done = await connection.execute(
            SQL["drop_stale_client_tokens"], keys.legal_entity_id, keys.newest_bytes
        )
    progress(int(done.rpartition(" ")[2]))
    return []

"""Secrets under the newest key of their legal entity."""

from collections.abc import Callable
from datetime import datetime

from strongroom.database import Connection
from strongroom.ids import to_text
from strongroom.vault import stale
from strongroom.vault.errors import KeyMissing, Unreadable
from strongroom.vault.keys import EntityKeys
from strongroom.vault.kinds import kind_of
from strongroom.vault.secrets import SQL, Slot, open_secret, seal_secret


async def count_stale(connection: Connection, keys: EntityKeys) -> int:
    """How many secrets of the entity an older key seals. `connection` is the owner's."""
    return await stale.count(connection, keys, SQL["count_stale_secrets"])


async def reseal(
    connection: Connection, keys: EntityKeys, _at: datetime, progress: Callable[[int], None]
) -> list[str]:
    """All secrets of the entity under its newest key, in one transaction.

    Returns which do not open, and why; they are left. Raises asyncpg's errors.
    """
    entity, done, refused = keys.legal_entity_id, 0, list[str]()
    async with stale.at_once(connection, keys):
        rows = await connection.fetch(SQL["stale_secrets"], entity, keys.newest_bytes)
        for row in rows:
            slot, version = Slot(entity, row["owner_id"], row["kind"]), row["version"]
            try:
                secret = open_secret(keys, slot, version, row["sealed"])
            except (Unreadable, KeyMissing) as error:
                owner = to_text(kind_of(slot.kind).owner, slot.owner_id)
                refused.append(f"{slot.kind} {version} of {owner}: {type(error).__name__}")
                continue
            done += 1
            sealed = seal_secret(keys, slot, version, secret)
            await connection.execute(SQL["reseal_secret"], *slot, version, sealed)
    progress(done)
    return refused

"""Values that are sealed for a short while only, so that there are few at a time, under newer keys.

A kind for reencryption.py: three statements and a label say all that is different between them.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct

from strongroom.database import Connection
from strongroom.vault import stale
from strongroom.vault.errors import KeyMissing, Unreadable
from strongroom.vault.keys import EntityKeys


class FewSealed(Struct, frozen=True, kw_only=True):
    """One such kind: `count` and `stale` take the entity and a key's number, `reseal` one row.

    `stale` gives `row_id` and `sealed`. `word` names a value that does not open.
    """

    statements: Mapping[str, str]
    count: str
    stale: str
    reseal_one: str
    label: bytes
    word: str

    async def count_stale(self, connection: Connection, keys: EntityKeys) -> int:
        """How many an older key seals. `connection` is the owner's."""
        return await stale.count(connection, keys, self.statements[self.count])

    async def reseal(
        self,
        connection: Connection,
        keys: EntityKeys,
        _at: datetime,
        progress: Callable[[int], None],
    ) -> list[str]:
        """All of the entity under its newest key, in one transaction.

        Returns which do not open, and why; they are left. Raises asyncpg's errors.
        """
        entity, done, refused = keys.legal_entity_id, 0, list[str]()
        async with stale.at_once(connection, keys):
            found = self.statements[self.stale]
            for row in await connection.fetch(found, entity, keys.newest_bytes):
                row_id = row["row_id"]
                try:
                    content = keys.open(self.label, row_id.bytes, row["sealed"])
                except (Unreadable, KeyMissing) as error:
                    refused.append(f"{self.word} {row_id}: {type(error).__name__}")
                    continue
                done += 1
                sealed = keys.seal(self.label, row_id.bytes, content)
                await connection.execute(self.statements[self.reseal_one], entity, row_id, sealed)
        progress(done)
        return refused

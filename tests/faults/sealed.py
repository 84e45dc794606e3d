"""Under which version of a legal entity's keys everything stands, in both databases."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.config import Home
from strongroom.ids import from_text, new_id
from strongroom.setup import keys_owner, payments_owner
from strongroom.vault.envelope import header_of, new_keyset
from strongroom.vault.keys import EntityKeys
from strongroom.vault.opening import open_kms
from strongroom.vault.rotation import entity_keys
from strongroom.vault.subjects import LABEL, unwrapped
from tests.acceptance.client import until
from tests.faults.deployment import Deployment

HELD_UP_SECONDS_MAX: Final = 20.0
ADDED_AT_ONCE: Final = 5_000
VERSIONS_SQL: Final = """
SELECT what, substring(sealed, 4, 4) AS key_version, count(*) AS many
FROM (SELECT 'texts' AS what, sealed FROM texts
  UNION ALL SELECT 'secrets', sealed FROM secrets WHERE sealed IS NOT NULL) AS everything
GROUP BY what, key_version
"""
RESEALING_SQL: Final = """
SELECT wait_event_type = 'Lock' AS waits FROM pg_stat_activity
WHERE query LIKE '-- reseal_texts%' AND state <> 'idle' AND pid <> pg_backend_pid()
"""


class Sealed:
    """Connections of both databases' superuser, past row-level security."""

    def __init__(
        self, home: Home, entity: UUID, payments: asyncpg.Connection, keys: asyncpg.Connection
    ) -> None:
        self._home, self.entity = home, entity
        self.payments, self.keys = payments, keys
        self._subjects: dict[UUID, bytes] = {}
        """Digests of their keys."""

    async def entity_keys(self) -> EntityKeys:
        """All versions there are now."""
        kms = open_kms(self._home, self._home.settings())
        try:
            return await entity_keys(self.keys, kms, self.entity)
        finally:
            await kms.close()

    async def add_subjects(self, count: int) -> None:
        """So many, as if processes had made them; their keys are remembered by digest."""
        keys, now = await self.entity_keys(), SystemClock().now()
        moment = microseconds_since_epoch(now)
        for start in range(0, count, ADDED_AT_ONCE):
            rows = []
            for number in range(start, min(count, start + ADDED_AT_ONCE)):
                subject, key = new_id(moment + number, self.entity), new_keyset()
                self._subjects[subject] = hashlib.sha256(key.reveal()).digest()
                wrapped = keys.wrap(LABEL, subject.bytes, key)
                rows.append((self.entity, subject, keys.newest, wrapped, now))
            await self.keys.copy_records_to_table(
                "subject_keys", schema_name="strongroom", records=rows
            )

    async def is_rewrapped(self, share: float, version: int) -> bool:
        """Whether the subject that stands there in their order is under this version."""
        subject = list(self._subjects)[int(share * len(self._subjects))]  # made in their order
        found: int = await self.keys.fetchval(
            "SELECT entity_key_version FROM subject_keys "
            "WHERE legal_entity_id = $1 AND subject_id = $2", self.entity, subject,
        )  # fmt: skip
        return found == version

    async def mark_rewrapped(self, version: int) -> int:
        """Notes, on the server, the wrapped keys under this version; returns how many."""
        return _count(
            await self.keys.execute(
                "CREATE TEMP TABLE marked_keys AS SELECT subject_id, wrapped FROM subject_keys "
                f"WHERE entity_key_version = {version}"
            )
        )

    async def rewrapped_again(self) -> int:
        """How many of those that were noted are another value now."""
        found: int = await self.keys.fetchval(
            "SELECT count(*) FROM marked_keys m LEFT JOIN subject_keys k USING (subject_id) "
            "WHERE k.wrapped IS DISTINCT FROM m.wrapped"
        )
        return found

    async def count_rewrapped(self, version: int) -> int:
        """How many keys of subjects are under this version."""
        found: int = await self.keys.fetchval(
            "SELECT count(*) FROM subject_keys WHERE entity_key_version = $1", version
        )
        return found

    async def mark_resealed(self, version: int) -> int:
        """As `mark_rewrapped`, of texts."""
        return _count(
            await self.payments.execute(
                "CREATE TEMP TABLE marked_texts AS SELECT owner_id, sealed FROM texts "
                f"WHERE substring(sealed, 4, 4) = '\\x{version:08x}'"
            )
        )

    async def resealed_again(self) -> int:
        """As `rewrapped_again`, of texts."""
        found: int = await self.payments.fetchval(
            "SELECT count(*) FROM marked_texts m LEFT JOIN texts t USING (owner_id) "
            "WHERE t.sealed IS DISTINCT FROM m.sealed"
        )
        return found

    async def versions(self) -> dict[str, Counter[int]]:
        """How many texts and secrets stand under which version."""
        found: dict[str, Counter[int]] = {"texts": Counter(), "secrets": Counter()}
        for row in await self.payments.fetch(VERSIONS_SQL):
            found[row["what"]][int.from_bytes(row["key_version"], "big")] += row["many"]
        return found

    async def judge_subjects(self, version: int) -> int:
        """Each has the key that it had, under this version; returns how many there are."""
        keys = await self.entity_keys()
        rows = await self.keys.fetch(
            "SELECT subject_id, wrapped FROM subject_keys WHERE entity_key_version = $1", version
        )
        for row in rows:
            subject, wrapped = row["subject_id"], row["wrapped"]
            assert header_of(wrapped).version == version
            key = unwrapped(keys, subject, wrapped)
            assert hashlib.sha256(key.reveal()).digest() == self._subjects[subject]
        return len(rows)

    @asynccontextmanager
    async def held_up_at(self, share: float) -> AsyncIterator[None]:
        """Who seals texts anew stops before the page with this one: its row is held."""
        count = await self.payments.fetchval("SELECT count(*) FROM texts")
        async with self.payments.transaction():
            held = await self.payments.fetch(
                "SELECT FROM texts WHERE owner_id = (SELECT owner_id FROM texts "
                "ORDER BY legal_entity_id, owner_id OFFSET $1 LIMIT 1) FOR UPDATE",
                int(share * count),
            )
            assert held
            yield

    async def until_resealing(self, *, waits: bool) -> None:
        """Until a transaction that seals texts anew waits for a lock; or until there is none."""
        wanted = [True] if waits else []

        async def is_so() -> bool:
            return [row["waits"] for row in await self.keys.fetch(RESEALING_SQL)] == wanted

        await until(is_so, HELD_UP_SECONDS_MAX)


@asynccontextmanager
async def looking_into(deployment: Deployment) -> AsyncIterator[Sealed]:
    """Both databases of a deployment."""
    home = Home(Path(deployment.home))
    entity = from_text("ent", deployment.ready["legal_entity"])
    async with payments_owner(home) as payments, keys_owner(home) as keys:
        yield Sealed(home, entity, payments, keys)


def _count(status: str) -> int:
    """How many rows a statement says that it took."""
    return int(status.rpartition(" ")[2])

"""Rotation while payments run: subjects' keys under a new entity key, entities' under a new root.

Nothing that a subject sealed is touched: a subject keeps its key, and the key is wrapped anew. What
is left to do stands in the rows themselves, so that who was killed goes on where he was. A row that
somebody else changed or destroyed meanwhile is left as it is now.

Both work as the owner of the keys: processes cannot change one.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from strongroom.clock import monotonic_seconds
from strongroom.database import Connection, begin
from strongroom.vault.errors import KeyMissing, Unreadable
from strongroom.vault.keys import SQL as KEYS_SQL
from strongroom.vault.keys import EntityKeys, add_version, context_of
from strongroom.vault.kms import Kms
from strongroom.vault.subjects import SQL, wrapped_again

PAGE: Final = 512
FIRST: Final = UUID(int=0)
SETTLE_SECONDS: Final = 75.0
"""After a new version was made hardly anybody wraps under the one before: keys are kept for 60 s.
What is made under it later all the same is found by the next run; nothing is destroyed by this."""
RETIRE_AFTER: Final = timedelta(days=1)
"""For so long after a new version was made none before it is destroyed. Processes seal under one
for SEAL_SECONDS after they read it, operators' commands for OWNERS_SEAL_SECONDS; the rest is for
what was sealed to be written, and for the backups of before to expire."""
OWNERS_SEAL_SECONDS: Final = 12 * 3600.0
"""For so long a command may go on sealing: half of RETIRE_AFTER. Run again, it goes on."""
# The age is a matter of one clock, that of the database of the keys, so these are no statements of
# a .sql file, which take the time as a parameter.
_NOW: Final = "SELECT clock_timestamp()"
_AGE: Final = """
SELECT version, clock_timestamp() - created_at AS age FROM entity_keys
WHERE legal_entity_id = $1 ORDER BY version DESC LIMIT 1
"""
_RETIRE: Final = """
DELETE FROM entity_keys k WHERE k.legal_entity_id = $1 AND k.version < $2 AND EXISTS (
  SELECT FROM entity_keys n WHERE n.legal_entity_id = k.legal_entity_id AND n.version = $2
    AND n.created_at <= clock_timestamp() - $3::interval)
RETURNING k.version
"""

Progress = Callable[[int, int], None]
"""Hears how many of how many are done."""


class Rewrapped(Struct):
    """What a pass did."""

    rewrapped: int = 0
    refused: int = 0
    """Keys that cannot be unwrapped: damaged, or not those of their row. They were left."""


def _silent(_done: int, _of: int) -> None:
    """Nobody listens."""


async def entity_keys(connection: Connection, kms: Kms, legal_entity_id: UUID) -> EntityKeys:
    """All versions of an entity's keys, read now. Raises KeyMissing and what the KMS raises."""
    seals_until = monotonic_seconds() + OWNERS_SEAL_SECONDS
    rows = await _rows_of(connection, legal_entity_id)
    if not rows:
        raise KeyMissing
    return EntityKeys(
        legal_entity_id,
        seals_until=seals_until,
        bundles={
            row["version"]: await kms.unwrap(
                row["wrapped"], context_of(legal_entity_id, row["version"])
            )
            for row in rows
        },
    )


async def newest_version(connection: Connection, legal_entity_id: UUID) -> tuple[int, timedelta]:
    """The version that seals, and how old it is by the database's clock. Raises KeyMissing."""
    await begin(connection, [legal_entity_id], read_only=True)
    try:
        row = await connection.fetchrow(_AGE, legal_entity_id)
    finally:
        await connection.execute("ROLLBACK")
    if row is None:
        raise KeyMissing
    return row["version"], row["age"]


async def begin_rotation(connection: Connection, kms: Kms, legal_entity_id: UUID) -> int | None:
    """Makes the next version of an entity's keys; None where the last rotation is not over.

    Of two that begin at once one makes it. Raises KeyMissing and what the KMS raises.
    """
    newest, age = await newest_version(connection, legal_entity_id)
    settles = newest > 1 and age.total_seconds() < SETTLE_SECONDS
    if settles or await count_left(connection, legal_entity_id, newest):
        return None
    at = await connection.fetchval(_NOW)
    return await add_version(connection, kms, legal_entity_id, at, only_first=False, after=newest)


async def count_left(connection: Connection, legal_entity_id: UUID, version: int) -> int:
    """How many subject keys a version before this one wraps."""
    await begin(connection, [legal_entity_id], read_only=True)
    try:
        left: int = await connection.fetchval(
            SQL["count_subject_keys_left"], legal_entity_id, version
        )
    finally:
        await connection.execute("ROLLBACK")
    return left


async def rewrap_subjects(
    connection: Connection, keys: EntityKeys, progress: Progress = _silent
) -> Rewrapped:
    """One pass over the subject keys that an older version wraps, by pages of PAGE.

    Each page is a transaction of its own, so that nothing waits for long. Raises errors of the
    database; what was done by then stays.
    """
    entity, last, done = keys.legal_entity_id, FIRST, Rewrapped()
    total = await count_left(connection, entity, keys.newest)
    while True:
        await begin(connection, [entity])
        try:
            rows = await connection.fetch(SQL["subject_keys_left"], entity, last, keys.newest, PAGE)
            before = {row["subject_id"]: row["wrapped"] for row in rows}
            after = await asyncio.to_thread(_rewrapped, keys, before)
            changed = await connection.fetch(
                SQL["rewrap_subject_keys"],
                [entity] * len(after),
                list(after),
                [before[subject_id] for subject_id in after],
                list(after.values()),
                keys.newest,
            )
            await connection.execute("COMMIT")
        finally:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        done.rewrapped += len(changed)
        done.refused += len(before) - len(after)
        progress(done.rewrapped, max(total, done.rewrapped))
        if len(rows) < PAGE:
            return done
        last = rows[-1]["subject_id"]


def _rewrapped(keys: EntityKeys, before: Mapping[UUID, bytes]) -> dict[UUID, bytes]:
    """Those of them that can be unwrapped, under the newest version, in the same order."""
    after = {}
    for subject_id, wrapped in before.items():
        try:
            after[subject_id] = wrapped_again(keys, subject_id, wrapped)
        except (Unreadable, KeyMissing):
            continue  # counted by who asked
    return after


async def count_entities_left(
    connection: Connection, kms: Kms, legal_entity_ids: Iterable[UUID]
) -> int:
    """How many versions of entities' keys another root key wraps."""
    left = 0
    for entity in legal_entity_ids:
        rows = await _rows_of(connection, entity)
        left += sum(row["root_key"] != kms.root_key for row in rows)
    return left


async def rewrap_entities(
    connection: Connection,
    kms: Kms,
    legal_entity_ids: Iterable[UUID],
    progress: Progress = _silent,
) -> int:
    """Wraps entities' keys of other root keys under the one that wraps now; returns how many.

    The KMS has to know the other root keys still. Raises what it raises; what was done by then
    stays.
    """
    entities, done = list(legal_entity_ids), 0
    total = await count_entities_left(connection, kms, entities)
    for entity in entities:
        for row in await _rows_of(connection, entity):
            if row["root_key"] == kms.root_key:
                continue
            context = context_of(entity, row["version"])
            root_key = kms.root_key  # before it wraps: an older name only costs one wrapping more
            wrapped = await kms.wrap(await kms.unwrap(row["wrapped"], context), context)
            await begin(connection, [entity])
            try:
                changed = await connection.fetchval(
                    KEYS_SQL["rewrap_entity_key"],
                    entity,
                    row["version"],
                    root_key,
                    wrapped,
                    row["wrapped"],
                )
                await connection.execute("COMMIT")
            finally:
                if connection.is_in_transaction():
                    await connection.execute("ROLLBACK")
            done += changed is not None
            progress(done, max(total, done))
    return done


async def retire(connection: Connection, legal_entity_id: UUID, version: int) -> int:
    """Destroys the versions of an entity's keys before this one; returns how many.

    None before this one is as old as RETIRE_AFTER. Whoever asks has seen then that nothing is
    sealed under them.
    """
    await begin(connection, [legal_entity_id])
    try:
        rows = await connection.fetch(_RETIRE, legal_entity_id, version, RETIRE_AFTER)
        await connection.execute("COMMIT")
    finally:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
    return len(rows)


async def _rows_of(connection: Connection, legal_entity_id: UUID) -> list[asyncpg.Record]:
    await begin(connection, [legal_entity_id], read_only=True)
    try:
        return await connection.fetch(KEYS_SQL["entity_keys_of"], legal_entity_id)
    finally:
        await connection.execute("ROLLBACK")

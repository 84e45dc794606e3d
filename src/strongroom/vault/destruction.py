"""Destroying the keys of a subject, for good, and doing it again after a restore.

First the journal of tombstones, which no restore of a database touches, is on disk; then one
transaction writes the tombstone into the database of the keys and deletes the key there, and
another deletes what somebody was making meanwhile. `replay` brings both to the same: whatever one
of them says is destroyed, is destroyed in the other.

Both work as the owner of the keys: processes cannot delete a key.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from msgspec import Struct

from strongroom.config import ConfigurationError
from strongroom.database import Connection, begin, statements
from strongroom.ids import tag_of, to_text
from strongroom.vault.tombstones import Tombstone, Tombstones

SQL: Final = statements("strongroom.vault", "subjects.sql")
PAGE: Final = 512
FIRST: Final = UUID(int=0)
DAMAGED_NAMED_MAX: Final = 5


class Replayed(Struct):
    """What a replay found."""

    tombstones: int = 0
    """In the journal, now."""
    written_back: int = 0
    """Of them, those that the database alone knew of."""
    keys_destroyed: int = 0
    """That a restore had brought back."""


async def journal_of(connection: Connection, folder: Path, at: datetime) -> Tombstones:
    """The journal of these keys; made, and made known to them, where they have none.

    Raises ConfigurationError where they have one, and it is not in this folder.
    """
    known = await connection.fetchval(SQL["journal"])
    if known is None:
        tombstones = await asyncio.to_thread(Tombstones.make, folder)
        await connection.execute(SQL["set_journal"], tombstones.journal_id, at)
        known = await connection.fetchval(SQL["journal"])
    else:
        tombstones = await asyncio.to_thread(Tombstones, folder)
    if tombstones.journal_id != known:
        raise ConfigurationError(
            f"{folder} holds the journal of destroyed subjects of another deployment."
        )
    return tombstones


async def destroy(
    connection: Connection,
    tombstones: Tombstones,
    legal_entity_id: UUID,
    subject_id: UUID,
    at: datetime,
) -> bool:
    """Destroys the key of a subject, for good; False where there was none.

    A tombstone is left in any case, because an older backup may hold the key. Every process refuses
    the key from its next use on. Raises ConfigurationError for an id of another legal entity,
    OSError, and errors of the database; done again, it does what is left.
    """
    if tag_of(subject_id) != tag_of(legal_entity_id):
        raise ConfigurationError("this subject is not one of this legal entity.")
    await asyncio.to_thread(tombstones.add, legal_entity_id, subject_id, at)
    destroyed = [Tombstone(legal_entity_id, subject_id, at)]
    had_key = await _bury(connection, destroyed, at)
    # Who began to make the key before the tombstone was there may commit it only now.
    return bool(had_key + await _bury(connection, destroyed, at, waits=True))


async def replay(
    connection: Connection, tombstones: Tombstones, legal_entity_ids: Iterable[UUID], at: datetime
) -> Replayed:
    """Makes the journal and the database say the same, and destroys what was brought back.

    `legal_entity_ids` are all of the deployment; those that only the journal knows come on top.
    Raises ConfigurationError when a file of the journal is damaged, after the key of its subject
    was destroyed as well.
    """
    done, damaged = Replayed(), list[Tombstone]()
    for entity in sorted({*legal_entity_ids, *await asyncio.to_thread(tombstones.entities)}):
        done.written_back += await _write_back(connection, tombstones, entity)
        there = await asyncio.to_thread(lambda: sorted(tombstones.of(entity)))  # noqa: B023
        done.tombstones += len(there)
        damaged += [one for one in there if one.destroyed_at is None]
        for start in range(0, len(there), PAGE):
            done.keys_destroyed += await _bury(connection, there[start : start + PAGE], at)
    if damaged:
        named = [f"{to_text('sub', one.subject_id)}.json" for one in damaged[:DAMAGED_NAMED_MAX]]
        raise ConfigurationError(
            f"{len(damaged)} files of {tombstones.folder} are damaged: {', '.join(named)}. Their "
            "subjects are destroyed all the same. Bring back copies of the files; where there are "
            "none, move the damaged away and run `strongroom vault replay` again."
        )
    return done


async def _write_back(connection: Connection, tombstones: Tombstones, legal_entity_id: UUID) -> int:
    """Into the journal, what only the database knows; returns how many."""
    written, last = 0, FIRST
    while True:
        await begin(connection, [legal_entity_id], read_only=True)
        try:
            rows = await connection.fetch(SQL["tombstones_after"], legal_entity_id, last, PAGE)
        finally:
            await connection.execute("ROLLBACK")
        for row in rows:
            last = row["subject_id"]
            if not tombstones.has(legal_entity_id, last):
                written += await asyncio.to_thread(
                    tombstones.add, legal_entity_id, last, row["destroyed_at"]
                )
        if len(rows) < PAGE:
            return written


async def _bury(
    connection: Connection, destroyed: Sequence[Tombstone], at: datetime, *, waits: bool = False
) -> int:
    """In the database: the tombstones there, the keys away; returns how many keys there were.

    `waits`: for those who are making one of the keys in this moment.
    """
    entities = [one.legal_entity_id for one in destroyed]
    subjects = [one.subject_id for one in destroyed]
    times = [one.destroyed_at or at for one in destroyed]
    await begin(connection, set(entities))
    try:
        await connection.execute(SQL["add_tombstones"], entities, subjects, times)
        held = []
        if waits:
            held = await connection.fetch(SQL["hold_subject_keys"], entities, subjects, times)
        gone = await connection.fetch(SQL["destroy_subject_keys"], entities, subjects)
        await connection.execute("COMMIT")
    finally:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
    return len(gone) - len(held)

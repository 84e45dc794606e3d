"""The keys of data subjects: whoever's key is destroyed, nobody can read any more.

A subject's key is made by chance, sealed under its legal entity's wrapping key, and kept in the
database of the keys. An unwrapped one stays here for a minute at most. Whether it was destroyed is
asked of the journal of tombstones at every use, so that a destroyed one is refused from the next
use on, and one that a restore brought back is refused as well.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from strongroom.database import reading, statements, writing
from strongroom.errors import InvariantBroken
from strongroom.ids import tag_of
from strongroom.vault.envelope import Column, FieldKey, Kind, new_keyset
from strongroom.vault.errors import (
    KeyMissing,
    SubjectDestroyed,
    TombstonesMissing,
    Unreadable,
    VaultError,
)
from strongroom.vault.kept import Kept
from strongroom.vault.keys import EntityKeys, Keyring
from strongroom.vault.secret import Secret
from strongroom.vault.tombstones import Tombstones

SQL: Final = statements("strongroom.vault", "subjects.sql")
LABEL: Final = Column("subject_keys", "wrapped").label
"""The place of wrapped keys; the row is the subject's id."""
VERSION: Final = 1
"""A subject has one key for life: what is rotated is the key that wraps it."""
BATCH_MAX: Final = 512

Name = tuple[UUID, UUID]
"""A legal entity and one of its subjects."""


class Found(NamedTuple):
    """Keys by subject, and for each of the others why there is none."""

    keys: dict[UUID, FieldKey]
    refused: dict[UUID, VaultError]


class Subjects:
    """The keys of subjects for one process: read in batches, unwrapped, kept for a minute.

    All methods raise TombstonesMissing where the journal is not there, what Keyring.entity raises,
    and errors of UNREACHABLE of the database.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        keyring: Keyring,
        tombstones: Tombstones,
        kept: "Kept[Name, FieldKey]",
    ) -> None:
        self._pool, self._keyring, self._kept = pool, keyring, kept
        self._tombstones = tombstones
        self._loading: dict[Name, asyncio.Task[Found]] = {}

    def at_hand(self, legal_entity_id: UUID, subject_id: UUID) -> FieldKey | None:
        """The key, where it is kept; nothing is waited for but the journal's file system.

        Raises SubjectDestroyed.
        """
        self._tombstones.check_there()
        self._check_alive(legal_entity_id, subject_id)
        return self._kept.get((legal_entity_id, subject_id))

    async def of(self, legal_entity_id: UUID, subject_id: UUID) -> FieldKey:
        """The key of a subject. Raises KeyMissing, SubjectDestroyed and Unreadable."""
        key = self.at_hand(legal_entity_id, subject_id)
        if key is not None:
            return key
        found = await self.of_all(legal_entity_id, [subject_id])
        if subject_id in found.refused:
            raise found.refused[subject_id]
        return found.keys[subject_id]

    async def of_all(self, legal_entity_id: UUID, subject_ids: Iterable[UUID]) -> Found:
        """The keys of subjects, those that are not kept by one statement for BATCH_MAX."""
        found, wanted = Found({}, {}), []
        self._tombstones.check_there()
        for subject_id in dict.fromkeys(subject_ids):
            if self._tombstones.has(legal_entity_id, subject_id):
                self._refuse(found, legal_entity_id, subject_id)
            elif (key := self._kept.get((legal_entity_id, subject_id))) is not None:
                found.keys[subject_id] = key
            else:
                wanted.append(subject_id)
        if wanted:
            for loaded in await self._load(legal_entity_id, wanted):
                for subject_id in loaded.keys.keys() & set(wanted):
                    found.keys[subject_id] = loaded.keys[subject_id]
                for subject_id in loaded.refused.keys() & set(wanted):
                    found.refused[subject_id] = loaded.refused[subject_id]
            self._tombstones.check_there()  # somebody may have destroyed one meanwhile
            for subject_id in wanted:
                if self._tombstones.has(legal_entity_id, subject_id):
                    self._refuse(found, legal_entity_id, subject_id)
        return found

    async def create(self, legal_entity_id: UUID, subject_id: UUID, at: datetime) -> FieldKey:
        """Makes the key of a new subject; one that has a key keeps it. Raises as `of` does."""
        found = await self.create_all(legal_entity_id, [subject_id], at)
        if subject_id in found.refused:
            raise found.refused[subject_id]
        return found.keys[subject_id]

    async def create_all(
        self, legal_entity_id: UUID, subject_ids: Sequence[UUID], at: datetime
    ) -> Found:
        """Makes the keys of new subjects, at most BATCH_MAX; those that have one keep it.

        The ids are of `new_id` for this legal entity.
        """
        if len(subject_ids) > BATCH_MAX:
            raise InvariantBroken(f"at most {BATCH_MAX} subjects at once")
        if any(tag_of(subject_id) != tag_of(legal_entity_id) for subject_id in subject_ids):
            raise InvariantBroken("the id of a subject carries its legal entity")
        self._tombstones.check_there()
        keys = self._keyring.at_hand(legal_entity_id) or await self._keyring.entity(legal_entity_id)
        made = {
            subject_id: new_keyset()
            for subject_id in sorted(set(subject_ids))
            if not self._tombstones.has(legal_entity_id, subject_id)
        }
        wrapped = [keys.wrap(LABEL, subject_id.bytes, key) for subject_id, key in made.items()]
        async with writing(self._pool, [legal_entity_id]) as connection:
            rows = await connection.fetch(
                SQL["add_subject_keys"],
                [legal_entity_id] * len(made),
                list(made),
                wrapped,
                keys.newest,
                at,
            )
        for row in rows:
            self._check_journal(row)
            subject_id = row["subject_id"]
            key = _field_key(legal_entity_id, subject_id, made[subject_id])
            self._kept.put((legal_entity_id, subject_id), key)
        return await self.of_all(legal_entity_id, subject_ids)

    async def seal(
        self, legal_entity_id: UUID, subject_id: UUID, label: bytes, row: bytes, content: bytes
    ) -> bytes:
        """A value of the subject, sealed for this place. Raises as `of` does."""
        return (await self.of(legal_entity_id, subject_id)).seal(label, row, content)

    async def open(
        self, legal_entity_id: UUID, subject_id: UUID, label: bytes, row: bytes, sealed: bytes
    ) -> bytes:
        """What was sealed for this place. Raises as `of` does."""
        return (await self.of(legal_entity_id, subject_id)).open(label, row, sealed)

    async def close(self) -> None:
        """Forgets all keys."""
        self._kept.clear()
        for task in set(self._loading.values()):
            task.cancel()
        await asyncio.gather(*set(self._loading.values()), return_exceptions=True)

    async def _load(self, legal_entity_id: UUID, wanted: Sequence[UUID]) -> list[Found]:
        """Reads those that nobody reads already, and waits for all."""
        missing = [one for one in wanted if (legal_entity_id, one) not in self._loading]
        for start in range(0, len(missing), BATCH_MAX):
            batch = missing[start : start + BATCH_MAX]
            task = asyncio.create_task(self._read(legal_entity_id, batch))
            names = [(legal_entity_id, one) for one in batch]
            self._loading.update((name, task) for name in names)
            task.add_done_callback(partial(self._loaded, names))
        tasks = {self._loading[legal_entity_id, one] for one in wanted}
        return [await asyncio.shield(task) for task in tasks]

    def _loaded(self, names: Sequence[Name], task: "asyncio.Task[Found]") -> None:
        for name in names:
            del self._loading[name]
        if task.cancelled() or task.exception() is not None:
            return  # whoever waits is told
        for name in names:
            key = task.result().keys.get(name[1])
            if key is not None:
                self._kept.put(name, key)

    async def _read(self, legal_entity_id: UUID, subject_ids: Sequence[UUID]) -> Found:
        async with reading(self._pool, [legal_entity_id]) as connection:
            rows = await connection.fetch(
                SQL["subject_keys_of"], [legal_entity_id] * len(subject_ids), subject_ids
            )
        wrapped = [row["wrapped"] for row in rows if row["wrapped"] is not None]
        keys = await self._keyring.opening(legal_entity_id, wrapped) if wrapped else None
        found = Found({}, {})
        for row in rows:
            self._check_journal(row)
            try:
                found.keys[row["subject_id"]] = _key_in(row, keys)
            except (KeyMissing, Unreadable) as why:
                found.refused[row["subject_id"]] = why
        return found

    def _check_journal(self, row: asyncpg.Record) -> None:
        """The keys go by one journal, and it is ours: another one would know of nobody."""
        if row["journal_id"] != self._tombstones.journal_id:
            raise TombstonesMissing

    def _check_alive(self, legal_entity_id: UUID, subject_id: UUID) -> None:
        if self._tombstones.has(legal_entity_id, subject_id):
            self._kept.drop((legal_entity_id, subject_id))
            raise SubjectDestroyed

    def _refuse(self, found: Found, legal_entity_id: UUID, subject_id: UUID) -> None:
        self._kept.drop((legal_entity_id, subject_id))
        found.keys.pop(subject_id, None)
        found.refused[subject_id] = SubjectDestroyed()


def unwrapped(keys: EntityKeys, subject_id: UUID, wrapped: bytes) -> Secret:
    """A subject's key. Raises Unreadable, also for that of another subject, and KeyMissing."""
    return keys.unwrap(LABEL, subject_id.bytes, wrapped)


def wrapped_again(keys: EntityKeys, subject_id: UUID, wrapped: bytes) -> bytes:
    """The same key under the newest key of its entity. Raises as `unwrapped` does."""
    return keys.wrap(LABEL, subject_id.bytes, unwrapped(keys, subject_id, wrapped))


def _key_in(row: asyncpg.Record, keys: EntityKeys | None) -> FieldKey:
    """The key that a row holds. Raises KeyMissing, SubjectDestroyed and Unreadable."""
    if row["destroyed"]:
        raise SubjectDestroyed
    if row["wrapped"] is None or keys is None:
        raise KeyMissing
    subject_id = row["subject_id"]
    return _field_key(keys.legal_entity_id, subject_id, unwrapped(keys, subject_id, row["wrapped"]))


def _field_key(legal_entity_id: UUID, subject_id: UUID, key: Secret) -> FieldKey:
    return FieldKey(Kind.SUBJECT, legal_entity_id, subject_id, VERSION, key)

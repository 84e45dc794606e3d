"""Secrets for one process: which versions are in use, and what they are.

Which there are is looked up in the database every few seconds, so that a secret that was rotated
or retired is seen within them. What one is costs a key, so it is opened when it is needed and kept
for as long as a key. Who makes a client of a secret may use that client for as long as its version
is in use: then neither the KMS nor the database of the keys is needed to go on.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from strongroom.clock import monotonic_seconds
from strongroom.database import UNREACHABLE, reading, statements
from strongroom.vault.envelope import Column
from strongroom.vault.errors import KeyMissing, SecretMissing, Unreadable
from strongroom.vault.kept import Kept
from strongroom.vault.keys import EntityKeys, Keyring
from strongroom.vault.secret import Secret

SQL: Final = statements("strongroom.vault", "secrets.sql")
LABEL: Final = Column("secrets", "sealed").label
LOOK_SECONDS: Final = 5.0
STALE_SECONDS: Final = 300.0
"""For how long what was seen last is believed while the database is away."""

log = structlog.get_logger()


class Slot(NamedTuple):
    """What a secret is for: whose it is, and of which kind (see `kinds`)."""

    legal_entity_id: UUID
    owner_id: UUID
    kind: str

    def row(self, version: int) -> bytes:
        """The place of a version in its table, which no other version has."""
        kind = self.kind.encode()
        return self.owner_id.bytes + bytes([len(kind)]) + kind + version.to_bytes(4, "big")


def seal_secret(keys: EntityKeys, slot: Slot, version: int, secret: Secret) -> bytes:
    """The secret, sealed for its row."""
    return keys.seal(LABEL, slot.row(version), secret.reveal())


def open_secret(keys: EntityKeys, slot: Slot, version: int, sealed: bytes) -> Secret:
    """What was sealed for this row. Raises Unreadable and KeyMissing."""
    return Secret(keys.open(LABEL, slot.row(version), sealed))


class Secrets:
    """Reads secrets for one process."""

    def __init__(
        self, pool: asyncpg.Pool, keyring: Keyring, now: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._pool, self._keyring, self._now = pool, keyring, now
        self._seen: Kept[Slot, Mapping[int, bytes]] = Kept(seconds=STALE_SECONDS, now=now)
        """By slot, the versions in use as they are sealed, newest first."""
        self._opened: Kept[tuple[Slot, int], tuple[bytes, Secret]] = Kept(now=now)
        self._told: Kept[tuple[Slot, int], bool] = Kept(now=now)
        """Those that were said to be unreadable, a minute ago at most."""
        self._looking: dict[Slot, asyncio.Task[Mapping[int, bytes]]] = {}
        self._look_again_at = 0.0

    async def versions(self, slot: Slot) -> tuple[int, ...]:
        """The versions in use, newest first: one, or two during a rotation.

        At most LOOK_SECONDS old; while the database is away, STALE_SECONDS. Raises SecretMissing,
        and errors of UNREACHABLE.
        """
        seen = await self._look(slot)
        if not seen:
            raise SecretMissing
        return tuple(seen)

    async def open(self, slot: Slot, version: int) -> Secret:
        """What a version in use is.

        Raises SecretMissing, and errors of UNAVAILABLE of vault.keys.
        """
        sealed = (await self._look(slot)).get(version)
        if sealed is None:
            raise SecretMissing
        kept = self._opened.get((slot, version))
        if kept is not None and kept[0] == sealed:
            return kept[1]
        try:
            secret = await self._open(slot, version, sealed)
        except (Unreadable, KeyMissing) as error:
            if self._told.get((slot, version)) is None:
                self._told.put((slot, version), True)
                log.error("secret_unreadable", error=type(error).__name__, reason=slot.kind)
            raise
        self._opened.put((slot, version), (sealed, secret))
        return secret

    def close(self) -> None:
        """Forgets all of it."""
        self._seen.clear()
        self._opened.clear()
        self._told.clear()
        for task in self._looking.values():
            task.cancel()

    async def _open(self, slot: Slot, version: int, sealed: bytes) -> Secret:
        keys = await self._keyring.opening(slot.legal_entity_id, [sealed])
        return open_secret(keys, slot, version, sealed)

    async def _look(self, slot: Slot) -> Mapping[int, bytes]:
        seen, age = self._seen.get_with_age(slot)
        if seen is not None and (age < LOOK_SECONDS or self._now() < self._look_again_at):
            return seen
        task = self._looking.get(slot)
        if task is None:
            task = asyncio.create_task(self._read(slot))
            self._looking[slot] = task
            task.add_done_callback(lambda done: self._looked(slot, done))
        try:
            return await asyncio.shield(task)
        except UNREACHABLE:
            if seen is None:
                raise
            return seen

    def _looked(self, slot: Slot, task: "asyncio.Task[Mapping[int, bytes]]") -> None:
        del self._looking[slot]
        if not task.cancelled() and isinstance(task.exception(), UNREACHABLE):
            self._look_again_at = self._now() + LOOK_SECONDS

    async def _read(self, slot: Slot) -> Mapping[int, bytes]:
        async with reading(self._pool, [slot.legal_entity_id]) as connection:
            rows = await connection.fetch(SQL["secrets_of"], *slot)
        seen = {row["version"]: row["sealed"] for row in rows}
        self._seen.put(slot, seen)
        return seen

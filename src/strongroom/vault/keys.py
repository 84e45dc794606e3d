"""The keys of legal entities: made once, wrapped by the KMS, unwrapped for a minute at most.

Each version of an entity's keys is a bundle: one key for its values, one that wraps the keys of its
subjects, and one for blind indexes. The highest version seals; all of them open. The index key goes
on from version to version, because what was indexed by it has to be found again.

The KMS is asked once a version and minute, never for a single value.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog
from msgspec import Struct

from strongroom.clock import monotonic_seconds
from strongroom.database import UNREACHABLE, Connection, begin, reading, statements
from strongroom.ids import to_text
from strongroom.vault.envelope import (
    FieldKey,
    Kind,
    Sealing,
    claimed_version,
    header_of,
    new_index_key,
    new_keyset,
)
from strongroom.vault.errors import KeyMissing, KeysOutdated, UnknownFormat, VaultError
from strongroom.vault.kept import REFRESH_SECONDS, Kept
from strongroom.vault.kms import Kms
from strongroom.vault.secret import Secret

SQL: Final = statements("strongroom.vault", "keys.sql")
_MAC_KEY: Final = b"strongroom fingerprints 1"
INDEX_BYTES: Final = 16
"""Of a blind index: two values of one entity meet by chance once in 2^64."""
MAC_BYTES: Final = 32

LOADS_MAX: Final = 2
WAIT_SECONDS: Final = 2.5
"""For keys that are not at hand: who needs them answers within three seconds, whatever the KMS and
the database do. Above KMS_SECONDS_MAX, so that a KMS can say itself what is wrong with it."""
SEAL_SECONDS: Final = 300.0
"""After they were read nothing is sealed under keys. They are kept for less; this is for what waits
in a queue. `vault retire` counts on it: there may be a newer version, and theirs is destroyed."""

log = structlog.get_logger()


class _Bundle(Struct, frozen=True):
    """What the KMS wraps: one version of an entity's keys."""

    data: bytes
    wrapping: bytes
    index: bytes

    def __repr__(self) -> str:
        return "[keys]"


_bundles: Final = msgspec.msgpack.Decoder(_Bundle)


class EntityKeys:
    """All versions of one legal entity's keys, unwrapped."""

    __slots__ = (
        "_data",
        "_index",
        "_keyed",
        "_seals_until",
        "_wrapping",
        "legal_entity_id",
        "newest",
    )

    def __init__(
        self,
        legal_entity_id: UUID,
        bundles: Mapping[int, Secret],
        *,
        seals_until: float = float("inf"),
    ) -> None:
        """`seals_until`: of `monotonic_seconds`; after it they open what there is, no more.

        Keys that no database holds need no such end.
        """
        self.legal_entity_id, self._seals_until = legal_entity_id, seals_until
        self.newest = max(bundles)
        self._data: dict[int, FieldKey] = {}
        self._wrapping: dict[int, FieldKey] = {}
        for version, wrapped in bundles.items():
            bundle = _bundles.decode(wrapped.reveal())
            for kind, keys, keyset in (
                (Kind.ENTITY, self._data, bundle.data),
                (Kind.WRAPPING, self._wrapping, bundle.wrapping),
            ):
                entity = legal_entity_id
                keys[version] = FieldKey(kind, entity, entity, version, Secret(keyset))
            if version == self.newest:
                self._index = bundle.index
        mac_key = hmac.digest(self._index, _MAC_KEY, hashlib.sha256)
        self._keyed = hashlib.blake2b(digest_size=MAC_BYTES, key=mac_key)

    def __repr__(self) -> str:
        return f"EntityKeys(newest {self.newest})"

    @property
    def newest_bytes(self) -> bytes:
        """The newest version as bytes 4 to 7 of a sealed value say it; they sort as numbers do."""
        return self.newest.to_bytes(4, "big")

    def seal(self, label: bytes, row: bytes, content: bytes) -> bytes:
        """The content under the newest key, for this place. Raises KeysOutdated."""
        return self.sealing(label)(row, content)

    def sealing(self, label: bytes) -> Sealing:
        """Seals values of one column under the newest key, at once. Raises KeysOutdated."""
        if monotonic_seconds() > self._seals_until:
            raise KeysOutdated
        return self._data[self.newest].sealing(label)

    def open(self, label: bytes, row: bytes, sealed: bytes) -> bytes:
        """What was sealed for this place. Raises Unreadable, and KeyMissing for a version."""
        return self._opener(self._data, sealed).open(label, row, sealed)

    def wrap(self, label: bytes, row: bytes, key: Secret) -> bytes:
        """A subject's key, sealed under the newest wrapping key. Raises KeysOutdated."""
        if monotonic_seconds() > self._seals_until:
            raise KeysOutdated
        return self._wrapping[self.newest].seal(label, row, key.reveal())

    def unwrap(self, label: bytes, row: bytes, wrapped: bytes) -> Secret:
        """A subject's key. Raises Unreadable, and KeyMissing for a version."""
        return Secret(self._opener(self._wrapping, wrapped).open(label, row, wrapped))

    def index(self, purpose: bytes, value: bytes) -> bytes:
        """A keyed digest: equal values of one purpose and entity have equal ones.

        HMAC-SHA-256, cut to INDEX_BYTES. `purpose` is a name of ours, as `email`.
        """
        message = bytes([len(purpose)]) + purpose + value
        return hmac.digest(self._index, message, hashlib.sha256)[:INDEX_BYTES]

    def mac(self, message: bytes) -> bytes:
        """A keyed digest of MAC_BYTES (BLAKE2b, RFC 7693), for fingerprints of requests.

        As `index`, equal for equal messages for as long as the legal entity has keys; it costs a
        third, and every payment needs one.
        """
        keyed = self._keyed.copy()
        keyed.update(message)
        return keyed.digest()

    def lacks(self, sealed: bytes) -> bool:
        """Whether it names a version of these keys that came after they were read."""
        if claimed_version(sealed) <= self.newest:
            return False
        try:
            return header_of(sealed).key_id == self.legal_entity_id
        except UnknownFormat:
            return False  # which opening it will say

    def _opener(self, keys: Mapping[int, FieldKey], sealed: bytes) -> FieldKey:
        newest = keys[self.newest]
        header = header_of(sealed)
        if header.version == self.newest or header.kind != newest.kind:
            return newest  # which says what is wrong, if something is
        if header.key_id != self.legal_entity_id:
            return newest
        found = keys.get(header.version)
        if found is None:
            raise KeyMissing
        return found


class Keyring:
    """The keys of legal entities for one process: read, unwrapped, and kept for a minute."""

    def __init__(self, pool: asyncpg.Pool, kms: Kms, kept: "Kept[UUID, EntityKeys]") -> None:
        self._pool, self._kms, self._kept = pool, kms, kept
        self._loading: dict[UUID, asyncio.Task[EntityKeys]] = {}
        self._looking: set[asyncio.Task[int]] = set()

    def at_hand(self, legal_entity_id: UUID) -> EntityKeys | None:
        """The keys, where they are kept; nothing is waited for."""
        keys, age = self._kept.get_with_age(legal_entity_id)
        if keys is not None and age > REFRESH_SECONDS:
            _ = self._load(legal_entity_id)
        return keys

    async def entity(self, legal_entity_id: UUID) -> EntityKeys:
        """The keys of a legal entity.

        Raises KeyMissing when it has none, what the KMS raises, and errors of UNREACHABLE, within
        WAIT_SECONDS. Who stops waiting stops nobody else.
        """
        keys = self.at_hand(legal_entity_id)
        if keys is not None:
            return keys
        # Without a shield the end of waiting would wait as well, for a transaction to be undone.
        async with asyncio.timeout(WAIT_SECONDS):
            return await asyncio.shield(self._load(legal_entity_id))

    async def opening(self, legal_entity_id: UUID, sealed: Sequence[bytes]) -> EntityKeys:
        """The keys to open these values with.

        Others may seal under a new version while this process still keeps the ones before: then
        they are read anew. A header that names a version which nobody made costs a look into the
        database, never a call of the KMS. Raises as `entity` does.
        """
        keys = self.at_hand(legal_entity_id)
        if keys is not None and not any(keys.lacks(value) for value in sealed):
            return keys
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._opening(legal_entity_id, sealed)

    def forget(self, legal_entity_id: UUID) -> None:
        """Reads them anew when they are asked for next."""
        self._kept.drop(legal_entity_id)

    async def close(self) -> None:
        """Forgets all keys."""
        self._kept.clear()
        tasks = [*self._loading.values(), *self._looking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _opening(self, legal_entity_id: UUID, sealed: Sequence[bytes]) -> EntityKeys:
        keys = await self.entity(legal_entity_id)
        if not any(keys.lacks(value) for value in sealed):
            return keys
        newest = await asyncio.shield(self._look(legal_entity_id))
        for _ in range(LOADS_MAX):
            if newest <= keys.newest:
                break
            # The first look may have begun before the version was there, for somebody else.
            kept = self._kept.get(legal_entity_id)
            if kept is not None and kept.newest < newest:
                self.forget(legal_entity_id)
            keys = await self.entity(legal_entity_id)
        return keys

    def _look(self, legal_entity_id: UUID) -> "asyncio.Task[int]":
        """Which version is the newest, 0 for none. One look for each who asks, begun after that."""

        async def look() -> int:
            async with reading(self._pool, [legal_entity_id]) as connection:
                return await connection.fetchval(SQL["newest_entity_key"], legal_entity_id) or 0

        task = asyncio.create_task(look())
        self._looking.add(task)
        task.add_done_callback(self._looked)
        return task

    def _looked(self, task: "asyncio.Task[int]") -> None:
        self._looking.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("keys_not_read", error=type(task.exception()).__name__)

    def _load(self, legal_entity_id: UUID) -> "asyncio.Task[EntityKeys]":
        """One look for all who ask."""
        task = self._loading.get(legal_entity_id)
        if task is None:
            since = self._kept.now()
            task = asyncio.create_task(self._read(legal_entity_id))
            self._loading[legal_entity_id] = task
            task.add_done_callback(lambda done: self._loaded(legal_entity_id, since, done))
        return task

    def _loaded(
        self, legal_entity_id: UUID, since: float, task: "asyncio.Task[EntityKeys]"
    ) -> None:
        del self._loading[legal_entity_id]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._kept.put(legal_entity_id, task.result(), since=since)
        else:
            # Whoever waits is told; when it was fetched beside its use, only this line tells.
            log.warning("keys_not_read", error=type(error).__name__)

    async def _read(self, legal_entity_id: UUID) -> EntityKeys:
        seals_until = monotonic_seconds() + SEAL_SECONDS
        async with reading(self._pool, [legal_entity_id]) as connection:
            rows = await connection.fetch(SQL["entity_keys_of"], legal_entity_id)
        if not rows:
            raise KeyMissing
        unwrapped = await asyncio.gather(
            *(
                self._kms.unwrap(row["wrapped"], context_of(legal_entity_id, row["version"]))
                for row in rows
            )
        )
        versions = (row["version"] for row in rows)
        bundles = dict(zip(versions, unwrapped, strict=True))
        return EntityKeys(legal_entity_id, bundles, seals_until=seals_until)


def context_of(legal_entity_id: UUID, version: int) -> dict[str, str]:
    """What the KMS binds a wrapped bundle to. A KMS writes it into its own log in the clear."""
    return {
        "strongroom": "entity-keys",
        "legal-entity": to_text("ent", legal_entity_id),
        "version": str(version),
    }


async def add_version(
    connection: Connection,
    kms: Kms,
    legal_entity_id: UUID,
    at: datetime,
    *,
    only_first: bool,
    after: int | None = None,
) -> int | None:
    """Makes the first, or the next version of an entity's keys; returns its number.

    None where somebody else made one: `only_first` where there are keys, `after` where the newest
    is another one, and where two run in one moment. `connection` is that of the owner of the keys'
    database.
    """
    await begin(connection, [legal_entity_id])
    try:
        rows = await connection.fetch(SQL["entity_keys_of"], legal_entity_id)
        newest = rows[-1]["version"] if rows else 0
        if (rows and only_first) or after not in (None, newest):
            return None
        version = newest + 1
        index = new_index_key()
        if rows:
            context = context_of(legal_entity_id, newest)
            before = _bundles.decode((await kms.unwrap(rows[-1]["wrapped"], context)).reveal())
            index = Secret(before.index)
        bundle = _Bundle(new_keyset().reveal(), new_keyset().reveal(), index.reveal())
        content = Secret(msgspec.msgpack.encode(bundle))
        root_key = kms.root_key  # before it wraps: an older name only costs one wrapping more
        wrapped = await kms.wrap(content, context_of(legal_entity_id, version))
        added = await connection.fetchval(
            SQL["add_entity_key"], legal_entity_id, version, root_key, wrapped, at
        )
        await connection.execute("COMMIT")
    finally:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
    return version if added is not None else None


async def has_keys(connection: Connection, legal_entity_id: UUID) -> bool:
    """Whether the legal entity has keys. `connection` is that of the keys' owner."""
    await begin(connection, [legal_entity_id], read_only=True)
    try:
        return bool(await connection.fetch(SQL["entity_keys_of"], legal_entity_id))
    finally:
        await connection.execute("ROLLBACK")


UNAVAILABLE: Final = (VaultError, *UNREACHABLE)
"""What stands between a sealed value and who needs it: the KMS, or the database of the keys."""

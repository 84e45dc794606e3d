"""What callers write about a payment or a refund: description and metadata, sealed.

Beside them, sealed as well, lie 16 random bytes; the event of the acceptance holds the SHA-256 over
both. So what was written can be proved later, and cannot be guessed from the log.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog
from msgspec import Struct

from strongroom.database import reading, statements
from strongroom.directory import until_finished
from strongroom.payments.refunds import Refund
from strongroom.payments.states import Payment
from strongroom.vault.envelope import Column, Sealing
from strongroom.vault.errors import KeyMissing, Tampered, Unreadable
from strongroom.vault.keys import EntityKeys, Keyring

SQL: Final = statements("strongroom.payments", "texts.sql")
LABEL: Final = Column("texts", "sealed").label
SALT_BYTES: Final = 16


class Texts(Struct, frozen=True, omit_defaults=True):
    """What a caller wrote; not meant for personal data, and treated as if it were."""

    description: str | None = None
    metadata: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to seal."""
        return self.description is None and not self.metadata


NO_TEXTS: Final = Texts()

log = structlog.get_logger()

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Texts).decode


class SealedTexts(Struct, frozen=True):
    """Texts on their way into a row, with their salt, and what commits to them: 32 bytes.

    `seal_all` seals them.
    """

    keys: EntityKeys
    row: bytes
    content: bytes
    commitment: bytes


def seal_texts(keys: EntityKeys, owner_id: UUID, texts: Texts, salt: bytes) -> SealedTexts:
    """The texts of a payment or refund, for its row; `salt` is fresh, SALT_BYTES long."""
    content = salt + _encode(texts)
    return SealedTexts(keys, owner_id.bytes, content, sha256(content).digest())


def seal_all(texts: Iterable[SealedTexts | None]) -> list[bytes | None]:
    """What is stored of each, None where there is nothing. Raises KeysOutdated.

    Done at the last moment, for all of a batch: one by one it costs twice as much.
    """
    sealing: dict[EntityKeys, Sealing] = {}
    stored: list[bytes | None] = []
    for one in texts:
        if one is None:
            stored.append(None)
            continue
        seal = sealing.get(one.keys)
        if seal is None:
            seal = sealing[one.keys] = one.keys.sealing(LABEL)
        stored.append(seal(one.row, one.content))
    return stored


def open_texts(keys: EntityKeys, owner_id: UUID, sealed: bytes) -> Texts:
    """What was sealed for this row. Raises Unreadable and KeyMissing."""
    content = keys.open(LABEL, owner_id.bytes, sealed)
    try:
        return _decode(content[SALT_BYTES:])
    except msgspec.MsgspecError:
        raise Tampered from None  # it opened, so a process of ours sealed something else


def texts_of(owner: Payment | Refund, opened: Mapping[UUID, Texts]) -> Texts:
    """The texts of a payment or refund, where `opened` are those that were read by id.

    Where there are none, they stand in its own row if they were written before texts were sealed.
    What somebody writes into a row does not hide what is sealed.
    """
    if isinstance(owner, Payment):
        return opened.get(owner.payment_id) or Texts(owner.description, owner.metadata)
    return opened.get(owner.refund_id) or Texts(None, owner.metadata)


class TextStore:
    """Reads texts for one process, and has the keys to seal them.

    `seals`: no process of a version is left that reads them in the clear only.
    """

    def __init__(self, pool: asyncpg.Pool, keyring: Keyring, *, seals: bool) -> None:
        self._pool, self._keyring, self.seals = pool, keyring, seals

    async def seal_from_then_on(self) -> None:
        """An older version would show no texts that are sealed: so they are when none is left."""
        await until_finished(self._pool)
        if not self.seals:
            self.seals = True
            log.info("texts_are_sealed_now")

    def keys_at_hand(self, legal_entity_id: UUID) -> EntityKeys | None:
        """The keys to seal with, where nothing has to be waited for."""
        return self._keyring.at_hand(legal_entity_id)

    async def keys(self, legal_entity_id: UUID) -> EntityKeys:
        """The keys to seal with. Raises errors of UNAVAILABLE of vault.keys."""
        return await self._keyring.entity(legal_entity_id)

    async def read(self, legal_entity_id: UUID, owner_ids: Sequence[UUID]) -> dict[UUID, Texts]:
        """The sealed texts of those payments and refunds that have some, by their ids.

        The keys are asked for only where there is something to open. A text that does not open, for
        it was changed from outside, is shown as none, and an error is logged: no words about a
        payment may stand between its money and who has to move it. Raises errors of UNAVAILABLE of
        vault.keys but Unreadable.
        """
        if not owner_ids:
            return {}
        async with reading(self._pool, [legal_entity_id]) as connection:
            rows = await connection.fetch(
                SQL["texts_of"], [legal_entity_id] * len(owner_ids), owner_ids
            )
        if not rows:
            return {}
        keys = await self._keyring.opening(legal_entity_id, [row["sealed"] for row in rows])
        opened = {}
        for row in rows:
            owner_id = row["owner_id"]
            try:
                opened[owner_id] = open_texts(keys, owner_id, row["sealed"])
            except (Unreadable, KeyMissing) as error:
                log.error("texts_unreadable", error=type(error).__name__, ids=[owner_id])
                opened[owner_id] = NO_TEXTS
        return opened

    async def of(self, owner: Payment | Refund) -> Texts:
        """The texts of one payment or refund. Raises errors of UNAVAILABLE of vault.keys."""
        owner_id = owner.payment_id if isinstance(owner, Payment) else owner.refund_id
        return texts_of(owner, await self.read(owner.legal_entity_id, [owner_id]))

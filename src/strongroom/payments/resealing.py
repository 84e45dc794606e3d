"""Texts under the newest key: what older keys sealed, and what older versions left in the clear.

Runs beside processes that serve, a page a transaction, and can be stopped and run again at any
moment: what is still to be done is seen from the rows themselves. A row that somebody else holds is
left for the end, and one that cannot be done is named and left as it is.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from strongroom.database import SERIALIZATION_FAILURES, Connection, begin, lock_timeout, rollback
from strongroom.ids import to_text
from strongroom.payments.commands import SQL as COMMANDS_SQL
from strongroom.payments.journal import changes_payload, refund_summary
from strongroom.payments.reads import SQL as PAYMENTS_SQL
from strongroom.payments.refunds import Refund
from strongroom.payments.rows import digest_in_format, payment_of, refund_of
from strongroom.payments.states import Payment
from strongroom.payments.texts import (
    LABEL,
    SALT_BYTES,
    SQL,
    SealedTexts,
    Texts,
    seal_all,
    seal_texts,
)
from strongroom.vault.errors import KeyMissing, Unreadable
from strongroom.vault.keys import EntityKeys

PAGE_ROWS: Final = 64
"""Payments of a page are locked while it is done."""
LOCK_TIMEOUT: Final = "100ms"
"""Whoever waits for a row keeps others waiting for those that he holds."""
TRIES_MAX: Final = 20
PASSES_MAX: Final = 3
LOWEST: Final = UUID(int=0)
ACTOR: Final = "vault"
BESIDE: Final = "its row has texts beside sealed ones"
EDITED: Final = "its row is not what its event says"

Progress = Callable[[int], None]
"""Hears how many rows more are done."""
Page = Callable[[UUID], Awaitable[tuple[UUID | None, int]]]
"""Does what lies behind this id; says where the next page begins, None at the end, and how many
rows were done."""


async def count_stale(connection: Connection, keys: EntityKeys) -> int:
    """How many texts of the entity an older key seals, or none. `connection` is the owner's."""
    await begin(connection, [keys.legal_entity_id], read_only=True)
    try:
        sealed: int = await connection.fetchval(
            SQL["count_stale_texts"], keys.legal_entity_id, keys.newest_bytes
        )
        plain: int = await connection.fetchval(SQL["count_plain"], keys.legal_entity_id)
    finally:
        await rollback(connection)
    return sealed + plain


async def reseal(
    connection: Connection, keys: EntityKeys, at: datetime, progress: Progress
) -> list[str]:
    """All texts of the entity under its newest key; returns which could not be done, and why.

    `connection` is the owner's. Raises asyncpg's errors.
    """
    sealing = _Sealing(connection, keys, at)
    waits = lock_timeout.set(LOCK_TIMEOUT)
    try:
        for page in (sealing.stale_page, sealing.payments_page, sealing.refunds_page):
            for _ in range(PASSES_MAX):
                behind: UUID | None = LOWEST
                done_in_pass = 0
                while behind is not None:
                    behind, done = await _in_one_transaction(connection, keys, page, behind)
                    done_in_pass += done
                    progress(done)
                if not done_in_pass:
                    break
    finally:
        lock_timeout.reset(waits)
    return [f"{name}: {why}" for name, why in sealing.refused.items()]


async def _in_one_transaction(
    connection: Connection, keys: EntityKeys, page: Page, behind: UUID
) -> tuple[UUID | None, int]:
    tries = 0
    while True:
        tries += 1
        await begin(connection, [keys.legal_entity_id])
        try:
            end = await page(behind)
            await connection.execute("COMMIT")
        except (*SERIALIZATION_FAILURES, asyncpg.LockNotAvailableError):
            await rollback(connection)
            if tries == TRIES_MAX:
                raise
        except BaseException:
            await rollback(connection)
            raise
        else:
            return end


class _Sealing:
    """The pages of one legal entity; `refused` says of a row why it was left."""

    def __init__(self, connection: Connection, keys: EntityKeys, at: datetime) -> None:
        self._connection, self._keys, self._at = connection, keys, at
        self._entity = keys.legal_entity_id
        self.refused: dict[str, str] = {}

    async def stale_page(self, behind: UUID) -> tuple[UUID | None, int]:
        """Texts that an older key sealed."""
        connection, keys = self._connection, self._keys
        rows = await connection.fetch(
            SQL["stale_texts"], self._entity, keys.newest_bytes, behind, PAGE_ROWS
        )
        before, after = {}, {}
        for row in rows:
            owner, sealed = row["owner_id"], row["sealed"]
            try:
                content = keys.open(LABEL, owner.bytes, sealed)
            except (Unreadable, KeyMissing) as error:
                self.refused[f"text of {owner}"] = type(error).__name__
                continue
            before[owner], after[owner] = sealed, keys.seal(LABEL, owner.bytes, content)
        await connection.execute(
            SQL["reseal_texts"],
            [self._entity] * len(after),
            list(after),
            list(before.values()),
            list(after.values()),
        )
        return (rows[-1]["owner_id"] if rows else None), len(after)

    async def payments_page(self, behind: UUID) -> tuple[UUID | None, int]:
        """Payments whose texts stand in their row; what somebody edited there is not sealed."""
        connection = self._connection
        rows = await connection.fetch(SQL["plain_payments"], self._entity, behind, PAGE_ROWS)
        before = await self._unedited([payment_of(row) for row in rows])
        ids = [one.payment_id for one in before]
        after = [
            one.changed(self._at, description=None, metadata={}, digest_salt=_fresh_salt())
            for one in before
        ]
        sealed = [
            self._seal(one.payment_id, Texts(one.description, one.metadata)) for one in before
        ]
        versions = [one.version for one in after]
        await connection.execute(
            SQL["seal_payments"],
            [self._entity] * len(ids),
            ids,
            versions,
            self._at,
            [one.digest_salt for one in after],
        )
        await self._add(ids, sealed)
        payloads = [
            changes_payload(old, new, texts=texts.commitment.hex())
            for old, new, texts in zip(before, after, sealed, strict=True)
        ]
        await self._leave_events(after, "payment.texts_sealed", payloads)
        return (rows[-1]["payment_id"] if rows else None), len(ids)

    async def refunds_page(self, behind: UUID) -> tuple[UUID | None, int]:
        """Refunds whose texts stand in their row: one of each payment, for each event's version."""
        connection, entity = self._connection, self._entity
        rows = await connection.fetch(SQL["plain_refunds"], entity, behind, PAGE_ROWS)
        chosen: dict[UUID, UUID] = {}
        last = None
        for row in rows:
            if row["payment_id"] in chosen:
                break
            chosen[row["payment_id"]], last = row["refund_id"], row["refund_id"]
        order = sorted(chosen, key=lambda payment_id: payment_id.bytes)
        locked = await connection.fetch(COMMANDS_SQL["lock_payments"], [entity] * len(order), order)
        payments = {row["payment_id"]: payment_of(row) for row in locked}
        # Locked by their payments now: as they stand, not as they were seen.
        found = await connection.fetch(
            COMMANDS_SQL["refunds_by_id"], [entity] * len(chosen), list(chosen.values())
        )
        current = await self._untouched([one for one in map(refund_of, found) if one.metadata])
        before = [payments[one.payment_id] for one in current]
        after = [one.changed(self._at) for one in before]
        sealed = [self._seal(one.refund_id, Texts(None, one.metadata)) for one in current]
        stored = [
            replace(one, metadata={}, updated_at=self._at, digest_salt=_fresh_salt())
            for one in current
        ]
        ids = [one.refund_id for one in stored]
        salts = [one.digest_salt for one in stored]
        await connection.execute(SQL["seal_refunds"], [entity] * len(ids), ids, self._at, salts)
        await self._add(ids, sealed)
        await connection.execute(
            SQL["raise_versions"],
            [entity] * len(ids),
            [one.payment_id for one in after],
            [one.version for one in after],
            self._at,
        )
        payloads = [
            changes_payload(old, new, refund=refund_summary(refund), texts=texts.commitment.hex())
            for old, new, refund, texts in zip(before, after, stored, sealed, strict=True)
        ]
        await self._leave_events(after, "refund.texts_sealed", payloads)
        return last, len(ids)

    async def _unedited(self, payments: list[Payment]) -> list[Payment]:
        """Those whose rows are what their last events say, and who have no sealed texts.

        What somebody wrote into a row must not become a genuine text with an event of its own.
        """
        ids = [one.payment_id for one in payments]
        events = {
            row["payment_id"]: row
            for row in await self._connection.fetch(
                SQL["events_of_versions"],
                [self._entity] * len(ids),
                ids,
                [one.version for one in payments],
            )
        }
        sealed = await self._have_sealed(ids)
        kept = []
        for one in payments:
            event = events.get(one.payment_id)
            if one.payment_id in sealed:
                self.refused[to_text("pay", one.payment_id)] = BESIDE
            elif event is None or (
                digest_in_format(one, event["row_format"]) != event["row_digest"]
            ):
                self.refused[to_text("pay", one.payment_id)] = EDITED
            else:
                kept.append(one)
        return kept

    async def _untouched(self, refunds: list[Refund]) -> list[Refund]:
        """The same of refunds: an event of their payment holds the digest of their row."""
        sealed = await self._have_sealed([one.refund_id for one in refunds])
        kept = []
        for one in refunds:
            told = ""
            for event in await self._connection.fetch(
                PAYMENTS_SQL["history_events"], self._entity, one.payment_id
            ):
                said = msgspec.json.decode(event["payload"] or b"{}").get("refund")
                if said is not None and said["id"] == str(one.refund_id):
                    told = said["row_digest"]
            if one.refund_id in sealed:
                self.refused[to_text("ref", one.refund_id)] = BESIDE
            elif told != one.row_digest().hex():
                self.refused[to_text("ref", one.refund_id)] = EDITED
            else:
                kept.append(one)
        return kept

    async def _have_sealed(self, owners: Sequence[UUID]) -> set[UUID]:
        rows = await self._connection.fetch(SQL["texts_of"], [self._entity] * len(owners), owners)
        return {row["owner_id"] for row in rows}

    def _seal(self, owner_id: UUID, texts: Texts) -> SealedTexts:
        return seal_texts(self._keys, owner_id, texts, os.urandom(SALT_BYTES))

    async def _add(self, owners: Sequence[UUID], sealed: Sequence[SealedTexts]) -> None:
        await self._connection.execute(
            SQL["add_texts"],
            [self._entity] * len(owners),
            owners,
            seal_all(sealed),
        )

    async def _leave_events(
        self, after: Sequence[Payment], kind: str, payloads: Sequence[bytes]
    ) -> None:
        await self._connection.execute(
            SQL["sealed_events"],
            [self._entity] * len(after),
            [one.payment_id for one in after],
            [one.version for one in after],
            [kind] * len(after),
            [one.row_digest() for one in after],
            payloads,
            ACTOR,
            self._at,
        )


def _fresh_salt() -> bytes:
    """Of a row's digests from now on. With the one before, texts could be tried out against the
    digests of the versions that had them in the clear, also after they were erased."""
    return os.urandom(SALT_BYTES)

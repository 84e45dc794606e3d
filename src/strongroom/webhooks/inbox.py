"""What comes in is stored once, for many webhooks in one transaction, before it is answered."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import asyncpg
import structlog
from msgspec import Struct

from strongroom.alarms.raising import alarm, raise_alarms
from strongroom.database import Connection, statements, writing
from strongroom.ids import bucket_of, to_text
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.webhooks.hints import NOT_SHOWN, Hint
from strongroom.work.batch import Batcher

SQL: Final = statements("strongroom.webhooks", "webhooks.sql")
FETCHES_SQL: Final = statements("strongroom.webhooks", "fetches.sql")
RERUN_SECONDS: Final = 8.0
"""Then the gateway is told to come again: it gives up a delivery after some ten seconds."""
QUEUE_MAX: Final = 4096
ACTOR: Final = "api"

Stored = Literal["new", "again", "differs"]
"""`again`: it was there. `differs`: it was there with another body; that one stays."""

log = structlog.get_logger()


NO_BODY: Final = bytes(32)
"""The digest of what the gateway has listed instead of sent: any body that comes later fits it."""


class Delivery(Struct, frozen=True, kw_only=True, eq=False):
    """One webhook whose signature is genuine, at the account that received it."""

    legal_entity_id: UUID
    gateway_account_id: UUID
    hint: Hint
    body_digest: bytes
    received_at: datetime

    @property
    def key(self) -> tuple[UUID, UUID, str]:
        """The primary key of its row."""
        return self.legal_entity_id, self.gateway_account_id, self.hint.event_id


class Inbox:
    """Stores the webhooks of one process."""

    def __init__(self, pool: asyncpg.Pool, telemetry: NoTelemetry = NO_TELEMETRY) -> None:
        self._pool = pool
        self._batcher: Batcher[Delivery, Stored] = Batcher(
            self._flush,
            owner=lambda delivery: delivery.legal_entity_id,
            key=lambda delivery: delivery.key,
            queue_max=QUEUE_MAX,
            share_max=QUEUE_MAX // 2,
            rerun_seconds=RERUN_SECONDS,
            telemetry=telemetry.batch("webhooks"),
        )

    def start(self) -> None:
        """Starts the writers in the running loop."""
        self._batcher.start()

    async def drain(self) -> None:
        """Waits for all that was taken in, then stops."""
        await self._batcher.drain()

    async def store(self, delivery: Delivery) -> Stored:
        """Returns when it is on disk. Raises QueueFull, Refused and OutcomeOfCommitUnknown."""
        stored = await self._batcher.submit(delivery)
        if stored == "differs":
            # Somebody has the secret, or the gateway uses an id twice: either is worth a look.
            account = to_text("gwa", delivery.gateway_account_id)
            log.warning("webhook_id_reused", ids=[account, delivery.hint.event_id])
        return stored

    async def _flush(self, deliveries: Sequence[Delivery]) -> Sequence[Stored]:
        entities = {delivery.legal_entity_id for delivery in deliveries}
        async with writing(self._pool, entities) as connection:
            return await store_all(connection, deliveries)


async def store_all(connection: Connection, deliveries: Sequence[Delivery]) -> Sequence[Stored]:
    """Stores each once, in a transaction that sees their legal entities."""
    if not deliveries:
        return []
    # Two of one id in one batch: the first is stored, the other has come again.
    first = {delivery.key: delivery for delivery in reversed(deliveries)}
    rows = await connection.fetch(SQL["store"], *_columns(list(first.values())))
    thin = [one for one in first.values() if one.hint.reason == NOT_SHOWN]
    if thin:
        stored_now = {_key(row) for row in rows}
        await ask_for(connection, [one for one in thin if one.key in stored_now])
    if len(rows) == len(deliveries):
        return ["new"] * len(rows)
    new = {_key(row) for row in rows}
    older = [key for key in first if key not in new]
    digests = {}
    if older:
        rows = await connection.fetch(SQL["stored"], *map(list, zip(*older, strict=True)))
        digests = {_key(row): row["body_digest"] for row in rows}
    stored = [_stored(one, first[one.key], new, digests) for one in deliveries]
    await _alarm(connection, deliveries, stored)
    return stored


async def ask_for(connection: Connection, thin: Sequence[Delivery]) -> None:
    """Has a worker fetch what these are about."""
    await connection.execute(
        FETCHES_SQL["ask_for"],
        [one.legal_entity_id for one in thin],
        [one.gateway_account_id for one in thin],
        [one.hint.event_id for one in thin],
        [bucket_of(one.legal_entity_id) for one in thin],
        [one.hint.object_type for one in thin],
        [one.hint.object_id for one in thin],
        [one.received_at for one in thin],
    )


async def _alarm(
    connection: Connection, deliveries: Sequence[Delivery], stored: Sequence[Stored]
) -> None:
    """For those whose id came with another body, in the transaction that has found that."""
    alarms = [
        alarm(
            "webhook_id_reused",
            legal_entity_id=delivery.legal_entity_id,
            gateway_account_id=delivery.gateway_account_id,
            subject=delivery.hint.event_id,
            reason="other_body",
            at=delivery.received_at,
        )
        for delivery, what in zip(deliveries, stored, strict=True)
        if what == "differs"
    ]
    await raise_alarms(connection, alarms, ACTOR)


def _stored(
    delivery: Delivery,
    first: Delivery,
    new: set[tuple[UUID, UUID, str]],
    digests: dict[tuple[UUID, UUID, str], bytes],
) -> Stored:
    if delivery.key in new and delivery is first:
        return "new"
    known = digests.get(delivery.key, first.body_digest)
    is_one = known == delivery.body_digest or NO_BODY in (known, delivery.body_digest)
    return "again" if is_one else "differs"


def _key(row: asyncpg.Record) -> tuple[UUID, UUID, str]:
    return row["legal_entity_id"], row["gateway_account_id"], row["gateway_event_id"]


def _columns(deliveries: Sequence[Delivery]) -> list[list[object]]:
    rows = [
        (
            *delivery.key,
            bucket_of(delivery.legal_entity_id),
            hint.kind,
            hint.object_type,
            hint.object_id,
            hint.known_by,
            hint.lane,
            hint.owner_id,
            hint.attempt_no,
            hint.amount_minor,
            hint.currency,
            delivery.body_digest,
            hint.state,
            hint.reason,
            hint.happened_at,
            delivery.received_at,
        )
        for delivery in deliveries
        for hint in (delivery.hint,)
    ]
    return [list(column) for column in zip(*rows, strict=True)]

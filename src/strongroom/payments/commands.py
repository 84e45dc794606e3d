"""What callers ask of payments that exist: confirm, capture, cancel, refund; many at once.

One transaction claims the keys, locks the payments in one order, decides and writes. A payment
stands at most once in a wave, so each refund sees what the one before it has reserved.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from strongroom.database import Connection, statements, writing
from strongroom.errors import InvariantBroken, Problem, Unavailable
from strongroom.ids import bucket_of
from strongroom.payments.decide import decide
from strongroom.payments.idempotency import is_same
from strongroom.payments.journal import changes_payload, refund_summary, route_told
from strongroom.payments.refunds import Refund, RefundReason, refund_asked
from strongroom.payments.rows import Row, job_bucket, json_text, payment_of, refund_of
from strongroom.payments.states import (
    Command,
    InstrumentBrought,
    NotPossible,
    Payment,
    Schedule,
)
from strongroom.payments.texts import SQL as TEXTS_SQL
from strongroom.payments.texts import SealedTexts, seal_all
from strongroom.payments.waves import in_waves
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.work.batch import Batcher

SQL: Final = statements("strongroom.payments", "commands.sql")
PAYMENTS_SQL: Final = statements("strongroom.payments", "payments.sql")
BATCH_MAX: Final = 128
"""Locks are held from the first look at a payment to the commit."""


class RefundWish(Struct, frozen=True, kw_only=True):
    """A refund that a caller asks for; `amount_minor` None asks for all that is left."""

    refund_id: UUID
    amount_minor: int | None
    reason: RefundReason | None
    metadata: dict[str, str]
    sealed_texts: SealedTexts | None = None
    gateway_key: str
    digest_salt: bytes
    check_amount: Callable[[str, int, str], None]
    """Raises a Problem when the gateway cannot give back this amount of this currency."""
    held: Problem | None = None
    """Why no money may be moved now."""


class Order(Struct, frozen=True, kw_only=True):
    """A command for one payment.

    `wish` is asked, with the payment under lock, for what is wanted of it; it must not wait for
    anything, and may raise a Problem.
    """

    legal_entity_id: UUID
    payment_id: UUID
    idempotency_key: str
    operation: str
    fingerprint: bytes
    other_fingerprint: bytes | None = None
    """In the other form, keyed or not, where there are texts; empty where it cannot be had."""
    actor: str
    at: datetime
    wish: RefundWish | Callable[[Payment], Command]


class Done(Struct, frozen=True):
    """Payment and refund as they now stand; `replayed` when the key had done this before."""

    payment: Payment
    refund: Refund | None = None
    replayed: bool = False


class NoSuchPayment(Struct, frozen=True):
    """There is no such payment of this legal entity."""


class KeyTaken(Struct, frozen=True):
    """The key was used before for another request."""


class Denied(Struct, frozen=True):
    """What the payment's state, or the wish itself, stands against; nothing is stored."""

    why: NotPossible | Problem


Outcome = Done | NoSuchPayment | KeyTaken | Denied


class _Change(Struct, frozen=True):
    """What an order makes of its payment, ready to be written."""

    order: Order
    before: Payment
    after: Payment
    kind: str | None
    job_at: datetime | None
    refund: Refund | None
    told: Mapping[str, Any] = {}
    """What its event says beside what has changed."""


class Commander:
    """The way of commands to disk, for one process."""

    def __init__(self, pool: asyncpg.Pool, telemetry: NoTelemetry = NO_TELEMETRY) -> None:
        self._pool = pool
        self._batcher: Batcher[Order, Outcome] = Batcher(
            self._flush,
            owner=lambda order: order.legal_entity_id,
            key=lambda order: order.payment_id,
            batch_max=BATCH_MAX,
            telemetry=telemetry.batch("commands"),
        )

    def start(self) -> None:
        """Starts the writers in the running loop."""
        self._batcher.start()

    async def drain(self) -> None:
        """Waits for all that was taken in, then stops."""
        await self._batcher.drain()

    async def carry_out(self, order: Order) -> Outcome:
        """Returns when the command is on disk, or what stands in its way.

        Raises QueueFull, Refused and OutcomeOfCommitUnknown of work.batch.
        """
        return await self._batcher.submit(order)

    async def _flush(self, orders: Sequence[Order]) -> Sequence[Outcome]:
        outcomes: dict[int, Outcome] = {}
        async with writing(self._pool, {order.legal_entity_id for order in orders}) as connection:
            for wave in _waves(orders):
                await _carry_out_wave(connection, wave, outcomes)
        return [outcomes[id(order)] for order in orders]


def _waves(orders: Sequence[Order]) -> list[list[Order]]:
    """Waves in which each payment and each key stands at most once."""
    waves = in_waves(
        orders,
        lambda order: (
            (order.legal_entity_id, order.payment_id),
            (order.legal_entity_id, order.idempotency_key),
        ),
    )
    for one in waves:
        # Two processes wait for each other's locks in one order.
        one.sort(key=lambda order: (order.legal_entity_id.bytes, order.payment_id.bytes))
    return waves


async def _carry_out_wave(
    connection: Connection, wave: Sequence[Order], outcomes: dict[int, Outcome]
) -> None:
    payments = {
        (row["legal_entity_id"], row["payment_id"]): payment_of(row)
        for row in await connection.fetch(
            SQL["lock_payments"],
            [order.legal_entity_id for order in wave],
            [order.payment_id for order in wave],
        )
    }
    outcomes.update(await _held(connection, wave))
    changes = []
    for order in wave:
        if id(order) in outcomes:
            continue
        payment = payments.get((order.legal_entity_id, order.payment_id))
        if payment is None:
            outcomes[id(order)] = NoSuchPayment()
            continue
        try:
            change = _decide(order, payment)
        except (NotPossible, Problem) as why:
            outcomes[id(order)] = Denied(why)
            continue
        changes.append(change)
        outcomes[id(order)] = Done(change.after, change.refund)
    if changes:
        await _write(connection, changes)


async def _held(connection: Connection, wave: Sequence[Order]) -> dict[int, Outcome]:
    """The orders whose keys are held, with what the keys stand for."""
    rows = {
        (row["legal_entity_id"], row["idempotency_key"]): row
        for row in await connection.fetch(
            PAYMENTS_SQL["keys_held"],
            [order.legal_entity_id for order in wave],
            [order.idempotency_key for order in wave],
        )
    }
    found = [row for row in rows.values() if row["refund_id"] is not None]
    refunds = await read_refunds(connection, found) if found else {}
    outcomes: dict[int, Outcome] = {}
    for order in wave:
        row = rows.get((order.legal_entity_id, order.idempotency_key))
        if row is None:
            continue
        other = order.fingerprint if order.other_fingerprint is None else order.other_fingerprint
        same = is_same(row["fingerprint"], order.fingerprint, other)
        if not same:
            cannot_tell = Denied(Unavailable("vault_unavailable"))
            outcomes[id(order)] = cannot_tell if same is None else KeyTaken()
            continue
        # What a run wrote whose COMMIT went through unheard is no replay.
        replayed = row["claimed_at"] != order.at
        outcomes[id(order)] = Done(payment_of(row), refunds.get(row["refund_id"]), replayed)
    return outcomes


async def read_refunds(connection: Connection, rows: Sequence[Row]) -> dict[UUID, Refund]:
    """The refunds that these rows name, by id."""
    found = await connection.fetch(
        SQL["refunds_by_id"],
        [row["legal_entity_id"] for row in rows],
        [row["refund_id"] for row in rows],
    )
    return {row["refund_id"]: refund_of(row) for row in found}


def _decide(order: Order, payment: Payment) -> _Change:
    if not isinstance(order.wish, RefundWish):
        command = order.wish(payment)
        decision = decide(payment, command, order.at)
        effect = decision.effect
        job_at = effect.run_at if isinstance(effect, Schedule) else None
        told = route_told(command.route) if isinstance(command, InstrumentBrought) else {}
        return _Change(order, payment, decision.payment, decision.kind, job_at, None, told)
    wish = order.wish
    if wish.held is not None:
        raise wish.held
    after, amount_minor = refund_asked(payment, wish.amount_minor, order.at)
    if payment.gateway is None or payment.gateway_account_id is None:
        raise InvariantBroken("money was captured without a gateway")
    wish.check_amount(payment.gateway, amount_minor, payment.currency)
    refund = Refund(
        legal_entity_id=payment.legal_entity_id,
        refund_id=wish.refund_id,
        payment_id=payment.payment_id,
        status="processing",
        amount_minor=amount_minor,
        currency=payment.currency,
        reason=wish.reason,
        metadata=wish.metadata,
        gateway=payment.gateway,
        gateway_account_id=payment.gateway_account_id,
        gateway_key=wish.gateway_key,
        digest_salt=wish.digest_salt,
        created_at=order.at,
        updated_at=order.at,
    )
    return _Change(order, payment, after, "refund.accepted", None, refund)


async def _write(connection: Connection, changes: Sequence[_Change]) -> None:
    rows = await connection.fetch(SQL["claim_keys"], *_key_columns(changes))
    if len(rows) != len(changes):
        # Another process took one of the keys in this moment; next time it is seen.
        raise asyncpg.SerializationError("a key was claimed meanwhile")
    changed = [change for change in changes if change.after is not change.before]
    if changed:
        rows = await connection.fetch(SQL["command"], *_payment_columns(changed))
        if len(rows) != len(changed):
            raise asyncpg.SerializationError("a payment changed under its lock")
    refunds = [change.refund for change in changes if change.refund is not None]
    if refunds:
        await connection.execute(SQL["add_refunds"], *_refund_columns(refunds))
    texts = [
        (wish.refund_id, change.order.legal_entity_id, wish.sealed_texts)
        for change in changes
        if isinstance(wish := change.order.wish, RefundWish) and wish.sealed_texts is not None
    ]
    if texts:
        owners, entities, sealed = _columns(texts)
        await connection.execute(TEXTS_SQL["add_texts"], entities, owners, seal_all(sealed))
    due = [change for change in changes if change.job_at is not None]
    if due:
        await connection.execute(
            SQL["run_jobs_at"],
            [change.after.legal_entity_id for change in due],
            [change.after.payment_id for change in due],
            [job_bucket(change.after) for change in due],
            [change.job_at for change in due],
        )


def _columns(rows: list[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))


def _key_columns(changes: Sequence[_Change]) -> tuple[list[Any], ...]:
    return _columns(
        [
            (
                change.order.legal_entity_id,
                change.order.idempotency_key,
                change.order.operation,
                change.order.fingerprint,
                change.order.payment_id,
                change.refund.refund_id if change.refund else None,
                change.order.at,
            )
            for change in changes
        ]
    )


def _payment_columns(changes: Sequence[_Change]) -> tuple[list[Any], ...]:
    rows: list[tuple[Any, ...]] = []
    for change in changes:
        after = change.after
        more: dict[str, Any] = {"idempotency_key": change.order.idempotency_key, **change.told}
        if change.refund is not None:
            more["refund"] = refund_summary(change.refund)
            if isinstance(wish := change.order.wish, RefundWish) and wish.sealed_texts is not None:
                more["texts"] = wish.sealed_texts.commitment.hex()
        rows.append(
            (
                after.legal_entity_id,
                after.payment_id,
                after.version,
                after.status,
                after.status_reason,
                after.closing,
                after.closing_reason,
                None if after.next_action is None else json_text(after.next_action),
                after.gateway,
                after.gateway_account_id,
                after.instrument_token,
                after.return_url,
                after.capture_minor,
                after.refunding_minor,
                after.updated_at,
                change.kind,
                change.order.actor,
                after.row_digest(),
                changes_payload(change.before, after, **more),
                json_text(after.ways) if after.ways else None,
            )
        )
    return _columns(rows)


def _refund_columns(refunds: Sequence[Refund]) -> tuple[list[Any], ...]:
    return _columns(
        [
            (
                refund.legal_entity_id,
                refund.refund_id,
                refund.payment_id,
                refund.amount_minor,
                refund.currency,
                refund.reason,
                json_text(refund.metadata),
                refund.gateway,
                refund.gateway_account_id,
                refund.gateway_key,
                refund.digest_salt,
                refund.created_at,
                bucket_of(refund.legal_entity_id),
            )
            for refund in refunds
        ]
    )

"""Calculations in the database: asked for, read, and which payment has one."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from strongroom.customers.register import SQL as KEYS_SQL
from strongroom.customers.register import KeyReused, Wish, claim, fingerprint
from strongroom.database import (
    Connection,
    reading,
    rereading,
    rows_by_id,
    statements,
    writing,
)
from strongroom.ids import bucket_of
from strongroom.payments.rows import Row
from strongroom.payments.states import Payment
from strongroom.tax.calculations import Calculation, Lines, Transaction
from strongroom.vault.keys import EntityKeys

SQL: Final = statements("strongroom.tax", "tax.sql")

_lines: Final = msgspec.json.Decoder(Lines).decode


class Shown(NamedTuple):
    """A calculation, the payment that has it, and what was reported of it."""

    calculation: Calculation
    payment_id: UUID | None
    transactions: Sequence[Transaction]


def calculation_of(row: Row) -> Calculation:
    """The calculation in a row of `calculations_by_id`."""
    fields = {name: row[name] for name in Calculation.__struct_fields__}
    if fields["lines"] is not None:
        fields["lines"] = _lines(fields["lines"])
    return Calculation(**fields)


def transaction_of(row: Row) -> Transaction:
    """The transaction in a row of the table tax_transactions."""
    return Transaction(**{name: row[name] for name in Transaction.__struct_fields__})


async def ask_calculation(
    pool: asyncpg.Pool,
    wish: Wish,
    keys: EntityKeys,
    calculation: Calculation,
    sealed: tuple[bytes, bytes],
) -> tuple[Calculation, bool]:
    """The calculation that will be made, and whether the wish's key had asked for it before.

    `sealed` is what is asked and what commits to it. Raises KeyReused, and errors of UNREACHABLE.
    """
    entity, calculation_id = wish.legal_entity_id, calculation.calculation_id
    content, commitment = sealed
    payload = {
        "idempotency_key": wish.idempotency_key,
        "asked": commitment.hex(),
        "currency": calculation.currency,
        "gateway_account_id": calculation.gateway_account_id,
    }
    async with writing(pool, [entity]) as connection:
        if await claim(connection, wish, keys, calculation_id):
            await connection.execute(
                SQL["add_calculation"],
                entity,
                calculation_id,
                calculation.currency,
                content,
                calculation.gateway,
                calculation.gateway_account_id,
                calculation.digest_salt,
                wish.at,
                wish.actor,
                calculation.row_digest(),
                msgspec.json.encode(payload, order="deterministic"),
                bucket_of(entity),
            )
            return calculation, False
        held = await connection.fetchrow(KEYS_SQL["customer_key"], entity, wish.idempotency_key)
        found = (
            [] if held is None else await calculations_in(connection, entity, [held["owner_id"]])
        )
    if held is None:
        raise asyncpg.SerializationError("a key that was held is free")
    if held["fingerprint"] != fingerprint(wish, keys) or not found:
        raise KeyReused
    return found[0], True


async def read_calculations(pool: asyncpg.Pool, wanted: Mapping[UUID, UUID]) -> list[Calculation]:
    """Calculations by id, unknown ones left out; `wanted` maps their ids to legal entities."""
    rows = await rows_by_id(pool, SQL["calculations_by_id"], wanted)
    return [calculation_of(row) for row in rows]


async def calculations_in(
    connection: Connection, legal_entity_id: UUID, ids: Sequence[UUID]
) -> list[Calculation]:
    """As `read_calculations`, of one legal entity, within a transaction."""
    rows = await connection.fetch(
        SQL["calculations_by_id"], [legal_entity_id] * len(ids), list(ids)
    )
    return [calculation_of(row) for row in rows]


@rereading
async def show(pool: asyncpg.Pool, legal_entity_id: UUID, calculation_id: UUID) -> Shown | None:
    """A calculation with all that belongs to it; None where there is none."""
    async with reading(pool, [legal_entity_id]) as connection:
        found = await calculations_in(connection, legal_entity_id, [calculation_id])
        if not found:
            return None
        holder = await holders(connection, [(legal_entity_id, calculation_id)])
        transactions = await transactions_in(connection, legal_entity_id, calculation_id)
    return Shown(found[0], holder.get(calculation_id), transactions)


async def transactions_in(
    connection: Connection, legal_entity_id: UUID, calculation_id: UUID
) -> list[Transaction]:
    """What was reported of a calculation, and is to be, in the order of its beginning."""
    rows = await connection.fetch(SQL["transactions_of"], legal_entity_id, calculation_id)
    return [transaction_of(row) for row in rows]


async def calculation_of_payment(
    pool: asyncpg.Pool, legal_entity_id: UUID, payment_id: UUID
) -> UUID | None:
    """Which calculation a payment is taxed by."""
    async with reading(pool, [legal_entity_id]) as connection:
        found: UUID | None = await connection.fetchval(
            SQL["calculation_of_payment"], legal_entity_id, payment_id
        )
    return found


async def holders(
    connection: Connection, calculations: Sequence[tuple[UUID, UUID]]
) -> dict[UUID, UUID]:
    """By calculation, the payment that has it; given are legal entities and calculations."""
    rows = await connection.fetch(
        SQL["calculations_held"],
        [entity for entity, _ in calculations],
        [calculation_id for _, calculation_id in calculations],
    )
    return {row["calculation_id"]: row["payment_id"] for row in rows}


async def take_calculations(
    connection: Connection, naming: Sequence[tuple[Payment, UUID]]
) -> set[UUID]:
    """Payments that are just written take the calculations that they name.

    Returns the ids of those that cannot: it is another's that may still charge, or has charged.
    """
    if not naming:
        return set()
    first = {calculation_id: payment for payment, calculation_id in reversed(naming)}
    rows = await connection.fetch(
        SQL["claim_calculations"],
        [payment.legal_entity_id for payment in first.values()],
        list(first),
        [payment.payment_id for payment in first.values()],
        [bucket_of(payment.legal_entity_id) for payment in first.values()],
        [payment.created_at for payment in first.values()],
    )
    return {payment.payment_id for payment, _ in naming} - {row["payment_id"] for row in rows}

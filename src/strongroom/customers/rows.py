"""Payment methods in the database: rows read, changes written, each with its event."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from strongroom.customers.persons import Row
from strongroom.customers.register import SQL as CUSTOMERS_SQL
from strongroom.customers.saving import Saving
from strongroom.database import Connection, reading, statements
from strongroom.ids import bucket_of
from strongroom.payments.states import Call

SQL: Final = statements("strongroom.customers", "methods.sql")

Token = tuple[UUID, UUID, str]
"""A legal entity, a gateway account of it, and what that calls an instrument."""
Setup = tuple[UUID, UUID, str, UUID]
"""The same of what saves an instrument, and the payment method that it says it saves."""


def saving_of(row: Row) -> Saving:
    """The payment method in a row of `methods_by_id`."""
    fields = {name: row[name] for name in Saving.__struct_fields__}
    if fields["next_action"] is not None:
        fields["next_action"] = msgspec.json.decode(fields["next_action"])
    return Saving(**fields)


async def read_methods(pool: asyncpg.Pool, wanted: Mapping[UUID, UUID]) -> list[Saving]:
    """Payment methods as they now are, by id and legal entity; those that there are."""
    async with reading(pool, set(wanted.values())) as connection:
        return await methods_in(connection, wanted)


async def methods_in(connection: Connection, wanted: Mapping[UUID, UUID]) -> list[Saving]:
    """As `read_methods`, within a transaction."""
    rows = await connection.fetch(SQL["methods_by_id"], list(wanted.values()), list(wanted.keys()))
    return [saving_of(row) for row in rows]


async def tell(
    connection: Connection,
    after: Saving,
    kind: str,
    actor: str,
    *,
    call: Call | None = None,
    **more: object,
) -> None:
    """The event of a change: references and statuses, nothing of the card."""
    content: dict[str, Any] = {
        "customer_id": after.customer_id,
        "status": after.status,
        "status_reason": after.status_reason,
        "gateway": after.gateway,
        "gateway_account_id": after.gateway_account_id,
        "setup_object": after.setup_object,
        **more,
    }
    if call is not None:
        content["call"] = call
    await connection.execute(
        CUSTOMERS_SQL["add_customer_event"],
        after.legal_entity_id,
        after.payment_method_id,
        after.version,
        kind,
        actor,
        after.updated_at,
        after.row_digest(),
        msgspec.json.encode(content, order="deterministic"),
    )


async def write(connection: Connection, before: Saving, after: Saving) -> bool:
    """The change, unless the version is no longer the one that was decided on."""
    action = after.next_action
    written = await connection.fetchval(
        SQL["settle_method"],
        after.legal_entity_id,
        after.payment_method_id,
        after.version,
        after.status,
        after.status_reason,
        after.sealed,
        None if action is None else msgspec.json.encode(action).decode(),
        after.updated_at,
    )
    if written is None:
        return False
    if (before.setup_object, before.token) != (after.setup_object, after.token):
        await connection.execute(
            SQL["settle_token"],
            after.legal_entity_id,
            after.payment_method_id,
            after.gateway_account_id,
            after.setup_object,
            after.token,
        )
    return True


async def plan(
    connection: Connection,
    saving: Saving,
    lease: int,
    run_at: datetime | None,
    *,
    moved: bool,
) -> None:
    """When to come back to it, None for never; `moved`: what failed before counts no more."""
    key = (saving.legal_entity_id, saving.payment_method_id, lease)
    if run_at is None:
        await connection.execute(SQL["method_over"], *key)
    else:
        await connection.execute(SQL["method_later"], *key, run_at, moved)


async def ask_for_cards(
    connection: Connection, tokens: Sequence[Token], setups: Sequence[Setup], now: datetime
) -> set[Token]:
    """Has the payment methods looked at that have these tokens, or are saved by these objects.

    Returns which there are. A worker that is at one in this moment may have asked before: its lease
    is taken from it.
    """
    rows: list[asyncpg.Record] = []
    asked: tuple[tuple[str, Sequence[Token | Setup]], ...] = (
        ("methods_of_tokens", tokens),
        ("methods_of_setups", setups),
    )
    for statement, named in asked:
        if named:
            columns = (list(column) for column in zip(*set(named), strict=True))
            rows += await connection.fetch(SQL[statement], *columns)
    methods = sorted({(row["legal_entity_id"], row["payment_method_id"]) for row in rows})
    if methods:
        await connection.execute(
            SQL["ask_for_methods"],
            [entity for entity, _ in methods],
            [method for _, method in methods],
            [bucket_of(entity) for entity, _ in methods],
            now,
        )
    return {(row["legal_entity_id"], row["gateway_account_id"], row["token"]) for row in rows}


def by_id(savings: Sequence[Saving]) -> dict[UUID, Saving]:
    """The payment methods by their ids."""
    return {saving.payment_method_id: saving for saving in savings}

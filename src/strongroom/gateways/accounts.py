"""Gateway accounts of legal entities, kept for a few seconds."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.clock import monotonic_seconds
from strongroom.database import UNREACHABLE, Connection, reading, statements
from strongroom.gateways.port import Account, MerchantAccount
from strongroom.payments.rows import Row

SQL: Final = statements("strongroom.gateways", "accounts.sql")
KEPT_SECONDS: Final = 5.0
STALE_SECONDS: Final = 300.0
"""How old an account may be while the database is away; it holds references, no permission."""
KEPT_MAX: Final = 10_000
PER_CURRENCY: Final = frozenset({"braintree"})
"""Gateways whose accounts have a merchant account for each currency."""


async def merchant_accounts(
    connection: Connection, wanted: Sequence[tuple[UUID, UUID, str]]
) -> dict[tuple[UUID, str], MerchantAccount]:
    """By account and currency, of `wanted` (legal entity, account, currency); who has one."""
    if not wanted:
        return {}
    columns = (list(column) for column in zip(*wanted, strict=True))
    rows = await connection.fetch(SQL["merchant_accounts_for"], *columns)
    return {
        (row["gateway_account_id"], row["currency"]): MerchantAccount(
            row["paid_to"], row["three_d_secure"]
        )
        for row in rows
    }


def account_of(row: Row, currencies: Iterable[str] = ()) -> Account:
    """Of a row of `accounts_of`; `currencies` are those that it has a merchant account for."""
    return Account(
        legal_entity_id=row["legal_entity_id"],
        gateway_account_id=row["gateway_account_id"],
        gateway=row["gateway"],
        environment=row["environment"],
        base_url=row["base_url"],
        currencies=frozenset(currencies),
        publishable_key=row["publishable_key"],
    )


class NoSuchAccount(Exception):
    """The legal entity has no such gateway account."""


class Accounts:
    """Reads accounts of one legal entity at a time; at most KEPT_SECONDS old."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._kept: dict[UUID, tuple[float, list[tuple[Account, bool]]]] = {}

    async def get(self, legal_entity_id: UUID, gateway_account_id: UUID) -> Account:
        """The account with this id, retired or not: what was sent through it must be settled.

        Raises NoSuchAccount.
        """
        for account, _ in await self._of(legal_entity_id):
            if account.gateway_account_id == gateway_account_id:
                return account
        raise NoSuchAccount

    async def in_use(self, legal_entity_id: UUID) -> list[Account]:
        """The accounts for new payments, the oldest first."""
        return [account for account, retired in await self._of(legal_entity_id) if not retired]

    async def choose(self, legal_entity_id: UUID, gateway: str) -> Account | None:
        """The oldest account in use at this gateway, or None."""
        accounts = await self.in_use(legal_entity_id)
        return next((one for one in accounts if one.gateway == gateway), None)

    async def _of(self, legal_entity_id: UUID) -> list[tuple[Account, bool]]:
        kept = self._kept.get(legal_entity_id)
        now = monotonic_seconds()
        if kept is not None and now - kept[0] < KEPT_SECONDS:
            return kept[1]
        try:
            async with reading(self._pool, [legal_entity_id]) as connection:
                accounts = await accounts_in(connection, legal_entity_id)
        except UNREACHABLE:
            if kept is None or now - kept[0] > STALE_SECONDS:
                raise
            return kept[1]
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        self._kept[legal_entity_id] = (now, accounts)
        return accounts


async def accounts_in(connection: Connection, legal_entity_id: UUID) -> list[tuple[Account, bool]]:
    """The accounts of a legal entity, the oldest first, each with whether it is retired."""
    rows = await connection.fetch(SQL["accounts_of"], legal_entity_id)
    currencies = await _currencies(connection, legal_entity_id, rows)
    return [
        (
            account_of(row, currencies.get(row["gateway_account_id"], ())),
            row["retired_at"] is not None,
        )
        for row in rows
    ]


async def _currencies(
    connection: Connection, legal_entity_id: UUID, accounts: Sequence[asyncpg.Record]
) -> dict[UUID, list[str]]:
    """By account, the currencies that it has a merchant account for."""
    found: dict[UUID, list[str]] = {}
    if any(account["gateway"] in PER_CURRENCY for account in accounts):
        for row in await connection.fetch(SQL["merchant_accounts_of"], legal_entity_id):
            found.setdefault(row["gateway_account_id"], []).append(row["currency"])
    return found

"""Gateway accounts of legal entities, kept for a few seconds."""

from typing import Final
from uuid import UUID

import asyncpg

from strongroom.clock import monotonic_seconds
from strongroom.database import UNREACHABLE, reading, statements
from strongroom.gateways.port import Account

SQL: Final = statements("strongroom.gateways", "accounts.sql")
KEPT_SECONDS: Final = 5.0
STALE_SECONDS: Final = 300.0
"""How old an account may be while the database is away; it holds references, no permission."""
KEPT_MAX: Final = 10_000


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

    async def choose(self, legal_entity_id: UUID, gateway: str) -> Account | None:
        """The oldest account in use for new payments at this gateway, or None."""
        for account, retired in await self._of(legal_entity_id):
            if account.gateway == gateway and not retired:
                return account
        return None

    async def _of(self, legal_entity_id: UUID) -> list[tuple[Account, bool]]:
        kept = self._kept.get(legal_entity_id)
        now = monotonic_seconds()
        if kept is not None and now - kept[0] < KEPT_SECONDS:
            return kept[1]
        try:
            async with reading(self._pool, [legal_entity_id]) as connection:
                rows = await connection.fetch(SQL["accounts_of"], legal_entity_id)
        except UNREACHABLE:
            if kept is None or now - kept[0] > STALE_SECONDS:
                raise
            return kept[1]
        accounts = [
            (
                Account(
                    legal_entity_id=row["legal_entity_id"],
                    gateway_account_id=row["gateway_account_id"],
                    gateway=row["gateway"],
                    environment=row["environment"],
                    secret_file=row["secret_file"],
                    base_url=row["base_url"],
                ),
                row["retired_at"] is not None,
            )
            for row in rows
        ]
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        self._kept[legal_entity_id] = (now, accounts)
        return accounts

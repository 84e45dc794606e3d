"""Client tokens of a link: what a browser needs before a gateway shows it card fields.

Who has one can make tokens of cards at that gateway for a day, without us. It takes no money, asks
no bank and opens nobody's saved cards, but nobody can call it back. So there is one for a link, not
one for a request: whoever loads the page a thousand times gets the same, and a link has few.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.checkout.links import Link
from strongroom.database import reading, statements, writing
from strongroom.gateways.port import Account
from strongroom.ids import bucket_of
from strongroom.vault.envelope import Column
from strongroom.vault.errors import KeyMissing, Unreadable
from strongroom.vault.keys import Keyring

SQL: Final = statements("strongroom.checkout", "client_tokens.sql")
LABEL: Final = Column("client_tokens", "sealed").label
USED_FOR: Final = timedelta(hours=20)
"""A gateway takes one for 24 hours; a page may be left open for a while."""
ASKED_MAX: Final = 20
"""For a link at an account, failures included; a link of seven days needs nine."""
AGAIN: Final = timedelta(seconds=30)
"""After the last asking, when nothing came of it."""


def row_of(payment_id: UUID, gateway_account_id: UUID) -> bytes:
    """What a token is sealed for, beside its column."""
    return payment_id.bytes + gateway_account_id.bytes


class ClientTokens:
    """Gives the page what a worker made, for one process."""

    def __init__(self, pool: asyncpg.Pool, keyring: Keyring) -> None:
        self._pool, self._keyring = pool, keyring

    async def of(self, link: Link, account: Account, currency: str, now: datetime) -> str | None:
        """The token, or None while a worker makes it, which is asked for here.

        Raises errors of UNAVAILABLE.
        """
        entity, name = link.legal_entity_id, (link.payment_id, account.gateway_account_id)
        async with reading(self._pool, [entity]) as connection:
            row = await connection.fetchrow(SQL["client_token"], entity, *name)
        if row is not None and row["made_at"] is not None and now - row["made_at"] < USED_FOR:
            keys = await self._keyring.entity(entity)
            try:
                return keys.open(LABEL, row_of(*name), row["sealed"]).decode()
            except (Unreadable, KeyMissing):
                return None
        async with writing(self._pool, [entity]) as connection:
            await connection.execute(
                SQL["ask_client_token"],
                entity,
                *name,
                currency,
                bucket_of(entity),
                now,
                ASKED_MAX,
                now - AGAIN,
                now - USED_FOR,
            )
        return None

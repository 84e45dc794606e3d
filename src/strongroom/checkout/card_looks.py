"""Which card a token stands for, before it is tried: the gateway's own name of it, as a digest.

The page asks by a row and waits for a worker, which has the gateway's secret. What cannot be told
is not tried: else who wants no limit would only have to keep the worker busy.
"""

import asyncio
from datetime import datetime
from typing import Final

import asyncpg

from strongroom.checkout.limits import TooManyTries
from strongroom.checkout.links import Link
from strongroom.clock import monotonic_seconds
from strongroom.database import reading, statements, writing
from strongroom.gateways.port import Account
from strongroom.ids import bucket_of

SQL: Final = statements("strongroom.checkout", "card_looks.sql")
LOOKS_MAX: Final = 20
"""Tokens of a link that are looked at: each try makes one, and so does one that did not arrive."""
WAIT_SECONDS_MAX: Final = 12.0
POLL_SECONDS: Final = 0.1
AGAIN_SECONDS: Final = 3600


class NotSeen(Exception):
    """The gateway, or a worker, did not say which card it is; nothing was tried."""


class CardLooks:
    """Asks which cards the page's customers bring, for one process."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def card_of(
        self, link: Link, account: Account, token: str, now: datetime
    ) -> bytes | None:
        """The digest of the token's card (32 bytes), or None for what is no card.

        Raises NotSeen, TooManyTries, and the errors of UNREACHABLE.
        """
        name = (link.legal_entity_id, link.payment_id, token, account.gateway_account_id)
        await self._ask(link, account, token, now)
        ends = monotonic_seconds() + WAIT_SECONDS_MAX
        while monotonic_seconds() < ends:
            async with reading(self._pool, [link.legal_entity_id]) as connection:
                row = await connection.fetchrow(SQL["card_look"], *name)
            if row is None:
                raise NotSeen
            if row["seen_at"] is not None:
                card: bytes | None = row["card"]
                return card
            if row["run_at"] is None:
                raise NotSeen
            await asyncio.sleep(POLL_SECONDS)
        raise NotSeen

    async def _ask(self, link: Link, account: Account, token: str, now: datetime) -> None:
        entity, payment_id = link.legal_entity_id, link.payment_id
        async with writing(self._pool, [entity]) as connection:
            asked = await connection.fetchval(
                SQL["ask_card_look"],
                entity,
                payment_id,
                token,
                account.gateway_account_id,
                bucket_of(entity),
                now,
            )
            if asked is None:
                return  # by the same request, sent before
            counted = (entity, payment_id, LOOKS_MAX)
            if await connection.fetchval(SQL["count_card_look"], *counted) is None:
                raise TooManyTries(AGAIN_SECONDS)

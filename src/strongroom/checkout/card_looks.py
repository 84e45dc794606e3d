"""Which card a token stands for, before it is tried: the gateway's own name of it, as a digest.

The page asks by a row and waits for a worker, which has the gateway's secret. What cannot be told
is not tried: else who wants no limit would only have to keep the worker busy.
"""

import asyncio
from datetime import datetime, timedelta
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
"""Tokens of a link in an hour: each try makes one, and so does one that did not arrive."""
LOOKS_COUNTED: Final = timedelta(hours=1)
WAIT_SECONDS_MAX: Final = 12.0
UNDER_WAY: Final = timedelta(seconds=15)
"""For so long after it was asked for a try may still begin, whether or not the browser waits."""
BEGINS_WITHIN: Final = timedelta(seconds=3)
"""After the card is known."""
AGAIN: Final = timedelta(seconds=5)
"""After one that nobody could answer, the same token may be asked for again."""
WAITING_MAX: Final = 200
"""Requests of this process that wait; each reads the database a few times a second."""
POLL_SECONDS: Final = (0.1, 0.5)
"""Between two reads: at first, and at last."""


class NotSeen(Exception):
    """The gateway, or a worker, did not say which card it is; nothing was tried."""


class CardLooks:
    """Asks which cards the page's customers bring, for one process."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool, self._waiting = pool, 0

    async def card_of(
        self, link: Link, account: Account, token: str, now: datetime
    ) -> bytes | None:
        """The digest of the token's card (32 bytes), or None for what is no card.

        Raises NotSeen, TooManyTries, and the errors of UNREACHABLE.
        """
        if self._waiting >= WAITING_MAX:
            raise NotSeen
        self._waiting += 1
        try:
            await self._ask(link, account, token, now)
            return await self._answer(link, account, token)
        finally:
            self._waiting -= 1

    async def is_under_way(self, link: Link, now: datetime) -> bool:
        """Whether a try of this link may still begin, though its customer has gone offline."""
        name = (link.legal_entity_id, link.payment_id)
        async with reading(self._pool, [link.legal_entity_id]) as connection:
            found: bool = await connection.fetchval(
                SQL["card_look_under_way"], *name, now - UNDER_WAY, now - BEGINS_WITHIN
            )
        return found

    async def _answer(self, link: Link, account: Account, token: str) -> bytes | None:
        name = (link.legal_entity_id, link.payment_id, token, account.gateway_account_id)
        ends, wait = monotonic_seconds() + WAIT_SECONDS_MAX, POLL_SECONDS[0]
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
            await asyncio.sleep(wait)
            wait = min(wait * 1.3, POLL_SECONDS[1])
        raise NotSeen

    async def _ask(self, link: Link, account: Account, token: str, now: datetime) -> None:
        entity, payment_id = link.legal_entity_id, link.payment_id
        async with writing(self._pool, [entity]) as connection:
            await connection.execute(SQL["lock_link"], entity, payment_id)
            asked = await connection.fetchval(
                SQL["ask_card_look"],
                entity,
                payment_id,
                token,
                account.gateway_account_id,
                bucket_of(entity),
                now,
                now - AGAIN,
            )
            if asked is None:
                return  # by the same request, sent before
            since = now - LOOKS_COUNTED
            many = await connection.fetchval(SQL["count_card_looks"], entity, payment_id, since)
            if many > LOOKS_MAX:
                raise TooManyTries(int(LOOKS_COUNTED.total_seconds()))

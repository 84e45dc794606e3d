"""Limits against card testing: how many tries without success may come from one place in an hour.

What takes money is not counted against anybody. Addresses are kept as keyed digests, for a day.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.checkout.links import SQL, Link
from strongroom.database import Connection, writing
from strongroom.vault.keys import EntityKeys

TRIES_OF_AN_ADDRESS_MAX: Final = 20
"""In an hour. A household or an office shares an address; who tests a list of cards has thousands
to try."""
KEPT: Final = timedelta(hours=24)
_ADDRESS: Final = b"checkout address\n"


class TooManyTries(Exception):
    """Nothing is tried; `retry_after_seconds` says when it may be."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("too many tries")
        self.retry_after_seconds = retry_after_seconds


def hour_of(now: datetime) -> datetime:
    """The beginning of the hour."""
    return now.replace(minute=0, second=0, microsecond=0)


def subject_of(keys: EntityKeys, address: str) -> bytes:
    """What stands for an address: 32 bytes that nobody without the entity's key can try out."""
    return keys.mac(_ADDRESS + address.encode())


async def count_try(
    connection: Connection, legal_entity_id: UUID, subject: bytes, now: datetime
) -> None:
    """One try more, in the caller's transaction. Raises TooManyTries, and nothing is counted."""
    hour = hour_of(now)
    tries = await connection.fetchval(SQL["count_try"], legal_entity_id, hour, subject)
    if tries == 1:
        await connection.execute(SQL["forget_limits"], legal_entity_id, hour - KEPT)
    if tries > TRIES_OF_AN_ADDRESS_MAX:
        raise TooManyTries(int((hour + timedelta(hours=1) - now).total_seconds()) + 1)


async def end_counting(pool: asyncpg.Pool, link: Link) -> None:
    """The link's last try took money: it is held against nobody, however often this is called."""
    entity = link.legal_entity_id
    async with writing(pool, [entity]) as connection:
        row = await connection.fetchrow(SQL["end_counting"], entity, link.payment_id)
        if row is not None:
            hour = hour_of(row["counted_at"])
            await connection.execute(SQL["uncount_try"], entity, hour, row["counted_for"])

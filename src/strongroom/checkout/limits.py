"""Limits against card testing: how many tries without success may come of one thing in a time.

What takes money is not counted against anybody. Addresses and cards are kept as keyed digests.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from strongroom.checkout.links import SQL, Link
from strongroom.database import Connection, writing
from strongroom.vault.keys import EntityKeys

TRIES_OF_AN_ADDRESS_MAX: Final = 20
"""In an hour. A household or an office shares an address; who tests a list of cards has thousands
to try."""
TRIES_OF_A_CARD_MAX: Final = 8
"""In a day, by any links and addresses. Who has forgotten a code tries a few; who guesses one has
hundreds to try."""
KEPT: Final = timedelta(hours=24)


class Counted(NamedTuple):
    """Something that tries are counted of: a keyed digest of 32 bytes, since the time `since`."""

    digest: bytes
    since: datetime
    until: datetime
    most: int
    is_card: bool


class TooManyTries(Exception):
    """Nothing is tried before `retry_after_seconds` are over; `is_card`: not with this card."""

    def __init__(self, retry_after_seconds: int, *, is_card: bool = False) -> None:
        super().__init__("too many tries")
        self.retry_after_seconds, self.is_card = retry_after_seconds, is_card


def hour_of(now: datetime) -> datetime:
    """The beginning of the hour."""
    return now.replace(minute=0, second=0, microsecond=0)


def day_of(now: datetime) -> datetime:
    """The beginning of the day, UTC."""
    return hour_of(now).replace(hour=0)


def address_digest(keys: EntityKeys, address: str) -> bytes:
    """What stands for an address: nobody without the entity's key can try out which it is."""
    return keys.mac(b"checkout address\n" + address.encode())


def card_digest(keys: EntityKeys, gateway_account_id: UUID, mark: str) -> bytes:
    """What stands for a card, by what the gateway of this account calls it."""
    return keys.mac(b"checkout card\n" + gateway_account_id.bytes + mark.encode())


def counted_of(address: bytes, card: bytes | None, now: datetime) -> list[Counted]:
    """What a try at this moment is counted for."""
    hour, day = hour_of(now), day_of(now)
    found = [Counted(address, hour, hour + timedelta(hours=1), TRIES_OF_AN_ADDRESS_MAX, False)]
    if card is not None:
        found.append(Counted(card, day, day + timedelta(days=1), TRIES_OF_A_CARD_MAX, True))
    return found


async def count_try(
    connection: Connection, legal_entity_id: UUID, counted: list[Counted], now: datetime
) -> None:
    """One try more of each, in the caller's transaction. Raises TooManyTries: none is counted."""
    for one in counted:
        tries = await connection.fetchval(SQL["count_try"], legal_entity_id, one.since, one.digest)
        if tries == 1:
            await connection.execute(SQL["forget_limits"], legal_entity_id, hour_of(now) - KEPT)
        if tries > one.most:
            wait = int((one.until - now).total_seconds()) + 1
            raise TooManyTries(wait, is_card=one.is_card)


async def check_address(
    connection: Connection, legal_entity_id: UUID, address: bytes, now: datetime
) -> None:
    """Before anything is asked for an address that has no tries left. Raises TooManyTries."""
    [one] = counted_of(address, None, now)
    tries = await connection.fetchval(SQL["tries_of"], legal_entity_id, one.since, one.digest)
    if tries is not None and tries >= one.most:
        raise TooManyTries(int((one.until - now).total_seconds()) + 1)


async def uncount_try(
    connection: Connection, legal_entity_id: UUID, counted: list[Counted]
) -> None:
    """A try less of each, in the caller's transaction."""
    for one in counted:
        await connection.execute(SQL["uncount_try"], legal_entity_id, one.since, one.digest)


async def end_counting(pool: asyncpg.Pool, link: Link) -> None:
    """The link's last try took money: it is held against nobody, however often this is called."""
    entity = link.legal_entity_id
    async with writing(pool, [entity]) as connection:
        row = await connection.fetchrow(SQL["end_counting"], entity, link.payment_id)
        if row is not None:
            counted = counted_of(row["counted_for"], row["counted_card"], row["counted_at"])
            await uncount_try(connection, entity, counted)

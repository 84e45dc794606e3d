"""The partitions of the events: one a month, made long before anything falls into them."""

from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.clock import microseconds_since_epoch
from strongroom.migrations import Tell, patiently

MONTHS_AHEAD: Final = 24
_PARTITIONS: Final = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'strongroom.events'::regclass
"""


async def extend_events(
    connection: asyncpg.Connection, at: datetime, tell: Tell = lambda _: None
) -> str:
    """Makes what is missing from this month to MONTHS_AHEAD on; returns the last partition's name.

    Older versions go on serving: nothing that they use is locked but the partition for all that
    fits in no other, which holds little. Raises MigrationStopped.
    """
    there = {row["relname"] for row in await connection.fetch(_PARTITIONS)}
    month = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    name = _name(month)
    for _ in range(MONTHS_AHEAD + 1):
        name, after = _name(month), _next(month)
        if name not in there:
            await patiently(connection, name, partial(_attach, month, after), tell)
            tell(f"{name}: made")
        month = after
    return name


async def _attach(low: datetime, high: datetime, connection: asyncpg.Connection) -> bool:
    """Makes the table by itself, then attaches it: that locks the parent against nobody's use."""
    name = _name(low)
    if await connection.fetchval("SELECT to_regclass($1)", f"strongroom.{name}") is not None:
        return False
    await connection.execute(
        f"CREATE TABLE strongroom.{name} (LIKE strongroom.events INCLUDING ALL);"
        f"ALTER TABLE strongroom.events ATTACH PARTITION strongroom.{name} "
        f"FOR VALUES FROM ('{_bound(low)}') TO ('{_bound(high)}')"
    )
    return True


def _bound(month: datetime) -> UUID:
    """The milliseconds in the first 48 bits of a UUIDv7, and nothing behind them."""
    return UUID(int=microseconds_since_epoch(month) // 1000 << 80)


def _name(month: datetime) -> str:
    return f"events_{month:%Y_%m}"


def _next(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)

"""`strongroom ghosts`: charges at a gateway that we do not know, and who has accounted for them."""

import argparse
import asyncio
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.alarms.raising import clear_alarm
from strongroom.cli.named import entity_of, id_of
from strongroom.cli.plain import plain
from strongroom.clock import SystemClock, rfc3339
from strongroom.config import ConfigurationError, Home
from strongroom.database import Connection, begin
from strongroom.gateways.accounts import SQL as ACCOUNTS_SQL
from strongroom.ids import bucket_of, to_text
from strongroom.log.noting import note, operator
from strongroom.setup import payments_owner
from strongroom.webhooks.ghosts import SQL

SHOWN_MAX: Final = 1000
CLEARED_AT_ONCE: Final = 500


def ghosts_list(options: argparse.Namespace) -> int:
    """Prints those that nobody has accounted for, newest first."""

    async def run() -> list[dict[str, str]]:
        async with payments_owner(Home(options.home)) as connection:
            entities = [
                row["legal_entity_id"] for row in await connection.fetch(ACCESS_SQL["entities"])
            ]
            await begin(connection, entities, read_only=True)
            rows = await connection.fetch(
                SQL["ghosts_open"], entities, max(1, min(options.limit, SHOWN_MAX))
            )
            await connection.execute("ROLLBACK")
        return [
            {
                "found_at": rfc3339(row["raised_at"]),
                "alarm": to_text("alm", row["alarm_id"]),
                "account": to_text("gwa", row["gateway_account_id"]),
                "charge": row["subject"],
                "kind": row["kind"],
                "reason": row["reason"],
            }
            for row in rows
        ]

    found = asyncio.run(run())
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print("\n".join(plain("  ".join(one.values())) for one in found) or "no charge is unknown")
    return 0


def ghosts_ignore(options: argparse.Namespace) -> int:
    """Accounts for one charge, or says that another system shares an account."""
    if (options.alarm is None) == (options.account is None):
        raise ConfigurationError("give the alarm of one charge, or --account.")
    by, because = operator(), options.because.strip()
    if not 0 < len(because) <= 500 or "\x00" in because:
        raise ConfigurationError("say why, in 1 to 500 characters.")
    return asyncio.run(_ignore(Home(options.home), options.alarm, options.account, by, because))


def ghosts_watch(options: argparse.Namespace) -> int:
    """Takes back that another system shares an account: charges without our mark show again."""

    async def run() -> None:
        account = id_of("gwa", options.account)
        async with payments_owner(Home(options.home)) as connection:
            entity = await entity_of(connection, account)
            await begin(connection, [entity])
            now = await _declare(connection, entity, account, shared=False)
            await note(connection, entity, account, "gateway_account.watched", now)
            await connection.execute("COMMIT")

    asyncio.run(run())
    print("charges without our mark are shown from now on")
    return 0


async def _ignore(home: Home, alarm: str | None, account: str | None, by: str, because: str) -> int:
    async with payments_owner(home) as connection:
        if alarm is not None:
            one = id_of("alm", alarm)
            entity = await entity_of(connection, one)
            await begin(connection, [entity])
            now = SystemClock().now()
            ended = await clear_alarm(connection, entity, one, by=by, because=because, at=now)
            await connection.execute("COMMIT")
            if ended is None:
                raise ConfigurationError("no such alarm is open.")
            print(f"{alarm} is accounted for")
            return 0
        shared = id_of("gwa", account or "")
        entity = await entity_of(connection, shared)
        await begin(connection, [entity])
        now = await _declare(connection, entity, shared, shared=True)
        await note(connection, entity, shared, "gateway_account.shared", now, because=because)
        await connection.execute("COMMIT")
        number = await _clear_all(connection, entity, shared, by, because)
        print(f"charges without our mark are another system's; accounted for: {number}")
        return 0


async def _clear_all(
    connection: Connection, entity: UUID, account: UUID, by: str, because: str
) -> int:
    number = 0
    while True:
        await begin(connection, [entity])
        rows = await connection.fetch(SQL["unmarked_alarms"], entity, account, CLEARED_AT_ONCE)
        for row in rows:
            now = SystemClock().now()
            await clear_alarm(connection, entity, row["alarm_id"], by=by, because=because, at=now)
        await connection.execute("COMMIT")
        number += len(rows)
        if len(rows) < CLEARED_AT_ONCE:
            return number


async def _declare(
    connection: Connection, entity: UUID, account: UUID, *, shared: bool
) -> datetime:
    """Whether another system shares an account; returns from when on. Raises ConfigurationError."""
    rows = await connection.fetch(ACCOUNTS_SQL["accounts_of"], entity)
    if account not in {row["gateway_account_id"] for row in rows}:
        raise ConfigurationError("there is no such gateway account.")
    now = SystemClock().now()
    await connection.execute(SQL["declare_shared"], entity, account, bucket_of(entity), now, shared)
    return now

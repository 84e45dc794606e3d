"""`strongroom webhooks`: what nobody could match, and going through the gateway's list again."""

import argparse
import asyncio
import re
import sys
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.cli.named import account_of, id_of
from strongroom.cli.plain import plain
from strongroom.clock import SystemClock, rfc3339
from strongroom.config import ConfigurationError, Home
from strongroom.database import begin
from strongroom.ids import Prefix, bucket_of, to_text
from strongroom.log.noting import note
from strongroom.setup import payments_owner
from strongroom.webhooks.inbox import NO_BODY, SQL
from strongroom.webhooks.sweeps import SQL as SWEEPS_SQL

SHOWN_MAX: Final = 1000
LISTED_MAX: Final = timedelta(days=30)
"""How far back Stripe lists events (docs.stripe.com/api/events/list)."""
UNITS: Final = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
REPLAYABLE: Final = ("stripe",)
LOOK_SECONDS: Final = 0.5


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook, as `webhooks parked` shows it."""

    received_at: str
    account: str
    event: str
    kind: str
    object: str
    owner: str | None
    reason: str


def webhooks_parked(options: argparse.Namespace) -> int:
    """Prints what is parked, newest first."""
    lines = asyncio.run(_parked(Home(options.home), min(options.limit, SHOWN_MAX)))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(lines)).decode())
        return 0
    for line in lines:
        told = (
            f"{line.received_at}  {line.account}  {line.event}  {line.kind}  {line.object}  "
            f"{line.owner or '-'}  {line.reason}"
        )
        print(plain(told))
    return 0


async def _parked(home: Home, limit: int) -> list[Parked]:
    async with payments_owner(home) as connection:
        entities = [
            row["legal_entity_id"] for row in await connection.fetch(ACCESS_SQL["entities"])
        ]
        await begin(connection, entities, read_only=True)
        rows = await connection.fetch(SQL["list_parked"], entities, limit)
        await connection.execute("ROLLBACK")
    return [_line(row) for row in rows]


def _line(row: asyncpg.Record) -> Parked:
    owner: Any = row["owner_id"]
    prefix: Prefix = "pay" if row["lane"] == "payments" else "ref"
    return Parked(
        received_at=rfc3339(row["received_at"]),
        account=to_text("gwa", row["gateway_account_id"]),
        event=row["gateway_event_id"],
        kind=row["kind"],
        object=row["gateway_object_id"],
        owner=None if owner is None else to_text(prefix, owner),
        reason=row["reason"],
    )


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """Webhooks of one kind that came to the same: `sent` to us, or only `listed` by the gateway."""

    kind: str
    state: str
    reason: str | None
    sent: int
    listed: int
    last: str


def webhooks_arrived(options: argparse.Namespace) -> int:
    """Prints what has arrived, by kind; 1 where nothing was sent at all."""
    since = _moment(options.since, SystemClock().now())
    lines = asyncio.run(_arrived(Home(options.home), id_of("gwa", options.account), since))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(lines)).decode())
    else:
        for line in lines:
            became = line.state if line.reason is None else f"{line.state} {line.reason}"
            number = f"{line.sent:>8} sent  {line.listed:>6} listed"
            print(plain(f"{number}  {line.last}  {line.kind:<40}{became}"))
        sent, listed = sum(line.sent for line in lines), sum(line.listed for line in lines)
        print(f"{sent} webhooks were sent and genuine; {listed} were only in the gateway's list")
    return 0 if any(line.sent for line in lines) else 1


async def _arrived(home: Home, account: UUID, since: datetime) -> list[Arrived]:
    async with payments_owner(home) as connection:
        entity = (await account_of(connection, account))["legal_entity_id"]
        await begin(connection, [entity], read_only=True)
        rows = await connection.fetch(SQL["arrived"], entity, account, since, NO_BODY)
        await connection.execute("ROLLBACK")
    return [
        Arrived(
            kind=row["kind"],
            state=row["state"],
            reason=row["reason"],
            sent=row["sent"],
            listed=row["listed"],
            last=rfc3339(row["last"]),
        )
        for row in rows
    ]


def webhooks_replay(options: argparse.Namespace) -> int:
    """Has a worker go through the gateway's list, and shows how far it is."""
    now = SystemClock().now()
    since = _moment(options.since, now)
    if not timedelta() < now - since <= LISTED_MAX:
        raise ConfigurationError(f"the gateway lists the last {LISTED_MAX.days} days.")
    account = id_of("gwa", options.account)
    return asyncio.run(_replay(Home(options.home), account, since, now, wait=not options.no_wait))


def _moment(text: str, now: datetime) -> datetime:
    """A time, or so long ago: `3d`, `12h`, `30m`."""
    ago = re.fullmatch(r"([1-9][0-9]{0,4})([dhm])", text)
    if ago is not None:
        return now - int(ago[1]) * UNITS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError("--since takes a time with its zone, or 3d, 12h, 30m.")
    return moment


async def _replay(home: Home, account: UUID, since: datetime, now: datetime, *, wait: bool) -> int:
    async with payments_owner(home) as connection:
        one = await account_of(connection, account)
        if one["gateway"] not in REPLAYABLE:
            raise ConfigurationError("this gateway has no list of its events.")
        entity = one["legal_entity_id"]
        await begin(connection, [entity])
        begun = await connection.fetchrow(
            SWEEPS_SQL["begin_replay"], entity, account, bucket_of(entity), since, now
        )
        if begun is not None:
            kind = "gateway_account.webhooks_replayed"
            await note(connection, entity, account, kind, now, since=since)
        await connection.execute("COMMIT")
        if begun is None:
            print("a replay of this account is under way; this is how far it is")
        row = None
        while wait:
            await begin(connection, [entity], read_only=True)
            row = await connection.fetchrow(SWEEPS_SQL["replay_now"], entity, account)
            await connection.execute("ROLLBACK")
            if row is None or row["run_at"] is None:
                break
            _tell(row)
            await asyncio.sleep(LOOK_SECONDS)
    if not wait:
        print("a worker goes through it; run this again to see how far it is")
        return 0
    seen, found = (row["seen"], row["found"]) if row else (0, 0)
    print(f"the gateway listed {seen} events; {found} had not come before")
    return 0


def _tell(row: asyncpg.Record) -> None:
    """A line of progress, on a screen only."""
    if sys.stderr.isatty():
        back = rfc3339(row["reached_at"]) if row["reached_at"] else "…"
        stuck = f", not answered {row['tries']} times" if row["tries"] else ""
        print(f"{row['seen']} seen, {row['found']} new, back to {back}{stuck}", file=sys.stderr)

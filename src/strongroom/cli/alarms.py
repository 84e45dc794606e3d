"""`strongroom alarms`: what needs a person now, and the end of an alarm that somebody saw to."""

import argparse
import asyncio
from typing import Final

import msgspec

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.alarms.advice import Standing, standing
from strongroom.alarms.raising import clear_alarm
from strongroom.cli.named import id_of
from strongroom.cli.plain import plain
from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Home
from strongroom.database import begin
from strongroom.ids import tag_of
from strongroom.log.noting import operator
from strongroom.setup import payments_owner

SHOWN_MAX: Final = 1000
REASON_CHARACTERS_MAX: Final = 500
NOTHING: Final = "nothing needs a person now"


def alarms_show(options: argparse.Namespace) -> int:
    """Prints what stands; with --check the exit code is 1 when anything does."""
    found = asyncio.run(_standing(Home(options.home), max(1, min(options.limit, SHOWN_MAX))))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print("\n".join(_line(one) for one in found) or NOTHING)
    return 1 if options.check and found else 0


def alarms_clear(options: argparse.Namespace) -> int:
    """Ends one alarm, with a reason that stays in the log."""
    because = options.because.strip()
    if not 0 < len(because) <= REASON_CHARACTERS_MAX or "\x00" in because:
        raise ConfigurationError(f"say why, in 1 to {REASON_CHARACTERS_MAX} characters.")
    alarm_id = id_of("alm", options.id)

    async def run() -> bool:
        async with payments_owner(Home(options.home)) as connection:
            entity = await connection.fetchval(ACCESS_SQL["entity_by_tag"], tag_of(alarm_id))
            if entity is None:
                return False
            await begin(connection, [entity])
            ended = await clear_alarm(
                connection,
                entity,
                alarm_id,
                by=operator(),
                because=because,
                at=SystemClock().now(),
            )
            await connection.execute("COMMIT")
            return ended is not None

    if not asyncio.run(run()):
        raise ConfigurationError("no such alarm is open.")
    print(f"{options.id} is cleared")
    return 0


async def _standing(home: Home, limit: int) -> list[Standing]:
    async with payments_owner(home) as connection:
        entities = [
            row["legal_entity_id"] for row in await connection.fetch(ACCESS_SQL["entities"])
        ]
        await begin(connection, entities, read_only=True)
        found = await standing(connection, entities, SystemClock().now(), limit)
        await connection.execute("ROLLBACK")
    return found


def _line(one: Standing) -> str:
    ids = "  ".join(part for part in (one.alarm, one.account, one.subject) if part)
    told = plain(f"{one.since}  {one.kind}  {ids}  {one.reason}")
    return f"{told}\n    {one.meaning}: {one.what_to_do}"

"""Charges that the gateway has and that we do not know: shown to a person, never touched.

Every charge of ours bears our mark, which its object was made with. So there are two kinds. One
with our mark that no attempt of ours knows is a ghost: a database that was restored to yesterday,
or somebody who writes our marks. One without our mark was made by something else: another system
that shares the account, or somebody who has its key. Whether the account is shared only its owner
knows: until he has said so (`strongroom ghosts ignore`), each is shown.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from strongroom.alarms.raising import Alarm, Kind, alarm
from strongroom.database import Connection, see, statements
from strongroom.gateways.history import Charged
from strongroom.ids import tag_of
from strongroom.payments.rows import Row
from strongroom.webhooks.hints import OTHER_OBJECT, UNKNOWN

SQL: Final = statements("strongroom.webhooks", "ghosts.sql")
UNMARKED: Final = "no_mark_of_ours"
SOUGHT: Final = ""
"""Instead of an object: the attempt's answer was lost, and its look goes by this very mark."""
MISTAGGED: Final = "unknown_legal_entity"


async def ghosts_among(
    connection: Connection, row: Row, charges: Sequence[Charged], now: datetime
) -> list[Alarm]:
    """An alarm for each that we do not know; `row` is the sweep that has found them.

    Legal entities may share one account at the gateway, so a charge may be known to another one.
    Afterwards the transaction sees the legal entity of the sweep alone.
    """
    entity = row["legal_entity_id"]
    marked = [charge for charge in charges if charge.payment_id is not None]
    entities = await _entities_of(connection, marked)
    await see(connection, {entity, *entities.values()})
    known = await _known(connection, marked, entities)
    await see(connection, [entity])
    found = []
    for charge in charges:
        kind, reason = _judged(charge, entities, known)
        if kind == "unmarked_charge" and row["skips_unmarked"]:
            continue
        if kind is not None:
            found.append(
                alarm(
                    kind,
                    legal_entity_id=entity,
                    gateway_account_id=row["gateway_account_id"],
                    subject=charge.object_id,
                    reason=f"{reason} {charge.amount_minor} {charge.currency}",
                    at=now,
                )
            )
    return found


def _judged(
    charge: Charged, entities: dict[int, UUID], known: dict[tuple[UUID, int], str | None]
) -> tuple[Kind | None, str]:
    if charge.payment_id is None or charge.attempt_no is None:
        return "unmarked_charge", UNMARKED
    if tag_of(charge.payment_id) not in entities:
        return "ghost_charge", MISTAGGED
    key = (charge.payment_id, charge.attempt_no)
    if key not in known:
        return "ghost_charge", UNKNOWN
    return (
        (None, "") if known[key] in (charge.object_id, SOUGHT) else ("ghost_charge", OTHER_OBJECT)
    )


async def _entities_of(connection: Connection, charges: Sequence[Charged]) -> dict[int, UUID]:
    """By tag, the legal entities whose payments these charges name."""
    tags = sorted({tag_of(charge.payment_id) for charge in charges if charge.payment_id})
    rows = await connection.fetch(SQL["entities_by_tag"], tags)
    return {row["tag"]: row["legal_entity_id"] for row in rows}


async def _known(
    connection: Connection, charges: Sequence[Charged], entities: dict[int, UUID]
) -> dict[tuple[UUID, int], str | None]:
    """By payment and attempt, the object that our attempt has at the gateway."""
    named = sorted(
        {
            (entities[tag_of(charge.payment_id)], charge.payment_id, charge.attempt_no)
            for charge in charges
            if charge.payment_id and charge.attempt_no and tag_of(charge.payment_id) in entities
        }
    )
    if not named:
        return {}
    columns = [list(column) for column in zip(*named, strict=True)]
    rows = await connection.fetch(SQL["attempts_charged"], *columns)
    return {
        (row["payment_id"], row["attempt_no"]): SOUGHT
        if row["is_sought"]
        else row["gateway_object_id"]
        for row in rows
    }

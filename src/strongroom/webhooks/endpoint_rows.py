"""Endpoints in the database: added, changed and removed, each with the event that says so.

Everything here happens in a transaction that sees the legal entity, and that the caller commits.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from strongroom.database import Connection, statements
from strongroom.ids import bucket_of
from strongroom.log.readers import Placed, read_log
from strongroom.payments.rows import Row
from strongroom.webhooks.endpoints import LOST, Endpoint, State

SQL: Final = statements("strongroom.webhooks", "endpoints.sql")
AGAIN_MAX: Final = 5000
"""So many entries of a log are told again at once."""
READ_AT_ONCE: Final = 500


def endpoint_of(row: Row) -> Endpoint:
    """The endpoint of its row."""
    return Endpoint(
        legal_entity_id=row["legal_entity_id"],
        endpoint_id=row["endpoint_id"],
        version=row["version"],
        host=row["host"],
        kinds=tuple(row["kinds"]),
        state=row["state"],
        state_reason=row["state_reason"],
        created_at=row["created_at"],
    )


async def add_endpoint(
    connection: Connection, endpoint: Endpoint, first: int | None, actor: str, **more: Any
) -> int:
    """Writes a new one, which reads its log from index `first` on; None: what happens from now on.

    Returns where it begins. `more` is what else the event says, here and below.
    """
    size: int = await connection.fetchval(SQL["head"], endpoint.legal_entity_id) or 0
    begin = size if first is None else min(first, size)
    await connection.execute(
        SQL["add_endpoint"],
        endpoint.legal_entity_id,
        endpoint.endpoint_id,
        bucket_of(endpoint.legal_entity_id),
        endpoint.host,
        list(endpoint.kinds),
        begin,
        endpoint.created_at,
        actor,
        endpoint.row_digest(),
        _payload(endpoint, first_index=begin, **more),
    )
    return begin


async def lock_endpoint(
    connection: Connection, legal_entity_id: UUID, endpoint_id: UUID
) -> Endpoint | None:
    """One endpoint, kept from others until the commit; None where there is no such."""
    row = await connection.fetchrow(SQL["endpoint_to_change"], legal_entity_id, endpoint_id)
    return None if row is None else endpoint_of(row)


async def set_state(
    connection: Connection,
    endpoint: Endpoint,
    state: State,
    why: str | None,
    *,
    actor: str,
    at: datetime,
    **more: Any,
) -> Endpoint:
    """Enables or disables one whose row the transaction holds; `why` is kept and shown.

    What waits for one that is enabled is told at once.
    """
    key = endpoint.legal_entity_id, endpoint.endpoint_id
    await connection.execute(SQL["set_state"], *key, state, why, at)
    if state == "enabled":
        await connection.execute(SQL["start_anew"], *key, at)
        await connection.execute(SQL["make_due"], *key, at)
    after = replace(endpoint, state=state, state_reason=why)
    return await note(connection, after, state, actor=actor, at=at, **more)


async def note(
    connection: Connection, endpoint: Endpoint, kind: str, *, actor: str, at: datetime, **more: Any
) -> Endpoint:
    """Leaves an event of one whose row the transaction holds, as it now is; each is its next
    version, after whatever somebody may have made up with the login of a process.
    """
    newest = await connection.fetchval(
        SQL["last_of_endpoint"], endpoint.legal_entity_id, endpoint.endpoint_id
    )
    after = replace(endpoint, version=1 + max(endpoint.version, newest or 0))
    await connection.execute(
        SQL["note_endpoint"],
        after.legal_entity_id,
        after.endpoint_id,
        after.version,
        f"webhook_endpoint.{kind}",
        actor,
        at,
        after.row_digest(),
        _payload(after, **more),
    )
    return after


async def remove_endpoint(
    connection: Connection, endpoint: Endpoint, *, actor: str, at: datetime, **more: Any
) -> None:
    """Takes away one whose row the transaction holds, and all that is known of its deliveries."""
    await note(connection, endpoint, "removed", actor=actor, at=at, **more)
    key = endpoint.legal_entity_id, endpoint.endpoint_id
    await connection.execute(SQL["remove_endpoint"], *key)


async def tell_again(
    connection: Connection, endpoint: Endpoint, first: int, last: int, at: datetime
) -> int:
    """Has the entries from index `first` to `last`, AGAIN_MAX at most, told once more.

    Only those that the endpoint wants, and has read; returns how many. Its row is held by the
    transaction.
    """
    key = endpoint.legal_entity_id, endpoint.endpoint_id
    read: int = await connection.fetchval(SQL["read_so_far"], *key)
    number, begin, end = 0, first, min(last, first + AGAIN_MAX - 1, read - 1)
    while begin <= end:
        count = min(READ_AT_ONCE, end - begin + 1)
        placed = await read_log(connection, endpoint.legal_entity_id, begin, count)
        if not placed:
            break
        wanted = [one for one in placed if endpoint.wants(one.entry.kind)]
        await connection.execute(SQL["tell_again"], *key, *columns_of(wanted))
        await connection.execute(SQL["line_up"], *key, at, subjects_of(wanted))
        number, begin = number + len(wanted), placed[-1].index + 1
    if number:
        await connection.execute(SQL["make_due"], *key, at)
    return number


def columns_of(placed: Sequence[Placed]) -> tuple[list[Any], ...]:
    """One array a column of what makes deliveries of entries."""
    return (
        [one.index for one in placed],
        [one.entry.subject_id for one in placed],
        [one.entry.version for one in placed],
        [one.entry.kind for one in placed],
    )


def subjects_of(placed: Sequence[Placed]) -> list[UUID]:
    """What the entries are about, each once."""
    return sorted({one.entry.subject_id for one in placed})


def _payload(endpoint: Endpoint, **more: Any) -> bytes:
    """What the log says of it: no word of a person's, and not the whole address."""
    content = {
        "host": endpoint.host,
        "kinds": endpoint.kinds,
        "status": endpoint.state,
        "status_reason": _told(endpoint.state_reason),
        **more,
    }
    return msgspec.json.encode(content, order="deterministic")


def _told(reason: str | None) -> str | None:
    """Why a machine disabled it; of what an operator wrote, that it was one."""
    return reason if reason is None or reason in LOST else "operator"

"""Entering, rotating and retiring secrets, by the database's owner.

Everything here happens in a transaction that the caller has begun for the legal entity and commits.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from strongroom.config import ConfigurationError
from strongroom.database import Connection
from strongroom.vault.keys import EntityKeys
from strongroom.vault.kinds import DERIVED, derived_of, kind_of
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import SQL, Slot, open_secret, seal_secret

IN_USE_MAX: Final = 2
"""One, and the one that takes its place."""


Enter = Callable[[Connection, EntityKeys, Slot, Secret, datetime], Awaitable[int]]
"""`set_secret`, or `rotate_secret`."""


async def set_secret(
    connection: Connection, keys: EntityKeys, slot: Slot, secret: Secret, at: datetime
) -> int:
    """Makes a secret where none is in use; returns its version. Raises ConfigurationError."""
    rows = await _locked(connection, slot)
    if _in_use(rows):
        raise ConfigurationError(
            "there is one already: `strongroom secrets rotate` puts another beside it."
        )
    return await _add(connection, keys, slot, rows, secret, at)


async def rotate_secret(
    connection: Connection, keys: EntityKeys, slot: Slot, secret: Secret, at: datetime
) -> int:
    """Puts a version beside the one in use; returns its number. Raises ConfigurationError."""
    rows = await _locked(connection, slot)
    in_use = _in_use(rows)
    if not in_use:
        raise ConfigurationError("there is none yet: `strongroom secrets set` makes the first.")
    if len(in_use) >= IN_USE_MAX:
        raise ConfigurationError(
            f"versions {' and '.join(str(row['version']) for row in in_use)} are in use: end the "
            "older one by `retire` first."
        )
    if open_secret(keys, slot, in_use[0]["version"], in_use[0]["sealed"]) == secret:
        raise ConfigurationError("this is the secret that is in use; nothing was changed.")
    return await _add(connection, keys, slot, rows, secret, at)


async def retire_secret(
    connection: Connection, slot: Slot, version: int | None, at: datetime, *, last_too: bool
) -> int:
    """Ends a version, None for the oldest in use, and forgets what it was; returns its number.

    The last one in use goes only if `last_too`. Raises ConfigurationError.
    """
    in_use = _in_use(await _locked(connection, slot))
    numbers = [row["version"] for row in in_use]
    if not numbers or version not in (None, *numbers):
        raise ConfigurationError("no such version is in use.")
    if len(numbers) == 1 and not last_too:
        raise ConfigurationError(
            "it is the only one: without it nothing goes through. `strongroom secrets rotate` puts "
            "another beside it; --force retires it all the same."
        )
    retired: int = numbers[0] if version is None else version
    await connection.execute(SQL["retire_secret"], *slot, retired, at)
    return retired


async def enter_with_derived(
    enter: Enter,
    connection: Connection,
    keys: EntityKeys,
    slot: Slot,
    secret: Secret,
    at: datetime,
) -> int:
    """As `enter`, and the secret that is made of this one, where one is. Raises what it raises."""
    version = await enter(connection, keys, slot, secret, at)
    derived = derived_of(slot.kind, secret)
    if derived is not None:
        name, content = derived
        place = slot._replace(kind=name)
        rows = await _locked(connection, place)
        for row in _in_use(rows)[: 1 - IN_USE_MAX]:
            await connection.execute(SQL["retire_secret"], *place, row["version"], at)
        await _add(connection, keys, place, rows, content, at)
    return version


async def retire_derived(connection: Connection, slot: Slot, version: int, at: datetime) -> None:
    """Ends what was made of a version that was retired: it was entered with it, as the same one."""
    name = DERIVED.get(slot.kind)
    if name is not None:
        await connection.execute(SQL["retire_secret"], *slot._replace(kind=name), version, at)


async def replace_secret(
    connection: Connection, keys: EntityKeys, slot: Slot, secret: Secret, at: datetime
) -> int | None:
    """Makes it the only one in use; returns its version, or None where it was so before.

    What is made of it takes the place of what was made of the others.
    """
    derived = derived_of(slot.kind, secret)
    if derived is not None:
        name, content = derived
        await replace_secret(connection, keys, slot._replace(kind=name), content, at)
    rows = await _locked(connection, slot)
    in_use = _in_use(rows)
    if len(in_use) == 1:
        [(version, sealed, _)] = in_use
        if open_secret(keys, slot, version, sealed) == secret:
            return None
    for row in in_use:
        await connection.execute(SQL["retire_secret"], *slot, row["version"], at)
    return await _add(connection, keys, slot, rows, secret, at)


async def _locked(connection: Connection, slot: Slot) -> list[asyncpg.Record]:
    return await connection.fetch(SQL["lock_secrets"], *slot)


def _in_use(rows: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    return [row for row in rows if row["retired_at"] is None]


async def _add(
    connection: Connection,
    keys: EntityKeys,
    slot: Slot,
    rows: Sequence[asyncpg.Record],
    secret: Secret,
    at: datetime,
) -> int:
    version: int = rows[-1]["version"] + 1 if rows else 1
    sealed = seal_secret(keys, slot, version, secret)
    rotate_by = at + kind_of(slot.kind).lives
    try:
        await connection.execute(SQL["add_secret"], *slot, version, sealed, at, rotate_by)
    except asyncpg.UniqueViolationError:
        raise ConfigurationError("somebody else entered one in this moment.") from None
    return version

"""The owner's side after a restore: the sequencer goes on, and what was lost is said in the log.

A log that lost entries opens an epoch. All of it is one transaction that keeps sequencers away. An
event that has no place in its log is left to them as from before there was a log, and one that has
is never new again, whatever its transaction was called where it was written.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from strongroom.database import Connection, see, statements
from strongroom.log.entries import Entry
from strongroom.log.epochs import OPENED, Opened, name_of, newest_epoch, opened_by, split_origin
from strongroom.log.notes import Checkpoint, note_parts, to_base64
from strongroom.log.noting import by_hand
from strongroom.log.tiles import CHECKPOINT, TileFolder, TilesRefused

SQL: Final = statements("strongroom.log", "epochs.sql")
LOG_SQL: Final = statements("strongroom.log", "log.sql")
PAGE: Final = 2000
LOWEST: Final = UUID(int=0)
BY_KEY: Final = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off"
"""A page goes by key, whatever the planner believes of tables that were just restored."""


class Because(Struct, frozen=True):
    """Who opens epochs, why, and when."""

    by: str
    because: str
    at: datetime


class Done(NamedTuple):
    """What was opened, by legal entity, and how many events wait for their place now."""

    opened: dict[UUID, Opened]
    waiting: int


async def resume(
    connection: Connection,
    logs: Path,
    entities: Sequence[UUID],
    why: Because,
    *,
    also: UUID | None = None,
) -> Done:
    """Lets the sequencer go on in this database, and opens an epoch for each log that lost entries.

    `logs` has the folders that the signer wrote; `also` opens one though nothing was lost. All or
    nothing. Raises NoteRefused, TilesRefused, and asyncpg's errors.
    """
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute(SQL["keep_sequencers_away"])
        await connection.execute(BY_KEY)
        await see(connection, entities)
        (row,) = await connection.fetch(SQL["snapshot"])
        seen, oldest = row["seen"], row["oldest"]
        opened, waiting = {}, 0
        for entity in entities:
            if (
                one := await _open(connection, logs, entity, why, wanted=entity == also)
            ) is not None:
                opened[entity] = one
            for statement in ("mark_events", "mark_customer_events"):
                waiting += await _mark(connection, SQL[statement], entity, oldest)
        await connection.execute(SQL["set_cursor"], seen)
    return Done(opened, waiting)


async def _mark(connection: Connection, statement: str, entity: UUID, oldest: int) -> int:
    """How many events of one legal entity have no place."""
    above, waiting = (LOWEST, 0), 0
    while row := await connection.fetchrow(statement, entity, *above, PAGE, oldest):
        above = (row["subject_id"], row["version"])
        waiting += row["waiting"]
    return waiting


async def _open(
    connection: Connection, logs: Path, entity: UUID, why: Because, *, wanted: bool
) -> Opened | None:
    """Opens the next epoch of one log, where that is wanted or something signed was lost."""
    signed_in = newest_epoch(logs, entity, lambda folder: (folder / CHECKPOINT).exists())
    folder = TileFolder(logs / name_of(entity, signed_in))
    note = folder.checkpoint()
    (row,) = await connection.fetch(SQL["log_size"], entity)
    if note is None:
        if wanted or row["was_signed"]:
            raise TilesRefused(f"it has no checkpoint of {name_of(entity, signed_in)}")
        return None
    signed = Checkpoint.read(note_parts(note)[0])
    kept = await _kept(connection, entity, folder, min(signed.size, row["size"]))
    epoch = split_origin(signed.origin)[1] + 1
    if not wanted and kept == signed.size and row["epoch"] >= epoch - 1:
        return None
    await connection.execute(LOG_SQL["hold_notes"], entity)
    opened = Opened(
        **by_hand(),
        epoch=epoch,
        because=why.because,
        previous_origin=signed.origin,
        signed_size=signed.size,
        signed_root=to_base64(signed.root),
        kept=kept,
        size=row["size"],
    )
    if not wanted and await _is_open(connection, entity, opened):
        return None
    opened = replace(opened, size=await _place_own(connection, entity, opened.size, why.at))
    payload = opened.payload()
    digest = sha256(payload).digest()
    entry = Entry(
        kind=OPENED, subject_id=entity, version=row["version"], at=why.at, row_format=0,
        row_digest=digest, actor=why.by, payload=payload,
    )  # fmt: skip
    await connection.execute(
        SQL["open_epoch"], entity, entry.version, OPENED, why.by, why.at, digest, payload,
        opened.size, entry.content(), epoch,
    )  # fmt: skip
    return opened


async def _place_own(connection: Connection, entity: UUID, size: int, at: datetime) -> int:
    """How many entries there are, once events of the entity itself that wait have their place.

    They are versions of the subject that opens the epoch, so they come before it.
    """
    for row in await connection.fetch(SQL["own_events"], entity):
        entry = Entry(**dict(row))
        await connection.execute(SQL["place_own"], entity, size, entry.version, at, entry.content())
        size += 1
    return size


async def _kept(connection: Connection, entity: UUID, folder: TileFolder, end: int) -> int:
    """How many of the first `end` entries are in the database as they are in the folder."""
    there, start = folder.entries(0, end), 0
    while start < end:
        rows = await connection.fetch(LOG_SQL["entries"], entity, start, min(PAGE, end - start))
        if not rows:
            return start
        for row, entry in zip(rows, islice(there, len(rows)), strict=True):
            if (row["index"], row["entry"]) != (start, entry):
                return start
            start += 1
    return end


async def _is_open(connection: Connection, entity: UUID, opened: Opened) -> bool:
    """Whether an epoch is open already that goes on from the same, and waits for the signer."""
    row = await connection.fetchrow(LOG_SQL["opening"], entity, opened.epoch)
    there = None if row is None else opened_by(row["entry"])
    parts = ("epoch", "previous_origin", "signed_size", "signed_root", "kept")
    return there is not None and all(getattr(there, one) == getattr(opened, one) for one in parts)

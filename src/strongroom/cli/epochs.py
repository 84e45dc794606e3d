"""What is done about logs after a restore.

`strongroom log new-epoch` and `strongroom signer accept-epoch` are the two sides of a new epoch;
`strongroom signer retire-log` ends a log that the database has lost altogether.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.cli.named import entity_named, id_of
from strongroom.cli.plain import plain
from strongroom.cli.reading import reader
from strongroom.cli.signer import MEMORY
from strongroom.clock import SystemClock, rfc3339
from strongroom.config import ConfigurationError, Home
from strongroom.database import statements
from strongroom.directory import log_origin
from strongroom.ids import to_text
from strongroom.log.entries import Entry
from strongroom.log.epochs import EPOCHS_MAX, Opened, name_of, opened_by, origin_of
from strongroom.log.memory import Accepted, Memory, Retired
from strongroom.log.notes import NoteRefused
from strongroom.log.noting import operator
from strongroom.log.opening import Because, Done, resume
from strongroom.log.tiles import TilesRefused
from strongroom.log.tree import leaf_hash
from strongroom.setup import payments_owner

SQL: Final = statements("strongroom.log", "log.sql")
BECAUSE_CHARACTERS_MAX: Final = 500
YES: Final = "yes"


def new_epoch(options: argparse.Namespace) -> int:
    """Lets the sequencer go on after a restore, and opens epochs; says what the signer needs."""
    home, because = Home(options.home), _because(options)
    why = Because(operator(), because, SystemClock().now())
    logs: Path = options.logs or home.logs
    if not logs.is_dir():
        raise ConfigurationError(f"{logs} is not here: say --logs, what the signer wrote.")

    async def run() -> Done:
        async with payments_owner(home) as connection:
            entities = [
                row["legal_entity_id"] for row in await connection.fetch(ACCESS_SQL["entities"])
            ]
            also = None
            if options.entity is not None:
                also = await entity_named(connection, options.entity)
            return await resume(connection, logs, entities, why, also=also)

    try:
        done = asyncio.run(run())
    except (NoteRefused, TilesRefused) as problem:
        raise ConfigurationError(f"{logs} cannot be read, nothing was done: {problem}.") from None
    except asyncpg.PostgresError as error:
        raise ConfigurationError(f"nothing was done: {error.args[0]} ({error.sqlstate}).") from None
    print(f"events without a place: {done.waiting}, which the workers' sequencer places now")
    for entity, opened in done.opened.items():
        print(f"{to_text('ent', entity)}: epoch {opened.epoch} is open, {_lost(opened)}")
        words = f"--entity {to_text('ent', entity)} --epoch {opened.epoch}"
        print(f"the signer's operator: strongroom signer accept-epoch {words}")
    if not done.opened:
        print("no log has lost what was signed: no epoch was opened")
    return 0


def accept_epoch(options: argparse.Namespace) -> int:
    """Shows what an epoch says of itself, and lets the signer begin it."""
    home, entity, epoch = Home(options.home), id_of("ent", options.entity), options.epoch
    if not 1 < epoch <= EPOCHS_MAX:
        raise ConfigurationError("an epoch that opens has a number from 2 on.")
    memory = _memory_of(home)
    if memory.is_retired(entity):
        raise ConfigurationError(f"the log of {options.entity} was retired: it is over for good.")
    index, content, first = asyncio.run(_opening(home, entity, epoch))
    opened = opened_by(content)
    if opened is None:
        raise ConfigurationError("the entry that opens it does not say so.")
    before = memory.read(entity, epoch - 1)
    if not opened.follows(origin_of(first, entity, epoch - 1), before.frontier, index):
        raise ConfigurationError(
            f"it does not go on from the {before.frontier.size} entries that this signer remembers "
            f"of {name_of(entity, epoch - 1)}. Open it anew, with the newest checkpoint there: "
            "strongroom log new-epoch."
        )
    entry = Entry.read(content)
    print(f"epoch    {epoch} of {to_text('ent', entity)}, entry {index} of its log")
    print(f"by       {plain(entry.actor)}, {rfc3339(entry.at)}\nbecause  {plain(opened.because)}")
    print(f"signed   {opened.signed_size} entries of {opened.previous_origin}")
    print(f"kept     {opened.kept} of them, {_lost(opened)}")
    if not options.yes:
        _ask("The signer signs what the database has now, under another name.")
    by = operator()
    memory.accept(entity, epoch, Accepted(leaf_hash(content), by, SystemClock().now()))
    print("accepted: the signer begins it. Tell the witnesses and auditors its key:")
    print(home.logs / name_of(entity, epoch) / "key")
    return 0


def retire_log(options: argparse.Namespace) -> int:
    """Lets the signer give up a log of which the database has nothing any more."""
    home, entity, because = Home(options.home), id_of("ent", options.entity), _because(options)
    memory = _memory_of(home)
    if memory.is_retired(entity):
        print(f"{options.entity}: its log was retired before")
        return 0
    epoch = memory.logs().get(entity)
    if epoch is None:
        raise ConfigurationError(f"this signer has signed nothing of {options.entity}.")
    signed = memory.read(entity, epoch)
    if signed.refused is None:
        raise ConfigurationError(
            f"the log of {options.entity} was not stopped: the signer has to run, and to find that "
            "the database has lost it."
        )
    if asyncio.run(_is_there(home, entity)):
        raise ConfigurationError(
            f"the database has entries of {options.entity}: let its log go on in another epoch, by "
            "`strongroom log new-epoch`."
        )
    print(f"log      {name_of(entity, epoch)}, stopped: {signed.refused}")
    print(f"signed   {signed.frontier.size} entries, which no row has any more")
    print(f"because  {plain(because)}")
    if not options.yes:
        _ask("Nothing of this log is ever signed again, and nobody is called for it any more.")
    size, at = signed.frontier.size, SystemClock().now()
    memory.retire(entity, Retired(epoch=epoch, size=size, by=operator(), because=because, at=at))
    print(f"retired: {home.logs / name_of(entity, epoch)} stays as it is, for auditors")
    return 0


def _memory_of(home: Home) -> Memory:
    """What the signer remembers. Raises ConfigurationError."""
    memory = Memory(home.path / MEMORY)
    if not memory.exists():
        raise ConfigurationError(f"{memory.folder} is missing: this is not the signer's home.")
    return memory


async def _is_there(home: Home, entity: UUID) -> bool:
    """Whether the database has a log of this legal entity."""
    async with reader(home, "signer") as pool, pool.acquire() as connection:
        rows = await connection.fetch(SQL["heads"])
    return entity in {row["legal_entity_id"] for row in rows}


async def _opening(home: Home, entity: UUID, epoch: int) -> tuple[int, bytes, str]:
    """Index and bytes of the entry that opened an epoch, and the name of the deployment's logs."""
    async with reader(home, "signer") as pool:
        async with pool.acquire() as connection:
            row = await connection.fetchrow(SQL["opening"], entity, epoch)
        if row is None:
            raise ConfigurationError(
                "the database has no such epoch: its owner opens it by `strongroom log new-epoch`."
            )
        return row["index"], row["entry"], await log_origin(pool)


def _because(options: argparse.Namespace) -> str:
    """Why, as the operator says. Raises ConfigurationError."""
    because: str = options.because.strip()
    if not 0 < len(because) <= BECAUSE_CHARACTERS_MAX or "\x00" in because:
        raise ConfigurationError(f"say why, in 1 to {BECAUSE_CHARACTERS_MAX} characters.")
    return because


def _lost(opened: Opened) -> str:
    if opened.kept == opened.signed_size:
        return "nothing that was signed is lost"
    return f"those from {opened.kept} to {opened.signed_size - 1} are lost"


def _ask(warning: str) -> None:
    """Raises ConfigurationError unless a person at a terminal says yes."""
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{warning} Nobody is there to ask: say --yes.")
    if input(f"{warning}\nType `{YES}` to go on: ").strip() != YES:
        raise ConfigurationError("nothing was done.")

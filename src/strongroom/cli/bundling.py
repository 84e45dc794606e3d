"""`strongroom explain ID --bundle FILE`: what there is to tell of a payment, with the log's word.

It leaves an event in the log, which binds the story, and waits until the signer has signed that.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

import asyncpg

from strongroom.cli.export import opened_whole
from strongroom.cli.named import entity_of, id_of
from strongroom.cli.proving import SQL, log_of
from strongroom.cli.reading import reader
from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Home
from strongroom.database import begin, reading
from strongroom.log.bundles import EXPORTED, Placed, exported_of, make_bundle
from strongroom.log.entries import Entry
from strongroom.log.notes import NOTE_BYTES_MAX, Checkpoint, NoteRefused, NoteVerifier, open_note
from strongroom.log.noting import note
from strongroom.log.stories import Story, check_story, story_of
from strongroom.log.tiles import CHECKPOINT, PUBLIC_KEY, TileFolder
from strongroom.log.verifying import LogRefused
from strongroom.log.witnessed import COSIGNED
from strongroom.payments.reads import read_history
from strongroom.settlement.disputes import Dispute
from strongroom.settlement.rows import list_disputes
from strongroom.setup import payments_owner

WAIT_SECONDS_MAX: Final = 30.0
"""For what is done within a second where all processes run."""
COSIGNED_SECONDS_MAX: Final = 10.0
TELL_AFTER_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.1
READS_MAX: Final = 5
"""A payment may change while it is read; what then still does not agree was edited."""
DISPUTES_PAGE: Final = 100

Found = TypeVar("Found")


def bundle(options: argparse.Namespace) -> int:
    """Writes the bundle of one payment, and says where; 1 where rows and log disagree."""
    home, payment_id, file = Home(options.home), id_of("pay", options.id), options.bundle
    try:
        with opened_whole(file) as out:
            content, key, events = asyncio.run(_bundle(home, payment_id))
            out.write(content.decode())
    except LogRefused as refusal:
        print(f"strongroom: {refusal}", file=sys.stderr)
        return 1
    print(f"{file}: {events} events, {len(content)} bytes")
    print(f"check it by: strongroom verify --bundle {file} --key {key}")
    return 0


async def _bundle(home: Home, payment_id: UUID) -> tuple[bytes, Path, int]:
    """The file, where the log's public key is, and how many events of the payment there are."""
    async with reader(home) as pool:
        async with pool.acquire() as connection:
            entity = await entity_of(connection, payment_id)
        folder, verifier = log_of(home, entity, None)
        story, entries = await _until(
            _Telling(pool, entity, payment_id).look,
            "a worker to place the payment's events in the log",
            "its events have no place in the log yet: does a worker run?",
        )
        last = entries[-1][0]
        await _signed(folder, verifier, last)  # so that nothing is noted where no signer runs
        exported = await _exported(home, pool, entity, story)
        note = await _signed(folder, verifier, exported[0])
        note = await _cosigned(home, folder, verifier, exported[0]) or note
    content = make_bundle(story, exported, entries, folder, verifier, note)
    return content, folder.path / PUBLIC_KEY, len(entries)


class _Telling:
    """Reads a payment until its rows and its entries are of one moment."""

    def __init__(self, pool: asyncpg.Pool, entity: UUID, payment_id: UUID) -> None:
        self._pool, self._entity, self._payment_id = pool, entity, payment_id
        self._reads = 0

    async def look(self) -> tuple[Story, list[Placed]] | None:
        """The story with the entries; None while some have no place.

        Raises LogRefused where they do not agree.
        """
        of = self._entity, self._payment_id
        history = await read_history(self._pool, *of)
        if history is None:
            raise ConfigurationError("there is no such payment.")
        story = story_of(history, await _disputes(self._pool, *of))
        async with reading(self._pool, [self._entity]) as connection:
            rows = await connection.fetch(SQL["entries_of"], *of)
        entries = [(row["index"], row["entry"]) for row in rows[: story.version]]
        if len(entries) < story.version:
            return None
        try:
            check_story(story, [Entry.read(content) for _, content in entries])
        except LogRefused as refusal:
            self._reads += 1
            if self._reads < READS_MAX:
                return None
            raise LogRefused(f"{refusal} See `strongroom verify --rows`.") from None
        return story, entries


async def _disputes(pool: asyncpg.Pool, entity: UUID, payment_id: UUID) -> list[Dispute]:
    disputes: list[Dispute] = []
    below: UUID | None = None
    while True:
        page = await list_disputes(pool, entity, payment_id, below, DISPUTES_PAGE)
        disputes += [dispute for dispute, _ in page.disputes]
        below = page.below
        if below is None:
            return disputes


async def _exported(home: Home, pool: asyncpg.Pool, entity: UUID, story: Story) -> Placed:
    """The event of the export, once it has its place."""
    async with payments_owner(home) as connection:
        await begin(connection, [entity])
        at = SystemClock().now()
        version = await note(connection, entity, entity, EXPORTED, at, **exported_of(story))
        await connection.execute("COMMIT")

    async def look() -> Placed | None:
        async with reading(pool, [entity]) as connection:
            row = await connection.fetchrow(SQL["entry_of"], entity, entity, version)
        return None if row is None else (row["index"], row["entry"])

    return await _until(
        look,
        "a worker to place the event of this export in the log",
        "the event of this export has no place in the log yet: does a worker run? "
        "Run this again once it does.",
    )


async def _signed(folder: TileFolder, verifier: NoteVerifier, index: int) -> bytes:
    """The newest checkpoint, once it has the entry."""

    async def look() -> bytes | None:
        return _covering(folder.path / CHECKPOINT, verifier, index)

    return await _until(
        look,
        "the signer to sign the log",
        f"entry {index} of the log is not signed: does the signer run? Start `strongroom signer`, "
        "and run this again; docs/runbooks/log-not-signed.md says more.",
    )


async def _cosigned(
    home: Home, folder: TileFolder, verifier: NoteVerifier, index: int
) -> bytes | None:
    """The newest checkpoint that a witness signed, if it comes to have the entry."""
    file = folder.path / COSIGNED
    if not home.settings().witnesses and not file.exists():
        return None
    deadline = time.monotonic() + COSIGNED_SECONDS_MAX
    while time.monotonic() < deadline:
        note = _covering(file, verifier, index)
        if note is not None:
            return note
        await asyncio.sleep(LOOK_SECONDS)
    print("no witness has cosigned it yet: the log's own key vouches alone", file=sys.stderr)
    return None


def _covering(file: Path, verifier: NoteVerifier, index: int) -> bytes | None:
    """The note in a file, where it has the entry. Raises LogRefused for what is none of the log."""
    if not file.exists():
        return None
    with file.open("rb") as stream:
        note = stream.read(NOTE_BYTES_MAX + 1)
    try:
        size = Checkpoint.read(open_note(note, verifier)).size
    except NoteRefused as problem:
        raise LogRefused(f"{file.name} does not hold: {problem}.") from None
    return note if size > index else None


async def _until(look: Callable[[], Awaitable[Found | None]], what: str, why_not: str) -> Found:
    """What is found; says on stderr what it waits for. Raises ConfigurationError in the end."""
    started, is_told = time.monotonic(), False
    while (found := await look()) is None:
        waited = time.monotonic() - started
        if waited > WAIT_SECONDS_MAX:
            raise ConfigurationError(why_not)
        if waited > TELL_AFTER_SECONDS and not is_told:
            print(f"waiting for {what}, {WAIT_SECONDS_MAX:.0f} s at most", file=sys.stderr)
            is_told = True
        await asyncio.sleep(LOOK_SECONDS)
    return found

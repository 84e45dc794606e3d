"""What has to hold of every log after every fault, judged from its files and from the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import asyncpg

from strongroom.ids import from_text
from strongroom.log.entries import Entry
from strongroom.log.notes import Checkpoint, NoteVerifier, open_note
from strongroom.log.tiles import CHECKPOINT, PUBLIC_KEY, TileFolder
from strongroom.log.verifying import verify_folder
from tests.faults.deployment import Deployment

SIGNED_SECONDS_MAX: Final = 90.0
LOOK_SECONDS: Final = 0.25
EVENTS_SQL: Final = """
SELECT legal_entity_id, payment_id AS subject_id, version FROM events
UNION ALL SELECT legal_entity_id, owner_id, version FROM customer_events
"""


class JudgedLog(NamedTuple):
    """One log that holds."""

    legal_entity_id: UUID
    size: int


def key_of(folder: Path) -> NoteVerifier:
    """The key that stands in a log's folder."""
    return NoteVerifier.read((folder / PUBLIC_KEY).read_text().strip())


def signed_size(folder: Path) -> int:
    """How many entries the checkpoint in a folder is of."""
    return Checkpoint.read(open_note((folder / CHECKPOINT).read_bytes(), key_of(folder))).size


async def until_signed(deployment: Deployment, seconds_max: float = SIGNED_SECONDS_MAX) -> float:
    """Wait until each event has its place and is signed; returns the seconds that took."""
    begun, logs = time.monotonic(), deployment.home / "log"
    while True:
        try:
            rows = await deployment.fetch(EVENTS_SQL)
            sizes = {folder.name: signed_size(folder) for folder in logs.glob("ent_*")}
            if sum(sizes.values()) == len(rows):
                return time.monotonic() - begun
            said = f"{sizes} signed of {len(rows)} events"
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            said = type(error).__name__  # the database itself is on its way back
        assert time.monotonic() - begun < seconds_max, said
        await asyncio.sleep(LOOK_SECONDS)


class Logged(Protocol):
    """What has logs below `home`, and gives the rows that they are of."""

    @property
    def home(self) -> Path:
        """The home directory."""
        ...

    @property
    def fetch(self) -> Callable[..., Awaitable[list[asyncpg.Record]]]:
        """Gives rows of the database, past row-level security."""
        ...


async def judge_logs(deployment: Logged, older: dict[str, list[bytes]]) -> list[JudgedLog]:
    """Each log holds, begins as each older checkpoint said, and has every event once, in order."""
    events: dict[UUID, set[tuple[UUID, int]]] = {}
    for entity, subject, version in await deployment.fetch(EVENTS_SQL):
        events.setdefault(entity, set()).add((subject, version))
    judged = []
    for folder in sorted((deployment.home / "log").glob("ent_*")):
        entity, tiles = from_text("ent", folder.name), TileFolder(folder)
        verified = verify_folder(tiles, key_of(folder), older=older.get(folder.name, ()))
        last: dict[UUID, int] = {}
        for content in tiles.entries(0, verified.size):
            entry = Entry.read(content)
            assert entry.version == last.get(entry.subject_id, 0) + 1, (folder.name, entry)
            last[entry.subject_id] = entry.version
        placed = {(subject, version) for subject in last for version in range(1, last[subject] + 1)}
        assert placed == events.pop(entity)
        assert len(placed) == verified.size
        judged.append(JudgedLog(entity, verified.size))
    assert not events
    return judged

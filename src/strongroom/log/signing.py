"""Signs how far each log has come, and writes it where anybody can check it.

The signer is a process of its own, with a key of its own. It reads the entries that it has not seen
and nothing that it has, adds them to the tree that it remembers outside of the database, and signs
the root. So whatever is changed in the database later, what it signed stays as it was.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from strongroom.clock import Clock
from strongroom.config import ConfigurationError, replace_file
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, statements
from strongroom.errors import described
from strongroom.ids import from_text, to_text
from strongroom.log.notes import Checkpoint, NoteKey, sign_note
from strongroom.log.tiles import PUBLIC_KEY, TileFolder, sync
from strongroom.log.tree import NO_LEAVES, Frontier, leaf_hash

SQL: Final = statements("strongroom.log", "log.sql")
PAUSE_SECONDS: Final = 0.2
FAILED_WAIT_SECONDS: Final = 1.0
ENTRIES_MAX: Final = 20_000
"""Of one log that are read at once."""
MEMORY_MODE: Final = 0o600

log = structlog.get_logger()


class LogRewritten(Exception):
    """The database shows less than was signed, or a gap: nothing of this log is signed any more."""


class Memory:
    """What was signed last of each log: its size and the right edge of its tree, in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def logs(self) -> list[UUID]:
        """The legal entities of which something was signed."""
        return [from_text("ent", file.stem) for file in self._folder.glob("ent_*.json")]

    def read(self, legal_entity_id: UUID) -> Frontier:
        """Raises ConfigurationError where the file cannot be read: nobody may guess it."""
        file = self._file(legal_entity_id)
        try:
            return msgspec.json.decode(file.read_bytes(), type=Frontier)
        except FileNotFoundError:
            return NO_LEAVES
        except (OSError, msgspec.MsgspecError):
            raise ConfigurationError(
                f"{file} cannot be read, and without it nobody knows what was signed: restore it "
                "from a backup of this folder."
            ) from None

    def write(self, legal_entity_id: UUID, frontier: Frontier) -> None:
        """On disk when it returns."""
        replace_file(self._file(legal_entity_id), msgspec.json.encode(frontier), MEMORY_MODE)
        sync(self._folder)

    def _file(self, legal_entity_id: UUID) -> Path:
        return self._folder / f"{to_text('ent', legal_entity_id)}.json"


class Signer:
    """Signs the logs of one database; there is one."""

    def __init__(
        self, pool: asyncpg.Pool, clock: Clock, key: NoteKey, logs: Path, memory: Memory
    ) -> None:
        """`key` is in the name of the deployment's log origin; `logs` is the folder for all."""
        self._pool, self._clock, self._key = pool, clock, key
        self._logs, self._memory = logs, memory
        self._known: dict[UUID, Frontier] = {}
        self._refused: set[UUID] = set()

    def origin(self, legal_entity_id: UUID) -> str:
        """The name of one log: that of the deployment, and the legal entity."""
        return f"{self._key.name}/{to_text('ent', legal_entity_id)}"

    def folder(self, legal_entity_id: UUID) -> Path:
        """Where its tiles and its checkpoint lie."""
        return self._logs / to_text("ent", legal_entity_id)

    def remember(self) -> None:
        """Takes up what was signed before. Raises ConfigurationError where that is not known."""
        for legal_entity_id in self._memory.logs():
            self._known[legal_entity_id] = frontier = self._memory.read(legal_entity_id)
            self._publish(legal_entity_id, frontier)
        if self._logs.is_dir():
            for folder in self._logs.glob("ent_*"):
                if (folder / "checkpoint").exists() and (
                    from_text("ent", folder.name) not in self._known
                ):
                    raise ConfigurationError(
                        f"{folder} has a checkpoint that this signer does not remember: restore "
                        "its memory from a backup."
                    )

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again."""
        while True:
            wait = PAUSE_SECONDS
            try:
                await self.step()
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("log_not_signed", error=type(error).__name__)
                wait = FAILED_WAIT_SECONDS
            except Exception as fault:  # noqa: BLE001 - the other logs are still to be signed
                log.error("log_not_signed", **described(fault))
                wait = FAILED_WAIT_SECONDS
            await asyncio.sleep(wait)

    async def step(self) -> int:
        """Signs what has grown; returns how many entries were new."""
        async with self._pool.acquire() as connection:
            heads = await connection.fetch(SQL["heads"])
        new = 0
        for legal_entity_id, size in heads:
            signed = self._known.get(legal_entity_id, NO_LEAVES).size
            if legal_entity_id in self._refused or size == signed:
                continue
            try:
                await self._extend(legal_entity_id, size)
            except LogRewritten as found:
                self._refused.add(legal_entity_id)
                log.error("log_rewritten", reason=str(found), ids=[to_text("ent", legal_entity_id)])
                continue
            new += size - signed
        return new

    async def _extend(self, legal_entity_id: UUID, size: int) -> None:
        frontier = self._known.get(legal_entity_id, NO_LEAVES)
        if size < frontier.size:
            raise LogRewritten("shorter_than_signed")
        tiles = TileFolder(self.folder(legal_entity_id))
        while frontier.size < size:
            entries = await self._entries(legal_entity_id, frontier.size, size)
            tiles.append(frontier.size, entries)
            frontier = frontier.extended([leaf_hash(entry) for entry in entries])
        # What is signed must be remembered first: never two roots of one size.
        self._memory.write(legal_entity_id, frontier)
        self._known[legal_entity_id] = frontier
        note = self._publish(legal_entity_id, frontier)
        async with self._pool.acquire() as connection:
            kept = (legal_entity_id, frontier.size, note, self._clock.now())
            await connection.execute(SQL["keep_checkpoint"], *kept)

    async def _entries(self, legal_entity_id: UUID, start: int, size: int) -> Sequence[bytes]:
        async with self._pool.acquire() as connection:
            many = min(ENTRIES_MAX, size - start)
            rows = await connection.fetch(SQL["entries"], legal_entity_id, start, many)
        if [row["index"] for row in rows] != list(range(start, start + many)):
            raise LogRewritten("gap")
        return [row["entry"] for row in rows]

    def _publish(self, legal_entity_id: UUID, frontier: Frontier) -> bytes:
        origin, folder = self.origin(legal_entity_id), self.folder(legal_entity_id)
        key = self._key.named(origin)
        note = sign_note(Checkpoint(origin, frontier.size, frontier.root()).text(), key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PUBLIC_KEY).write_text(key.verifier.text() + "\n")
        TileFolder(folder).write_checkpoint(note)
        return note

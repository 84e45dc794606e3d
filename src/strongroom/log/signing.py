"""Signs how far each log has come, and writes it where anybody can check it.

The signer is a process of its own, with a key of its own. It reads the entries that it has not seen
and nothing that it has, adds them to the tree that it remembers outside of the database, and signs
the root. So whatever is changed in the database later, what it signed stays as it was.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
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
from strongroom.ids import to_text
from strongroom.log.entries import written_at
from strongroom.log.memory import NOTHING, Memory, Signed, entities_in
from strongroom.log.notes import Checkpoint, NoteKey, NoteRefused, open_note, sign_note
from strongroom.log.tiles import CHECKPOINT, PUBLIC_KEY, TileFolder
from strongroom.log.tree import Frontier, leaf_hash
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry

SQL: Final = statements("strongroom.log", "log.sql")
PAUSE_SECONDS: Final = 0.2
FAILED_WAIT_SECONDS: Final = 1.0
ENTRIES_MAX: Final = 20_000
"""Of one log that are read at once."""
PUBLIC_MODE: Final = 0o644
REWRITTEN: Final = ("shorter_than_signed", "last_entry_differs", "gap")
"""Why a log is signed no more."""

log = structlog.get_logger()


class LogRewritten(Exception):
    """The database shows less than was signed, or a gap: nothing of this log is signed any more."""


class Signer:
    """Signs the logs of one database; there is one."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        key: NoteKey,
        logs: Path,
        memory: Memory,
        telemetry: NoTelemetry = NO_TELEMETRY,
    ) -> None:
        """`key` is in the name of the deployment's log origin; `logs` is the folder for all."""
        self._pool, self._clock, self._key = pool, clock, key
        self._logs, self._memory, self._telemetry = logs, memory, telemetry
        self._known: dict[UUID, Signed] = {}
        self._unkept: dict[UUID, bytes] = {}
        """Notes of checkpoints that the database may not have yet."""

    def origin(self, legal_entity_id: UUID) -> str:
        """The name of one log: that of the deployment, and the legal entity."""
        return f"{self._key.name}/{to_text('ent', legal_entity_id)}"

    def folder(self, legal_entity_id: UUID) -> Path:
        """Where its tiles and its checkpoint lie."""
        return self._logs / to_text("ent", legal_entity_id)

    def stopped(self) -> Mapping[str, int]:
        """How many logs are signed no more, by what was found."""
        found = Counter(signed.refused for signed in self._known.values() if signed.refused)
        return dict.fromkeys(REWRITTEN, 0) | found

    async def remember(self) -> None:
        """Takes up what was signed before.

        Raises ConfigurationError where that is not known, or less than what stands in the log's
        folder or in the database under this key: then the memory is an older one.
        """
        for legal_entity_id in self._memory.logs():
            self._known[legal_entity_id] = self._memory.read(legal_entity_id)
        async with self._pool.acquire() as connection:
            notes = [
                (row["legal_entity_id"], row["note"])
                for row in await connection.fetch(SQL["notes"])
            ]
        for legal_entity_id in entities_in(self._logs):
            files = sorted(self.folder(legal_entity_id).glob(f"{CHECKPOINT}*"))
            notes.extend((legal_entity_id, file.read_bytes()) for file in files)
        for legal_entity_id, note in notes:
            self._check_remembered(legal_entity_id, note)
        for legal_entity_id, signed in self._known.items():
            self._unkept[legal_entity_id] = self._publish(legal_entity_id, signed.frontier)

    def _check_remembered(self, legal_entity_id: UUID, note: bytes) -> None:
        verifier = self._key.named(self.origin(legal_entity_id)).verifier
        try:
            seen = Checkpoint.read(open_note(note, verifier))
        except NoteRefused:
            return  # not signed by this key
        frontier = self._known.get(legal_entity_id, NOTHING).frontier
        if seen.size > frontier.size or (
            seen.size == frontier.size != 0 and seen.root != frontier.root()
        ):
            raise ConfigurationError(
                f"a checkpoint of {self.folder(legal_entity_id)} is of {seen.size} entries, which "
                "this signer does not remember: restore its memory from a backup that does."
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
            rows = await connection.fetch(SQL["heads"])
        heads: dict[UUID, int] = {row["legal_entity_id"]: row["size"] for row in rows}
        new, faults = 0, []
        for legal_entity_id in {**self._known, **heads}:
            size = heads.get(legal_entity_id, 0)
            signed = self._known.get(legal_entity_id, NOTHING)
            if signed.refused is not None or size == signed.frontier.size:
                continue
            try:
                await self._extend(legal_entity_id, size)
            except LogRewritten as found:
                refused = msgspec.structs.replace(signed, refused=str(found))
                self._memory.write(legal_entity_id, refused)
                self._known[legal_entity_id] = refused
                log.error("log_rewritten", reason=str(found), ids=[to_text("ent", legal_entity_id)])
                continue
            except Exception as fault:  # noqa: BLE001 - the other logs are still to be signed
                faults.append(fault)
                continue
            new += size - signed.frontier.size
        await self._keep_checkpoints()
        if faults:
            raise faults[0]
        return new

    async def _extend(self, legal_entity_id: UUID, size: int) -> None:
        known = self._known.get(legal_entity_id, NOTHING)
        frontier, last = known.frontier, known.last
        oldest: bytes | None = None
        if size < frontier.size:
            raise LogRewritten("shorter_than_signed")
        tiles = TileFolder(self.folder(legal_entity_id))
        while frontier.size < size:
            # The last one that was signed is read again: a log that was cut and has grown since
            # would go on behind entries that nobody signed.
            again = 1 if frontier.size else 0
            entries = await self._entries(legal_entity_id, frontier.size - again, size)
            if again and leaf_hash(entries[0]) != last:
                raise LogRewritten("last_entry_differs")
            entries = entries[again:]
            oldest = oldest or entries[0]
            hashes = [leaf_hash(entry) for entry in entries]
            tiles.append(frontier.size, entries)
            frontier, last = frontier.extended(hashes), hashes[-1]
        # What is signed must be remembered first: never two roots of one size.
        signed = Signed(frontier, last)
        self._memory.write(legal_entity_id, signed)
        self._unkept[legal_entity_id] = self._publish(legal_entity_id, frontier)
        self._known[legal_entity_id] = signed
        at = written_at(oldest) if oldest else None
        if at is not None:
            self._telemetry.log_protected("signed", "", (self._clock.now() - at).total_seconds())

    async def _keep_checkpoints(self) -> None:
        """Tells the database what was signed; what it did not hear is told again."""
        if not self._unkept:
            return
        async with self._pool.acquire() as connection:
            for legal_entity_id, note in list(self._unkept.items()):
                size = self._known[legal_entity_id].frontier.size
                kept = (legal_entity_id, size, note, self._clock.now())
                await connection.execute(SQL["keep_checkpoint"], *kept)
                del self._unkept[legal_entity_id]

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
        public = (key.verifier.text() + "\n").encode()
        if not (folder / PUBLIC_KEY).exists() or (folder / PUBLIC_KEY).read_bytes() != public:
            replace_file(folder / PUBLIC_KEY, public, PUBLIC_MODE)
        TileFolder(folder).write_checkpoint(note)
        return note

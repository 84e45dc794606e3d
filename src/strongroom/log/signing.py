"""Signs how far each log has come, and writes it where anybody can check it.

The signer is a process of its own, with a key of its own. It reads the entries that it has not seen
and nothing that it has, adds them to the tree that it remembers outside of the database, and signs
the root. So whatever is changed in the database later, what it signed stays as it was.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from strongroom.clock import Clock, monotonic_seconds
from strongroom.config import ConfigurationError, replace_file
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, statements
from strongroom.errors import described
from strongroom.ids import to_text
from strongroom.log.entries import written_at
from strongroom.log.epochs import epochs_in, name_of, opened_by, origin_of, split_origin
from strongroom.log.memory import NOTHING, Memory, Signed
from strongroom.log.notes import (
    Checkpoint,
    NoteKey,
    NoteRefused,
    note_parts,
    open_note,
    sign_note,
)
from strongroom.log.tiles import CHECKPOINT, PUBLIC_KEY, TileFolder
from strongroom.log.tree import consistency_proof, leaf_hash, verify_consistency
from strongroom.log.witnessed import COSIGNED
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry

SQL: Final = statements("strongroom.log", "log.sql")
PAUSE_SECONDS: Final = 0.2
FAILED_WAIT_SECONDS: Final = 1.0
TOLD_SECONDS: Final = 60.0
"""Between two lines that say the same of one log."""
ENTRIES_MAX: Final = 20_000
"""Of one log that are read at once."""
PUBLIC_MODE: Final = 0o644
RETIRED_IS_BACK: Final = "retired_is_back"
REWRITTEN: Final = (
    "shorter_than_signed",
    "last_entry_differs",
    "gap",
    "epoch_before",
    RETIRED_IS_BACK,
)
"""Why a log is signed no more."""
EPOCH_WAITS: Final = "epoch_waits"
"""Nor is one whose new epoch was not accepted here, or does not fit what is remembered."""

log = structlog.get_logger()


class LogRewritten(Exception):
    """The database shows less than was signed, or a gap.

    Nothing of this epoch of the log is signed any more.
    """


class EpochWaits(Exception):
    """The database has an epoch that this signer does not begin; the message is a word."""


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
        self._unkept_cosigned: dict[UUID, bytes] = {}
        self._tell_at: dict[tuple[UUID, str, str], float] = {}
        self._differing: set[bytes] = set()
        self._retired: set[UUID] = set()
        """Logs that are over, and that the database does not show."""
        self._waiting: set[UUID] = set()
        """Logs whose newest epoch this signer does not begin."""

    def origin(self, legal_entity_id: UUID, epoch: int = 1) -> str:
        """The name of one epoch of one log, in that of the deployment."""
        return origin_of(self._key.name, legal_entity_id, epoch)

    def folder(self, legal_entity_id: UUID, epoch: int = 1) -> Path:
        """Where its tiles and its checkpoint lie."""
        return self._logs / name_of(legal_entity_id, epoch)

    def stopped(self) -> Mapping[str, int]:
        """How many logs are signed no more, by what was found."""
        found = Counter(
            signed.refused
            for entity, signed in self._known.items()
            if signed.refused and entity not in self._retired
        )
        return dict.fromkeys(REWRITTEN, 0) | found | {EPOCH_WAITS: len(self._waiting)}

    async def remember(self) -> None:
        """Takes up what was signed before.

        Raises ConfigurationError where that is not known, or less than what stands in the log's
        folder or in the database under this key: then the memory is an older one.
        """
        for legal_entity_id, epoch in self._memory.logs().items():
            self._known[legal_entity_id] = self._memory.read(legal_entity_id, epoch)
        async with self._pool.acquire() as connection:
            notes = [
                (row["legal_entity_id"], row["note"])
                for row in await connection.fetch(SQL["notes"])
            ]
        for legal_entity_id, epoch in epochs_in(self._logs):
            files = sorted(self.folder(legal_entity_id, epoch).glob(f"{CHECKPOINT}*"))
            notes.extend((legal_entity_id, file.read_bytes()) for file in files)
        for legal_entity_id, note in notes:
            self._check_remembered(legal_entity_id, note)
        for legal_entity_id, signed in self._known.items():
            if self._memory.is_retired(legal_entity_id):
                self._retired.add(legal_entity_id)
                continue
            self._unkept[legal_entity_id] = self._publish(legal_entity_id, signed)
            cosigned = self.folder(legal_entity_id, signed.epoch) / COSIGNED
            if cosigned.is_file():
                self.cosigned(legal_entity_id, signed.epoch, cosigned.read_bytes())

    def cosigned(self, legal_entity_id: UUID, epoch: int, note: bytes) -> None:
        """A witness cosigned this; the database is told of the newest epoch's."""
        if epoch == self._known.get(legal_entity_id, NOTHING).epoch:
            self._unkept_cosigned[legal_entity_id] = note

    def _check_remembered(self, legal_entity_id: UUID, note: bytes) -> None:
        try:
            epoch = split_origin(Checkpoint.read(note_parts(note)[0]).origin)[1]
            verifier = self._key.named(self.origin(legal_entity_id, epoch)).verifier
            seen = Checkpoint.read(open_note(note, verifier))
        except NoteRefused:
            return  # not signed by this key
        frontier = self._memory.read(legal_entity_id, epoch).frontier
        if seen.size > frontier.size or (
            seen.size == frontier.size != 0 and seen.root != frontier.root()
        ):
            raise ConfigurationError(
                f"a checkpoint of {self.folder(legal_entity_id, epoch)} is of {seen.size} entries, "
                "which this signer does not remember: restore its memory from a backup that does."
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
        heads = {row["legal_entity_id"]: (row["size"], row["epoch"]) for row in rows}
        new, faults = 0, []
        for legal_entity_id in {**self._known, **heads}:
            size, epoch = heads.get(legal_entity_id, (0, 1))
            try:
                new += await self._sign(legal_entity_id, size, epoch)
                self._waiting.discard(legal_entity_id)
            except EpochWaits as why:
                self._waiting.add(legal_entity_id)
                self._tell("log_epoch_waits", legal_entity_id, str(why))
            except Exception as fault:  # noqa: BLE001 - the other logs are still to be signed
                faults.append(fault)
        await self._keep_checkpoints()
        if faults:
            raise faults[0]
        return new

    async def _sign(self, legal_entity_id: UUID, size: int, epoch: int) -> int:
        """How many entries were new. Raises EpochWaits."""
        known = self._known.get(legal_entity_id, NOTHING)
        if (known.refused or epoch > known.epoch) and self._memory.is_retired(legal_entity_id):
            self._leave(legal_entity_id, known, is_there=size > 0)
            return 0
        if epoch > known.epoch:
            try:
                begun = await self._begun(legal_entity_id, epoch, known)
                return await self._extend(legal_entity_id, size, begun, epoch)
            except LogRewritten as found:
                raise EpochWaits(str(found)) from None
        if known.refused is None:
            try:
                return await self._extend(legal_entity_id, size, known, epoch)
            except LogRewritten as found:
                known = msgspec.structs.replace(known, refused=str(found))
                self._memory.write(legal_entity_id, known)
                self._known[legal_entity_id] = known
        self._tell("log_rewritten", legal_entity_id, str(known.refused))
        return 0

    def _leave(self, legal_entity_id: UUID, known: Signed, *, is_there: bool) -> None:
        """A log that is over: nobody is called for it, unless somebody brings it back."""
        if not is_there:
            self._retired.add(legal_entity_id)
            return
        self._retired.discard(legal_entity_id)
        self._known[legal_entity_id] = msgspec.structs.replace(known, refused=RETIRED_IS_BACK)
        self._tell("log_rewritten", legal_entity_id, RETIRED_IS_BACK)

    def _tell(self, event: str, legal_entity_id: UUID, reason: str) -> None:
        """At once when it is new, then at most once a minute as long as it stays so."""
        now = monotonic_seconds()
        if now < self._tell_at.get((legal_entity_id, event, reason), now):
            return
        self._tell_at[legal_entity_id, event, reason] = now + TOLD_SECONDS
        ids = [to_text("ent", legal_entity_id)]
        if event == "log_rewritten":
            log.error("log_rewritten", reason=reason, ids=ids)
        else:
            log.error("log_epoch_waits", reason=reason, ids=ids)

    async def _begun(self, legal_entity_id: UUID, epoch: int, known: Signed) -> Signed:
        """The beginning of an epoch that both sides want, with nothing signed. Raises EpochWaits.

        Its entry has to say what this signer remembers of the one before, and the entries that are
        kept have to be those that were signed: an edit of them is no restore.
        """
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(SQL["opening"], legal_entity_id, epoch)
        opened = None if row is None else opened_by(row["entry"])
        if row is None or opened is None or opened.epoch != epoch:
            raise EpochWaits("no_entry")
        leaf = leaf_hash(row["entry"])
        if self._memory.accepted(legal_entity_id, epoch) != leaf:
            raise EpochWaits("not_accepted")
        origin = self.origin(legal_entity_id, known.epoch)
        if not opened.follows(origin, known.frontier, row["index"]):
            raise EpochWaits("another_checkpoint")
        if leaf in self._differing:
            raise EpochWaits("kept_differs")
        folder = TileFolder(self.folder(legal_entity_id, epoch))
        if folder.checkpoint() is None:  # written before a kill, and never signed
            await asyncio.to_thread(rmtree, folder.path, ignore_errors=True)
        size, before = known.frontier.size, TileFolder(self.folder(legal_entity_id, known.epoch))
        proof = consistency_proof(opened.kept, size, before.hash_of(size))
        kept, _ = await self._grown(legal_entity_id, Signed(epoch=epoch), opened.kept)
        whole, _ = await self._grown(legal_entity_id, kept, opened.size + 1)
        ends = (size, known.frontier.root(), proof)
        if whole.last != leaf or not verify_consistency(opened.kept, kept.frontier.root(), *ends):
            self._differing.add(leaf)
            raise EpochWaits("kept_differs")
        return whole

    async def _extend(self, legal_entity_id: UUID, size: int, known: Signed, epoch: int) -> int:
        """Signs up to a size, and says how many entries were new; `known` may not be signed yet."""
        before = self._known.get(legal_entity_id, NOTHING)
        if epoch < known.epoch:
            raise LogRewritten("epoch_before")
        if size < known.frontier.size:
            raise LogRewritten("shorter_than_signed")
        if (size, known.epoch) == (before.frontier.size, before.epoch):
            return 0
        signed, oldest = await self._grown(legal_entity_id, known, size)
        # What is signed must be remembered first: never two roots of one size.
        self._memory.write(legal_entity_id, signed)
        self._unkept[legal_entity_id] = self._publish(legal_entity_id, signed)
        self._known[legal_entity_id] = signed
        at = written_at(oldest) if oldest else None
        if at is not None:
            self._telemetry.log_protected("signed", "", (self._clock.now() - at).total_seconds())
        return size - (before.frontier.size if before.epoch == signed.epoch else 0)

    async def _grown(
        self, legal_entity_id: UUID, known: Signed, size: int
    ) -> tuple[Signed, bytes | None]:
        """With all entries up to a size in its tree and its folder, and the first that is new.

        Raises LogRewritten.
        """
        frontier, last = known.frontier, known.last
        oldest: bytes | None = None
        tiles = TileFolder(self.folder(legal_entity_id, known.epoch))
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
        return Signed(frontier, last, epoch=known.epoch), oldest

    async def _keep_checkpoints(self) -> None:
        """Tells the database what was signed; what it did not hear is told again."""
        if not self._unkept and not self._unkept_cosigned:
            return
        async with self._pool.acquire() as connection:
            for legal_entity_id, note in list(self._unkept.items()):
                size = self._known[legal_entity_id].frontier.size
                kept = (legal_entity_id, size, note, self._clock.now())
                await connection.execute(SQL["keep_checkpoint"], *kept)
                del self._unkept[legal_entity_id]
            for legal_entity_id, note in list(self._unkept_cosigned.items()):
                await connection.execute(SQL["keep_cosigned"], legal_entity_id, note)
                if self._unkept_cosigned[legal_entity_id] is note:  # no newer one came meanwhile
                    del self._unkept_cosigned[legal_entity_id]

    async def _entries(self, legal_entity_id: UUID, start: int, size: int) -> Sequence[bytes]:
        async with self._pool.acquire() as connection:
            many = min(ENTRIES_MAX, size - start)
            rows = await connection.fetch(SQL["entries"], legal_entity_id, start, many)
        if [row["index"] for row in rows] != list(range(start, start + many)):
            raise LogRewritten("gap")
        return [row["entry"] for row in rows]

    def _publish(self, legal_entity_id: UUID, signed: Signed) -> bytes:
        frontier = signed.frontier
        origin = self.origin(legal_entity_id, signed.epoch)
        folder = self.folder(legal_entity_id, signed.epoch)
        key = self._key.named(origin)
        note = sign_note(Checkpoint(origin, frontier.size, frontier.root()).text(), key)
        folder.mkdir(parents=True, exist_ok=True)
        public = (key.verifier.text() + "\n").encode()
        if not (folder / PUBLIC_KEY).exists() or (folder / PUBLIC_KEY).read_bytes() != public:
            replace_file(folder / PUBLIC_KEY, public, PUBLIC_MODE)
        TileFolder(folder).write_checkpoint(note)
        return note

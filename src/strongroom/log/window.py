"""How long what happened to a legal entity has been without a witness, and when that is too long.

Each process that takes money in has such a window. For the legal entities that it serves it reads,
every second, the oldest entry that no witness has cosigned, and from that until when money may be
moved. So a request costs one look into a table, and where readings stop it closes by itself.

How far a log was cosigned is believed of a witness's signature alone; the database only keeps it.
How far it has come is believed of the database: whoever owns that can hide what is new, and does
not reach what the signer and the witnesses tell of themselves.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from strongroom.clock import Clock, monotonic_seconds
from strongroom.config import Settings
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, reading, statements
from strongroom.directory import log_origin
from strongroom.errors import described
from strongroom.ids import to_text
from strongroom.log.cosignatures import CosignatureVerifier, verifier_of, witnessed
from strongroom.log.entries import written_at
from strongroom.log.epochs import opened_by, origin_of, split_origin
from strongroom.log.notes import NoteRefused
from strongroom.telemetry.port import NoTelemetry
from strongroom.work.lasting import lasting, let_go

SQL: Final = statements("strongroom.log", "log.sql")
EVERY_SECONDS: Final = 1.0
SHARE_OF_TIME: Final = 0.1
"""Readings that take long come less often: they are at it for this part of the time at most."""
UNREAD_SECONDS_MAX: Final = 30.0
"""So long after a reading nothing is known, and no money is moved."""
LOOK_SECONDS_MAX: Final = 3.0
"""A request waits so long for the reading of a legal entity that was not served before."""
ENTITIES_MAX: Final = 10_000
"""Served by one process; who was not served for longest is read anew by its next request."""
AT_ONCE_MAX: Final = 512
NEVER: Final = float("-inf")

NOT_WITNESSED: Final = "not_witnessed"
NOT_SEQUENCED: Final = "not_sequenced"
UNREAD: Final = "unread"
WHY: Final = (NOT_WITNESSED, NOT_SEQUENCED, UNREAD)

log = structlog.get_logger()


class NoWindow:
    """Holds no money back: the one of dev mode, unless its settings ask for another."""

    def start(self) -> None:
        """Starts to read in the running loop."""

    async def close(self) -> None:
        """Stops."""

    async def is_open(self, legal_entity_id: UUID) -> bool:  # noqa: ARG002
        """Whether money of this legal entity may be moved; not where that cannot be known."""
        return True

    def closed(self) -> Mapping[str, int]:
        """Legal entities served here whose money is held back now, by reason."""
        return dict.fromkeys(WHY, 0)


NO_WINDOW: Final = NoWindow()


class Covered(NamedTuple):
    """By this note a witness said that it saw so many entries of this epoch."""

    note: bytes
    epoch: int
    size: int


class Standing:
    """What is known of one legal entity; times are of the monotonic clock."""

    __slots__ = ("covered", "lock", "open_until", "read_at", "why")

    def __init__(self) -> None:
        self.read_at, self.open_until = NEVER, NEVER
        self.why = UNREAD
        """Why it closes at `open_until`."""
        self.covered: Covered | None = None
        self.lock = asyncio.Lock()


class Window(NoWindow):
    """Holds money back while the oldest event that no witness saw is older than the limit."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        witnesses: Sequence[CosignatureVerifier],
        origin: str,
        limit: timedelta,
    ) -> None:
        """`origin` is the name that all logs of the deployment have; any one witness will do."""
        self._pool, self._clock, self._witnesses = pool, clock, witnesses
        self._origin, self._limit = origin, limit
        self._standings: dict[UUID, Standing] = {}
        self._closed: set[UUID] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """As NoWindow says."""
        self._task = lasting(self._read_forever())

    async def close(self) -> None:
        """As NoWindow says."""
        await let_go(self._task)

    async def is_open(self, legal_entity_id: UUID) -> bool:
        """As NoWindow says."""
        standing = self._standings.get(legal_entity_id)
        if standing is not None and monotonic_seconds() < standing.open_until:
            return True
        if standing is None:
            standing = self._take_in(legal_entity_id)
        try:
            async with asyncio.timeout(LOOK_SECONDS_MAX), standing.lock:
                if monotonic_seconds() - standing.read_at > EVERY_SECONDS:
                    await self.read([legal_entity_id])
        except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
            log.warning("log_window_not_read", error=type(error).__name__)
        return monotonic_seconds() < standing.open_until

    def closed(self) -> Mapping[str, int]:
        """As there."""
        now = monotonic_seconds()
        found = Counter(one.why for one in self._standings.values() if one.open_until <= now)
        return dict.fromkeys(WHY, 0) | found

    async def read(self, legal_entity_ids: Sequence[UUID]) -> None:
        """Reads how these stand. Raises errors of UNREACHABLE and SERIALIZATION_FAILURES."""
        for start in range(0, len(legal_entity_ids), AT_ONCE_MAX):
            await self._read_part(legal_entity_ids[start : start + AT_ONCE_MAX])

    async def _read_forever(self) -> None:
        while True:
            started = monotonic_seconds()
            try:
                await self.read(list(self._standings))
                self._tell()
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("log_window_not_read", error=type(error).__name__)
            except Exception as fault:  # noqa: BLE001 - it closes by itself where nothing is read
                log.error("log_window_not_read", **described(fault))
            took = monotonic_seconds() - started
            await asyncio.sleep(min(max(EVERY_SECONDS, took / SHARE_OF_TIME), UNREAD_SECONDS_MAX))

    async def _read_part(self, entities: Sequence[UUID]) -> None:
        read_at, now = monotonic_seconds(), self._clock.now()
        async with reading(self._pool, entities) as connection:
            moved_at = await connection.fetchval(SQL["moved_at"])
            rows = await connection.fetch(SQL["windows"], entities)
            sizes = [self._size_covered(row) for row in rows]
            named = [row["legal_entity_id"] for row in rows]
            oldest = {
                row["legal_entity_id"]: _written_at(row)
                for row in await connection.fetch(SQL["uncovered"], named, sizes)
            }
        for entity in named:
            standing = self._standings.get(entity)
            if standing is None:
                continue  # it was let go meanwhile
            since, standing.why = moved_at, NOT_SEQUENCED
            if moved_at is not None and entity in oldest and oldest[entity] < moved_at:
                since, standing.why = oldest[entity], NOT_WITNESSED
            left = NEVER if since is None else (since + self._limit - now).total_seconds()
            standing.read_at = read_at
            standing.open_until = read_at + min(left, UNREAD_SECONDS_MAX)
            if left > UNREAD_SECONDS_MAX:
                standing.why = UNREAD

    def _size_covered(self, row: asyncpg.Record) -> int:
        """How many of the first entries of a log a witness saw; 0 where it saw another log."""
        covered = self._cosigned(row["legal_entity_id"], row["cosigned"])
        if covered is None:
            return 0
        if covered.epoch == row["epoch"]:
            return covered.size if covered.size <= row["size"] else 0
        opened = None if row["opening"] is None else opened_by(row["opening"])
        if opened is None or (opened.epoch, covered.epoch) != (row["epoch"], row["epoch"] - 1):
            return 0
        return min(covered.size, opened.kept)

    def _cosigned(self, legal_entity_id: UUID, note: bytes | None) -> Covered | None:
        """What a witness said by this note of this log; None where none did."""
        standing = self._standings.get(legal_entity_id)
        if note is None or standing is None:
            return None
        if standing.covered is not None and standing.covered.note == note:
            return standing.covered
        for witness in self._witnesses:
            try:
                checkpoint = witnessed(note, witness).checkpoint
            except NoteRefused:
                continue
            epoch = split_origin(checkpoint.origin)[1]
            if checkpoint.origin == origin_of(self._origin, legal_entity_id, epoch):
                standing.covered = Covered(note, epoch, checkpoint.size)
                return standing.covered
        return None

    def _take_in(self, legal_entity_id: UUID) -> Standing:
        if len(self._standings) >= ENTITIES_MAX:
            first = next(iter(self._standings))
            del self._standings[first]
            self._closed.discard(first)
        standing = self._standings[legal_entity_id] = Standing()
        return standing

    def _tell(self) -> None:
        """Writes which legal entities are held back since the last reading, and which no more."""
        now = monotonic_seconds()
        closed = {entity for entity, one in self._standings.items() if one.open_until <= now}
        if new := _named(closed - self._closed):
            log.warning("log_window_closed", items=len(new), ids=new)
        if gone := _named(self._closed - closed):
            log.warning("log_window_open", items=len(gone), ids=gone)
        self._closed = closed


def _named(entities: set[UUID]) -> list[str]:
    return [to_text("ent", entity) for entity in sorted(entities)]


def _written_at(row: asyncpg.Record) -> datetime:
    """When the event of an entry was written; when it got its place, where that is earlier."""
    placed: datetime = row["sequenced_at"]
    return min(written_at(row["entry"]) or placed, placed)


def _closed_by(window: NoWindow, why: str) -> int:
    return window.closed()[why]


async def window_of(
    settings: Settings, pool: asyncpg.Pool, clock: Clock, telemetry: NoTelemetry
) -> NoWindow:
    """What holds money back in live mode, and in dev mode where its settings ask for it.

    Raises ConfigurationError, and the errors of UNREACHABLE.
    """
    is_live = settings.mode == "live"
    window = NO_WINDOW
    if is_live or settings.log_window_in_dev:
        witnesses = settings.witnesses_elsewhere if is_live else settings.witnesses
        verifiers, limit = list(map(verifier_of, witnesses)), settings.log_window_seconds
        window = Window(pool, clock, verifiers, await log_origin(pool), timedelta(seconds=limit))
    for why in WHY:
        telemetry.watch("strongroom_log_windows_closed", why, partial(_closed_by, window, why))
    return window

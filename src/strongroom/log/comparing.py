"""Compares what the database shows with what was signed: events, and the rows that they led to.

A log that holds says what happened. This says whether the database still agrees: an event that was
edited or taken away, and a row that was edited, made or taken away without an event, are named.

First the signed entries are compared, one after the other, with the database's copy of the log; by
its index that copy then says which entry was a row's last. So nothing is kept of what was seen, and
a log of any length is compared in pages.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from strongroom.clock import monotonic_seconds
from strongroom.database import reading, statements
from strongroom.log.entries import Entry, EntryMalformed
from strongroom.log.rows import BY_NAME, OF_PAYMENTS, OWN, Family

SQL: Final = statements("strongroom.log", "comparing.sql")
PAGE: Final = 1000
TOLD_MAX: Final = 20_000
"""Entries of payments that are looked through at once for what they say of refunds."""
PLACED_WITHIN: Final = timedelta(seconds=60)
"""An event that has no place in the log after so long was passed over."""
PROBLEMS_MAX: Final = 20
"""That are named; the first is enough to call for a person."""
LOWEST: Final = UUID(int=0)
OWN_NAMES: Final = frozenset(family.name for family in OWN)

Progress = Callable[[int], None]
"""Hears how many entries are compared."""


class Part(Struct, frozen=True):
    """What an event of a payment says of a refund or a dispute of it."""

    id: UUID
    row_digest: str | None = None


class Parts(Struct, frozen=True):
    """The parts of an event's payload that have rows of their own."""

    refund: Part | None = None
    dispute: Part | None = None


class Signed(NamedTuple):
    """The last entry that says a row's digest."""

    version: int
    row_format: int
    row_digest: bytes


class Compared(NamedTuple):
    """How much agreed, how much is still to get its place, and what does not agree.

    `rows` is how many there are, by family.
    """

    events: int
    rows: dict[str, int]
    waiting: int
    problems: list[str]


class Comparing:
    """One comparison of one legal entity's log with its rows, over a login that reads them."""

    def __init__(self, pool: asyncpg.Pool, legal_entity_id: UUID, now: datetime) -> None:
        self._pool, self._entity, self._now = pool, legal_entity_id, now
        self._started = monotonic_seconds()
        self._size = self._waiting = 0
        self._rows: dict[str, int] = {}
        self._problems: list[str] = []

    async def compare(
        self, entries: Iterable[bytes], progress: Progress = lambda _: None
    ) -> Compared:
        """`entries` are those that were signed, in order. Raises UNREACHABLE."""
        for page in _pages(entries):
            await self._compare_log(page)
            self._size += len(page)
            progress(self._size)
        for statement in ("event_names", "customer_event_names"):
            await self._look_for_unplaced(statement)
        for family in OWN:
            await self._compare_own(family)
        for family in OF_PAYMENTS:
            await self._compare_of_payments(family)
        return Compared(self._size, self._rows, self._waiting, self._problems)

    def _tell(self, problem: str) -> None:
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(problem)

    async def _fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with reading(self._pool, [self._entity]) as connection:
            found: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        return found

    async def _compare_log(self, page: Sequence[bytes]) -> None:
        """Whether the database has these entries, where look-ups find them."""
        rows = await self._fetch(SQL["placed"], self._entity, self._size, len(page))
        found = {row["index"]: row for row in rows}
        entries: list[tuple[int, Entry]] = []
        for index, content in enumerate(page, self._size):
            row = found.get(index)
            try:
                entry = Entry.read(content)
            except EntryMalformed:
                self._tell(f"entry {index} is not one that this version makes")
                continue
            entries.append((index, entry))
            if row is None:
                self._tell(f"entry {index} of the log is not in the database")
            elif (row["subject_id"], row["version"]) != (entry.subject_id, entry.version) or (
                row["entry"] != content
            ):
                self._tell(f"entry {index} of the database is not the one that was signed")
        await self._compare_events([entry for _, entry in entries])
        await self._compare_order(entries)
        await self._look_for_rows([entry for _, entry in entries])

    async def _compare_events(self, entries: Sequence[Entry]) -> None:
        subjects = [entry.subject_id for entry in entries]
        versions = [entry.version for entry in entries]
        rows = await self._fetch(SQL["events_of"], self._entity, subjects, versions)
        found = {(row["subject_id"], row["version"]): Entry(**dict(row)) for row in rows}
        for entry in entries:
            there = found.get((entry.subject_id, entry.version))
            if there is None:
                self._tell(f"{_named(entry)} is in the log and not in the database")
            elif there.content() != entry.content():
                self._tell(f"{_named(entry)} is not what the log says it was")

    async def _compare_order(self, entries: Sequence[tuple[int, Entry]]) -> None:
        """Whether each entry of a subject is its next version."""
        last: dict[UUID, int] = {}
        asked: dict[int, Entry] = {}
        for index, entry in entries:
            before = last.get(entry.subject_id, 0)
            if before == 0 and entry.version > 1:
                asked[index] = entry
            elif entry.version != before + 1:
                self._tell(_out_of_order(entry))
            last[entry.subject_id] = entry.version
        rows = await self._fetch(
            SQL["without_one_before"],
            self._entity,
            [entry.subject_id for entry in asked.values()],
            [entry.version for entry in asked.values()],
            list(asked),
        )
        for row in rows:
            self._tell(_out_of_order(asked[row["index"]]))

    async def _look_for_rows(self, entries: Sequence[Entry]) -> None:
        """Whether there is a row of everything that the entries say has one."""
        wanted: dict[UUID, str] = {}
        for entry in entries:
            family = entry.kind.partition(".")[0]
            if entry.version == 1 and family in OWN_NAMES:
                wanted[entry.subject_id] = family
            parts = _parts(entry.payload)
            for name in ("refund", "dispute"):
                part: Part | None = getattr(parts, name)
                if part is not None:
                    wanted[part.id] = name
        rows = await self._fetch(
            SQL["without_row"], self._entity, list(wanted), list(wanted.values())
        )
        for row in rows:
            self._tell(f"{BY_NAME[row['family']].named(row['id'])} is in the log and has no row")

    def _is_recent(self, at: datetime) -> bool:
        """Whether it may be on its way; a time to come is nobody's."""
        now = self._now + timedelta(seconds=monotonic_seconds() - self._started)
        return self._now - PLACED_WITHIN <= at <= now + PLACED_WITHIN

    async def _look_for_unplaced(self, statement: str) -> None:
        above: tuple[UUID, int] = (LOWEST, 0)
        while True:
            rows = await self._fetch(SQL[statement], self._entity, *above, PAGE, self._size)
            for row in rows:
                if not row["is_placed"]:
                    self._waiting += 1
                    if not self._is_recent(row["at"]):
                        name = f"event {row['version']} of {row['subject_id']} ({row['kind']})"
                        self._tell(f"{name} is in the database and not in the log")
            if len(rows) < PAGE:
                return
            above = (rows[-1]["subject_id"], rows[-1]["version"])

    async def _compare_own(self, family: Family) -> None:
        """Rows that have events of their own."""
        above, count = LOWEST, 0
        while True:
            page = await self._fetch(SQL[family.page], self._entity, above, PAGE)
            ids = [row[family.column] for row in page]
            found = await self._fetch(SQL["newest_of"], self._entity, ids, self._size)
            newest = {row["subject_id"]: _signed(row["entry"]) for row in found}
            for identifier, row in zip(ids, page, strict=True):
                await self._compare_row(family, identifier, row, newest.get(identifier))
            count += len(page)
            self._rows[family.name] = count
            if len(page) < PAGE:
                return
            above = ids[-1]

    async def _compare_row(
        self, family: Family, identifier: UUID, row: asyncpg.Record, newest: Signed | None
    ) -> None:
        name, version = family.named(identifier), row["version"]
        if newest is not None and version < newest.version:
            self._tell(f"{name} is older in the database than in the log")
            return
        if newest is None or version > newest.version:
            newest = await self._to_be_signed(identifier, version)
            if newest is None:
                self._tell(f"{name} has version {version}, which no event led to")
                return
        if family.digest_of(row, newest.row_format) != newest.row_digest:
            self._tell(f"{name} was edited: its row is not what its event {newest.version} led to")

    async def _to_be_signed(self, subject_id: UUID, version: int) -> Signed | None:
        """The event of the row's version, if it is on its way into the log."""
        rows = await self._fetch(SQL["events_of"], self._entity, [subject_id], [version])
        if not rows or not self._is_recent(rows[0]["at"]):
            return None
        return Signed(rows[0]["version"], rows[0]["row_format"], rows[0]["row_digest"])

    async def _compare_of_payments(self, family: Family) -> None:
        """Rows whose digest events of their payment say."""
        above, count = (LOWEST, LOWEST), 0
        while True:
            page = await self._fetch(SQL[family.page], self._entity, *above, PAGE)
            rows = {row[family.column]: row for row in page}
            told = await self._told(family, rows)
            for identifier, row in rows.items():
                digest = family.digest_of(row).hex()
                said = told.get(identifier)
                if digest == (said and said[1]) or await self._is_on_its_way(family, row, digest):
                    continue
                name = family.named(identifier)
                if said is None:
                    self._tell(f"{name} has a row, which no event led to")
                else:
                    why = f"its row is not what event {said[0]} of its payment led to"
                    self._tell(f"{name} was edited: {why}")
            count += len(rows)
            self._rows[family.name] = count
            if len(page) < PAGE:
                return
            above = (page[-1]["payment_id"], page[-1][family.column])

    async def _told(
        self, family: Family, rows: Mapping[UUID, asyncpg.Record]
    ) -> dict[UUID, tuple[int, str]]:
        """By row, what the log says last of its digest, and in which event of its payment."""
        told: dict[UUID, tuple[int, str]] = {}
        looked = {row["payment_id"]: 0 for row in rows.values()}
        mark = f'"{family.name}":{{'.encode()
        while looked:
            at_most = max(1, TOLD_MAX // len(looked))
            found = await self._fetch(
                SQL["told_of"],
                self._entity,
                list(looked),
                list(looked.values()),
                self._size,
                mark,
                at_most,
            )
            seen: dict[UUID, int] = {}
            for row in found:
                part: Part | None = getattr(_parts(_payload(row["entry"])), family.name)
                if part is not None and part.row_digest is not None and part.id in rows:
                    told[part.id] = (row["version"], part.row_digest)
                looked[row["subject_id"]] = row["version"]
                seen[row["subject_id"]] = seen.get(row["subject_id"], 0) + 1
            looked = {one: looked[one] for one, count in seen.items() if count == at_most}
        return told

    async def _is_on_its_way(self, family: Family, row: asyncpg.Record, digest: str) -> bool:
        """Whether an event that is still to be signed led to the row."""
        payment_id = row["payment_id"]
        found = await self._fetch(SQL["newest_of"], self._entity, [payment_id], self._size)
        version = _signed(found[0]["entry"]).version if found else 0
        rows = await self._fetch(SQL["events_after"], self._entity, payment_id, version, PAGE)
        said = None
        for event in rows:
            part: Part | None = getattr(_parts(event["payload"]), family.name)
            if part is not None and part.id == row[family.column] and self._is_recent(event["at"]):
                said = part.row_digest or said
        return said == digest


def _pages(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(entries)
    while page := list(islice(rest, PAGE)):
        yield page


def _payload(content: bytes) -> bytes:
    return content.partition(b"\n")[2]


def _parts(payload: bytes) -> Parts:
    """What a payload says of rows beside its subject's; nothing for what is no payload of ours."""
    try:
        return msgspec.json.decode(payload, type=Parts)
    except (msgspec.MsgspecError, RecursionError):
        return Parts()


def _signed(content: bytes) -> Signed:
    """What an entry says of a row; of bytes that are none, what no row has."""
    try:
        entry = Entry.read(content)
    except EntryMalformed:
        return Signed(0, 0, b"")
    return Signed(entry.version, entry.row_format, entry.row_digest)


def _named(entry: Entry) -> str:
    return f"event {entry.version} of {entry.subject_id} ({entry.kind})"


def _out_of_order(entry: Entry) -> str:
    return f"{_named(entry)} is not the next version of its subject in the log"

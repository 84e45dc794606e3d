"""Compares what the database shows with what was signed: events, and the rows that they led to.

A log that holds says what happened. This says whether the database still agrees: an event that was
edited or taken away, and a payment that was edited without an event, are named.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from strongroom.database import reading, statements
from strongroom.ids import to_text
from strongroom.log.entries import Entry, EntryMalformed
from strongroom.payments.reads import read_payments
from strongroom.payments.rows import digest_in_format
from strongroom.payments.states import Payment

SQL: Final = statements("strongroom.log", "log.sql")
PAGE: Final = 2000
PLACED_WITHIN: Final = timedelta(seconds=60)
"""An event that has no place in the log after so long was passed over."""
PROBLEMS_MAX: Final = 20
"""That are named; the first is enough to call for a person."""
LOWEST: Final = UUID(int=0)
ACCEPTED: Final = "payment.accepted"
"""The first event of each payment."""


class Newest(NamedTuple):
    """The last entry of a subject: its version, and what its row must be then."""

    version: int
    row_format: int
    row_digest: bytes


class Compared(NamedTuple):
    """How much agreed, how much is still to get its place, and what does not agree."""

    events: int
    payments: int
    waiting: int
    problems: list[str]


class Comparing:
    """One comparison of one legal entity's log with its rows, over a login that reads them."""

    def __init__(self, pool: asyncpg.Pool, legal_entity_id: UUID, now: datetime) -> None:
        self._pool, self._entity, self._now = pool, legal_entity_id, now
        self._newest: dict[UUID, Newest] = {}
        self._without_row: set[UUID] = set()
        self._placed = self._waiting = self._payments = 0
        self._problems: list[str] = []

    async def compare(self, entries: Iterable[bytes]) -> Compared:
        """`entries` are those that were signed, in order. Raises UNREACHABLE."""
        for page in _pages(entries):
            await self._compare_events(page)
        for statement in ("event_names", "customer_event_names"):
            await self._look_for_unplaced(statement)
        await self._compare_payments()
        return Compared(self._placed, self._payments, self._waiting, self._problems)

    def _tell(self, problem: str) -> None:
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(problem)

    async def _compare_events(self, page: Sequence[bytes]) -> None:
        entries: list[tuple[Entry, bytes]] = []
        for content in page:
            try:
                entries.append((Entry.read(content), content))
            except EntryMalformed:
                self._tell(
                    f"entry {self._placed + len(entries)} is not one that this version makes"
                )
        subjects = [entry.subject_id for entry, _ in entries]
        versions = [entry.version for entry, _ in entries]
        async with reading(self._pool, [self._entity]) as connection:
            rows = await connection.fetch(SQL["events_of"], self._entity, subjects, versions)
        found = {(row["subject_id"], row["version"]): _entry_of(row) for row in rows}
        for entry, content in entries:
            there = found.get((entry.subject_id, entry.version))
            if there is None:
                self._tell(f"{_named(entry)} is in the log and not in the database")
            elif there.content() != content:
                self._tell(f"{_named(entry)} is not what the log says it was")
            if entry.version != self._version_of(entry.subject_id) + 1:
                self._tell(f"{_named(entry)} is not the next version of its subject in the log")
            if entry.kind == ACCEPTED:
                self._without_row.add(entry.subject_id)
            self._newest[entry.subject_id] = Newest(
                entry.version, entry.row_format, entry.row_digest
            )
        self._placed += len(page)

    def _version_of(self, subject_id: UUID) -> int:
        newest = self._newest.get(subject_id)
        return 0 if newest is None else newest.version

    def _is_recent(self, at: datetime) -> bool:
        """Whether it may be on its way; a time to come is nobody's."""
        return self._now - PLACED_WITHIN <= at <= self._now + PLACED_WITHIN

    async def _look_for_unplaced(self, statement: str) -> None:
        above: tuple[UUID, int] = (LOWEST, 0)
        while True:
            async with reading(self._pool, [self._entity]) as connection:
                rows = await connection.fetch(SQL[statement], self._entity, *above, PAGE)
            if not rows:
                return
            for row in rows:
                if row["version"] > self._version_of(row["subject_id"]):
                    self._waiting += 1
                    if not self._is_recent(row["at"]):
                        name = f"event {row['version']} of {row['subject_id']} ({row['kind']})"
                        self._tell(f"{name} is in the database and not in the log")
            above = (rows[-1]["subject_id"], rows[-1]["version"])

    async def _compare_payments(self) -> None:
        above = LOWEST
        while True:
            async with reading(self._pool, [self._entity]) as connection:
                rows = await connection.fetch(SQL["payment_ids"], self._entity, above, PAGE)
            if not rows:
                break
            ids = [row["payment_id"] for row in rows]
            for payment in await read_payments(self._pool, dict.fromkeys(ids, self._entity)):
                await self._compare_payment(payment)
            self._payments += len(ids)
            self._without_row.difference_update(ids)
            above = ids[-1]
        for payment_id in sorted(self._without_row):
            self._tell(f"payment {to_text('pay', payment_id)} is in the log and has no row")

    async def _compare_payment(self, payment: Payment) -> None:
        name = f"payment {to_text('pay', payment.payment_id)}"
        newest = self._newest.get(payment.payment_id)
        if newest is not None and payment.version < newest.version:
            self._tell(f"{name} is older in the database than in the log")
            return
        if newest is None or payment.version > newest.version:
            newest = await self._to_be_signed(payment)
            if newest is None:
                self._tell(f"{name} has version {payment.version}, which no event led to")
                return
        if digest_in_format(payment, newest.row_format) != newest.row_digest:
            self._tell(f"{name} was edited: its row is not what its event {newest.version} led to")

    async def _to_be_signed(self, payment: Payment) -> Newest | None:
        """The event of the row's version, if it is on its way into the log."""
        wanted = ([payment.payment_id], [payment.version])
        async with reading(self._pool, [self._entity]) as connection:
            rows = await connection.fetch(SQL["events_of"], self._entity, *wanted)
        if not rows or not self._is_recent(rows[0]["at"]):
            return None
        return Newest(rows[0]["version"], rows[0]["row_format"], rows[0]["row_digest"])


def _pages(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(entries)
    while page := list(islice(rest, PAGE)):
        yield page


def _entry_of(row: asyncpg.Record) -> Entry:
    return Entry(**dict(row))


def _named(entry: Entry) -> str:
    return f"event {entry.version} of {entry.subject_id} ({entry.kind})"

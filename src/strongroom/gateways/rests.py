"""Which gateway accounts are at rest, told by workers to whoever routes.

A worker's lines know it; what they tell lies in the database until the rest is over. It is a word
for routes, and no permission: what is sent is decided by the line alone, when it is sent.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from strongroom.clock import Clock, monotonic_seconds
from strongroom.database import (
    SERIALIZATION_FAILURES,
    UNREACHABLE,
    Connection,
    reading,
    statements,
    writing,
)
from strongroom.errors import described
from strongroom.gateways.lines import Operation
from strongroom.gateways.port import Account

SQL: Final = statements("strongroom.gateways", "accounts.sql")
OPENING: Final[frozenset[Operation]] = frozenset({"prepare", "send"})
"""What a new payment begins with: only what these lines say is told."""
KEPT_SECONDS: Final = 0.5
"""The first rest is about a second."""
KEPT_MAX: Final = 10_000
FAILED_WAIT_SECONDS: Final = 1.0
UNTOLD_MAX: Final = 10_000
"""Rests that wait to be written; they are over before a database that is away is back."""

log = structlog.get_logger()


class Rests:
    """Writes down what a worker's lines say; `told` is for Lines."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock
        self._untold: dict[tuple[UUID, UUID], datetime] = {}
        self._wake = asyncio.Event()

    def told(self, account: Account, operation: Operation, rest_seconds: float) -> None:
        """A line rests from now on."""
        if operation not in OPENING or len(self._untold) >= UNTOLD_MAX:
            return
        until = self._clock.now() + timedelta(seconds=rest_seconds)
        self._untold[account.legal_entity_id, account.gateway_account_id] = until
        self._wake.set()

    async def run(self) -> None:
        """Goes on until it is cancelled; what cannot be written is tried again while it holds."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            taken, self._untold = self._untold, {}
            try:
                await self._write(taken)
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("rests_not_told", error=type(error).__name__)
                now = self._clock.now()
                self._untold = {key: at for key, at in taken.items() if at > now} | self._untold
                await asyncio.sleep(FAILED_WAIT_SECONDS)
                if self._untold:
                    self._wake.set()
            except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                log.error("rests_not_told", **described(fault))

    async def _write(self, rests: dict[tuple[UUID, UUID], datetime]) -> None:
        rows = [(*key, rests_until) for key, rests_until in sorted(rests.items())]
        entities, accounts, ends = (list(column) for column in zip(*rows, strict=True))
        async with writing(self._pool, set(entities)) as connection:
            await connection.execute(SQL["tell_rests"], entities, accounts, ends)


class Resting:
    """Reads for one legal entity at a time which of its accounts rest; KEPT_SECONDS old at most."""

    def __init__(
        self, pool: asyncpg.Pool, clock: Clock, seconds: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._pool, self._clock, self._seconds = pool, clock, seconds
        self._kept: dict[UUID, tuple[float, dict[UUID, datetime]]] = {}

    async def of(self, legal_entity_id: UUID) -> frozenset[UUID]:
        """The accounts at rest now. Raises the errors of UNREACHABLE."""
        kept, seconds = self._kept.get(legal_entity_id), self._seconds()
        if kept is None or seconds - kept[0] >= KEPT_SECONDS:
            async with reading(self._pool, [legal_entity_id]) as connection:
                kept = seconds, await rests_in(connection, legal_entity_id)
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[legal_entity_id] = kept
        now = self._clock.now()
        return frozenset(account for account, until in kept[1].items() if until > now)


async def rests_in(connection: Connection, legal_entity_id: UUID) -> dict[UUID, datetime]:
    """By account of the legal entity, until when it was last said to rest."""
    rows = await connection.fetch(SQL["rests_of"], legal_entity_id)
    return {row["gateway_account_id"]: row["rests_until"] for row in rows}

"""Looks after payments that are to save their instruments, until each has paid or is over."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from strongroom.clock import Clock
from strongroom.customers.keeping import SQL, Wish, drop, keep, look, wait_of, what_to_do
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, see, writing
from strongroom.errors import described
from strongroom.work.bell import NO_BELL, NoBell

CLAIMED_MAX: Final = 64
LEASE: Final = timedelta(seconds=30)
"""For a few statements; no gateway is asked."""
IDLE_WAIT_SECONDS: Final = 0.3
FAILED_WAIT_SECONDS: Final = 1.0

log = structlog.get_logger()


class Keeper:
    """Works on wishes, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        buckets: Sequence[int],
        bell: NoBell = NO_BELL,
    ) -> None:
        self._pool, self._clock, self._buckets = pool, clock, list(buckets)
        self._lane = bell.lane(SQL["kept_due"])

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again when its lease is over."""
        while True:
            number = 0
            try:
                number = await self.step()
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("wishes_not_claimed", error=type(error).__name__)
                await asyncio.sleep(FAILED_WAIT_SECONDS)
            except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                log.error("wishes_not_claimed", **described(fault))
                await asyncio.sleep(FAILED_WAIT_SECONDS)
            if number < CLAIMED_MAX:
                await self._lane.rest(IDLE_WAIT_SECONDS)

    async def step(self) -> int:
        """Looks at what is due, at most CLAIMED_MAX; returns how many there were."""
        now = self._clock.now()
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            rows = await connection.fetch(
                SQL["claim_kept"], self._buckets, now, CLAIMED_MAX, now + LEASE
            )
            if not rows:
                return 0
            await see(connection, {row["legal_entity_id"] for row in rows})
            wishes = [Wish(**dict(row)) for row in rows]
            found = await look(connection, wishes)
            later: list[tuple[Wish, datetime | None]] = []
            todo = []
            for wish in wishes:
                payment, attempt = found.get(wish.payment_id, (None, None))
                match what_to_do(wish, payment, attempt, now):
                    case "wait":
                        later.append((wish, wait_of(wish, payment, now)))
                    case "over":
                        later.append((wish, None))
                    case what:
                        todo.append((what, wish, payment, attempt))
            if later:
                await connection.fetch(
                    SQL["kept_later"],
                    [wish.legal_entity_id for wish, _ in later],
                    [wish.payment_id for wish, _ in later],
                    [wish.lease for wish, _ in later],
                    [run_at for _, run_at in later],
                )
        for what, wish, payment, attempt in todo:
            if what == "drop":
                await drop(self._pool, wish)
            elif payment is not None and attempt is not None:
                await keep(self._pool, wish, payment, attempt, now)
        return len(rows)

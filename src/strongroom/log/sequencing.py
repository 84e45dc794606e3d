"""Gives every committed event its place in the log of its legal entity: one order, no gap.

What has been committed since the last look is what the database shows now and did not show then, so
nothing is marked, nothing is waited for, and a transaction that ends late is found when it does.
The cursor moves in the transaction that inserts the entries: whoever is killed left all or nothing.
"""

import asyncio
from datetime import timedelta
from typing import Final

import asyncpg
import structlog

from strongroom.clock import Clock
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, connect_pool, statements
from strongroom.errors import InvariantBroken, described

SQL: Final = statements("strongroom.log", "log.sql")
PAUSE_SECONDS: Final = 0.1
STANDBY_SECONDS: Final = 1.0
"""Between two tries to take over from another sequencer."""
FAILED_WAIT_SECONDS: Final = 1.0
FIRST_SECONDS_MAX: Final = 3600.0
"""The first time, all that was there before gets its place in one transaction."""
LOOK_SECONDS_MAX: Final = 60.0
IDLE_MOVES: Final = timedelta(seconds=5)
"""How often the cursor moves though nothing happened, so that no look has to go far back."""
WAY_OUT: Final = "what is new cannot be told by them; see `strongroom log new-epoch`"
"""Of a copy of the data without its transactions."""

log = structlog.get_logger()


class Sequencer:
    """One of a database's sequencers; the others wait until it has gone."""

    def __init__(self, url: str, clock: Clock) -> None:
        """`url` is of a login with the sequencer's grants."""
        self._url, self._clock = url, clock
        self._moved_at = clock.now() - IDLE_MOVES

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again."""
        pool = await connect_pool(
            self._url,
            size_max=1,
            application="strongroom-sequencer",
            # It looks ten times a second, at partitions by an index: to plan that takes longer.
            settings={"plan_cache_mode": "force_generic_plan"},
        )
        try:
            await self._go_on(pool)
        finally:
            pool.terminate()

    async def _go_on(self, pool: asyncpg.Pool) -> None:
        while True:
            wait = FAILED_WAIT_SECONDS
            try:
                done = await self.step(pool)
                wait = STANDBY_SECONDS if done is None else PAUSE_SECONDS
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("log_not_sequenced", error=type(error).__name__)
            except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                log.error("log_not_sequenced", **described(fault))
            await asyncio.sleep(wait)

    async def step(self, pool: asyncpg.Pool) -> int | None:
        """Places what is new; returns how many events, or None while another one does it."""
        async with pool.acquire() as connection, connection.transaction():
            cursor = await connection.fetchrow(SQL["claim_cursor"])
            if cursor is None:
                return None
            now = self._clock.now()
            seen, is_first = cursor["seen"], not cursor["is_begun"]
            if is_elsewhere(cursor):
                raise InvariantBroken(f"the database was restored into another server: {WAY_OUT}")
            row = await connection.fetchrow(
                SQL["sequence"],
                newest_of(seen),
                open_in(seen),
                now,
                is_first,
                timeout=FIRST_SECONDS_MAX if is_first else LOOK_SECONDS_MAX,
            )
            if row is None:
                raise InvariantBroken("the sequencer has no answer")
            if newest_of(row["now"]) < newest_of(seen):
                raise InvariantBroken(
                    f"the database has fewer transactions than the log has seen: {WAY_OUT}"
                )
            entries: int = row["entries"]
            if entries or is_first or now - self._moved_at >= IDLE_MOVES:
                await connection.execute(SQL["move_cursor"], row["now"], cursor["server_now"], now)
                self._moved_at = now
        return entries


def is_elsewhere(cursor: asyncpg.Record) -> bool:
    """Whether what the cursor has seen are transactions of another server."""
    return cursor["server"] not in (None, cursor["server_now"])


def newest_of(snapshot: str) -> int:
    """The xmax of a snapshot: no transaction from it on was shown."""
    return int(snapshot.split(":")[1])


def open_in(snapshot: str) -> list[int]:
    """The transactions below xmax that were under way, so not shown either."""
    return [int(one) for one in snapshot.split(":")[2].split(",") if one]

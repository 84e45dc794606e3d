"""What is gone through for each gateway account, a page at a time, by whichever worker is free.

- `undelivered`: the gateway's own list of events that it could not deliver, every few minutes. So
  what was missed in an outage comes in by itself, and a quiet day costs one empty answer.
- `replay`: all of that list since some moment, when an operator asks for it.
- `charges`: the gateway's charges, every hour, for any that we do not know (ghosts.py).
- `retention`: our own rows, which go once no gateway can deliver them again.

Each is resumed where it was by whoever claims it next. A new kind is a name here and a method.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from strongroom.alarms.raising import raise_alarms
from strongroom.clock import Clock
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, see, statements, writing
from strongroom.errors import described
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.history import (
    CURSOR_GONE,
    Charged,
    Charges,
    History,
    NotListed,
    Page,
    Window,
)
from strongroom.gateways.port import Account
from strongroom.payments.rows import Row
from strongroom.webhooks.ghosts import ghosts_among
from strongroom.webhooks.inbox import NO_BODY, Delivery, store_all

SQL: Final = statements("strongroom.webhooks", "sweeps.sql")
KEPT: Final = timedelta(days=90)
"""Three times as long as a gateway lists, or can be made to deliver, an event again: 30 days."""
PAGE_ROWS: Final = 512
SWEEPS_MAX: Final = 8
"""That a worker takes a page of at a time."""
LEASE: Final = timedelta(minutes=2)
CALL_SECONDS_MAX: Final = 30.0
"""Shorter than the lease."""
UNDELIVERED_EVERY: Final = timedelta(minutes=5)
CHARGES_EVERY: Final = timedelta(hours=1)
CHARGES_SETTLE: Final = timedelta(minutes=15)
"""So young a charge may be of a payment that is still written down."""
RETENTION_EVERY: Final = timedelta(days=1)
PAGE_EVERY: Final = timedelta(seconds=1)
UNDER_WAY: Final = timedelta(minutes=1)
"""So young an event may still be on its way to us, and is left to the next window."""
RETRY: Final = timedelta(seconds=15)
RETRY_MAX: Final = timedelta(hours=1)
NEW_ACCOUNTS_EVERY: Final = timedelta(minutes=5)
ENTITIES_MAX: Final = 512
BUSY_WAIT_SECONDS: Final = 0.05
IDLE_WAIT_SECONDS: Final = 1.0

ACTOR: Final = "worker"
UNDELIVERED: Final = "undelivered"
REPLAY: Final = "replay"
CHARGES: Final = "charges"
RETENTION: Final = "retention"

log = structlog.get_logger()


class Sweeper:
    """Goes on with what is due, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        histories: Mapping[str, History],
        charges: Mapping[str, Charges],
        gateways: Sequence[str],
        buckets: Sequence[int],
    ) -> None:
        """`gateways` send webhooks; those of `histories` can also be asked for them.

        Those of `charges` can be asked for what they have charged.
        """
        self._pool, self._clock = pool, clock
        self._histories, self._charges, self._gateways = histories, charges, gateways
        self._buckets = list(buckets)
        self._accounts = Accounts(pool)
        self._begins_at = clock.now()

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again."""
        while True:
            try:
                number = await self.step()
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("sweep_failed", error=type(error).__name__)
                number = 0
            except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                log.error("sweep_failed", **described(fault))
                number = 0
            await asyncio.sleep(BUSY_WAIT_SECONDS if number else IDLE_WAIT_SECONDS)

    async def step(self) -> int:
        """One page of each that is due, at most SWEEPS_MAX; returns how many there were."""
        now = self._clock.now()
        if now >= self._begins_at:
            await self._begin(now)
            self._begins_at = now + NEW_ACCOUNTS_EVERY
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            due = await connection.fetch(
                SQL["claim_sweeps"], self._buckets, now, SWEEPS_MAX, now + LEASE
            )
        await asyncio.gather(*map(self._safely, due))
        return len(due)

    async def _safely(self, row: Row) -> None:
        """One that fails does not hold up the others; it is due again when its lease ends."""
        try:
            await self._page(row)
        except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
            log.warning("sweep_failed", error=type(error).__name__, where=row["sweep"])
        except Exception as fault:  # noqa: BLE001 - nor do the others fail for it
            log.error("sweep_failed", **described(fault))

    async def _begin(self, now: datetime) -> None:
        """Rows for accounts that have none: of each gateway, what it can be asked."""
        kinds = [(RETENTION, gateway, now) for gateway in self._gateways]
        kinds += [(UNDELIVERED, gateway, now + UNDELIVERED_EVERY) for gateway in self._histories]
        kinds += [(CHARGES, gateway, now + CHARGES_EVERY) for gateway in self._charges]
        names, gateways, moments = (list(column) for column in zip(*kinds, strict=True))
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            rows = await connection.fetch(SQL["entities_served"], self._buckets)
            entities = [row["legal_entity_id"] for row in rows]
            for start in range(0, len(entities), ENTITIES_MAX):
                some = entities[start : start + ENTITIES_MAX]
                await see(connection, some)
                await connection.execute(SQL["begin_sweeps"], some, names, gateways, now, moments)

    async def _page(self, row: Row) -> None:
        if row["sweep"] == RETENTION:
            await self._expire(row)
            return
        account = await self._accounts.get(row["legal_entity_id"], row["gateway_account_id"])
        history = self._histories.get(account.gateway)
        charges = self._charges.get(account.gateway)
        if row["sweep"] in (UNDELIVERED, REPLAY) and history is not None:
            await self._catch_up(row, account, history)
        elif row["sweep"] == CHARGES and charges is not None:
            await self._seek_ghosts(row, account, charges)

    async def _catch_up(self, row: Row, account: Account, history: History) -> None:
        """Stores a page of what the gateway lists, as if it had been delivered."""
        now = self._clock.now()
        window = Window(row["since"], row["until"] or now - UNDER_WAY)
        is_undelivered = row["sweep"] == UNDELIVERED
        try:
            async with asyncio.timeout(CALL_SECONDS_MAX):
                page = await history.events(
                    account, window, row["cursor"], undelivered=is_undelivered
                )
        except TimeoutError:
            page = NotListed("timeout")
        if isinstance(page, NotListed):
            await self._put_off(row, window, page)
            return
        deliveries = [
            Delivery(
                legal_entity_id=row["legal_entity_id"],
                gateway_account_id=row["gateway_account_id"],
                hint=hint,
                body_digest=NO_BODY,
                received_at=now,
            )
            for hint in page.items
            if hint.state != "ignored"
        ]
        next_at = now + UNDELIVERED_EVERY if is_undelivered else None
        async with writing(self._pool, [row["legal_entity_id"]]) as connection:
            stored = await store_all(connection, deliveries)
            found = sum(one == "new" for one in stored)
            await self._move(
                connection, row, window, page.cursor, page.seen, found, page.reached_at,
                now if page.cursor else next_at,
            )  # fmt: skip
        if found:
            log.info("webhooks_caught_up", where=row["sweep"], items=found)

    async def _seek_ghosts(self, row: Row, account: Account, charges: Charges) -> None:
        """An alarm for each charge of a page that we do not know; nothing is done about it."""
        now = self._clock.now()
        window = Window(row["since"], row["until"] or now - CHARGES_SETTLE)
        page: Page[Charged] | NotListed
        try:
            async with asyncio.timeout(CALL_SECONDS_MAX):
                page = await charges.charges(account, window, row["cursor"])
        except TimeoutError:
            page = NotListed("timeout")
        if isinstance(page, NotListed):
            await self._put_off(row, window, page)
            return
        async with writing(self._pool, [row["legal_entity_id"]]) as connection:
            ghosts = await ghosts_among(connection, row, page.items, now)
            found = await raise_alarms(connection, ghosts, ACTOR)
            await self._move(
                connection, row, window, page.cursor, page.seen, found, page.reached_at,
                now if page.cursor else now + CHARGES_EVERY,
            )  # fmt: skip
        if found:
            log.warning("ghost_charges", items=found)

    async def _move(
        self,
        connection: Any,
        row: Row,
        window: Window,
        cursor: str | None,
        seen: int,
        found: int,
        reached_at: datetime | None,
        run_at: datetime | None,
    ) -> None:
        """Notes a page; at the end of a window the next one begins where it ended."""
        begun = row["until"] is not None
        before = (row["seen"], row["found"]) if begun else (0, 0)
        is_over = cursor is None
        await connection.execute(
            SQL["move_sweep"],
            row["legal_entity_id"],
            row["gateway_account_id"],
            row["sweep"],
            row["run_at"],
            window.until if is_over and row["sweep"] != REPLAY else window.since,
            None if is_over and row["sweep"] != REPLAY else window.until,
            cursor,
            before[0] + seen,
            before[1] + found,
            0,
            run_at,
            reached_at,
        )

    async def _put_off(self, row: Row, window: Window, why: NotListed) -> None:
        """The gateway did not answer: later, and from the start where the place is gone."""
        now = self._clock.now()
        tries = row["tries"] + 1
        wait = min(RETRY * 2 ** min(tries - 1, 10), RETRY_MAX)
        log.warning("sweep_put_off", where=row["sweep"], reason=why.why)
        async with writing(self._pool, [row["legal_entity_id"]]) as connection:
            await connection.execute(
                SQL["move_sweep"],
                row["legal_entity_id"],
                row["gateway_account_id"],
                row["sweep"],
                row["run_at"],
                window.since,
                row["until"],
                None if why is CURSOR_GONE else row["cursor"],
                row["seen"],
                row["found"],
                tries,
                now + wait,
                None,
            )

    async def _expire(self, row: Row) -> None:
        """Deletes of a page what is old and at its end; a round a day."""
        now = self._clock.now()
        entity, account = row["legal_entity_id"], row["gateway_account_id"]
        async with writing(self._pool, [entity]) as connection:
            [page] = await connection.fetch(
                SQL["expire_webhooks"], entity, account, row["cursor"] or "", PAGE_ROWS, now - KEPT
            )
            at_end = page["looked_at"] < PAGE_ROWS
            await connection.execute(
                SQL["move_sweep"],
                entity,
                account,
                RETENTION,
                row["run_at"],
                row["since"],
                None,
                None if at_end else page["reached"],
                0,
                0,
                0,
                now + (RETENTION_EVERY if at_end else PAGE_EVERY),
                None,
            )
        if page["deleted"]:
            log.info("webhooks_expired", items=page["deleted"])

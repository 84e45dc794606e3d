"""Thin webhooks: they name an object and show nothing of it, so a worker fetches it first.

Never in the request: the gateway would wait for our answer while we wait for its own. What is
fetched is not believed either. It says which payment or refund of ours the webhook is about, as the
object in a snapshot does, and from there both go one way.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import asyncpg
import structlog

from strongroom.clock import Clock
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, writing
from strongroom.errors import described
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.history import History, NotListed
from strongroom.payments.rows import Row
from strongroom.webhooks.hints import NO_REFERENCE, Matched
from strongroom.webhooks.inbox import FETCHES_SQL

SQL: Final = FETCHES_SQL
AT_ONCE_MAX: Final = 16
LEASE: Final = timedelta(minutes=1)
CALL_SECONDS_MAX: Final = 20.0
"""Shorter than the lease."""
RETRY: Final = timedelta(seconds=1)
RETRY_MAX: Final = timedelta(hours=1)
IDLE_WAIT_SECONDS: Final = 0.5

log = structlog.get_logger()


class Fetcher:
    """Fetches what is due, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        histories: Mapping[str, History],
        buckets: Sequence[int],
    ) -> None:
        self._pool, self._clock, self._histories = pool, clock, histories
        self._buckets = list(buckets)
        self._accounts = Accounts(pool)

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again."""
        while True:
            try:
                number = await self.step()
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("fetch_failed", error=type(error).__name__)
                number = 0
            except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                log.error("fetch_failed", **described(fault))
                number = 0
            if number < AT_ONCE_MAX:
                await asyncio.sleep(IDLE_WAIT_SECONDS)

    async def step(self) -> int:
        """Fetches what is due, at most AT_ONCE_MAX; returns how many there were."""
        now = self._clock.now()
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            due = await connection.fetch(
                SQL["claim_fetches"], self._buckets, now, AT_ONCE_MAX, now + LEASE
            )
        await asyncio.gather(*map(self._safely, due))
        return len(due)

    async def _safely(self, row: Row) -> None:
        """One that fails does not hold up the others; it is due again when its lease ends."""
        try:
            await self._fetch(row)
        except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
            log.warning("fetch_failed", error=type(error).__name__)
        except Exception as fault:  # noqa: BLE001 - nor do the others fail for it
            log.error("fetch_failed", **described(fault))

    async def _fetch(self, row: Row) -> None:
        account = await self._accounts.get(row["legal_entity_id"], row["gateway_account_id"])
        history = self._histories.get(account.gateway)
        found: Matched | NotListed | None = None
        if history is not None:
            try:
                async with asyncio.timeout(CALL_SECONDS_MAX):
                    found = await history.matched(
                        account, row["object_type"], row["gateway_object_id"]
                    )
            except TimeoutError:
                found = NotListed("timeout")
        now = self._clock.now()
        key = row["legal_entity_id"], row["gateway_account_id"], row["gateway_event_id"]
        async with writing(self._pool, [row["legal_entity_id"]]) as connection:
            if isinstance(found, NotListed):
                wait = min(RETRY * 2 ** min(row["tries"] - 1, 12), RETRY_MAX)
                await connection.execute(SQL["put_off_fetch"], *key, now + wait)
                log.warning("fetch_put_off", reason=found.why)
                return
            match = found or Matched()
            is_ours = match.owner_id is not None
            await connection.execute(
                SQL["end_fetch"],
                *key,
                "received" if is_ours else "parked",
                None if is_ours else NO_REFERENCE,
                match.known_by,
                match.lane,
                match.owner_id,
                match.attempt_no,
                match.amount_minor,
                match.currency,
                now,
                None if is_ours else now,
            )

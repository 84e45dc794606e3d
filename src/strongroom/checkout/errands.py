"""Errands of the page: each one call to a gateway, done by a worker under a lease.

No errand waits for another, no transaction is open while a gateway is asked, and a line that rests
is left alone: the page then says so, and no payment is the worse for it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import structlog

from strongroom.clock import Clock
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, writing
from strongroom.errors import described
from strongroom.gateways.accounts import Accounts, NoSuchAccount
from strongroom.gateways.lines import Lines, Operation
from strongroom.gateways.port import Account, Asking
from strongroom.payments.states import NotSent, Unknown
from strongroom.telemetry.port import NoTelemetry
from strongroom.vault.keys import UNAVAILABLE
from strongroom.work.bell import NO_BELL, NoBell
from strongroom.work.calls import Calls

UNDER_WAY_MAX: Final = 32
"""Of one worker; an account has a share of them, so one that is slow keeps no other waiting."""
TRIES_MAX: Final = 4
"""Of one errand; the page waits for no more, and may ask again later."""
WAIT: Final = timedelta(seconds=1)
IDLE_WAIT_SECONDS: Final = 0.2
FAILED_WAIT_SECONDS: Final = 1.0

Job = TypeVar("Job")
Asked = TypeVar("Asked")

log = structlog.get_logger()


class Kind(NamedTuple, Generic[Job]):
    """Errands of one kind.

    `claim` is a statement over buckets, now, how many and the lease's end, `due` what a bell asks;
    `job` is made of a row of what was claimed. `do` does one; what it raises is logged, and tried
    again under the next lease.
    """

    operation: Operation
    claim: str
    due: str
    job: Callable[..., Job]
    do: Callable[[Job], Awaitable[None]]


class Errands(Generic[Job]):
    """What is due of one kind, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        gateways: Mapping[str, Any],
        deadline: timedelta,
        buckets: Sequence[int],
        telemetry: NoTelemetry,
        kind: Kind[Job],
        bell: NoBell = NO_BELL,
    ) -> None:
        self._pool, self._clock, self._accounts = pool, clock, Accounts(pool)
        self._gateways = gateways
        self._calls = Calls(clock, deadline, Lines(UNDER_WAY_MAX, telemetry=telemetry))
        self._buckets, self._operation = list(buckets), kind.operation
        self._kind = kind
        self._lane = bell.lane(kind.due)
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Goes on until it is cancelled; then closes the gateways."""
        self._calls.start()
        try:
            while True:
                try:
                    await self.begin()
                except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                    known = isinstance(fault, (*UNREACHABLE, *SERIALIZATION_FAILURES))
                    said = {"error": type(fault).__name__} if known else described(fault)
                    log.warning("errands_not_claimed", operation=self._operation, **said)
                    await asyncio.sleep(FAILED_WAIT_SECONDS)
                await self._lane.rest(IDLE_WAIT_SECONDS)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            await self._calls.close()
            await asyncio.gather(*(gateway.close() for gateway in self._gateways.values()))

    async def begin(self) -> None:
        """Begins what is due, as far as there is room."""
        room, now = UNDER_WAY_MAX - len(self._under_way), self._clock.now()
        if room < 1:
            return
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            ends = now + self._calls.lease
            # In another order each time: the first ones have the room to themselves.
            buckets = random.sample(self._buckets, len(self._buckets))
            rows = await connection.fetch(self._kind.claim, buckets, now, room, ends)
        for row in rows:
            task = asyncio.create_task(self._work(self._kind.job(*row)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def account(self, legal_entity_id: UUID, gateway_account_id: UUID) -> Account | None:
        """The account, where there is one whose gateway does such errands."""
        try:
            account = await self._accounts.get(legal_entity_id, gateway_account_id)
        except NoSuchAccount:
            return None
        return account if account.gateway in self._gateways else None

    async def ask(
        self, account: Account, request: Callable[[Any], Asking[Asked | NotSent | Unknown]]
    ) -> Asked | NotSent | Unknown:
        """What the account's gateway says in time, if its line does not rest."""
        asking: Asking[Asked | NotSent | Unknown] = request(self._gateways[account.gateway])
        silence: Asked | NotSent | Unknown = Unknown("no_answer")
        answer, _ = await self._calls.ask(account, self._operation, asking, silence)
        return answer

    def again(self, payment_id: UUID, tries: int, why: str) -> datetime | None:
        """When to try again what has failed so often; None for no more."""
        log.warning("errand_put_off", operation=self._operation, reason=why, ids=[payment_id])
        return self._clock.now() + WAIT * tries if tries < TRIES_MAX else None

    async def _work(self, job: Job) -> None:
        """Whatever fails here is tried again when the lease is over."""
        try:
            await self._kind.do(job)
        except (*UNAVAILABLE, *SERIALIZATION_FAILURES) as error:
            log.warning("errand_waits", operation=self._operation, error=type(error).__name__)
        except Exception as fault:  # noqa: BLE001 - one must not hold up the others
            log.error("errand_failed", operation=self._operation, **described(fault))

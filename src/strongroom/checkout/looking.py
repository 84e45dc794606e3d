"""Learns which cards the page's customers bring: the worker has the gateways' secrets."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, get_args
from uuid import UUID

import asyncpg

from strongroom.checkout.card_looks import SQL, UNDER_WAY
from strongroom.checkout.errands import Errands, Kind
from strongroom.checkout.limits import card_digest
from strongroom.clock import Clock
from strongroom.database import writing
from strongroom.gateways.fields import UNNAMED, CardReader, CardSeen
from strongroom.gateways.lines import WithheldWhy
from strongroom.payments.states import NotSent, Unknown
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.vault.keys import Keyring
from strongroom.work.bell import NO_BELL, NoBell

NO_READER: Final = "no_card_looks"
NOBODY_WAITS: Final = "nobody_waits"
WITHHELD: Final = frozenset(get_args(WithheldWhy))


class Job(NamedTuple):
    """A token whose card this process may ask for until the lease ends."""

    legal_entity_id: UUID
    payment_id: UUID
    token: str
    gateway_account_id: UUID
    lease: int
    tries: int
    asked_at: datetime


class Looker:
    """Does what is due, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        gateways: Mapping[str, CardReader],
        keyring: Keyring,
        deadline: timedelta,
        buckets: Sequence[int],
        telemetry: NoTelemetry = NO_TELEMETRY,
        bell: NoBell = NO_BELL,
    ) -> None:
        self._pool, self._clock, self._keyring = pool, clock, keyring
        kind = Kind("card_look", SQL["claim_card_looks"], SQL["card_looks_due"], Job, self._look)
        self._errands = Errands(pool, clock, gateways, deadline, buckets, telemetry, kind, bell)
        self.run, self.begin = self._errands.run, self._errands.begin

    async def _look(self, job: Job) -> None:
        answer = await self._ask(job)
        if isinstance(answer, CardSeen):
            keys = await self._keyring.entity(job.legal_entity_id)
            account, mark = job.gateway_account_id, answer.mark
            card = None if mark is None else card_digest(keys, account, mark)
            await self._write("keep_card_look", job, self._clock.now(), card)
        else:
            is_over = answer.why in (UNNAMED, NOBODY_WAITS)
            # What a line withholds is no try: the wait alone ends it.
            tries = 1 if answer.why in WITHHELD else job.tries
            again = None if is_over else self._errands.again(job.payment_id, tries, answer.why)
            await self._write("put_off_card_look", job, again)

    async def _ask(self, job: Job) -> CardSeen | NotSent | Unknown:
        if self._clock.now() - job.asked_at > UNDER_WAY:
            return NotSent(NOBODY_WAITS)
        account = await self._errands.account(job.legal_entity_id, job.gateway_account_id)
        if account is None:
            return NotSent(NO_READER)
        return await self._errands.ask(account, lambda gateway: gateway.card_of(account, job.token))

    async def _write(self, statement: str, job: Job, *values: object) -> None:
        name = (job.legal_entity_id, job.payment_id, job.token, job.lease)
        async with writing(self._pool, [job.legal_entity_id]) as connection:
            await connection.execute(SQL[statement], *name, *values)

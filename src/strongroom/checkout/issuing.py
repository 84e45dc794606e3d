"""Makes the client tokens that the page asked for: the worker has the gateways' secrets."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from strongroom.checkout.client_tokens import LABEL, SQL, row_of
from strongroom.checkout.errands import Errands, Kind
from strongroom.clock import Clock
from strongroom.database import reading, writing
from strongroom.gateways.accounts import merchant_accounts
from strongroom.gateways.fields import ClientToken, FieldsGateway
from strongroom.payments.states import NotSent, Unknown
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.vault.keys import Keyring
from strongroom.work.bell import NO_BELL, NoBell

NO_MERCHANT_ACCOUNT: Final = "merchant_account_missing"
NO_FIELDS: Final = "no_client_tokens"


class Job(NamedTuple):
    """A client token that this process may make until the lease ends."""

    legal_entity_id: UUID
    payment_id: UUID
    gateway_account_id: UUID
    currency: str
    lease: int
    tries: int


class Issuer:
    """Does what is due, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        gateways: Mapping[str, FieldsGateway],
        keyring: Keyring,
        deadline: timedelta,
        buckets: Sequence[int],
        telemetry: NoTelemetry = NO_TELEMETRY,
        bell: NoBell = NO_BELL,
    ) -> None:
        self._pool, self._clock, self._keyring = pool, clock, keyring
        kind = Kind(
            "client_token", SQL["claim_client_tokens"], SQL["client_tokens_due"], Job, self._make
        )
        self._errands = Errands(pool, clock, gateways, deadline, buckets, telemetry, kind, bell)
        self.run, self.begin = self._errands.run, self._errands.begin

    async def _make(self, job: Job) -> None:
        answer = await self._ask(job)
        if isinstance(answer, ClientToken):
            keys = await self._keyring.entity(job.legal_entity_id)
            row = row_of(job.payment_id, job.gateway_account_id)
            sealed = keys.seal(LABEL, row, answer.token.reveal())
            await self._write("keep_client_token", job, sealed, self._clock.now())
        else:
            again = self._errands.again(job.payment_id, job.tries, answer.why)
            await self._write("put_off_client_token", job, again)

    async def _ask(self, job: Job) -> ClientToken | NotSent | Unknown:
        account = await self._errands.account(job.legal_entity_id, job.gateway_account_id)
        if account is None:
            return NotSent(NO_FIELDS)
        wanted = (job.legal_entity_id, job.gateway_account_id, job.currency)
        async with reading(self._pool, [job.legal_entity_id]) as connection:
            known = await merchant_accounts(connection, [wanted])
        paid_to = known.get((job.gateway_account_id, job.currency))
        if paid_to is None:
            return NotSent(NO_MERCHANT_ACCOUNT)
        return await self._errands.ask(
            account, lambda gateway: gateway.client_token(account, paid_to)
        )

    async def _write(self, statement: str, job: Job, *values: object) -> None:
        name = (job.legal_entity_id, job.payment_id, job.gateway_account_id, job.lease)
        async with writing(self._pool, [job.legal_entity_id]) as connection:
            await connection.execute(SQL[statement], *name, *values)

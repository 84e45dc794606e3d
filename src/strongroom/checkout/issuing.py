"""Makes the client tokens that the page asked for: the worker has the gateways' secrets.

No transaction is open while a gateway is asked, and a line that rests is left alone: then the page
says that its fields could not be loaded, and no payment is the worse for it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from strongroom.checkout.client_tokens import LABEL, SQL, row_of
from strongroom.clock import Clock
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, reading, writing
from strongroom.errors import described
from strongroom.gateways.accounts import Accounts, NoSuchAccount, merchant_accounts
from strongroom.gateways.fields import ClientToken, FieldsGateway
from strongroom.gateways.lines import Lines
from strongroom.payments.states import NotSent, Unknown
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.vault.keys import UNAVAILABLE, Keyring
from strongroom.work.calls import Calls

UNDER_WAY_MAX: Final = 32
"""Of one worker; an account has a share of them, so one that is slow keeps no other waiting."""
TRIES_MAX: Final = 4
"""Of one asking; the page waits for no more, and may ask again later."""
WAIT: Final = timedelta(seconds=1)
IDLE_WAIT_SECONDS: Final = 0.2
FAILED_WAIT_SECONDS: Final = 1.0
NO_MERCHANT_ACCOUNT: Final = "merchant_account_missing"
NO_FIELDS: Final = "no_client_tokens"

log = structlog.get_logger()


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
    ) -> None:
        self._pool, self._gateways, self._accounts = pool, gateways, Accounts(pool)
        self._clock, self._keyring = clock, keyring
        self._calls = Calls(clock, deadline, Lines(UNDER_WAY_MAX, telemetry=telemetry))
        self._buckets = list(buckets)
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again. No token waits for another."""
        self._calls.start()
        try:
            while True:
                try:
                    await self.begin()
                except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                    known = isinstance(fault, (*UNREACHABLE, *SERIALIZATION_FAILURES))
                    said = {"error": type(fault).__name__} if known else described(fault)
                    log.warning("client_tokens_not_claimed", **said)
                    await asyncio.sleep(FAILED_WAIT_SECONDS)
                await asyncio.sleep(IDLE_WAIT_SECONDS)
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
            rows = await connection.fetch(
                SQL["claim_client_tokens"], self._buckets, now, room, now + self._calls.lease
            )
        for row in rows:
            task = asyncio.create_task(self._work(Job(*row)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _work(self, job: Job) -> None:
        """Whatever fails here is tried again when the lease is over."""
        try:
            answer = await self._ask(job)
            if isinstance(answer, ClientToken):
                await self._keep(job, answer)
            else:
                await self._put_off(job, answer.why)
        except (*UNAVAILABLE, *SERIALIZATION_FAILURES) as error:
            log.warning("client_token_waits", error=type(error).__name__, ids=[job.payment_id])
        except Exception as fault:  # noqa: BLE001 - one must not hold up the others
            log.error("client_token_failed", **described(fault))

    async def _ask(self, job: Job) -> ClientToken | NotSent | Unknown:
        try:
            account = await self._accounts.get(job.legal_entity_id, job.gateway_account_id)
        except NoSuchAccount:
            return NotSent(NO_FIELDS)
        gateway = self._gateways.get(account.gateway)
        if gateway is None:
            return NotSent(NO_FIELDS)
        wanted = (job.legal_entity_id, job.gateway_account_id, job.currency)
        async with reading(self._pool, [job.legal_entity_id]) as connection:
            known = await merchant_accounts(connection, [wanted])
        paid_to = known.get((job.gateway_account_id, job.currency))
        if paid_to is None:
            return NotSent(NO_MERCHANT_ACCOUNT)
        place = self._calls.lines.take(account, "client_token")
        if isinstance(place, str):
            return NotSent(place)
        with place:
            answer, _ = await self._calls.listen(
                gateway.client_token(account, paid_to), Unknown("no_answer"), "client_token"
            )
            place.answered(answer)
        return answer

    async def _keep(self, job: Job, made: ClientToken) -> None:
        keys = await self._keyring.entity(job.legal_entity_id)
        row = row_of(job.payment_id, job.gateway_account_id)
        sealed = keys.seal(LABEL, row, made.token.reveal())
        await self._write("keep_client_token", job, sealed, self._clock.now())

    async def _put_off(self, job: Job, why: str) -> None:
        log.warning("client_token_not_made", reason=why, ids=[job.payment_id])
        again: datetime | None = self._clock.now() + WAIT * job.tries
        await self._write("put_off_client_token", job, again if job.tries < TRIES_MAX else None)

    async def _write(self, statement: str, job: Job, *values: object) -> None:
        name = (job.legal_entity_id, job.payment_id, job.gateway_account_id, job.lease)
        async with writing(self._pool, [job.legal_entity_id]) as connection:
            await connection.execute(SQL[statement], *name, *values)

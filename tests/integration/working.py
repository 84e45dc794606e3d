"""A worker on a real PostgreSQL, under its own login, with a gateway that a test rules."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from strongroom.clock import ShiftedClock, microseconds_since_epoch, monotonic_seconds
from strongroom.database import connect_pool
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.lines import Lines
from strongroom.gateways.port import Account, Prepared
from strongroom.ids import BUCKETS, new_id
from strongroom.payments.accept import Acceptor
from strongroom.payments.acceptance import Created, Outcome, Request
from strongroom.payments.claims import Claimed
from strongroom.payments.engine import Engine
from strongroom.payments.idempotency import fingerprint
from strongroom.payments.journal import accepted_payload
from strongroom.payments.sender import Sender
from strongroom.payments.states import (
    Answer,
    Approved,
    Attempt,
    Call,
    Canceled,
    NotSent,
    Payment,
)
from strongroom.work.calls import LEASE_OVER_DEADLINE, Calls
from strongroom.work.worker import Worker
from tests.integration.conftest import Deployment
from tests.unit.examples import payment

DEADLINE: Final = timedelta(seconds=6)
LEASE: Final = DEADLINE * LEASE_OVER_DEADLINE
WAIT_SECONDS_MAX: Final = 60.0
MINOR_DIGITS: Final = {"EUR": 2, "JPY": 0}


async def at_once(_: Attempt) -> None:
    """The gateway makes its object without delay."""


class RuledGateway:
    """Staged; approves what is confirmed, and remembers what it was asked for."""

    staged = True
    per_currency = False

    def __init__(self, clock: ShiftedClock) -> None:
        self.clock = clock
        self.making: Callable[[Attempt], Awaitable[None]] = at_once
        self.made: list[str] = []
        self.sent: list[str] = []
        self.canceled: list[str] = []

    def parameters(self, of: Payment, _: object, *, saves: bool = False) -> Mapping[str, Any]:
        return {"amount": of.amount_minor, "digits": MINOR_DIGITS[of.currency]}

    async def prepare(self, account: Account, attempt: Attempt) -> tuple[Prepared | Answer, Call]:
        await self.making(attempt)
        name = f"pi_{attempt.gateway_key}"
        self.made.append(name)
        return Prepared(name), self._call("create")

    async def send(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        self.sent.append(str(attempt.gateway_object_id))
        return Approved(attempt.amount_minor, attempt.currency), self._call("confirm")

    async def look(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        answer: Answer = NotSent("not_confirmed_yet")
        if attempt.gateway_object_id in self.sent:
            answer = Approved(attempt.amount_minor, attempt.currency)
        elif attempt.gateway_object_id in self.canceled:
            answer = Canceled()
        return answer, self._call("retrieve")

    async def cancel(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        self.canceled.append(str(attempt.gateway_object_id))
        return Canceled(), self._call("cancel")

    async def close(self) -> None:
        pass

    def _call(self, operation: str) -> Call:
        return Call(operation=operation, started_at=self.clock.now(), duration_ms=1.0, outcome="x")


class Shop:
    """One legal entity's payments, taken in by the API's login and worked on by the worker's."""

    def __init__(
        self, api: asyncpg.Pool, worker: asyncpg.Pool, owner: asyncpg.Connection, account: Account
    ) -> None:
        self.owner = owner
        self.clock = ShiftedClock()
        self.gateway = RuledGateway(self.clock)
        self.lines = Lines()
        self._account = account
        self._api, self._worker = api, worker

    def engine(self) -> Engine:
        gateways: Any = {"stripe": self.gateway}
        return Engine(
            self._worker,
            self.clock,
            gateways,
            actor="worker",
            lease=LEASE,
            buckets=range(BUCKETS),
            lines=self.lines,
        )

    @asynccontextmanager
    async def working(self, **limits: Any) -> AsyncIterator[Worker[Claimed]]:
        """A worker that runs in the block and has ended after it."""
        gateways: Any = {"stripe": self.gateway}
        calls = Calls(self.clock, DEADLINE, self.lines)
        sender = Sender(self.engine(), gateways, Accounts(self._worker), calls)
        worker = Worker(sender, calls, **limits)
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(running, WAIT_SECONDS_MAX)

    async def ask(self, reference: str) -> tuple[Payment, Outcome]:
        """Asks for a payment, as the API does."""
        now = self.clock.now()
        entity = self._account.legal_entity_id
        one = payment(
            legal_entity_id=entity,
            payment_id=new_id(microseconds_since_epoch(now), entity),
            gateway_account_id=self._account.gateway_account_id,
            version=1,
            merchant_reference=reference,
            created_at=now,
            updated_at=now,
            not_after=now + timedelta(minutes=15),
        )
        one = replace(one, gateway_key_seed=one.payment_id.bytes)
        acceptor = Acceptor(self._api)
        acceptor.start()
        key = f"key-{one.payment_id}"
        outcome = await acceptor.accept(
            Request(
                payment=one,
                idempotency_key=key,
                fingerprint=fingerprint("POST", "/v1/payments", {}),
                actor="test",
                run_at=now,
                row_digest=one.row_digest(),
                payload=accepted_payload(one, key),
            )
        )
        await acceptor.drain()
        return one, outcome

    async def accepted(self, reference: str) -> Payment:
        one, outcome = await self.ask(reference)
        assert outcome == Created(one)
        return one

    async def row(self, table: str, payment_id: UUID) -> dict[str, Any] | None:
        found = await self.owner.fetchrow(
            f"SELECT * FROM {table} WHERE payment_id = $1", payment_id
        )
        return None if found is None else dict(found)

    async def status(self, one: Payment) -> str:
        row = await self.row("payments", one.payment_id)
        return str(row["status"])

    async def kinds(self, one: Payment) -> list[str]:
        rows = await self.owner.fetch(
            "SELECT kind FROM events WHERE payment_id = $1 ORDER BY version", one.payment_id
        )
        return [row["kind"] for row in rows]

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = monotonic_seconds() + WAIT_SECONDS_MAX
        while not await condition():
            assert monotonic_seconds() < deadline, "waited in vain"
            await asyncio.sleep(0.02)

    async def until_status(self, status: str, *payments: Payment) -> None:
        async def reached() -> bool:
            return {await self.status(one) for one in payments} == {status}

        await self.until(reached)


@asynccontextmanager
async def open_shop(deployment: Deployment) -> AsyncIterator[Shop]:
    """The shop of a deployment's own legal entity."""
    owner = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": "strongroom, directory"}
    )
    row = await owner.fetchrow(
        "SELECT * FROM gateway_accounts WHERE legal_entity_id = $1", deployment.ours.legal_entity_id
    )
    account = Account(
        legal_entity_id=row["legal_entity_id"],
        gateway_account_id=row["gateway_account_id"],
        gateway="stripe",
        environment="stand_in",
        base_url=None,
    )
    api = await connect_pool(deployment.url("api"), size_max=2, application="api")
    worker = await connect_pool(deployment.url("worker"), size_max=4, application="worker")
    yield Shop(api, worker, owner, account)
    await api.close()
    await worker.close()
    await owner.close()

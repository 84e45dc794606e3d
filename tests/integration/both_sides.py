"""A worker in this process and a Stripe stand-in beside it, whose clocks a test moves."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import asyncpg
from msgspec.structs import replace

from strongroom.clock import ShiftedClock, microseconds_since_epoch, monotonic_seconds
from strongroom.config import Home
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.lines import Lines
from strongroom.gateways.stripe.client import StripeGateway
from strongroom.ids import BUCKETS, new_id, to_text
from strongroom.payments.accept import Acceptor
from strongroom.payments.acceptance import Outcome, Request
from strongroom.payments.commands import Commander, Done, Order, RefundWish
from strongroom.payments.engine import Engine
from strongroom.payments.idempotency import fingerprint
from strongroom.payments.journal import accepted_payload
from strongroom.payments.refund_engine import RefundDesk
from strongroom.payments.refunds import Refund
from strongroom.payments.sender import Sender
from strongroom.payments.states import Command, Payment
from strongroom.vault.opening import open_vault
from strongroom.vault.secrets import Secrets
from strongroom.work.calls import LEASE_OVER_DEADLINE, Calls
from strongroom.work.worker import IN_FLIGHT_MAX, Worker
from tests.integration.conftest import Entity
from tests.integration.entering import enter, slot_of
from tests.sandbox.conftest import SECRET_KEY, RunningStripe
from tests.unit.examples import payment

DEADLINE: Final = timedelta(seconds=5)
WAIT_SECONDS_MAX: Final = 60.0


class BothSides:
    """One legal entity: it asks through the API's login, a worker's login works for it."""

    def __init__(
        self,
        api: asyncpg.Pool,
        worker: asyncpg.Pool,
        owner: asyncpg.Connection,
        entity: Entity,
        stripe: RunningStripe,
        home: Home,
    ) -> None:
        self._home = home
        self.owner, self.stripe, self.entity = owner, stripe, entity
        self.clock, self.lines = ShiftedClock(), Lines()
        self.in_flight_max = IN_FLIGHT_MAX
        self._worker = worker
        self._acceptor, self._commander = Acceptor(api), Commander(api)

    async def open_account(self) -> None:
        """The entity's account is at the stand-in."""
        await self.owner.execute(
            "UPDATE gateway_accounts SET base_url = $2 WHERE legal_entity_id = $1",
            self.entity.legal_entity_id, self.stripe.url,
        )  # fmt: skip
        slot = await slot_of(self.owner, self.entity.legal_entity_id)
        await enter(self._home, slot, SECRET_KEY)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The API's writers and a worker's two desks run in the block."""
        vault = await open_vault(self._home, self._home.settings(), "worker")
        secrets = Secrets(self._worker, vault.keyring)
        stripe = StripeGateway(self.clock, secrets, "http://localhost/returned", mode="dev")
        gateways: Any = {"stripe": stripe}
        accounts, lease = Accounts(self._worker), DEADLINE * LEASE_OVER_DEADLINE
        buckets = range(BUCKETS)
        engine = Engine(
            self._worker, self.clock, gateways, actor="worker", lease=lease, buckets=buckets,
            lines=self.lines,
        )  # fmt: skip
        calls = Calls(self.clock, DEADLINE, self.lines)
        refund_calls = Calls(self.clock, DEADLINE)
        desk = RefundDesk(
            self._worker, gateways, accounts, refund_calls,
            actor="worker", lease=lease, buckets=buckets,
        )  # fmt: skip
        workers: list[Worker[Any]] = [
            Worker(
                Sender(engine, gateways, accounts, calls), calls, in_flight_max=self.in_flight_max
            ),
            Worker(desk, refund_calls),
        ]
        self._acceptor.start()
        self._commander.start()
        running = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            yield
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.wait_for(asyncio.gather(*running), WAIT_SECONDS_MAX)
            await self._acceptor.drain()
            await self._commander.drain()
            await gateways["stripe"].close()
            secrets.close()
            await vault.close()

    def pass_time(self, step: timedelta, *, also_there: bool = True) -> None:
        """Here, and at the gateway unless its clock stands behind."""
        if also_there:
            self.stripe.advance(int(step.total_seconds()))
        self.clock.advance(step)

    async def ask(self, reference: str, token: str = "pm_card_visa", **fields: Any) -> Payment:
        """Asks for a payment, as the API does."""
        one, outcome = await self.try_to_ask(reference, token, **fields)
        assert type(outcome).__name__ == "Created", outcome
        return one

    async def try_to_ask(
        self, reference: str, token: str = "pm_card_visa", **fields: Any
    ) -> tuple[Payment, Outcome]:
        now, entity = self.clock.now(), self.entity.legal_entity_id
        account = await self.owner.fetchval(
            "SELECT gateway_account_id FROM gateway_accounts WHERE legal_entity_id = $1 "
            "ORDER BY created_at", entity,
        )  # fmt: skip
        one = payment(
            legal_entity_id=entity,
            payment_id=new_id(microseconds_since_epoch(now), entity),
            gateway_account_id=account,
            instrument_token=token,
            version=1,
            merchant_reference=reference,
            created_at=now,
            updated_at=now,
            not_after=now + timedelta(minutes=15),
            **fields,
        )
        one = replace(one, gateway_key_seed=uuid.uuid4().bytes)
        key = f"key-{one.payment_id}"
        outcome = await self._acceptor.accept(
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
        return one, outcome

    async def command(self, of: Payment, wish: Command) -> Payment:
        done = await self._carry_out(of, lambda _: wish)
        return done.payment

    async def refund(self, of: Payment, amount_minor: int | None = None) -> Refund:
        now = self.clock.now()
        wish = RefundWish(
            refund_id=new_id(microseconds_since_epoch(now), of.legal_entity_id),
            amount_minor=amount_minor,
            reason=None,
            metadata={},
            gateway_key=f"sr_{uuid.uuid4().hex}_refund",
            digest_salt=bytes(16),
            check_amount=lambda *_: None,
        )
        refund = (await self._carry_out(of, wish)).refund
        assert refund is not None
        return refund

    async def _carry_out(
        self, of: Payment, wish: RefundWish | Callable[[Payment], Command]
    ) -> Done:
        done = await self._commander.carry_out(
            Order(
                legal_entity_id=of.legal_entity_id,
                payment_id=of.payment_id,
                idempotency_key=uuid.uuid4().hex,
                operation="payments.test",
                fingerprint=fingerprint("POST", "/", {}),
                actor="test",
                at=self.clock.now(),
                wish=wish,
            )
        )
        assert isinstance(done, Done), done
        return done

    async def row(self, of: Payment) -> dict[str, Any]:
        found = await self.owner.fetchrow(
            "SELECT * FROM payments WHERE payment_id = $1", of.payment_id
        )
        assert found is not None
        return dict(found)

    async def refund_row(self, of: Refund) -> dict[str, Any]:
        found = await self.owner.fetchrow(
            "SELECT * FROM refunds WHERE refund_id = $1", of.refund_id
        )
        assert found is not None
        return dict(found)

    async def until_status(self, of: Payment, *statuses: str) -> dict[str, Any]:
        """The payment's row, once it has one of these statuses."""

        async def reached() -> bool:
            return (await self.row(of))["status"] in statuses

        await self.until(reached)
        return await self.row(of)

    async def until_refund(self, of: Refund, *statuses: str) -> dict[str, Any]:
        """The refund's row, once it has one of these statuses."""

        async def reached() -> bool:
            return (await self.refund_row(of))["status"] in statuses

        await self.until(reached)
        return await self.refund_row(of)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = monotonic_seconds() + WAIT_SECONDS_MAX
        while not await condition():
            assert monotonic_seconds() < deadline, "waited in vain"
            await asyncio.sleep(0.02)

    async def jobs(self, of: Payment) -> int:
        """How many jobs the payment has."""
        found: int = await self.owner.fetchval(
            "SELECT count(*) FROM jobs WHERE payment_id = $1", of.payment_id
        )
        return found

    async def refund_jobs(self, of: Refund) -> int:
        """How many jobs the refund has."""
        found: int = await self.owner.fetchval(
            "SELECT count(*) FROM refund_jobs WHERE refund_id = $1", of.refund_id
        )
        return found

    async def until_nothing_is_due(self) -> None:
        """All that is due by now was looked at, and what is left is planned for later."""

        async def reached() -> bool:
            due = "SELECT count(*) FROM {} WHERE held OR run_at <= $1"
            return not any(
                [
                    await self.owner.fetchval(due.format(table), self.clock.now())
                    for table in ("jobs", "refund_jobs")
                ]
            )

        await self.until(reached)

    async def told(self, of: Payment) -> list[tuple[str, str | None]]:
        """Each event of the payment: its kind, and the call that it came of."""
        rows = await self.owner.fetch(
            "SELECT kind, convert_from(payload, 'UTF8')::jsonb #>> '{call,operation}' "
            "FROM events WHERE payment_id = $1 ORDER BY version", of.payment_id,
        )  # fmt: skip
        return [tuple(row) for row in rows]

    def ledger(self, of: Payment) -> list[dict[str, Any]]:
        """All charges of the payment at the gateway: taken, held, and neither."""
        mine = to_text("pay", of.payment_id)
        return [
            charge
            for charge in self.stripe.charges(kind="all")
            if charge["metadata"]["strongroom_payment"] == mine
        ]

    def given_back(self, of: Payment) -> list[dict[str, Any]]:
        """All refunds of the payment at the gateway."""
        [charge] = self.ledger(of)
        page = self.stripe.control("GET", f"/_ledger/refunds?charge={charge['id']}&limit=1000")
        found: list[dict[str, Any]] = page["data"]
        return found

    def intent_status(self, of: Payment) -> str:
        """How the payment's PaymentIntent stands at the gateway."""
        [charge] = self.ledger(of)
        intents = self.stripe.client().v1.payment_intents
        return str(intents.retrieve(charge["payment_intent"]).status)

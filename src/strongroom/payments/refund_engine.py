"""The phases of refunds, for many at once: claim and open, call gateways, settle.

Whoever changes a refund holds the lock of its payment, so its sums and its refunds move together.
"""

import random
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from strongroom.clock import Clock
from strongroom.database import Connection, see, statements, writing
from strongroom.errors import InvariantBroken
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.port import Account, Gateway
from strongroom.ids import Prefix
from strongroom.payments.claims import ClaimedRefund, RefundSettlement
from strongroom.payments.journal import changes_payload, refund_summary
from strongroom.payments.refund_plans import claimed_since, plan
from strongroom.payments.refunds import (
    Refund,
    RefundAnswer,
    RefundAnswered,
    RefundDecision,
    RefundEffect,
    Refused,
    refund_answered,
    refund_due,
)
from strongroom.payments.reviews import Frozen, of_payment, of_refund, write_reviews
from strongroom.payments.rows import attempt_of, ids_of, json_text, payment_of, refund_of
from strongroom.payments.states import (
    Call,
    Look,
    NotSent,
    Open,
    Payment,
    Rest,
    Send,
    Unknown,
)
from strongroom.payments.waves import in_waves
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.work.batch import Batcher
from strongroom.work.calls import Calls

SQL: Final = statements("strongroom.payments", "refunds.sql")
COMMANDS_SQL: Final = statements("strongroom.payments", "commands.sql")
PAYMENTS_SQL: Final = statements("strongroom.payments", "payments.sql")
ENGINE_SQL: Final = statements("strongroom.payments", "engine.sql")
DISPUTED: Final = "payment_disputed"
"""Why a refund fails that a bank came before: what it reserved, the bank has taken."""
SETTLE_RERUN_SECONDS: Final = 3600.0
"""What a gateway answered is worth waiting for the database."""


class RefundDesk:
    """Claims refunds, asks gateways for them, and settles what these answer."""

    prefix: Prefix = "ref"

    def __init__(
        self,
        pool: asyncpg.Pool,
        gateways: Mapping[str, Gateway],
        accounts: Accounts,
        calls: Calls,
        *,
        actor: str,
        lease: timedelta,
        buckets: Sequence[int],
        telemetry: NoTelemetry = NO_TELEMETRY,
    ) -> None:
        self._pool = pool
        self._gateways = gateways
        self._accounts = accounts
        self._calls = calls
        self._clock: Clock = calls.clock
        self._actor = actor
        self._lease = lease
        self._buckets = list(buckets)
        self._settler: Batcher[RefundSettlement, RefundDecision] = Batcher(
            self._settle,
            owner=lambda s: s.refund.legal_entity_id,
            key=lambda s: s.refund.payment_id,
            rerun_seconds=SETTLE_RERUN_SECONDS,
            writers=1,
            telemetry=telemetry.batch("settle_refunds"),
        )

    def start(self) -> None:
        """Starts the writer in the running loop."""
        self._settler.start()

    async def drain(self) -> None:
        """Waits until every answer that came is written."""
        await self._settler.drain()

    async def claim(self, most: int) -> list[ClaimedRefund]:
        """Takes up to `most` due refunds and opens those that are new, in one transaction.

        Raises what the database raises; nothing is claimed then, or the lease lapses by itself.
        """
        now = self._clock.now()
        random.shuffle(self._buckets)  # no bucket's backlog comes always first
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            jobs = await self._lease_jobs(connection, most, now)
            if not jobs:
                return []
            await see(connection, {job["legal_entity_id"] for job in jobs})
            rows = await connection.fetch(COMMANDS_SQL["refunds_by_id"], *ids_of(jobs, "refund_id"))
            refunds = {row["refund_id"]: refund_of(row) for row in rows}
            effects = {refund_id: refund_due(refund) for refund_id, refund in refunds.items()}
            fresh = [refunds[one] for one, effect in effects.items() if isinstance(effect, Open)]
            payments: dict[UUID, Payment] = {}
            disputed: set[UUID] = set()
            if fresh:
                payments = await self._payments_of(connection, fresh)
                disputed = {one for one, payment in payments.items() if payment.is_claimed_twice}
                # What is not sent is not opened either: who comes after a kill knows as much.
                fresh = [one for one in fresh if one.payment_id not in disputed]
            if fresh:
                refunds.update(await self._open(connection, fresh, payments, now))
            over = [job for job in jobs if isinstance(effects.get(job["refund_id"]), Rest)]
            if over:
                await connection.execute(SQL["remove_refund_jobs"], *ids_of(over, "refund_id"))
            return [
                ClaimedRefund(
                    refund=refunds[job["refund_id"]],
                    effect=Send() if isinstance(effect, Open) else effect,
                    first=isinstance(effect, Open),
                    tries=job["tries"],
                    lease=job["lease"],
                    is_claimed_by_bank=refunds[job["refund_id"]].payment_id in disputed,
                )
                for job in jobs
                if (effect := effects.get(job["refund_id"])) is not None
                and not isinstance(effect, Rest)
            ]

    async def set_aside(self) -> list[UUID]:
        """Leases the refund that is due first and does nothing for it; returns its id."""
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            jobs = await self._lease_jobs(connection, 1, self._clock.now())
            return [job["refund_id"] for job in jobs]

    async def _lease_jobs(
        self, connection: Connection, most: int, now: datetime
    ) -> Sequence[asyncpg.Record]:
        return await connection.fetch(
            SQL["claim_refunds"], self._buckets, now, most, now + self._lease
        )

    async def _payments_of(
        self, connection: Connection, refunds: Sequence[Refund]
    ) -> dict[UUID, Payment]:
        ids = [r.legal_entity_id for r in refunds], [r.payment_id for r in refunds]
        rows = await connection.fetch(PAYMENTS_SQL["payments_by_id"], *ids)
        return {row["payment_id"]: payment_of(row) for row in rows}

    async def _open(
        self,
        connection: Connection,
        fresh: Sequence[Refund],
        payments: Mapping[UUID, Payment],
        now: datetime,
    ) -> dict[UUID, Refund]:
        """Writes down what is about to be sent, before it is sent."""
        ids = [r.legal_entity_id for r in fresh], [r.payment_id for r in fresh]
        attempts = {
            row["payment_id"]: attempt_of(row)
            for row in await connection.fetch(ENGINE_SQL["read_attempts"], *ids)
        }
        opened = [
            replace(
                refund,
                opened_at=now,
                parameters=dict(
                    self._gateways[refund.gateway].refund_parameters(
                        payments[refund.payment_id], attempts[refund.payment_id], refund
                    )
                ),
            )
            for refund in fresh
        ]
        rows = await connection.fetch(
            SQL["open_refunds"],
            [r.legal_entity_id for r in opened],
            [r.refund_id for r in opened],
            [json_text(r.parameters) for r in opened],
            now,
        )
        if len(rows) != len(opened):
            raise asyncpg.SerializationError("a refund was opened meanwhile")
        return {refund.refund_id: refund for refund in opened}

    async def advance(self, claimed: ClaimedRefund, lease_ends: float) -> None:
        """Asks the gateway for one refund, as long as the lease allows another call."""
        refund, effect = claimed.refund, claimed.effect
        account = await self._accounts.get(refund.legal_entity_id, refund.gateway_account_id)
        gateway = self._gateways[refund.gateway]
        going: RefundEffect = effect
        while isinstance(going, Send | Look) and self._calls.has_time(lease_ends):
            answered = await self._call(going, account, gateway, claimed)
            claimed = replace(claimed, first=False)
            decided = await self._settler.submit(
                RefundSettlement(refund=refund, answered=answered, lease=claimed.lease)
            )
            going = decided.effect

    async def _call(
        self, effect: Send | Look, account: Account, gateway: Gateway, claimed: ClaimedRefund
    ) -> RefundAnswered:
        asked: Literal["send", "look"] = "send" if isinstance(effect, Send) else "look"
        refund, tries, first = claimed.refund, claimed.tries, claimed.first
        ask = gateway.refund if asked == "send" else gateway.look_at_refund

        def answered(answer: RefundAnswer, call: Call) -> RefundAnswered:
            return RefundAnswered(answer=answer, call=call, asked=asked, tries=tries, first=first)

        def late(answer: RefundAnswer, call: Call) -> Awaitable[object]:
            return self._settler.submit(
                RefundSettlement(
                    refund=refund, answered=answered(answer, call), lease=claimed.lease
                )
            )

        def unasked(answer: RefundAnswer, why: str) -> RefundAnswered:
            now = self._calls.clock.now()
            call = Call(operation=asked, started_at=now, duration_ms=0.0, outcome=why)
            return answered(answer, call)

        if asked == "send" and first and claimed.is_claimed_by_bank:
            return unasked(Refused(DISPUTED), DISPUTED)
        silence: RefundAnswer = Unknown("no_answer")
        place = self._calls.lines.take(account, "refund" if asked == "send" else "look_at_refund")
        if isinstance(place, str):
            return unasked(NotSent(place), place)
        with place:
            answer, call = await self._calls.listen(ask(account, refund), silence, "refund", late)
            place.answered(answer)
        return answered(answer, call)

    async def _settle(self, items: Sequence[RefundSettlement]) -> Sequence[RefundDecision]:
        """One transaction; answers for refunds of one payment go one after the other."""
        now = self._clock.now()
        done: dict[int, RefundDecision] = {}
        entities = {item.refund.legal_entity_id for item in items}
        async with writing(self._pool, entities) as connection:
            for wave in _one_per_payment(items):
                await self._settle_wave(connection, wave, now, done)
        return [done[id(item)] for item in items]

    async def _settle_wave(
        self,
        connection: Connection,
        wave: Sequence[RefundSettlement],
        now: datetime,
        done: dict[int, RefundDecision],
    ) -> None:
        entities = [item.refund.legal_entity_id for item in wave]
        payments = {
            row["payment_id"]: payment_of(row)
            for row in await connection.fetch(
                COMMANDS_SQL["lock_payments"], entities, [item.refund.payment_id for item in wave]
            )
        }
        refunds = {
            row["refund_id"]: refund_of(row)
            for row in await connection.fetch(
                COMMANDS_SQL["refunds_by_id"], entities, [item.refund.refund_id for item in wave]
            )
        }
        sent_since = await claimed_since(connection, wave)
        decided: list[tuple[RefundSettlement, RefundDecision]] = []
        rows: list[tuple[Any, ...]] = []
        frozen: list[Frozen] = []
        for item in wave:
            payment, refund = payments[item.refund.payment_id], refunds[item.refund.refund_id]
            answered = item.answered
            if item.refund.refund_id in sent_since:
                answered = replace(answered, first=False)
            decision = refund_answered(payment, refund, answered, now)
            if decision.payment.captured_minor < decision.payment.refunded_minor:
                raise InvariantBroken("more would be given back than was taken")
            decided.append((item, decision))
            done[id(item)] = decision
            if decision.kind is not None:
                call = item.answered.call
                payload = changes_payload(
                    payment, decision.payment, call=call, refund=refund_summary(decision.refund)
                )
                rows.append(_changed_row(decision, payload))
                frozen += of_payment(payment, decision.payment)
                frozen += of_refund(refund, decision.refund)
        if rows:
            columns = (list(column) for column in zip(*rows, strict=True))
            written = await connection.fetch(SQL["settle_refunds"], *columns, self._actor)
            if len(written) != len(rows):
                raise asyncpg.SerializationError("a payment changed under its lock")
            await write_reviews(connection, frozen)
        await plan(connection, decided, now)


def _changed_row(decision: RefundDecision, payload: bytes) -> tuple[Any, ...]:
    """One row of the statement `settle_refunds`."""
    payment, refund = decision.payment, decision.refund
    return (
        payment.legal_entity_id,
        payment.payment_id,
        payment.version,
        payment.refunding_minor,
        payment.refunded_minor,
        payment.withheld_minor,
        payment.review,
        payment.updated_at,
        decision.kind,
        payment.row_digest(),
        payload,
        refund.refund_id,
        refund.status,
        refund.status_reason,
        refund.review,
        refund.gateway_object_id,
    )


def _one_per_payment(items: Sequence[RefundSettlement]) -> list[list[RefundSettlement]]:
    """Waves in which each payment stands at most once, in the order in which locks are taken."""
    waves = in_waves(items, lambda item: (item.refund.payment_id,))
    for one in waves:
        one.sort(key=lambda item: (item.refund.legal_entity_id.bytes, item.refund.payment_id.bytes))
    return waves

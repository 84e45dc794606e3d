"""The three phases of an attempt, for many payments at once.

Phase one claims what is due and commits the attempts that it opens. Phase two calls gateways with
no transaction open. Phase three settles what they answered, in batches, through `decide`.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.clock import Clock
from strongroom.database import Connection, see, statements, writing
from strongroom.errors import InvariantBroken
from strongroom.gateways.accounts import merchant_accounts
from strongroom.gateways.lines import Lines, Operation
from strongroom.gateways.port import Gateway, MerchantAccount
from strongroom.payments.claims import Claimed, Committed, ObjectId, Settlement
from strongroom.payments.decide import decide
from strongroom.payments.journal import Verdict, opened_columns, payload_of
from strongroom.payments.row_locks import held_elsewhere, stale
from strongroom.payments.rows import Row, attempt_of, ids_of, job_buckets, json_text, payment_of
from strongroom.payments.states import (
    Answered,
    AtGateway,
    Attempt,
    Call,
    Decision,
    Due,
    Open,
    Payment,
    Schedule,
    Send,
)
from strongroom.payments.verdicts import write_verdicts
from strongroom.payments.waves import in_waves
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.work.batch import Batcher

SQL: Final = statements("strongroom.payments", "engine.sql")
PAYMENTS_SQL: Final = statements("strongroom.payments", "payments.sql")
DECIDE_ROUNDS_MAX: Final = 6
HELD_WAIT: Final = timedelta(seconds=1)
"""A claim waits for nobody's lock: it comes back."""
OPENING: Final[tuple[Operation, ...]] = ("prepare", "send")
"""What an attempt begins with; the first only at gateways that make an object first."""
SETTLE_RERUN_SECONDS: Final = 3600.0
"""What a gateway answered is worth waiting for the database."""


class Engine:
    """Claims, commits object ids and settles, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        gateways: Mapping[str, Gateway],
        *,
        actor: str,
        lease: timedelta,
        buckets: Sequence[int],
        telemetry: NoTelemetry = NO_TELEMETRY,
        lines: Lines | None = None,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._gateways = gateways
        self._lines = Lines() if lines is None else lines
        self._actor = actor
        self._lease = lease
        self._buckets = job_buckets(buckets)
        self._settler: Batcher[Settlement, Committed] = Batcher(
            self._settle,
            owner=lambda s: s.payment.legal_entity_id,
            key=lambda s: s.payment.payment_id,
            rerun_seconds=SETTLE_RERUN_SECONDS,
            writers=1,
            telemetry=telemetry.batch("settle"),
        )
        self._object_ids: Batcher[ObjectId, bool] = Batcher(
            self._commit_object_ids,
            owner=lambda o: o.payment.legal_entity_id,
            key=lambda o: o.payment.payment_id,
            telemetry=telemetry.batch("object_ids"),
        )

    def start(self) -> None:
        """Starts the writers in the running loop."""
        self._settler.start()
        self._object_ids.start()

    async def drain(self) -> None:
        """Waits until every answer that came is written."""
        await self._object_ids.drain()
        await self._settler.drain()

    def settle(self, payment: Payment, answered: Answered, lease: int) -> asyncio.Future[Committed]:
        """Writes what a gateway answered; `payment` is the row as last seen.

        What is planned for the payment changes only if `lease` still holds it, or nobody does.
        """
        return self._settler.submit(Settlement(payment=payment, answered=answered, lease=lease))

    def commit_object_id(
        self, claimed: Claimed, object_id: str, call: Call
    ) -> asyncio.Future[bool]:
        """Commits the id; False when the payment does not want to be sent any more."""
        payment, number = claimed.payment, claimed.attempt.attempt_no
        return self._object_ids.submit(
            ObjectId(payment=payment, attempt_no=number, object_id=object_id, call=call)
        )

    # Phase one.

    async def claim(self, most: int) -> list[Claimed]:
        """Takes up to `most` due payments and opens their attempts, in one transaction.

        Raises what the database raises; nothing is claimed then, or the lease lapses by itself.
        """
        now = self._clock.now()
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            random.shuffle(self._buckets)  # no bucket's backlog comes always first
            jobs = await connection.fetch(SQL["claim"], self._buckets, now, most, now + self._lease)
            if not jobs:
                return []
            await see(connection, {job["legal_entity_id"] for job in jobs})
            keys = ids_of(jobs, "payment_id")
            payments = await connection.fetch(PAYMENTS_SQL["payments_by_id"], *keys)
            # What was never claimed before, and never changed, cannot have an attempt.
            touched = {row["payment_id"] for row in payments if row["version"] > 1}
            older = [job for job in jobs if job["tries"] > 1 or job["payment_id"] in touched]
            keys = ids_of(older, "payment_id")
            attempts = await connection.fetch(SQL["read_attempts"], *keys) if older else []
            by_id = {job["payment_id"]: job for job in jobs}
            return await self._open(connection, payments, attempts, by_id, now)

    async def set_aside(self) -> list[UUID]:
        """Leases the one payment that is due first and does nothing for it; returns its id.

        For a payment whose claim fails by itself: it comes back when the lease ends, and does not
        stand in the way of the others.
        """
        now = self._clock.now()
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            jobs = await connection.fetch(SQL["claim"], self._buckets, now, 1, now + self._lease)
            return [job["payment_id"] for job in jobs]

    async def _open(
        self,
        connection: Connection,
        rows: Sequence[Row],
        attempts: Sequence[Row],
        jobs: Mapping[UUID, Row],
        now: datetime,
    ) -> list[Claimed]:
        newest = {row["payment_id"]: attempt_of(row) for row in attempts}
        claimed: list[Claimed] = []
        verdicts: list[Verdict] = []
        opened: list[tuple[Payment, Attempt]] = []
        probed: set[UUID] = set()
        payments = [payment_of(row) for row in rows]
        paid_to = await self._paid_to(connection, payments)
        saving = await _that_save(connection, [p for p in payments if p.payment_id not in newest])
        for payment in payments:
            job, attempt = jobs[payment.payment_id], newest.get(payment.payment_id)
            resting = attempt is None and self._is_resting(payment, probed)
            due = Due(attempt, resting, job["tries"], self._is_staged(payment))
            decision = decide(payment, due, now)
            effect, is_fresh = decision.effect, isinstance(decision.effect, Open)
            if isinstance(effect, Open):
                attempt = self._new_attempt(
                    decision.payment,
                    effect.attempt_no,
                    paid_to,
                    now,
                    saves=payment.payment_id in saving,
                )
                opened.append((decision.payment, attempt))
                effect = Send()
            payload = payload_of(payment, decision, attempt, None)
            verdicts.append(Verdict(payment, decision, payload, job["lease"], attempt))
            if isinstance(effect, AtGateway):
                if attempt is None:
                    raise InvariantBroken("an effect at a gateway needs an attempt")
                claimed.append(
                    Claimed(
                        payment=decision.payment,
                        attempt=attempt,
                        effect=effect,
                        tries=job["tries"],
                        lease=job["lease"],
                        fresh=is_fresh,
                    )
                )
        held = await held_elsewhere(connection, verdicts)
        if held:
            soon = Schedule(now + HELD_WAIT)
            verdicts = [
                v._replace(decision=Decision(v.payment, soon))
                if v.payment.payment_id in held
                else v
                for v in verdicts
            ]
            claimed = [item for item in claimed if item.payment.payment_id not in held]
        lost = await write_verdicts(connection, verdicts, now, self._actor)
        if lost:
            raise asyncpg.SerializationError("a payment changed while it was claimed")
        if not opened:
            return claimed
        rows = await connection.fetch(SQL["open_attempts"], *opened_columns(opened), now)
        fresh = {row["payment_id"] for row in rows}
        # What had been opened before all the same is left to its next claim, which will know.
        stale = {payment.payment_id for payment, _ in opened} - fresh
        return [item for item in claimed if item.payment.payment_id not in stale]

    def _is_resting(self, payment: Payment, probed: set[UUID]) -> bool:
        """Whether nothing new is sent to its account now; one of a claim may be the probe.

        Of a payment without an attempt; one that sends nothing new must not be taken for the probe.
        """
        account_id = payment.gateway_account_id
        if payment.gateway is None or account_id is None or payment.status != "processing":
            return False
        if payment.closing:
            return False
        operations = OPENING if self._is_staged(payment) else OPENING[1:]
        if not self._lines.are_closed(account_id, operations):
            if account_id in probed or self._lines.are_resting(account_id, operations):
                return True
            probed.add(account_id)
        return False

    def _is_staged(self, payment: Payment) -> bool:
        return payment.gateway is None or self._gateways[payment.gateway].staged

    async def _paid_to(
        self, connection: Connection, payments: Sequence[Payment]
    ) -> dict[tuple[UUID, str], MerchantAccount]:
        """The merchant accounts of what may be opened now, at gateways that have several."""
        wanted = {
            (one.legal_entity_id, one.gateway_account_id, one.currency)
            for one in payments
            if one.gateway is not None
            and one.gateway_account_id is not None
            and one.status == "processing"
            and self._gateways[one.gateway].per_currency
        }
        return await merchant_accounts(connection, sorted(wanted))

    def _new_attempt(
        self,
        payment: Payment,
        number: int,
        paid_to: Mapping[tuple[UUID, str], MerchantAccount],
        now: datetime,
        *,
        saves: bool,
    ) -> Attempt:
        if payment.gateway is None or payment.gateway_account_id is None:
            raise InvariantBroken("a payment without a gateway cannot be sent")
        gateway = self._gateways[payment.gateway]
        return Attempt(
            attempt_no=number,
            kind="sale" if payment.capture == "automatic" else "authorize",
            state="open",
            gateway=payment.gateway,
            gateway_account_id=payment.gateway_account_id,
            gateway_key=f"sr_{payment.gateway_key_seed.hex()}_{number}",
            staged=gateway.staged,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            parameters=dict(
                gateway.parameters(
                    payment,
                    paid_to.get((payment.gateway_account_id, payment.currency)),
                    saves=saves,
                )
            ),
            opened_at=now,
        )

    # Between the phases.

    async def _commit_object_ids(self, items: Sequence[ObjectId]) -> Sequence[bool]:
        async with writing(self._pool, {i.payment.legal_entity_id for i in items}) as connection:
            rows = await connection.fetch(
                SQL["commit_object_ids"],
                [item.payment.legal_entity_id for item in items],
                [item.payment.payment_id for item in items],
                [item.attempt_no for item in items],
                [item.object_id for item in items],
                [json_text(item.call) for item in items],
            )
        # All three: others in this batch may have asked for the same payment.
        written = {(r["payment_id"], r["attempt_no"], r["gateway_object_id"]) for r in rows}
        return [
            (item.payment.payment_id, item.attempt_no, item.object_id) in written for item in items
        ]

    # Phase three.

    async def _settle(self, items: Sequence[Settlement]) -> Sequence[Committed]:
        """One transaction; what changed meanwhile is read again and decided on again."""
        entities = {item.payment.legal_entity_id for item in items}
        now = self._clock.now()
        done: dict[int, Committed] = {}
        # Two answers for one payment are decided one after the other.
        waves = in_waves(list(enumerate(items)), lambda one: (one[1].payment.payment_id,))
        async with writing(self._pool, entities) as connection:
            for wave in waves:
                await self._settle_wave(connection, wave, now, done)
        return [done[index] for index in range(len(items))]

    async def _settle_wave(
        self,
        connection: Connection,
        wave: Sequence[tuple[int, Settlement]],
        now: datetime,
        done: dict[int, Committed],
    ) -> None:
        current = {index: item.payment for index, item in wave}
        open_items = dict(wave)
        for _ in range(DECIDE_ROUNDS_MAX):
            verdicts: dict[int, Verdict] = {}
            for index, item in open_items.items():
                payment, answered = current[index], item.answered
                own = next((d for d in item.tried if d.kind and d.payment == payment), None)
                if own is not None:  # from a run whose COMMIT went through unheard
                    done[index] = Committed(payment=payment, effect=own.effect)
                    continue
                decision = decide(payment, answered, now)
                item.tried.append(decision)
                payload = payload_of(payment, decision, answered.attempt, answered.call)
                verdicts[index] = Verdict(
                    payment, decision, payload, item.lease, answered.attempt, answered
                )
            moved_on = await stale(connection, list(verdicts.values()))
            fresh = [v for v in verdicts.values() if v.payment.payment_id not in moved_on]
            lost = moved_on | await write_verdicts(connection, fresh, now, self._actor)
            for index, verdict in verdicts.items():
                if verdict.payment.payment_id not in lost:
                    decision = verdict.decision
                    done[index] = Committed(payment=decision.payment, effect=decision.effect)
            open_items = {i: item for i, item in open_items.items() if i not in done}
            if not open_items:
                return
            rows = await connection.fetch(
                PAYMENTS_SQL["payments_by_id"],
                [item.payment.legal_entity_id for item in open_items.values()],
                [item.payment.payment_id for item in open_items.values()],
            )
            read = {row["payment_id"]: payment_of(row) for row in rows}
            current = {i: read[item.payment.payment_id] for i, item in open_items.items()}
        raise asyncpg.SerializationError("payments kept changing while they were settled")


async def _that_save(connection: Connection, payments: Sequence[Payment]) -> set[UUID]:
    """Of payments that may be opened now, those whose instruments are to be saved by paying."""
    opening = [one for one in payments if one.status == "processing" and not one.closing]
    if not opening:
        return set()
    entities = [one.legal_entity_id for one in opening]
    ids = [one.payment_id for one in opening]
    rows = await connection.fetch(SQL["that_save"], entities, ids)
    return {row["payment_id"] for row in rows}

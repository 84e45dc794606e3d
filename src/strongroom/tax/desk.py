"""Asks tax services: calculates, and reports once for each payment and refund that moved money.

A report is opened in a transaction of its own before it is sent, and sent under a reference that
the service takes once, so that it is made once whatever is lost. No transaction is open while a
service is asked. What refunds have become since is looked at whenever one of them changes.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import structlog

from strongroom.alarms.raising import alarm, raise_alarms
from strongroom.database import (
    SERIALIZATION_FAILURES,
    Connection,
    reading,
    writing,
)
from strongroom.errors import described
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.port import Account
from strongroom.gateways.tax import CalculationAnswer, RecordAnswer, Taxes
from strongroom.ids import Prefix
from strongroom.payments.commands import PAYMENTS_SQL
from strongroom.payments.commands import SQL as COMMANDS_SQL
from strongroom.payments.journal import changes_payload
from strongroom.payments.reads import HIGHEST
from strongroom.payments.refunds import Refused
from strongroom.payments.rows import payment_of, refund_of
from strongroom.payments.states import Call, Payment, Unknown
from strongroom.tax.calculations import (
    ANSWERED_WITHIN,
    SAME_KEY_WINDOW,
    Asked,
    Calculated,
    Calculation,
    Due,
    Make,
    Over,
    Recorded,
    Transaction,
    Wait,
    due_of,
    event_kind,
    gives_up,
    open_asked,
    summary,
)
from strongroom.tax.rows import SQL, calculations_in, holders, transactions_in
from strongroom.vault.errors import KeyMissing, Unreadable
from strongroom.vault.keys import UNAVAILABLE, Keyring
from strongroom.work.calls import Calls

STEPS_MAX: Final = 64
"""Of one claim: the sale, and what refunds ask for; the lease ends it before that."""
REFUNDS_MAX: Final = 1000
RETRY_SECONDS: Final = (1, 2, 4, 8, 15, 30, 60, 300, 900)
REFUSED_AGAIN: Final = timedelta(hours=1)
"""What a service refuses may be a setting there that somebody corrects."""
ACTOR: Final = "worker"
NOT_RECORDED: Final = "tax_not_recorded"

log = structlog.get_logger()


class Job(NamedTuple):
    """A calculation that this process may act for until the lease ends."""

    legal_entity_id: UUID
    calculation_id: UUID
    lease: int
    tries: int


class Taxed(NamedTuple):
    """A payment, what it is taxed by, and what is to be reported of it."""

    calculation: Calculation
    payment: Payment
    transactions: Sequence[Transaction]
    due: Due


class TaxDesk:
    """Works on tax calculations, over one pool of the worker's connections."""

    prefix: Prefix = "txc"

    def __init__(
        self,
        pool: asyncpg.Pool,
        services: Mapping[str, Taxes],
        calls: Calls,
        keyring: Keyring,
        buckets: Sequence[int],
    ) -> None:
        self._pool, self._services, self._calls = pool, services, calls
        self._clock, self._keyring = calls.clock, keyring
        self._accounts, self._buckets = Accounts(pool), list(buckets)

    def start(self) -> None:
        """Nothing runs beside its work."""

    async def drain(self) -> None:
        """What was learnt is written before the next step."""

    async def claim(self, most: int) -> Sequence[Job]:
        """Leases up to `most` due calculations."""
        now = self._clock.now()
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            # In another order each time: no bucket's backlog comes always first.
            buckets = random.sample(self._buckets, len(self._buckets))
            rows = await connection.fetch(
                SQL["claim_tax_jobs"], buckets, now, most, now + self._calls.lease
            )
        return [Job(*row) for row in rows]

    async def set_aside(self) -> Sequence[UUID]:
        """Leases the one that is due first, and does nothing for it."""
        return [job.calculation_id for job in await self.claim(1)]

    async def advance(self, item: Job, lease_ends: float) -> None:
        """Does what is to be done, a step at a time; what breaks is tried again after the lease."""
        try:
            for _ in range(STEPS_MAX):
                if not self._calls.has_time(lease_ends) or not await self._step(item):
                    return
        except (*UNAVAILABLE, *SERIALIZATION_FAILURES) as error:
            ids = [item.calculation_id]
            log.warning("tax_waits", error=type(error).__name__, ids=ids)
        except Exception as fault:  # noqa: BLE001 - one must not hold up the others
            log.error("tax_failed", **described(fault))

    async def _step(self, job: Job) -> bool:
        """One step; whether another may follow at once."""
        entity = job.legal_entity_id
        async with reading(self._pool, [entity]) as connection:
            found = await calculations_in(connection, entity, [job.calculation_id])
            calculation = found[0] if found else None
            taxed = None
            if calculation is not None and calculation.status == "ready":
                taxed = await self._taxed(connection, calculation)
        if calculation is None:
            await self._plan(job, None)
            return False
        account = await self._accounts.get(entity, calculation.gateway_account_id)
        if calculation.status == "processing":
            await self._calculate(job, calculation, account)
            return False
        match None if taxed is None else taxed.due:
            case None | Over():
                await self._plan(job, None)
                return False
            case Wait(seconds):
                await self._plan(job, timedelta(seconds=seconds), moved=True)
                return False
            case Make() as make:
                return taxed is not None and await self._report(job, account, taxed, make)

    async def _taxed(self, connection: Connection, calculation: Calculation) -> Taxed | None:
        """The payment that has the calculation, and what is due for it; None where none has."""
        entity, calculation_id = calculation.legal_entity_id, calculation.calculation_id
        holder = (await holders(connection, [(entity, calculation_id)])).get(calculation_id)
        if holder is None:
            return None
        rows = await connection.fetch(PAYMENTS_SQL["payments_by_id"], [entity], [holder])
        refunds = await connection.fetch(
            COMMANDS_SQL["list_refunds_of_payment"], entity, HIGHEST, REFUNDS_MAX, holder
        )
        payment = payment_of(rows[0])
        transactions = await transactions_in(connection, entity, calculation_id)
        due = due_of(payment, transactions, [refund_of(row) for row in refunds], self._clock.now())
        return Taxed(calculation, payment, transactions, due)

    async def _calculate(self, job: Job, calculation: Calculation, account: Account) -> None:
        asked = await self._asked(calculation)
        now = self._clock.now()
        if asked is None or now - calculation.created_at >= ANSWERED_WITHIN:
            why = "question_unreadable" if asked is None else "no_answer_in_time"
            await self._answered(job, calculation.failed(why, now), None)
            return
        silence: CalculationAnswer = Unknown("no_answer")
        key = f"sr_{calculation.calculation_id.hex}_tax"
        service = self._services[account.gateway]
        asking = service.calculate(account, asked, key)
        answer, call = await self._calls.ask(account, "calculate_tax", asking, silence)
        now = self._clock.now()
        match answer:
            case Calculated():
                await self._answered(job, calculation.answered(answer, now), call)
            case Refused(why):
                await self._answered(job, calculation.failed(why, now), call)
            case _:
                await self._in_vain(job, call)

    async def _asked(self, calculation: Calculation) -> Asked | None:
        """What is to be asked; None where nobody can read that any more."""
        of = calculation.legal_entity_id, calculation.calculation_id
        async with reading(self._pool, [of[0]]) as connection:
            sealed: bytes | None = await connection.fetchval(SQL["asked_of"], *of)
        try:
            keys = await self._keyring.opening(of[0], [sealed or b""])
            return open_asked(keys, of[1], sealed or b"")
        except (Unreadable, KeyMissing, msgspec.MsgspecError) as error:
            log.error("tax_question_unreadable", error=type(error).__name__, ids=[of[1]])
            return None

    async def _answered(self, job: Job, after: Calculation, call: Call | None) -> None:
        payload = {
            "status": after.status,
            "status_reason": after.status_reason,
            "total_minor": after.total_minor,
            "exclusive_minor": after.exclusive_minor,
            "inclusive_minor": after.inclusive_minor,
            "gateway_object_id": after.gateway_object_id,
            "expires_at": after.expires_at,
            "call": call,
        }
        async with writing(self._pool, [job.legal_entity_id]) as connection:
            await connection.execute(
                SQL["settle_calculation"],
                after.legal_entity_id,
                after.calculation_id,
                after.version,
                after.status,
                after.status_reason,
                after.total_minor,
                after.exclusive_minor,
                after.inclusive_minor,
                None if after.lines is None else msgspec.json.encode(after.lines).decode(),
                after.gateway_object_id,
                after.expires_at,
                after.updated_at,
                f"tax_calculation.{after.status}",
                ACTOR,
                after.row_digest(),
                msgspec.json.encode(payload, order="deterministic"),
            )
            await connection.execute(SQL["tax_over"], *job[:3])

    async def _report(self, job: Job, account: Account, taxed: Taxed, make: Make) -> bool:
        """Opens a report, sends it, and writes down what came of it."""
        transaction = await self._opened(taxed.calculation, make)
        if transaction is None:
            return True  # another was faster: look again
        silence: RecordAnswer = Unknown("no_answer")
        service, reference = self._services[account.gateway], transaction.reference
        key, original = transaction.gateway_key, make.original_id or ""
        match make.kind:
            case "sale":
                object_id = taxed.calculation.gateway_object_id or ""
                asking = service.record(account, object_id, reference, key)
            case "restoral":
                asking = service.undo(account, original, reference, key)
            case _:
                currency = taxed.payment.currency
                asking = service.reverse(
                    account, original, transaction.amount_minor, currency, reference, key
                )
        answer, call = await self._calls.ask(account, "report_tax", asking, silence)
        match answer:
            case Recorded(object_id=found):
                return await self._settle(transaction, account, call, found, None)
            case Refused(why):
                await self._refused(job, taxed, transaction, account, call, why)
            case _:
                await self._in_vain(job, call)
        return False

    async def _opened(self, calculation: Calculation, make: Make) -> Transaction | None:
        """The report as it stands on disk before it is sent; None where it has ended meanwhile.

        The gateway may have forgotten its key by now: then it goes under another, and the
        reference keeps it from being made twice.
        """
        entity, calculation_id = calculation.legal_entity_id, calculation.calculation_id
        of, now = (entity, calculation_id, make.source_id, make.kind), self._clock.now()
        async with writing(self._pool, [entity]) as connection:
            await connection.execute(SQL["open_transaction"], *of, make.amount_minor, now)
            found = await _transaction(connection, *of)
            if found is not None and now - found.opened_at >= SAME_KEY_WINDOW:
                await connection.execute(SQL["reopen_transaction"], *of, now)
                found = await _transaction(connection, *of)
        return None if found is None or found.status != "open" else found

    async def _settle(
        self,
        transaction: Transaction,
        account: Account,
        call: Call,
        object_id: str | None,
        refused: str | None,
    ) -> bool:
        """How it has ended, in its row and in its payment's history, under the payment's lock."""
        entity, now = transaction.legal_entity_id, self._clock.now()
        after = msgspec.structs.replace(
            transaction,
            status="made" if refused is None else "refused",
            status_reason=refused or (None if object_id else "made_before"),
            gateway_object_id=object_id,
            updated_at=now,
        )
        async with writing(self._pool, [entity]) as connection:
            holder = (await holders(connection, [(entity, after.calculation_id)])).get(
                after.calculation_id
            )
            rows = await connection.fetch(COMMANDS_SQL["lock_payments"], [entity], [holder])
            before = payment_of(rows[0])
            changed = before.changed(now)
            done = await connection.fetch(
                SQL["settle_transaction"],
                entity,
                changed.payment_id,
                changed.version,
                now,
                event_kind(after),
                ACTOR,
                changed.row_digest(),
                changes_payload(before, changed, call=call, tax=summary(after)),
                after.status,
                after.status_reason,
                after.gateway_object_id,
                after.calculation_id,
                after.source_id,
                after.kind,
            )
            if done and object_id is None and refused is None:
                await self._alarm(connection, after, account, "object_unknown")
        return bool(done)

    async def _refused(
        self,
        job: Job,
        taxed: Taxed,
        transaction: Transaction,
        account: Account,
        call: Call,
        why: str,
    ) -> None:
        """A person is told; it is tried again under another key as long as that has any sense."""
        entity, now = job.legal_entity_id, self._clock.now()
        of = (entity, job.calculation_id, transaction.source_id, transaction.kind)
        async with writing(self._pool, [entity]) as connection:
            await self._alarm(connection, transaction, account, why)
            await connection.execute(SQL["reopen_transaction"], *of, now)
        log.warning("tax_refused", reason=why, ids=[transaction.reference])
        if gives_up(transaction, taxed.calculation, now):
            await self._settle(transaction, account, call, None, why)
        await self._plan(job, REFUSED_AGAIN)

    async def _alarm(
        self, connection: Connection, transaction: Transaction, account: Account, why: str
    ) -> None:
        raised = alarm(
            NOT_RECORDED,
            legal_entity_id=transaction.legal_entity_id,
            gateway_account_id=account.gateway_account_id,
            subject=transaction.reference,
            reason=why,
            at=self._clock.now(),
        )
        await raise_alarms(connection, [raised], ACTOR)

    async def _in_vain(self, job: Job, call: Call) -> None:
        step = RETRY_SECONDS[min(job.tries, len(RETRY_SECONDS)) - 1]
        log.warning("tax_in_vain", reason=call.outcome, items=job.tries)
        await self._plan(job, timedelta(seconds=step))

    async def _plan(self, job: Job, later: timedelta | None, *, moved: bool = False) -> None:
        """When to come back to it, None for never; `moved`: what failed before counts no more."""
        async with writing(self._pool, [job.legal_entity_id]) as connection:
            if later is None:
                await connection.execute(SQL["tax_over"], *job[:3])
            else:
                run_at = self._clock.now() + later
                await connection.execute(SQL["tax_later"], *job[:3], run_at, moved)


async def _transaction(
    connection: Connection, legal_entity_id: UUID, calculation_id: UUID, source_id: UUID, kind: str
) -> Transaction | None:
    for one in await transactions_in(connection, legal_entity_id, calculation_id):
        if (one.source_id, one.kind) == (source_id, kind):
            return one
    return None

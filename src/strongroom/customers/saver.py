"""Saves instruments at gateways, and lets them go: claims what is due, asks, writes what was heard.

No transaction is open while a gateway is asked. What a lost answer leaves open is looked at, for as
long as it takes.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import structlog

from strongroom.clock import Clock
from strongroom.customers.rows import SQL, plan, read_methods, tell, write
from strongroom.customers.saving import (
    LABEL,
    SAME_KEY_WINDOW,
    AtWallet,
    Card,
    Detached,
    Made,
    NotAdopted,
    Saved,
    Saving,
    SavingAnswer,
    Step,
    adoption,
    answered,
    given_up,
    refreshed,
    step_of,
    wait_of,
)
from strongroom.database import (
    SERIALIZATION_FAILURES,
    UNREACHABLE,
    reading,
    see,
    writing,
)
from strongroom.errors import described
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.lines import Lines, places_for
from strongroom.gateways.port import Account
from strongroom.gateways.wallet import Wallet
from strongroom.payments.states import Call, Unknown
from strongroom.vault.errors import SubjectDestroyed
from strongroom.vault.keys import UNAVAILABLE
from strongroom.vault.subjects import Subjects
from strongroom.work.bell import NO_BELL, NoBell
from strongroom.work.calls import Calls

CLAIMED_MAX: Final = 32
LEASE_DEADLINES: Final = 5
"""Deadlines in a lease: the longest way asks a gateway four times."""
STEPS_MAX: Final = 4
IDLE_WAIT_SECONDS: Final = 0.2
FAILED_WAIT_SECONDS: Final = 1.0
ACTOR: Final = "worker"
ERASED: Final = "customer_erased"
SAVED_BEFORE: Final = "saved_before"
CUSTOMER_ADOPTED: Final = "gateway_customer_is_anothers"
"""The gateway's customer became another one of ours before."""
KNOWN_OTHERWISE: Final = "customer_known_otherwise"
"""The gateway account knows our customer as another one already."""

log = structlog.get_logger()


class Job(NamedTuple):
    """A payment method that this process may act for until the lease ends."""

    legal_entity_id: UUID
    payment_method_id: UUID
    lease: int
    tries: int


class Saver:
    """Works on payment methods, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        wallets: Mapping[str, Wallet],
        subjects: Subjects,
        *,
        deadline: timedelta,
        buckets: Sequence[int],
        bell: NoBell = NO_BELL,
    ) -> None:
        self._pool, self._clock, self._wallets = pool, clock, wallets
        self._calls = Calls(clock, deadline, Lines(places_for(CLAIMED_MAX)))
        self._lane = bell.lane(SQL["methods_due"])
        self._subjects, self._accounts = subjects, Accounts(pool)
        self._lease, self._buckets = deadline * LEASE_DEADLINES, list(buckets)

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again."""
        self._calls.start()
        try:
            while True:
                number = 0
                try:
                    number = await self.step()
                except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                    log.warning("payment_methods_not_claimed", error=type(error).__name__)
                    await asyncio.sleep(FAILED_WAIT_SECONDS)
                except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                    log.error("payment_methods_not_claimed", **described(fault))
                    await asyncio.sleep(FAILED_WAIT_SECONDS)
                if not number:
                    await self._lane.rest(IDLE_WAIT_SECONDS)
        finally:
            await self._calls.close()

    async def step(self) -> int:
        """Works on what is due, at most CLAIMED_MAX at once; returns how many there were."""
        now = self._clock.now()
        random.shuffle(self._buckets)  # no bucket's backlog comes always first
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            rows = await connection.fetch(
                SQL["claim_methods"], self._buckets, now, CLAIMED_MAX, now + self._lease
            )
            await see(connection, {row["legal_entity_id"] for row in rows})
        await asyncio.gather(*(self._work(Job(*row)) for row in rows))
        return len(rows)

    async def _work(self, job: Job) -> None:
        """Whatever fails here is tried again when the lease is over."""
        try:
            await self._advance(job)
        except (*UNAVAILABLE, *SERIALIZATION_FAILURES) as error:
            ids = [job.payment_method_id]
            log.warning("payment_method_waits", error=type(error).__name__, ids=ids)
        except Exception as fault:  # noqa: BLE001 - one must not hold up the others
            log.error("payment_method_failed", **described(fault))

    async def _advance(self, job: Job) -> None:
        [saving] = await read_methods(self._pool, {job.payment_method_id: job.legal_entity_id})
        account = await self._accounts.get(saving.legal_entity_id, saving.gateway_account_id)
        step: Step | None = step_of(saving, self._clock.now())
        for _ in range(STEPS_MAX):
            if step is None:
                return
            saving, step = await self._take(step, saving, account, job)

    async def _take(
        self, step: Step, saving: Saving, account: Account, job: Job
    ) -> tuple[Saving, Step | None]:
        """Takes a step; returns what has become of it, and the step that follows at once."""
        now = self._clock.now()
        if step == "rest":
            await self._settle(saving, saving, job, None)
            return saving, None
        if step == "give_up":
            await self._settle(saving, given_up(saving, now), job, None)
            return saving, None
        answer, call = await self._ask(step, saving, account)
        if step == "adopt":
            answer = await self._adopted(saving, answer)
        now = self._clock.now()
        if step == "refresh":
            return await self._refresh(saving, answer, job, call), None
        if isinstance(answer, Made):
            opened = saving.changed(now, setup_object=answer.object_id)
            written = await self._settle(saving, opened, job, call, goes_on=True)
            return opened, "save" if written else None
        if step == "look" and getattr(answer, "why", None) == "not_confirmed_yet":
            return saving, "save"
        after = answered(saving, answer, now)
        if isinstance(answer, Saved) and after is not saving:
            after = await self._sealed(after, answer)
        await self._settle(saving, after, job, call)
        return after, None

    async def _refresh(
        self, saving: Saving, answer: Made | SavingAnswer, job: Job, call: Call
    ) -> Saving:
        """One that is ready may have got another card, or be gone at the gateway."""
        now, after = self._clock.now(), saving
        if isinstance(answer, Saved):
            if answer.token == saving.token and await self._card_of(saving) != answer.card:
                after = await self._sealed(saving.changed(now), answer)
        elif not isinstance(answer, Made):
            after = refreshed(saving, answer, now)
        heard = isinstance(answer, Saved | Detached)
        await self._write(saving, after, job, call, goes_on=False, again=not heard)
        return after

    async def _card_of(self, saving: Saving) -> Card | None:
        if saving.sealed is None:
            return None
        try:
            content = await self._subjects.open(
                saving.legal_entity_id,
                saving.customer_id,
                LABEL,
                saving.payment_method_id.bytes,
                saving.sealed,
            )
        except SubjectDestroyed:
            return None
        return msgspec.json.decode(content, type=Card)

    async def _ask(
        self, step: AtWallet, saving: Saving, account: Account
    ) -> tuple[Made | SavingAnswer, Call]:
        wallet = self._wallets[saving.gateway]
        silence: SavingAnswer = Unknown("no_answer")
        if step in ("prepare", "keep"):
            known, call = await self._gateway_customer(saving, account, wallet)
            if not isinstance(known, Made):
                return known, call
            ask = wallet.prepare if step == "prepare" else wallet.keep
            asking = ask(account, saving, known.object_id)
            return await self._calls.ask(account, step, asking, silence)
        if step == "adopt" and saving.adopted is not None:
            # Nothing is asked of the gateway but what it has: however often, it changes nothing.
            saving = msgspec.structs.replace(saving, token=saving.adopted.token)
        asks = {
            "adopt": wallet.look_at_saved,
            "save": wallet.save,
            "look": wallet.look,
            "cancel": wallet.cancel,
            "detach": wallet.detach,
            "refresh": wallet.look_at_saved,
        }
        return await self._calls.ask(account, step, asks[step](account, saving), silence)

    async def _gateway_customer(
        self, saving: Saving, account: Account, wallet: Wallet
    ) -> tuple[Made | SavingAnswer, Call]:
        """Whom the account knows the customer as; made there by whoever needs it first."""
        entity, now = saving.legal_entity_id, self._clock.now()
        key = (entity, saving.customer_id, account.gateway_account_id)
        async with writing(self._pool, [entity]) as connection:
            await connection.execute(SQL["open_gateway_customer"], *key, now)
            [row] = await connection.fetch(SQL["gateway_customer"], *key)
            opened_at: datetime = row["opened_at"]
            if row["gateway_object_id"] is None and opened_at < now - SAME_KEY_WINDOW:
                # Should there be one already: it holds no instrument and no personal data.
                await connection.execute(SQL["reopen_gateway_customer"], *key, now, opened_at)
                [row] = await connection.fetch(SQL["gateway_customer"], *key)
        if row["gateway_object_id"] is None:
            name = f"sr_{saving.customer_id.hex}_{account.gateway_account_id.hex}"
            moment = int(row["opened_at"].timestamp())
            asking = wallet.make_customer(account, saving.customer_id, f"{name}_{moment}")
            silence = Unknown("no_answer")
            made, call = await self._calls.ask(account, "create_customer", asking, silence)
            async with writing(self._pool, [entity]) as connection:
                if isinstance(made, Made):
                    await connection.execute(SQL["keep_gateway_customer"], *key, made.object_id)
                elif (call.http_status or 0) >= 500:  # under this key it may be told for a day
                    opened_at = row["opened_at"]
                    await connection.execute(
                        SQL["reopen_gateway_customer"], *key, self._clock.now(), opened_at
                    )
            if not isinstance(made, Made):
                return made, call
        async with reading(self._pool, [entity]) as connection:
            [row] = await connection.fetch(SQL["gateway_customer"], *key)
        known = row["gateway_object_id"]
        call = Call(operation="customer", started_at=now, duration_ms=0.0, outcome="known")
        return (Unknown("no_customer") if known is None else Made(known)), call

    async def _adopted(self, saving: Saving, answer: Made | SavingAnswer) -> Made | SavingAnswer:
        """The answer; where the gateway says that the card is its customer's, that is ours now."""
        adopted = saving.adopted
        if adopted is None or isinstance(answer, Made):
            return answer
        answer = adoption(adopted, answer)
        if not isinstance(answer, Saved):
            return answer
        entity, account = saving.legal_entity_id, saving.gateway_account_id
        theirs, now = (entity, account, adopted.gateway_customer), self._clock.now()
        ours = (entity, saving.customer_id, account)
        async with writing(self._pool, [entity]) as connection:
            await connection.execute(SQL["open_gateway_customer"], *ours, now)
            [row] = await connection.fetch(SQL["gateway_customer"], *ours)
            if row["gateway_object_id"] not in (None, adopted.gateway_customer):
                return NotAdopted(KNOWN_OTHERWISE)
            await connection.execute(SQL["adopt_customer"], *theirs, saving.customer_id, now)
            if await connection.fetchval(SQL["adopted_customer"], *theirs) != saving.customer_id:
                return NotAdopted(CUSTOMER_ADOPTED)
            await connection.execute(SQL["keep_gateway_customer"], *ours, adopted.gateway_customer)
            [row] = await connection.fetch(SQL["gateway_customer"], *ours)
            if row["gateway_object_id"] != adopted.gateway_customer:
                raise asyncpg.SerializationError("the customer was made there meanwhile")
        return answer

    async def _sealed(self, after: Saving, saved: Saved) -> Saving:
        """With its card; where its customer was erased meanwhile, it is let go again."""
        if saved.card is None:
            return after
        content = msgspec.json.encode(saved.card)
        row = after.payment_method_id.bytes
        try:
            sealed = await self._subjects.seal(
                after.legal_entity_id, after.customer_id, LABEL, row, content
            )
        except SubjectDestroyed:
            return msgspec.structs.replace(after, status="detaching", status_reason=ERASED)
        return msgspec.structs.replace(after, sealed=sealed)

    async def _settle(
        self,
        before: Saving,
        after: Saving,
        job: Job,
        call: Call | None,
        *,
        goes_on: bool = False,
    ) -> bool:
        """Writes what was learnt and when to come back; False where somebody else was faster."""
        try:
            return await self._write(before, after, job, call, goes_on=goes_on)
        except asyncpg.UniqueViolationError:
            # Its token is another method's, which can be detached by itself.
            twin = msgspec.structs.replace(
                after, status="failed", status_reason=SAVED_BEFORE, token=None, sealed=None
            )
            return await self._write(before, twin, job, call, goes_on=False)

    async def _write(
        self,
        before: Saving,
        after: Saving,
        job: Job,
        call: Call | None,
        *,
        goes_on: bool,
        again: bool = False,
    ) -> bool:
        now = self._clock.now()
        async with writing(self._pool, [job.legal_entity_id]) as connection:
            moved = after is not before
            if moved:
                if not await write(connection, before, after):
                    return False
                kind = f"payment_method.{_kind(before, after)}"
                await tell(connection, after, kind, ACTOR, call=call)
            if goes_on:
                return True
            over = after.status in ("ready", "failed", "detached") and not again
            tries = 0 if moved else job.tries
            run_at = None if over else now + wait_of(after, tries)
            await plan(connection, after, job.lease, run_at, moved=moved)
        return True


def _kind(before: Saving, after: Saving) -> str:
    """The name of the event that leads there."""
    if before.status == after.status == "ready":
        return "updated"
    if after.status == "processing":
        return "opened"
    if after.status == "ready" and after.adopted is not None:
        return "adopted"
    return "saved" if after.status == "ready" else after.status

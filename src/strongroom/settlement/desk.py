"""Asks gateways what became of money that was taken, and writes down what they show.

Each look is leased, asked with no transaction open, and settled in one. Whoever changes a dispute
holds the lock of its payment, as for refunds; a look whose lease has gone to another says nothing.
"""

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, assert_never
from uuid import UUID

import asyncpg
import structlog

from strongroom.alarms.raising import alarm, raise_alarms
from strongroom.clock import microseconds_since_epoch
from strongroom.database import (
    SERIALIZATION_FAILURES,
    UNREACHABLE,
    Connection,
    see,
    writing,
)
from strongroom.errors import described
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.port import Account
from strongroom.ids import new_id, to_text
from strongroom.payments.commands import SQL as COMMANDS_SQL
from strongroom.payments.journal import changes_payload
from strongroom.payments.reviews import of_payment, write_reviews
from strongroom.payments.rows import payment_of
from strongroom.payments.states import Call, NotSent, Unknown
from strongroom.settlement.disputes import (
    NewRow,
    Seen,
    dispute_seen,
    next_look,
    waits_for_payment,
)
from strongroom.settlement.looks import (
    AT_REST,
    SQL,
    Look,
    begin_lists,
    claim_looks,
    end_look,
    is_ours,
    look_at_new,
)
from strongroom.settlement.matching import (
    NOT_YET,
    OTHER_ACCOUNT,
    OTHER_AMOUNT,
    OTHER_ENTITY,
    OTHER_OBJECT,
    UNKNOWN,
    known_of,
    not_ours,
    other_amount,
    write_dispute,
)
from strongroom.settlement.payout_desk import known_items, settle_payout, settle_returned
from strongroom.settlement.port import (
    DisputeLook,
    Listed,
    NoSuchObject,
    NotTaken,
    PayoutLook,
    PayoutReturned,
    PayoutShown,
    SettlementGateway,
)
from strongroom.settlement.rows import SQL as DISPUTES_SQL
from strongroom.settlement.rows import dispute_of, dispute_summary
from strongroom.settlement.telling import DueAnswer, Ended, Teller, settle_answer
from strongroom.vault.keys import Keyring
from strongroom.work.bell import NO_BELL, NoBell
from strongroom.work.calls import Calls

LOOKS_MAX: Final = 16
IDLE_WAIT_SECONDS: Final = 0.2
FAILED_WAIT_SECONDS: Final = 1.0
LIST_EVERY: Final = timedelta(minutes=10)
LIST_OVERLAP: Final = timedelta(days=1)
"""A list is asked for from so long before the last one: clocks differ, and lists may lag."""
NEW_ACCOUNTS_EVERY: Final = timedelta(minutes=1)
AGAIN_SECONDS: Final = (2, 5, 15, 60, 300, 900)
UNSEEN_TRIES: Final = 2
"""A look that a webhook brought can come before its gateway's reads show the object."""

ALARMING: Final = frozenset({OTHER_ENTITY, OTHER_ACCOUNT, OTHER_OBJECT, OTHER_AMOUNT})

log = structlog.get_logger()


class SettlementDesk:
    """Does what is due of looks, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        gateways: Mapping[str, SettlementGateway],
        calls: Calls,
        keyring: Keyring,
        buckets: Sequence[int],
        actor: str = "worker",
        bell: NoBell = NO_BELL,
    ) -> None:
        self._pool, self._gateways, self._accounts = pool, gateways, Accounts(pool)
        self._calls, self._clock = calls, calls.clock
        self._lane = bell.lane(SQL["looks_due"])
        self._lease = calls.lease
        self._buckets, self._actor = list(buckets), actor
        self._teller = Teller(calls, keyring)
        self._under_way: set[asyncio.Task[None]] = set()
        self._accounts_at = self._clock.now()

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again. No look waits for another."""
        self._calls.start()
        try:
            while True:
                try:
                    await self.begin(LOOKS_MAX - len(self._under_way))
                except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                    log.warning("settlement_not_looked_at", error=type(error).__name__)
                    await asyncio.sleep(FAILED_WAIT_SECONDS)
                    continue
                except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                    log.error("settlement_not_looked_at", **described(fault))
                    await asyncio.sleep(FAILED_WAIT_SECONDS)
                    continue
                if len(self._under_way) < LOOKS_MAX:
                    await self._lane.rest(IDLE_WAIT_SECONDS)
                else:  # a gateway that answers at once is not asked without end
                    await asyncio.sleep(IDLE_WAIT_SECONDS)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            await self._calls.close()

    async def begin(self, most: int) -> None:
        """Begins what is due, at most so many looks."""
        if most < 1:
            return
        now = self._clock.now()
        if now >= self._accounts_at:
            async with writing(self._pool, [], buckets=self._buckets) as connection:
                rows = await connection.fetch(SQL["entities_served"], self._buckets)
                entities = [row["legal_entity_id"] for row in rows]
                await see(connection, entities)
                await begin_lists(connection, entities, list(self._gateways), now)
            self._accounts_at = now + NEW_ACCOUNTS_EVERY
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            # In another order each time: no bucket's backlog comes always first.
            buckets = random.sample(self._buckets, len(self._buckets))
            looks = await claim_looks(connection, buckets, most, now, self._lease)
        for look in looks:
            task = asyncio.create_task(self._advance(look))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _advance(self, look: Look) -> None:
        """One look; whatever breaks stays with it, and its lease brings it back."""
        try:
            account = await self._accounts.get(look.legal_entity_id, look.gateway_account_id)
            gateway = self._gateways[account.gateway]
            match look.noun:
                case "disputes" | "payouts":
                    await self._list(look, account, gateway)
                case "dispute":
                    await self._look_at_dispute(look, account, gateway)
                case "payout":
                    await self._look_at_payout(look, account, gateway)
                case _:
                    assert_never(look.noun)
        except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
            log.warning("look_not_settled", error=type(error).__name__)
        except Exception as fault:  # noqa: BLE001 - one look must not hold up the others
            log.error("look_not_settled", **described(fault))

    async def _list(self, look: Look, account: Account, gateway: SettlementGateway) -> None:
        now = self._clock.now()
        since = None if look.seen_until is None else look.seen_until - LIST_OVERLAP
        silence: Listed | NotSent | Unknown = Unknown("no_answer")
        asking, of_one = gateway.list_disputes, "dispute"
        if look.noun == "payouts":
            asking, of_one = gateway.list_payouts, "payout"
        answer, call = await self._calls.ask(account, "list", asking(account, since), silence)
        if not isinstance(answer, Listed):
            await self._in_vain(look, call)
            return
        async with writing(self._pool, [look.legal_entity_id]) as connection:
            if not await is_ours(connection, look):
                return
            known = await known_of(connection, look, answer.object_ids)
            new = [one for one in answer.object_ids if one not in known]
            if new:
                await look_at_new(connection, look, of_one, new, now)
            again = now if answer.until else now + LIST_EVERY
            await end_look(connection, look, again, now, seen_until=answer.until or now)

    async def _look_at_dispute(
        self, look: Look, account: Account, gateway: SettlementGateway
    ) -> None:
        silence: DisputeLook = Unknown("no_answer")
        asking = gateway.look_at_dispute(account, look.gateway_object_id)
        answer, call = await self._calls.ask(account, "look_at_dispute", asking, silence)
        match answer:
            case Seen():
                due = await self._settle(look, account, answer, call)
                if due is not None:
                    await self._tell(look, account, gateway, due)
            case NoSuchObject():
                await self._not_shown(look, call)
            case NotSent() | Unknown():
                await self._in_vain(look, call)
            case _:
                assert_never(answer)

    async def _look_at_payout(
        self, look: Look, account: Account, gateway: SettlementGateway
    ) -> None:
        silence: PayoutLook = Unknown("no_answer")
        known = await known_items(self._pool, look)
        asking = gateway.look_at_payout(account, look.gateway_object_id, known)
        answer, call = await self._calls.ask(account, "look_at_payout", asking, silence)
        match answer:
            case PayoutShown(seen, items):
                await settle_payout(
                    self._pool,
                    self._clock,
                    look,
                    account,
                    seen,
                    items,
                    actor=self._actor,
                )
            case PayoutReturned(why):
                await settle_returned(
                    self._pool, self._clock, look, account, why, actor=self._actor
                )
            case NoSuchObject():
                await self._not_shown(look, call)
            case NotSent() | Unknown():
                await self._in_vain(look, call)
            case _:
                assert_never(answer)

    async def _tell(
        self, look: Look, account: Account, gateway: SettlementGateway, due: DueAnswer
    ) -> None:
        """Sends an answer that is written down; what may be under way is looked for first."""
        told, call = await self._teller.tell(account, gateway, due)
        if isinstance(told, Seen) and call is not None:
            await self._settle(look, account, told, call, Ended("done"))
        elif isinstance(told, NotTaken) and call is not None and due.alone:
            await self._settle(look, account, due.seen, call, Ended("refused", told.why))
        else:
            unopened = due.answer.answer_id if isinstance(told, NotSent) and due.first else None
            await self._in_vain(look, call, unopened)

    async def _settle(
        self, look: Look, account: Account, seen: Seen, call: Call, ended: Ended | None = None
    ) -> DueAnswer | None:
        """One transaction: the payment's lock, the decision, and all that follows from it.

        Returns the answer that is to be sent now, if there is one; the look stays ours then.
        """
        due: DueAnswer | None = None
        entity, now = look.legal_entity_id, self._clock.now()
        async with writing(self._pool, [entity]) as connection:
            wrong = await not_ours(connection, look, seen)
            if wrong is None and seen.payment_id is not None:
                rows = await connection.fetch(
                    COMMANDS_SQL["lock_payments"], [entity], [seen.payment_id]
                )
                payment = payment_of(rows[0])
                if not await is_ours(connection, look):
                    return None
                row = await connection.fetchrow(
                    DISPUTES_SQL["dispute_at_gateway"],
                    entity,
                    look.gateway_account_id,
                    look.gateway_object_id,
                )
                known = None if row is None else dispute_of(row)
                if waits_for_payment(payment, seen):
                    again = now + _again_after(look)
                    await end_look(connection, look, again, now, in_vain=True)
                    return None
                new = NewRow(
                    dispute_id=new_id(microseconds_since_epoch(now), entity),
                    digest_salt=os.urandom(16),
                    gateway=account.gateway,
                    gateway_account_id=account.gateway_account_id,
                )
                decision = dispute_seen(payment, known, seen, new, now)
                if decision.kind is not None:
                    payload = changes_payload(
                        payment,
                        decision.payment,
                        call=call,
                        dispute=dispute_summary(decision.dispute),
                    )
                    await write_dispute(connection, decision, self._actor, payload)
                    await write_reviews(connection, of_payment(payment, decision.payment))
                due = await settle_answer(
                    connection, decision, seen, call, ended, actor=self._actor, now=now
                )
                if due is None:
                    later = next_look(decision.dispute, now) or now + AT_REST
                    await end_look(connection, look, later, now)
                wrong = await other_amount(connection, look, seen)
                if wrong is not None:
                    await self._park(connection, look, wrong, now)
        if wrong == NOT_YET:
            await self._in_vain(look, call)
        elif wrong in (None, OTHER_AMOUNT):
            self._told(look, wrong)
        else:
            await self._nothing_of_ours(look, wrong or UNKNOWN)
        return due

    async def _not_shown(self, look: Look, call: Call) -> None:
        """What the account showed before is asked for again: it may be another account's keys that
        somebody entered. So is what may be too new to be shown.
        """
        is_new, now = look.tries <= UNSEEN_TRIES, self._clock.now()
        async with writing(self._pool, [look.legal_entity_id]) as connection:
            is_known = bool(await known_of(connection, look, [look.gateway_object_id]))
            if is_known and not is_new and await is_ours(connection, look):
                await self._park(connection, look, OTHER_OBJECT, now)
        if is_known or is_new:
            await self._in_vain(look, call)
        else:
            await self._nothing_of_ours(look, OTHER_OBJECT)

    async def _nothing_of_ours(self, look: Look, reason: str) -> None:
        """It rests; and the webhook that told of it is parked, for somebody to look at."""
        now = self._clock.now()
        async with writing(self._pool, [look.legal_entity_id]) as connection:
            if not await is_ours(connection, look):
                return
            await end_look(connection, look, now + AT_REST, now, reason=reason)
            await self._park(connection, look, reason, now)
        self._told(look, reason)

    async def _in_vain(self, look: Look, call: Call | None, unopened: UUID | None = None) -> None:
        """Again, later; of the answer `unopened` certainly nothing was sent."""
        now = self._clock.now()
        async with writing(self._pool, [look.legal_entity_id]) as connection:
            if unopened is not None and await is_ours(connection, look):
                of = look.legal_entity_id, unopened
                await connection.execute(DISPUTES_SQL["answer_unopened"], *of, now)
            await end_look(connection, look, now + _again_after(look), now, in_vain=True)
        reason = "not_sent" if call is None else call.outcome
        log.warning("look_in_vain", reason=reason, items=look.tries)

    async def _park(self, connection: Connection, look: Look, reason: str, now: datetime) -> None:
        """The webhook that told of it, if one did; an alarm where it names what it has no part in.

        A list shows what others do with the same account: that is no alarm.
        """
        event_id = look.gateway_event_id
        if event_id is None:
            return
        of = look.legal_entity_id, look.gateway_account_id
        await connection.execute(SQL["park_hint"], *of, event_id, reason, now)
        if reason in ALARMING:
            raised = alarm(
                "webhook_mismatched",
                legal_entity_id=look.legal_entity_id,
                gateway_account_id=look.gateway_account_id,
                subject=event_id,
                reason=reason,
                at=now,
            )
            await raise_alarms(connection, [raised], self._actor)

    def _told(self, look: Look, reason: str | None) -> None:
        if reason is not None and look.gateway_event_id is not None:
            account = to_text("gwa", look.gateway_account_id)
            ids = [account, look.gateway_object_id, look.gateway_event_id]
            log.warning("webhook_mismatched", reason=reason, ids=ids)


def _again_after(look: Look) -> timedelta:
    """How long what was looked at in vain waits."""
    return timedelta(seconds=AGAIN_SECONDS[min(look.tries, len(AGAIN_SECONDS)) - 1])

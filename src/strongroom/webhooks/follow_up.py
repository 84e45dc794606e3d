"""What becomes of a hint: its payment or refund is looked at now, by the engine that always looks.

Nothing of a webhook is written into a payment. A hint that names an object of ours, at the account
that received it, makes the job of its owner due; the worker then asks the gateway, with the
credentials of that account, as it would have done at its next look.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from strongroom.alarms.raising import Alarm, alarm, raise_alarms
from strongroom.clock import Clock
from strongroom.customers.rows import Token, ask_for_cards
from strongroom.database import (
    SERIALIZATION_FAILURES,
    UNREACHABLE,
    Connection,
    see,
    statements,
    writing,
)
from strongroom.errors import described
from strongroom.ids import tag_of, to_text
from strongroom.payments.rows import Row
from strongroom.settlement.looks import OF_OBJECT, Told, ask_for_looks
from strongroom.webhooks.hints import OTHER_OBJECT, UNKNOWN, HintState, Lane
from strongroom.work.bell import NO_BELL, NoBell

SQL: Final = statements("strongroom.webhooks", "webhooks.sql")
HINTS_MAX: Final = 256
IDLE_WAIT_SECONDS: Final = 0.1
FAILED_WAIT_SECONDS: Final = 0.5
CAREFUL_STEPS: Final = 2 * HINTS_MAX
"""After a batch that failed by itself, so many hints go one by one."""
HELD_WAIT: Final = timedelta(milliseconds=200)
HELD_WAIT_MAX: Final = timedelta(seconds=2)
FAULT_WAIT: Final = timedelta(minutes=1)

OTHER_ENTITY: Final = "other_legal_entity"
OTHER_ACCOUNT: Final = "other_gateway_account"
OTHER_AMOUNT: Final = "other_amount"
ALARMING: Final = frozenset({OTHER_ENTITY, OTHER_ACCOUNT, OTHER_OBJECT, OTHER_AMOUNT})
"""Genuine by its signature, and about what its account has no part in."""

ACTOR: Final = "worker"
METHOD: Final = "payment_method"
SETUP: Final = "setup_intent"

Key = tuple[UUID, UUID, int | None]

log = structlog.get_logger()


class End(NamedTuple):
    """What becomes of one hint; `received` with a later `run_at` means: look again then."""

    hint: Row
    state: HintState
    reason: str | None
    run_at: datetime


class FollowUp:
    """Follows hints up, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        buckets: Sequence[int],
        bell: NoBell = NO_BELL,
    ) -> None:
        self._pool, self._clock = pool, clock
        self._buckets = list(buckets)
        self._careful = 0
        self._lane = bell.lane(SQL["hints_due"])

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again."""
        while True:
            try:
                number = await self.step()
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("webhooks_not_followed", error=type(error).__name__)
                await asyncio.sleep(FAILED_WAIT_SECONDS)
                continue
            except Exception as fault:  # noqa: BLE001 - one hint must not hold up the others
                log.error("webhooks_not_followed", **described(fault))
                await self._be_careful()
                continue
            if number < (1 if self._careful else HINTS_MAX):
                await self._lane.rest(IDLE_WAIT_SECONDS)

    async def step(self, most: int = HINTS_MAX) -> int:
        """Follows up what is due, at most so many; returns how many there were."""
        self._careful = max(0, self._careful - 1)
        most = 1 if self._careful else most
        now = self._clock.now()
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            hints = await connection.fetch(SQL["due_hints"], self._buckets, now, most)
            if not hints:
                return 0
            await see(connection, {hint["legal_entity_id"] for hint in hints})
            told = [one for hint in hints if (one := _told(hint)) is not None]
            await ask_for_looks(connection, told, now)
            owners = await _owners(connection, hints)
            of_cards = [h for h in hints if _is_card(h)]
            cards = await ask_for_cards(
                connection,
                [_card(h) for h in of_cards if h["object_type"] == METHOD],
                [(*_card(h), h["owner_id"]) for h in of_cards if h["object_type"] == SETUP],
                now,
            )
            ends = [_judged(hint, owners.get(_key(hint)), cards, now) for hint in hints]
            held = await _hurry(connection, [e for e in ends if e.state == "applied"], now)
            ends = [_waiting(end, now) if _key(end.hint)[:2] in held else end for end in ends]
            await _write(connection, ends, now)
            alarms = [_alarm(end, now) for end in ends if end.reason in ALARMING]
            await raise_alarms(connection, alarms, ACTOR)
        for end in ends:
            if end.reason in ALARMING:
                account = to_text("gwa", end.hint["gateway_account_id"])
                ids = [account, end.hint["gateway_event_id"]]
                log.warning("webhook_mismatched", reason=end.reason, ids=ids)
        return len(hints)

    async def _be_careful(self) -> None:
        """Hints go one by one from now on; the one that fails by itself waits for a while."""
        try:
            if self._careful:
                await self._set_aside()
        except Exception as fault:  # noqa: BLE001 - it is tried again with the next one
            log.error("webhooks_not_followed", **described(fault))
            await asyncio.sleep(FAILED_WAIT_SECONDS)
        self._careful = CAREFUL_STEPS

    async def _set_aside(self) -> None:
        now = self._clock.now()
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            hints = await connection.fetch(SQL["due_hints"], self._buckets, now, 1)
            await see(connection, {hint["legal_entity_id"] for hint in hints})
            await _write(
                connection, [End(h, "received", None, now + FAULT_WAIT) for h in hints], now
            )


def _key(row: Row) -> Key:
    return row["legal_entity_id"], row["owner_id"], row["attempt_no"]


async def _owners(connection: Connection, hints: Sequence[Row]) -> dict[Key, Row]:
    """What of ours the hints name, as far as it is there and of their own legal entity."""
    found: dict[Key, Row] = {}
    payments = sorted({_key(hint) for hint in hints if hint["lane"] == "payments"})
    if payments:
        columns = [list(column) for column in zip(*payments, strict=True)]
        for row in await connection.fetch(SQL["attempts_hinted"], *columns):
            found[_key(row)] = row
    refunds = sorted({_key(hint)[:2] for hint in hints if hint["lane"] == "refunds"})
    if refunds:
        columns = [list(column) for column in zip(*refunds, strict=True)]
        for row in await connection.fetch(SQL["refunds_hinted"], *columns):
            found[row["legal_entity_id"], row["owner_id"], None] = row
    return found


def _told(hint: Row) -> Told | None:
    """Of what money does later, an object that the gateway alone can say something about."""
    noun = OF_OBJECT.get(hint["object_type"]) if hint["lane"] is None else None
    if noun is None:
        return None
    account = hint["gateway_account_id"]
    object_id, event_id = hint["gateway_object_id"], hint["gateway_event_id"]
    return Told(hint["legal_entity_id"], account, noun, object_id, event_id)


def _is_card(hint: Row) -> bool:
    """About an instrument that we saved, perhaps, or what saves one."""
    return hint["lane"] is None and hint["object_type"] in (METHOD, SETUP)


def _card(hint: Row) -> Token:
    return hint["legal_entity_id"], hint["gateway_account_id"], hint["gateway_object_id"]


def _judged(hint: Row, owner: Row | None, cards: set[Token], now: datetime) -> End:
    if _is_card(hint):
        known = _card(hint) in cards
        return End(hint, "applied" if known else "ignored", None if known else UNKNOWN, now)
    reason = None if _told(hint) else _reason(hint, owner)
    return End(hint, "parked" if reason else "applied", reason, now)


def _reason(hint: Row, owner: Row | None) -> str | None:
    """Why nothing is looked at for this hint; None when its owner is."""
    if tag_of(hint["owner_id"]) != tag_of(hint["legal_entity_id"]):
        return OTHER_ENTITY
    if owner is None:
        return UNKNOWN
    if owner["gateway_account_id"] != hint["gateway_account_id"]:
        return OTHER_ACCOUNT
    known = owner["gateway_object_id"]
    if known is not None and known != hint["known_by"]:
        return OTHER_OBJECT
    if hint["amount_minor"] is not None and (hint["amount_minor"], hint["currency"]) != (
        owner["amount_minor"],
        owner["currency"],
    ):
        return OTHER_AMOUNT
    return None


def _alarm(end: End, now: datetime) -> Alarm:
    hint = end.hint
    return alarm(
        "webhook_mismatched",
        legal_entity_id=hint["legal_entity_id"],
        gateway_account_id=hint["gateway_account_id"],
        subject=hint["gateway_object_id"] or hint["gateway_event_id"],
        reason=end.reason or "",
        at=now,
    )


async def _hurry(
    connection: Connection, ends: Sequence[End], now: datetime
) -> set[tuple[UUID, UUID]]:
    """Makes jobs due; returns the owners that a worker is at in this moment.

    Such a worker may have asked the gateway before what the hint is about had happened.
    """
    lanes: tuple[tuple[Lane, str], ...] = (
        ("payments", "hurry_payments"),
        ("refunds", "hurry_refunds"),
    )
    held: set[tuple[UUID, UUID]] = set()
    for lane, statement in lanes:
        owners = sorted({_key(end.hint)[:2] for end in ends if end.hint["lane"] == lane})
        if owners:
            columns = [list(column) for column in zip(*owners, strict=True)]
            rows = await connection.fetch(SQL[statement], *columns, now)
            held |= {(row["legal_entity_id"], row["owner_id"]) for row in rows}
    return held


def _waiting(end: End, now: datetime) -> End:
    if end.state != "applied":
        return end
    wait = min(HELD_WAIT * 2 ** min(end.hint["tries"], 8), HELD_WAIT_MAX)
    return End(end.hint, "received", None, now + wait)


async def _write(connection: Connection, ends: Sequence[End], now: datetime) -> None:
    await connection.execute(
        SQL["end_hints"],
        [end.hint["legal_entity_id"] for end in ends],
        [end.hint["gateway_account_id"] for end in ends],
        [end.hint["gateway_event_id"] for end in ends],
        [end.state for end in ends],
        [end.reason for end in ends],
        [end.run_at for end in ends],
        now,
    )

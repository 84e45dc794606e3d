"""A command comes while a gateway is being asked: nothing that was answered 2xx is put off."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.clock import ShiftedClock
from strongroom.ids import BUCKETS
from strongroom.payments.claims import Claimed
from strongroom.payments.commands import Commander, Done, Order, _carry_out_wave
from strongroom.payments.engine import Engine
from strongroom.payments.idempotency import fingerprint
from strongroom.payments.states import (
    Answer,
    Answered,
    Authorized,
    Call,
    CancelAsked,
    CancelObject,
    CaptureAsked,
    CaptureHold,
    Command,
    Look,
    NotSent,
    Payment,
    Send,
)
from tests.integration.test_journal import Staged, accepted, pool
from tests.unit.examples import AMOUNT, PART

__all__ = ["pool"]
LEASE = timedelta(seconds=25)
SOON = timedelta(minutes=1)
"""Far less than a hold lasts."""


def order_for(of: Payment, wish: Command, clock: ShiftedClock) -> Order:
    return Order(
        legal_entity_id=of.legal_entity_id,
        payment_id=of.payment_id,
        idempotency_key=f"{type(wish).__name__}-{clock.now().timestamp()}",
        operation="payments.test",
        fingerprint=fingerprint("POST", "/", {}),
        actor="test",
        at=clock.now(),
        wish=lambda _: wish,
    )


class Shop:
    """One payment, commands on it, and an engine whose gateway says what a test wants."""

    def __init__(self, pool: Any, clock: ShiftedClock) -> None:
        gateways: Any = {"stripe": Staged()}
        self.pool, self.clock = pool, clock
        self.engine = Engine(
            pool, clock, gateways, actor="worker", lease=LEASE, buckets=range(BUCKETS)
        )
        self.commander = Commander(pool)

    async def command(self, of: Payment, wish: Command) -> Payment:
        order = order_for(of, wish, self.clock)
        done = await self.commander.carry_out(order)
        assert isinstance(done, Done), done
        return done.payment

    async def answer(self, claimed: Claimed, answer: Answer, asked: Any = "look") -> Any:
        call = Call(operation=asked, started_at=self.clock.now(), duration_ms=1.0, outcome="x")
        sent = replace(claimed.attempt, gateway_object_id="pi_1")
        answered = Answered(attempt=sent, answer=answer, call=call, asked=asked, tries=1)
        return await self.engine.settle(claimed.payment, answered, claimed.lease)

    async def claim(self) -> Claimed:
        [claimed] = await self.engine.claim(10)
        return claimed

    async def job_at(self) -> datetime:
        async with self.pool.acquire() as connection:
            found: datetime = await connection.fetchval("SELECT run_at FROM jobs")
            return found


@pytest.fixture
async def shop(pool):
    made = Shop(pool, ShiftedClock())
    made.engine.start()
    made.commander.start()
    yield made
    await made.commander.drain()
    await made.engine.drain()


async def sent(shop: Shop, **fields: Any) -> Claimed:
    """A payment whose object's id is committed, claimed by who is about to confirm it."""
    await accepted(shop.pool, shop.clock, **fields)
    claimed = await shop.claim()
    call = Call(operation="create", started_at=shop.clock.now(), duration_ms=1.0, outcome="x")
    assert await shop.engine.commit_object_id(claimed, "pi_1", call)
    return claimed


async def looked_at(shop: Shop) -> tuple[Claimed, Authorized]:
    """A hold near its end, claimed by who is about to ask the gateway for it."""
    claimed = await sent(shop, capture="manual")
    hold = Authorized(AMOUNT, "EUR", shop.clock.now() + timedelta(days=7))
    authorized = await shop.answer(claimed, hold, "send")
    assert authorized.payment.status == "authorized"
    shop.clock.advance(timedelta(days=6, hours=23, minutes=5))
    look = await shop.claim()
    assert look.effect == Look()
    return look, hold


@pytest.mark.parametrize(
    ("wish", "effect"), [(CaptureAsked(PART), CaptureHold()), (CancelAsked(), CancelObject())]
)
async def test_what_is_asked_while_a_hold_is_looked_at_is_done_at_once(shop, wish, effect):
    look, hold = await looked_at(shop)
    asked = await shop.command(look.payment, wish)
    assert asked.status == "processing"
    settled = await shop.answer(look, hold)
    assert settled.payment == asked
    if settled.effect != effect:
        assert await shop.job_at() <= shop.clock.now() + SOON
        shop.clock.advance(SOON)
        assert (await shop.claim()).effect == effect


async def test_what_is_canceled_while_it_is_looked_at_is_not_sent(shop):
    claimed = await sent(shop)
    shop.clock.advance(LEASE)
    look = await shop.claim()
    await shop.command(claimed.payment, CancelAsked())
    settled = await shop.answer(look, NotSent("not_confirmed_yet"))
    assert settled.payment.closing == "canceled"
    assert settled.effect != Send()
    shop.clock.advance(SOON)
    assert (await shop.claim()).effect == CancelObject()


async def test_an_answer_waits_for_a_command_that_has_not_committed(shop):
    """The command has found that someone is at the payment, and so left its job alone."""
    look, hold = await looked_at(shop)
    order = order_for(look.payment, CaptureAsked(PART), shop.clock)
    outcomes: dict[int, Any] = {}
    async with shop.pool.acquire() as connection:
        await connection.execute("BEGIN")
        await _carry_out_wave(connection, [order], outcomes)
        answering = asyncio.create_task(shop.answer(look, hold))
        await asyncio.sleep(0.3)
        assert not answering.done()
        await connection.execute("COMMIT")
        settled = await answering
    assert settled.payment.capture_minor == PART
    assert settled.effect == CaptureHold() or await shop.job_at() <= shop.clock.now() + SOON

"""Two who act for one payment, and a transaction that runs again: what the database decides."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from strongroom.clock import ShiftedClock
from strongroom.ids import BUCKETS
from strongroom.payments.claims import Settlement
from strongroom.payments.decide import decide
from strongroom.payments.engine import PAYMENTS_SQL, SQL, Engine
from strongroom.payments.journal import Verdict, payload_of
from strongroom.payments.rows import attempt_of, payment_of
from strongroom.payments.states import Answer, Answered, Attempt, Call, Canceled, Due, NotSent
from strongroom.payments.verdicts import write_verdicts
from tests.integration.test_journal import Staged, accepted, pool
from tests.unit.examples import ENTITY

__all__ = ["pool"]
LEASE = timedelta(seconds=25)


def engine_of(pool: Any, clock: ShiftedClock) -> Engine:
    gateways: Any = {"stripe": Staged()}
    return Engine(pool, clock, gateways, actor="worker", lease=LEASE, buckets=range(BUCKETS))


def answered(of: Attempt, answer: Answer, clock: ShiftedClock) -> Answered:
    call = Call(operation="cancel", started_at=clock.now(), duration_ms=1.0, outcome="x")
    return Answered(attempt=of, answer=answer, call=call, asked="look", tries=1)


async def stored(pool: Any) -> tuple[str, str, str | None]:
    """Status of the payment, state of its attempt, and its object's id."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(
            "SELECT p.status, a.state, a.gateway_object_id FROM payments p "
            "JOIN attempts a USING (legal_entity_id, payment_id)"
        )
    return tuple(row)


@pytest.mark.parametrize("committed", ["before the other one writes", "while it has written"])
async def test_what_another_claim_ends_is_not_to_be_sent(pool, committed):
    """The first sender commits its id between what the second one reads and its COMMIT."""
    clock = ShiftedClock()
    one = await accepted(pool, clock)
    engine = engine_of(pool, clock)
    engine.start()
    [first] = await engine.claim(1)
    clock.advance(timedelta(minutes=16))
    call = Call(operation="create", started_at=clock.now(), duration_ms=1.0, outcome="x")
    async with pool.acquire() as second:
        await second.execute("BEGIN")
        [row] = await second.fetch(PAYMENTS_SQL["payments_by_id"], [ENTITY], [one.payment_id])
        [of_row] = await second.fetch(SQL["read_attempts"], [ENTITY], [one.payment_id])
        seen, of = payment_of(row), attempt_of(of_row)
        made = decide(seen, Due(of), clock.now())
        assert made.payment.status == "canceled"
        may_send, early = False, committed == "before the other one writes"
        if early:
            may_send = await engine.commit_object_id(first, "pi_1", call)
        verdict = Verdict(seen, made, payload_of(seen, made, of, None), first.lease + 1, of)
        try:
            lost = await write_verdicts(second, [verdict], clock.now(), "worker")
        except asyncpg.SerializationError:
            await second.execute("ROLLBACK")
            lost = {one.payment_id}
        else:
            asked = engine.commit_object_id(first, "pi_1", call)
            await asyncio.sleep(0.2)
            assert not asked.done()  # it waits for the row
            await second.execute("COMMIT")
            may_send = await asked
    assert not (may_send and not lost), "one may send what the other has canceled"
    if may_send:
        assert await stored(pool) == ("processing", "open", "pi_1")
    else:
        assert await stored(pool) == ("canceled", "not_sent", None)
    assert may_send == early
    await engine.drain()


async def test_a_settlement_that_runs_again_knows_its_own_change(pool):
    clock = ShiftedClock()
    await accepted(pool, clock)
    engine = engine_of(pool, clock)
    [claimed] = await engine.claim(1)
    lease = claimed.lease
    async with pool.acquire() as connection:
        await connection.execute("UPDATE attempts SET gateway_object_id = 'pi_1'")
    of = replace(claimed.attempt, gateway_object_id="pi_1")
    spent = answered(of, NotSent("not_confirmed_yet", fresh_key=True), clock)
    [closing] = await engine._settle(
        [Settlement(payment=claimed.payment, answered=spent, lease=lease)]
    )
    assert closing.payment.closing == "new_attempt"
    again = Settlement(
        payment=closing.payment, answered=answered(of, Canceled(), clock), lease=lease
    )
    [once] = await engine._settle([again])
    [twice] = await engine._settle([again])  # as after a COMMIT whose answer was lost
    [thrice] = await engine._settle([again])
    assert (once.payment.status, once.payment.attempt_no) == ("processing", 2)
    assert twice == once
    assert thrice == once


async def test_what_was_opened_before_all_the_same_is_dropped_from_the_claim(pool):
    """A job that was made anew does not know that its payment was claimed before."""
    clock = ShiftedClock()
    await accepted(pool, clock)
    engine = engine_of(pool, clock)
    [first] = await engine.claim(1)
    async with pool.acquire() as connection:
        await connection.execute("UPDATE attempts SET gateway_object_id = 'pi_1'")
        await connection.execute("UPDATE jobs SET tries = 0, held = false")
    clock.advance(LEASE)
    assert await engine.claim(1) == []
    clock.advance(LEASE)
    [third] = await engine.claim(1)
    assert third.payment == first.payment
    assert third.attempt == replace(first.attempt, gateway_object_id="pi_1")
    assert third.lease == first.lease + 2


UNWANTED = {
    "a person has to look first": "UPDATE payments SET review = 'amount_mismatch'",
    "it is being given up": "UPDATE payments SET closing = 'new_attempt'",
    "nobody knows its outcome": "UPDATE payments SET status = 'outcome_unknown'",
    "another attempt counts": "UPDATE payments SET attempt_no = 2",
    "its attempt was not sent": "UPDATE attempts SET state = 'not_sent'",
    "there is another object": "UPDATE attempts SET gateway_object_id = 'pi_0'",
}


@pytest.mark.parametrize("why", UNWANTED)
async def test_an_id_is_not_committed_when(pool, why):
    clock = ShiftedClock()
    await accepted(pool, clock)
    engine = engine_of(pool, clock)
    engine.start()
    [claimed] = await engine.claim(1)
    async with pool.acquire() as connection:
        await connection.execute(UNWANTED[why])
    before = await stored(pool)
    call = Call(operation="create", started_at=clock.now(), duration_ms=1.0, outcome="x")
    assert not await engine.commit_object_id(claimed, "pi_1", call)
    assert await stored(pool) == before
    await engine.drain()


async def test_of_two_objects_of_an_attempt_one_may_be_sent(pool):
    """Two senders ask in one batch, each for the object that it has made."""
    clock = ShiftedClock()
    await accepted(pool, clock)
    engine = engine_of(pool, clock)
    [first] = await engine.claim(1)
    clock.advance(LEASE)
    [second] = await engine.claim(1)
    call = Call(operation="create", started_at=clock.now(), duration_ms=1.0, outcome="x")
    asked = [
        engine.commit_object_id(one, name, call)
        for one, name in ((first, "pi_1"), (second, "pi_2"))
    ]
    engine.start()  # so that both are in one batch
    may_send = await asyncio.gather(*asked)
    await engine.drain()
    _, _, object_id = await stored(pool)
    assert may_send == [object_id == "pi_1", object_id == "pi_2"]


async def test_what_was_abandoned_is_not_sent_beside_the_next_attempt(pool):
    """The first sender comes back when the second one, of the next attempt, has its object."""
    clock = ShiftedClock()
    await accepted(pool, clock)
    engine = engine_of(pool, clock)
    [first] = await engine.claim(1)
    clock.advance(LEASE)
    [second] = await engine.claim(1)
    refused = replace(
        answered(second.attempt, NotSent("gateway_error", fresh_key=True), clock), asked="send"
    )
    [closing] = await engine._settle(
        [Settlement(payment=second.payment, answered=refused, lease=second.lease)]
    )
    assert closing.payment.closing == "new_attempt"
    clock.advance(LEASE)
    assert await engine.claim(1) == []  # the first attempt is abandoned
    [third] = await engine.claim(1)
    assert third.attempt.attempt_no == 2
    seed = first.payment.gateway_key_seed.hex()
    assert [one.attempt.gateway_key for one in (first, third)] == [f"sr_{seed}_1", f"sr_{seed}_2"]
    call = Call(operation="create", started_at=clock.now(), duration_ms=1.0, outcome="x")
    asked = [
        engine.commit_object_id(one, name, call) for one, name in ((first, "pi_1"), (third, "pi_2"))
    ]
    engine.start()  # so that both are in one batch
    may_send = await asyncio.gather(*asked)
    await engine.drain()
    assert may_send == [False, True]

"""Two who act for one payment, and a transaction that runs again: what the database decides."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.clock import ShiftedClock
from strongroom.ids import BUCKETS
from strongroom.payments.decide import decide
from strongroom.payments.engine import SQL, Engine, Settlement
from strongroom.payments.journal import Verdict, payload_of
from strongroom.payments.rows import attempt_of, payment_of
from strongroom.payments.states import Answer, Answered, Attempt, Call, Canceled, Due, NotSent
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


@pytest.mark.xfail(strict=True, reason="an id is committed beside a claim that ends the attempt")
async def test_what_another_claim_ends_is_not_to_be_sent(pool):
    """The first sender commits its id between what the second one reads and what it writes."""
    clock = ShiftedClock()
    one = await accepted(pool, clock)
    engine = engine_of(pool, clock)
    engine.start()
    [first] = await engine.claim(1)
    clock.advance(timedelta(minutes=16))
    async with pool.acquire() as second:
        await second.execute("BEGIN")
        [row] = await second.fetch(SQL["read_payments"], [ENTITY], [one.payment_id])
        [of_row] = await second.fetch(SQL["read_attempts"], [ENTITY], [one.payment_id])
        seen, of = payment_of(row), attempt_of(of_row)
        made = decide(seen, Due(of), clock.now())
        assert made.payment.status == "canceled"
        call = Call(operation="create", started_at=clock.now(), duration_ms=1.0, outcome="x")
        may_send = await engine.commit_object_id(first, "pi_1", call)
        verdict = Verdict(seen, made, payload_of(seen, made, of, None), of)
        try:
            lost = await engine._write(second, [verdict], clock.now())
        finally:
            await second.execute("COMMIT")
    assert not (may_send and not lost), "one may send what the other has canceled"


@pytest.mark.xfail(strict=True, reason="the second run does not know the first one's change again")
async def test_a_settlement_that_runs_again_knows_its_own_change(pool):
    clock = ShiftedClock()
    await accepted(pool, clock)
    engine = engine_of(pool, clock)
    [claimed] = await engine.claim(1)
    async with pool.acquire() as connection:
        await connection.execute("UPDATE attempts SET gateway_object_id = 'pi_1'")
    of = replace(claimed.attempt, gateway_object_id="pi_1")
    spent = answered(of, NotSent("not_confirmed_yet", fresh_key=True), clock)
    [closing] = await engine._settle([Settlement(payment=claimed.payment, answered=spent)])
    assert closing.payment.closing == "new_attempt"
    again = Settlement(payment=closing.payment, answered=answered(of, Canceled(), clock))
    [once] = await engine._settle([again])
    [twice] = await engine._settle([again])  # as after a COMMIT whose answer was lost
    assert once.payment.status == "processing"
    assert twice.payment == once.payment

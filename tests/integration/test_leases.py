"""Whose word counts for what is planned: the holder's of the lease, or anybody's without one."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.clock import ShiftedClock
from strongroom.payments.claims import Claimed
from strongroom.payments.states import (
    ActionRequired,
    Answer,
    Answered,
    Approved,
    Call,
    Pending,
    Unknown,
)
from tests.integration.test_engine_races import LEASE, engine_of
from tests.integration.test_journal import accepted, pool
from tests.unit.examples import AMOUNT

__all__ = ["pool"]
ACTION = ActionRequired({"type": "redirect_to_url", "url": "https://bank.example/3ds"})
PLANS = {
    "the payment stays as it is": (Pending(), "processing"),
    "the payment changes": (Unknown("no_answer"), "outcome_unknown"),
    "the payment waits for its customer": (ACTION, "requires_action"),
}
plans = pytest.mark.parametrize("plan", PLANS)


class Claims:
    """One payment, and the senders that claimed it one after the other."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.clock = ShiftedClock()
        self.engine = engine_of(pool, self.clock)

    async def next(self) -> Claimed:
        [claimed] = await self.engine.claim(1)
        return claimed

    async def settle(self, of: Claimed, answer: Answer) -> str:
        call = Call(operation="send", started_at=self.clock.now(), duration_ms=1.0, outcome="x")
        attempt = replace(of.attempt, gateway_object_id="pi_1")
        answered = Answered(attempt=attempt, answer=answer, call=call, asked="send", tries=of.tries)
        return (await self.engine.settle(of.payment, answered, of.lease)).payment.status

    async def job(self) -> dict[str, Any] | None:
        async with self.pool.acquire() as connection:
            row = await connection.fetchrow("SELECT run_at, held, lease, tries FROM jobs")
        return None if row is None else dict(row)


@pytest.fixture
async def claims(pool):
    made = Claims(pool)
    await accepted(pool, made.clock)
    made.engine.start()
    yield made
    await made.engine.drain()


async def test_a_claim_holds_the_job_until_its_lease_ends(claims):
    claimed = await claims.next()
    job = await claims.job()
    assert (job["held"], job["lease"], job["tries"]) == (True, claimed.lease, 1)
    assert abs(job["run_at"] - (claims.clock.now() + LEASE)) < timedelta(seconds=5)
    assert await claims.engine.claim(1) == []


@plans
async def test_the_holder_plans_and_lets_go(claims, plan):
    answer, status = PLANS[plan]
    claimed = await claims.next()
    assert await claims.settle(claimed, answer) == status
    job = await claims.job()
    assert (job["held"], job["lease"]) == (False, claimed.lease)
    assert job["run_at"] < claims.clock.now() + timedelta(seconds=5)


@plans
async def test_a_late_answer_does_not_plan_for_the_one_who_has_the_lease(claims, plan):
    answer, status = PLANS[plan]
    first = await claims.next()
    claims.clock.advance(LEASE)
    second = await claims.next()
    assert second.lease == first.lease + 1
    held = await claims.job()
    assert await claims.settle(first, answer) == status
    assert await claims.job() == held
    assert await claims.engine.claim(1) == []
    # Its holder may.
    await claims.settle(second, answer)
    job = await claims.job()
    assert (job["held"], job["lease"]) == (False, second.lease)
    assert job["run_at"] < held["run_at"]


@plans
async def test_a_late_answer_plans_when_the_last_holder_has_let_go(claims, plan):
    answer, _ = PLANS[plan]
    first = await claims.next()
    claims.clock.advance(LEASE)
    second = await claims.next()
    await claims.settle(second, Pending())
    let_go = await claims.job()
    claims.clock.advance(timedelta(minutes=1))
    await claims.settle(first, answer)
    job = await claims.job()
    assert (job["held"], job["lease"]) == (False, second.lease)
    assert job["run_at"] > let_go["run_at"] + timedelta(seconds=50)


@plans
async def test_a_late_answer_plans_when_the_last_holders_lease_has_ended(claims, plan):
    answer, _ = PLANS[plan]
    first = await claims.next()
    claims.clock.advance(LEASE)
    second = await claims.next()
    claims.clock.advance(LEASE)
    await claims.settle(first, answer)
    job = await claims.job()
    assert (job["held"], job["lease"]) == (False, second.lease)
    assert job["run_at"] > claims.clock.now() - timedelta(seconds=5)


async def test_a_charge_ends_the_job_whoever_has_the_lease(claims):
    first = await claims.next()
    claims.clock.advance(LEASE)
    second = await claims.next()
    assert await claims.settle(first, Approved(AMOUNT, "EUR")) == "succeeded"
    assert await claims.job() is None
    # And its holder's answer plans nothing for what is over.
    await claims.settle(second, Pending())
    assert await claims.job() is None
    assert await claims.settle(second, Unknown("no_answer")) == "succeeded"
    assert await claims.job() is None

"""The worker on a real PostgreSQL: poison, bad answers among good ones, and what is too late."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from strongroom.gateways.accounts import Accounts
from strongroom.ids import to_text
from strongroom.payments.acceptance import ReferenceTaken
from strongroom.payments.sender import Sender
from strongroom.payments.states import (
    Answer,
    Answered,
    Approved,
    Attempt,
    Call,
    Canceled,
    Declined,
    Payment,
    Pending,
    Unknown,
)
from strongroom.work.batch import Refused
from strongroom.work.calls import Calls
from strongroom.work.worker import Worker
from tests.integration.conftest import Deployment
from tests.integration.working import LEASE, WAIT_SECONDS_MAX, Shop, open_shop
from tests.unit.examples import AMOUNT

FUNDS = Declined("insufficient_funds", "insufficient_funds", object_open=True)
APPROVED = Approved(AMOUNT, "EUR")


@pytest.fixture
async def shop(deployment: Deployment):
    async with open_shop(deployment) as shop:
        yield shop


async def test_a_straight_payment_is_accepted_and_succeeds_in_two_versions(shop):
    one = await shop.accepted("straight")
    async with shop.working():
        await shop.until_status("succeeded", one)
    row = await shop.row("payments", one.payment_id)
    assert (row["version"], row["attempt_no"], row["captured_minor"]) == (2, 1, AMOUNT)
    assert await shop.kinds(one) == ["payment.accepted", "payment.succeeded"]
    assert (await shop.row("attempts", one.payment_id))["state"] == "approved"
    assert await shop.row("jobs", one.payment_id) is None
    assert len(shop.gateway.sent) == 1


# A payment whose claim fails by itself.

POISONS = {
    "its currency is no currency": (
        "UPDATE payments SET currency = '???' WHERE payment_id = '{}'",
        "UPDATE payments SET currency = 'EUR' WHERE payment_id = '{}'",
        "KeyError",
    ),
    "its gateway is gone": (
        "UPDATE payments SET gateway = 'gone' WHERE payment_id = '{}'",
        "UPDATE payments SET gateway = 'stripe' WHERE payment_id = '{}'",
        "KeyError",
    ),
    "its attempt cannot be written": (
        "ALTER TABLE attempts ADD CONSTRAINT poison CHECK (payment_id <> '{}')",
        "ALTER TABLE attempts DROP CONSTRAINT poison",
        "CheckViolationError",
    ),
}


@pytest.mark.parametrize("poison", POISONS)
async def test_a_poisonous_payment_is_set_aside_while_others_go_on(shop, poison):
    harm, cure, error = POISONS[poison]
    bad = await shop.accepted("bad")  # due first
    good = [await shop.accepted(f"good-{number}") for number in range(5)]
    await shop.owner.execute(harm.format(bad.payment_id))
    with capture_logs() as logged:
        async with shop.working():
            await shop.until_status("succeeded", *good)
            await shop.until(lambda: aside(logged, bad))
            # What comes later goes on as well.
            await shop.until_status("succeeded", await shop.accepted("later"))
            job = await shop.row("jobs", bad.payment_id)
            assert job["held"]
            assert job["tries"] == 1
            assert await shop.row("attempts", bad.payment_id) is None
            assert await shop.kinds(bad) == ["payment.accepted"]
            # Cured, it goes its way when the lease has ended.
            await shop.owner.execute(cure.format(bad.payment_id))
            shop.clock.advance(LEASE)
            await shop.until_status("succeeded", bad)
    failures = [line for line in logged if line["event"] == "claim_failed"]
    assert {line["error"] for line in failures} == {error}
    assert all(set(line) == {"event", "log_level", "error", "where"} for line in failures)
    assert sum(line["event"] == "set_aside" for line in logged) == 1
    assert len(shop.gateway.sent) == len(set(shop.gateway.sent)) == 7


async def aside(logged, one: Payment) -> bool:
    """Whether the worker said that it has set this payment aside."""
    named = [line["ids"] for line in logged if line["event"] == "set_aside"]
    return [to_text("pay", one.payment_id)] in named


async def test_work_that_is_cancelled_by_itself_waits_for_its_lease_and_costs_no_other(shop):
    going = asyncio.Event()

    async def making(_: Attempt) -> None:
        await going.wait()

    async def under_way() -> list[asyncio.Task[None]]:
        tasks = asyncio.all_tasks()
        return [task for task in tasks if task.get_coro().__qualname__ == "Sender.advance"]

    async def left() -> list[Payment]:
        return [one for one in payments if await shop.status(one) != "succeeded"]

    async def all_under_way() -> bool:
        return len(await under_way()) == len(payments)

    async def one_is_left() -> bool:
        return len(await left()) == 1

    shop.gateway.making = making
    payments = [await shop.accepted(f"one-{number}") for number in range(4)]
    async with shop.working():
        await shop.until(all_under_way)
        (await under_way())[0].cancel()
        going.set()
        await shop.until(one_is_left)
        [one] = await left()
        job = await shop.row("jobs", one.payment_id)
        assert (await shop.status(one), job["held"], job["tries"]) == ("processing", True, 1)
        await shop.until_status("succeeded", await shop.accepted("later"))
        shop.clock.advance(LEASE)
        await shop.until_status("succeeded", *payments)
    assert len(shop.gateway.sent) == len(set(shop.gateway.sent)) == 5


async def test_the_engine_sets_aside_what_is_due_first_and_does_nothing_for_it(shop):
    bad, good = await shop.accepted("bad"), await shop.accepted("good")
    await shop.owner.execute(
        "UPDATE payments SET currency = '???' WHERE payment_id = $1", bad.payment_id
    )
    engine = shop.engine()
    for most in (10, 1):
        with pytest.raises(KeyError):
            await engine.claim(most)
    assert [(await shop.row("jobs", one.payment_id))["tries"] for one in (bad, good)] == [0, 0]
    assert await engine.set_aside() == [bad.payment_id]
    [claimed] = await engine.claim(10)
    assert claimed.payment == good
    assert await engine.set_aside() == []
    shop.clock.advance(LEASE)
    with pytest.raises(KeyError):
        await engine.claim(10)  # it is back


async def test_an_answer_that_cannot_be_written_does_not_stop_the_others(shop):
    bad, *good = [await shop.accepted(f"order-{number}") for number in range(5)]
    await shop.owner.execute(
        "ALTER TABLE payments ADD CONSTRAINT poison "
        f"CHECK (payment_id <> '{bad.payment_id}' OR status <> 'succeeded')"
    )
    engine = shop.engine()
    claimed = {item.payment.payment_id: item for item in await engine.claim(10)}
    answers = [
        engine.settle(item.payment, answered(shop, item, APPROVED), item.lease)
        for item in claimed.values()
    ]
    engine.start()  # so that all are in one batch
    settled = await asyncio.gather(*answers, return_exceptions=True)
    by_id = dict(zip(claimed, settled, strict=True))
    assert isinstance(by_id[bad.payment_id], Refused)
    assert {by_id[one.payment_id].payment.status for one in good} == {"succeeded"}
    assert await shop.status(bad) == "processing"
    await shop.until_status("succeeded", *good)
    await engine.drain()


# What comes too late.


@pytest.mark.parametrize("late_by", [timedelta(), timedelta(minutes=1), timedelta(hours=21)])
async def test_nothing_is_sent_when_the_time_has_passed_while_the_object_was_made(shop, late_by):
    one = await shop.accepted("slow")

    async def slowly(_):
        await asyncio.sleep(0.05)
        shop.clock.advance(one.not_after - shop.clock.now() + late_by)

    shop.gateway.making = slowly
    async with shop.working(in_flight_max=1, claim_max=1):
        await shop.until_status("canceled", one)
    assert shop.gateway.sent == []
    assert len(shop.gateway.made) == 1
    assert shop.gateway.canceled == shop.gateway.made
    row = await shop.row("payments", one.payment_id)
    assert (row["status_reason"], row["captured_minor"]) == ("not_sent_in_time", 0)
    attempt = await shop.row("attempts", one.payment_id)
    assert (attempt["state"], attempt["gateway_object_id"]) == ("canceled", shop.gateway.made[0])
    assert await shop.kinds(one) == ["payment.accepted", "payment.closing", "payment.canceled"]
    assert await shop.row("merchant_references", one.payment_id) is None
    assert await shop.row("jobs", one.payment_id) is None


async def test_what_is_made_just_in_time_is_sent(shop):
    one = await shop.accepted("quick")

    async def slowly(_):
        shop.clock.advance(one.not_after - shop.clock.now() - timedelta(seconds=10))

    shop.gateway.making = slowly
    async with shop.working(in_flight_max=1, claim_max=1):
        await shop.until_status("succeeded", one)
    assert shop.gateway.sent == shop.gateway.made


async def test_nothing_is_sent_that_two_workers_make_while_its_time_passes(shop):
    """The one that is slow and the one that takes over, both past the time."""
    one = await shop.accepted("slow")

    async def slowly(_):
        await asyncio.sleep(0.3)
        if not shop.gateway.made:
            shop.clock.advance(one.not_after - shop.clock.now())

    shop.gateway.making = slowly
    async with shop.working(), shop.working():
        await shop.until_status("canceled", one)
    assert shop.gateway.sent == []


async def test_nothing_is_sent_whose_id_is_not_committed(shop):
    """While one sender makes its object another one has committed the id of its own."""
    one = await shop.accepted("twice")
    others = "UPDATE attempts SET gateway_object_id = 'pi_other' WHERE payment_id = $1"

    async def slowly(_):
        await shop.owner.execute(others, one.payment_id)

    shop.gateway.making = slowly
    async with shop.working():
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while await shop.status(one) != "succeeded":
                shop.clock.advance(timedelta(seconds=5))
                await asyncio.sleep(0.05)
    assert len(shop.gateway.made) == 1
    assert shop.gateway.sent == ["pi_other"]


async def test_an_answer_that_comes_after_the_deadline_is_heard(shop):
    """And nobody else could tell: each look teaches nothing."""
    one = await shop.accepted("late")
    may_answer, confirm = asyncio.Event(), shop.gateway.send

    async def late(account, attempt):
        await may_answer.wait()
        return await confirm(account, attempt)

    async def nothing(*_):
        return Unknown("no_answer"), shop.gateway._call("retrieve")

    shop.gateway.send, shop.gateway.look = late, nothing
    calls = Calls(shop.clock, timedelta(seconds=0.5), shop.lines)
    accounts, gateways = Accounts(shop._worker), {"stripe": shop.gateway}
    worker = Worker(Sender(shop.engine(), gateways, accounts, calls), calls)
    running = asyncio.create_task(worker.run())
    await shop.until_status("outcome_unknown", one)
    may_answer.set()
    try:
        await shop.until_status("succeeded", one)
    finally:
        worker.stop()
        await asyncio.wait_for(running, WAIT_SECONDS_MAX)
    assert len(shop.gateway.sent) == 1


def answered(shop: Shop, claimed, answer: Answer) -> Answered:
    call = Call(operation="confirm", started_at=shop.clock.now(), duration_ms=1.0, outcome="x")
    sent = replace(claimed.attempt, gateway_object_id="pi_1")
    return Answered(attempt=sent, answer=answer, call=call, asked="send", tries=1)


ENDS: dict[str, list[Answer]] = {
    "failed": [FUNDS, Canceled()],
    "canceled": [Pending(), Canceled()],
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("taken", [False, True])
async def test_a_late_charge_on_an_ended_payment_takes_its_reference_back(shop, end, taken):
    one = await shop.accepted("order")
    engine = shop.engine()
    engine.start()
    [claimed] = await engine.claim(1)
    seen = claimed.payment
    for answer in ENDS[end]:
        seen = (await engine.settle(seen, answered(shop, claimed, answer), claimed.lease)).payment
    assert seen.status == end
    assert await shop.row("merchant_references", one.payment_id) is None
    holder = await shop.accepted("order") if taken else one
    late = await engine.settle(seen, answered(shop, claimed, APPROVED), claimed.lease)
    assert (late.payment.status, late.payment.review) == (end, f"charged_after_{end}")
    assert (await shop.kinds(one))[-1] == "payment.frozen"
    assert (await shop.row("attempts", one.payment_id))["state"] == "approved"
    # A new payment under the reference would be a second charge.
    assert await shop.row("merchant_references", holder.payment_id) is not None
    _, refused = await shop.ask("order")
    assert refused == ReferenceTaken(holder.payment_id)
    await engine.drain()

"""What time alone brings: holds that end, refunds that fail later; both sides tell the same."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from strongroom.database import connect_pool
from strongroom.payments.acceptance import Created
from strongroom.payments.states import CancelAsked, CaptureAsked
from tests.integration.both_sides import BothSides
from tests.integration.conftest import Deployment
from tests.sandbox.conftest import RunningStripe, own_stripe
from tests.unit.examples import AMOUNT, PART

__all__ = ["own_stripe"]
HOLD = timedelta(days=7)


@pytest.fixture
async def sides(deployment: Deployment, own_stripe: RunningStripe) -> AsyncIterator[BothSides]:
    owner = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": "strongroom, directory"}
    )
    api = await connect_pool(deployment.url("api"), size_max=3, application="api")
    worker = await connect_pool(deployment.url("worker"), size_max=4, application="worker")
    made = BothSides(api, worker, owner, deployment.ours, own_stripe, deployment.home)
    await made.open_account()
    async with made.working():
        yield made
    await api.close()
    await worker.close()
    await owner.close()


async def held(sides: BothSides, reference: str):
    one = await sides.ask(reference, capture="manual")
    row = await sides.until_status(one, "authorized")
    assert HOLD - timedelta(minutes=1) < row["capture_before"] - sides.clock.now() <= HOLD
    [charge] = sides.ledger(one)
    assert (charge["captured"], charge["amount"]) == (0, AMOUNT)
    return one


async def test_a_hold_that_nobody_captures_is_asked_for_and_expires(sides: BothSides) -> None:
    one = await held(sides, "order")
    sides.pass_time(HOLD - timedelta(minutes=30))
    await sides.until_nothing_is_due()  # an hour before its end: it stands
    assert (await sides.row(one))["status"] == "authorized"
    sides.pass_time(timedelta(minutes=31))
    row = await sides.until_status(one, "canceled")
    assert (row["status_reason"], row["captured_minor"]) == ("authorization_expired", 0)
    assert (await sides.told(one))[-1] == ("payment.canceled", "retrieve")
    assert [charge["captured"] for charge in sides.ledger(one)] == [0]
    assert await sides.jobs(one) == 0
    # The reference is free again.
    again, outcome = await sides.try_to_ask("order", capture="manual")
    assert outcome == Created(again)
    await sides.until_status(again, "authorized")


async def test_a_hold_that_outlives_its_end_at_the_gateway_is_canceled_there(
    sides: BothSides,
) -> None:
    one = await held(sides, "order")
    sides.pass_time(HOLD + timedelta(minutes=1), also_there=False)
    row = await sides.until_status(one, "canceled")
    assert (row["status_reason"], row["captured_minor"]) == ("authorization_expired", 0)
    assert (await sides.told(one))[-2:] == [
        ("payment.closing", "retrieve"),
        ("payment.canceled", "cancel"),
    ]
    [charge] = sides.ledger(one)
    assert charge["captured"] == 0
    assert sides.intent_status(one) == "canceled"


@pytest.mark.parametrize("wish", [CaptureAsked(PART), CancelAsked()], ids=["capture", "cancel"])
async def test_what_is_asked_of_a_hold_that_has_ended_there_takes_nothing(
    sides: BothSides, wish: CaptureAsked | CancelAsked
) -> None:
    one = await held(sides, "order")
    sides.stripe.advance(int(HOLD.total_seconds()) + 60)
    asked = await sides.command(one, wish)
    assert asked.status == "processing"
    row = await sides.until_status(one, "canceled", "succeeded", "outcome_unknown")
    assert (row["status"], row["captured_minor"], row["review"]) == ("canceled", 0, None)
    assert [charge["captured"] for charge in sides.ledger(one)] == [0]


async def test_a_hold_is_captured_just_in_time(sides: BothSides) -> None:
    one = await held(sides, "order")
    sides.pass_time(HOLD - timedelta(minutes=5))
    await sides.command(one, CaptureAsked(PART))
    row = await sides.until_status(one, "succeeded")
    assert (row["captured_minor"], row["capture_minor"]) == (PART, PART)
    assert [charge["captured"] for charge in sides.ledger(one)] == [PART]


async def test_a_refund_that_fails_after_it_succeeded_takes_the_sums_down(
    sides: BothSides,
) -> None:
    one = await sides.ask("order", "pm_card_refundFail")
    await sides.until_status(one, "succeeded")
    refund = await sides.refund(one, PART)
    await sides.until_refund(refund, "succeeded")
    row = await sides.row(one)
    assert (row["refunding_minor"], row["refunded_minor"]) == (0, PART)
    sides.pass_time(timedelta(hours=1))
    failed = await sides.until_refund(refund, "failed")
    assert failed["status_reason"] == "expired_or_canceled_card"
    row = await sides.row(one)
    assert (row["refunding_minor"], row["refunded_minor"]) == (0, 0)
    assert (await sides.told(one))[-1] == ("refund.failed", "retrieve_refund")
    [charge] = sides.ledger(one)
    assert (charge["captured"], charge["refunded"], charge["refund_failed"]) == (AMOUNT, 0, PART)
    assert await sides.refund_jobs(refund) == 0
    # What came back can be given back again.
    assert (await sides.refund(one)).amount_minor == AMOUNT


async def test_a_refund_that_is_pending_for_days_holds_its_amount(sides: BothSides) -> None:
    sides.stripe.knobs(refund_settle_seconds=3 * 24 * 3600)
    one = await sides.ask("order", "pm_card_pendingRefund")
    await sides.until_status(one, "succeeded")
    refund = await sides.refund(one, PART)
    await sides.until_refund(refund, "pending")
    for _ in range(2):
        sides.pass_time(timedelta(days=1))
        row = await sides.row(one)
        assert (row["refunding_minor"], row["refunded_minor"]) == (PART, 0)
    sides.pass_time(timedelta(days=2))
    await sides.until_refund(refund, "succeeded")
    row = await sides.row(one)
    assert (row["refunding_minor"], row["refunded_minor"]) == (0, PART)


async def test_after_a_month_nothing_is_left_to_do(sides: BothSides) -> None:
    one = await sides.ask("order")
    await sides.until_status(one, "succeeded")
    refund = await sides.refund(one)
    await sides.until_refund(refund, "succeeded")
    for days in (1, 5, 9, 16):
        sides.pass_time(timedelta(days=days))
        await sides.until_nothing_is_due()
    assert (await sides.refund_row(refund))["status"] == "succeeded"
    assert await sides.refund_jobs(refund) == 0
    assert [given["status"] for given in sides.given_back(one)] == ["succeeded"]

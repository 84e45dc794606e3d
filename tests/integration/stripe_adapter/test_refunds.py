"""Refunds through the Stripe adapter: what each thing that can happen is answered as."""

import asyncio

import pytest
from msgspec.structs import replace

from strongroom.ids import to_text
from strongroom.payments.refunds import Absent, RefundAnswer, Refunded, Refused
from strongroom.payments.states import Mismatched, NotSent, Unknown
from tests.integration.stripe_adapter.asking import (
    BROKEN,
    LOST,
    Keys,
    fault,
    held,
    new_attempt,
    new_refund,
    paid,
    until_struck,
)
from tests.unit.examples import AMOUNT, PAYMENT

PART = 700


def given_back(server, of):
    [entry] = server.charges(payment_intent=of.gateway_object_id)
    return entry["refunded"] + entry["refund_pending"]


def settle(server, object_id, *, succeed):
    server.control("POST", "/_settle", {"refund": object_id, "succeed": succeed})


def test_the_parameters_hold_references_only(gateway):
    of = replace(new_attempt(gateway), gateway_object_id="pi_1")
    refund = new_refund(gateway, of, PART, metadata={"note": "of the caller"})
    assert refund.parameters == {
        "payment_intent": "pi_1",
        "amount": PART,
        "metadata": {
            "strongroom_refund": to_text("ref", refund.refund_id),
            "strongroom_payment": to_text("pay", PAYMENT),
        },
    }
    assert new_refund(gateway, of, reason="fraudulent").parameters["reason"] == "fraudulent"


async def test_a_refund_is_made_once_and_found(gateway, account, server):
    of = await paid(gateway, account)
    refund = new_refund(gateway, of, PART, reason="duplicate")
    assert (await gateway.look_at_refund(account, refund))[0] == Absent()
    made, call = await gateway.refund(account, refund)
    assert isinstance(made, Refunded)
    assert made == Refunded(made.object_id, "succeeded", PART, "EUR")
    assert (call.operation, call.outcome, call.http_status) == ("refund", "succeeded", 200)
    assert (await gateway.refund(account, refund))[0] == made
    found, by_list = await gateway.look_at_refund(account, refund)
    known = replace(refund, gateway_object_id=made.object_id)
    again, by_id = await gateway.look_at_refund(account, known)
    assert found == again == made
    assert (by_list.operation, by_id.operation) == ("list_refunds", "retrieve_refund")
    assert given_back(server, of) == PART


async def test_other_refunds_of_the_payment_are_not_ours(gateway, account, server):
    of = await paid(gateway, account)
    for _ in range(3):
        await gateway.refund(account, new_refund(gateway, of, 100))
    assert (await gateway.look_at_refund(account, new_refund(gateway, of, 100)))[0] == Absent()
    hold = await held(gateway, account)
    await gateway.cancel(account, hold)
    # A released hold is shown as a refund, which bears nobody's reference.
    assert (await gateway.look_at_refund(account, new_refund(gateway, hold)))[0] == Absent()


async def test_a_refund_is_found_among_hundreds(gateway, account, server):
    of = await paid(gateway, account)
    wanted = new_refund(gateway, of, 1)
    made, _ = await gateway.refund(account, wanted)
    others = [new_refund(gateway, of, 1) for _ in range(130)]
    await asyncio.gather(*(gateway.refund(account, other) for other in others))
    assert (await gateway.look_at_refund(account, wanted))[0] == made


@pytest.mark.parametrize("succeed", [True, False])
async def test_a_pending_refund_ends(gateway, account, knobs, succeed):
    of = await paid(gateway, account)
    refund = new_refund(gateway, of)
    fault(knobs, "refunds.create", "processing")
    made, _ = await gateway.refund(account, refund)
    assert made == Refunded(made.object_id, "pending", AMOUNT, "EUR")
    settle(knobs, made.object_id, succeed=succeed)
    expected = Refunded(made.object_id, "failed", AMOUNT, "EUR", "unknown")
    if succeed:
        expected = Refunded(made.object_id, "succeeded", AMOUNT, "EUR")
    for known in (refund, replace(refund, gateway_object_id=made.object_id)):
        assert (await gateway.look_at_refund(account, known))[0] == expected
    # The key repeats what was first said.
    assert (await gateway.refund(account, refund))[0] == made


async def test_a_refund_that_fails_after_it_succeeded(gateway, account, server):
    of = await paid(gateway, account, token="pm_card_refundFail")
    refund = new_refund(gateway, of)
    made, _ = await gateway.refund(account, refund)
    assert made.status == "succeeded"
    server.advance(10)
    found, _ = await gateway.look_at_refund(account, refund)
    assert found == Refunded(made.object_id, "failed", AMOUNT, "EUR", "expired_or_canceled_card")
    assert given_back(server, of) == 0


async def test_more_than_was_taken_is_refused(gateway, account, server):
    of = await held(gateway, account)
    await gateway.capture(account, of, 1000)
    assert (await gateway.refund(account, new_refund(gateway, of, 1001)))[0] == Refused(
        "invalid_amount"
    )
    await gateway.refund(account, new_refund(gateway, of, 600))
    answer, call = await gateway.refund(account, new_refund(gateway, of, 600))
    assert answer == Refused("invalid_amount")
    assert (call.http_status, call.code) == (400, "invalid_amount")
    await gateway.refund(account, new_refund(gateway, of, 400))
    last, _ = await gateway.refund(account, new_refund(gateway, of, 1))
    assert last == Refused("charge_already_refunded")
    assert given_back(server, of) == 1000


async def test_what_was_not_taken_is_not_given_back(gateway, account):
    hold = await held(gateway, account)
    assert (await gateway.refund(account, new_refund(gateway, hold)))[0] == Refused(
        "invalid_request"
    )
    gone = replace(new_attempt(gateway), gateway_object_id="pi_gone")
    assert (await gateway.refund(account, new_refund(gateway, gone)))[0] == Refused(
        "resource_missing"
    )
    # That the payment is not found says nothing about its refunds.
    assert (await gateway.look_at_refund(account, new_refund(gateway, gone)))[0] == Unknown(
        "resource_missing"
    )


async def test_a_refund_that_is_not_found_by_its_id_is_unknown(gateway, account):
    of = await paid(gateway, account)
    refund = new_refund(gateway, of, gateway_object_id="re_gone")
    assert (await gateway.look_at_refund(account, refund))[0] == Unknown("resource_missing")


async def test_a_key_that_stands_for_another_refund(gateway, account, server):
    of = await paid(gateway, account)
    one = new_refund(gateway, of, 100)
    await gateway.refund(account, one)
    other = replace(new_refund(gateway, of, 200), gateway_key=one.gateway_key)
    assert (await gateway.refund(account, other))[0] == Unknown("idempotency_mismatch")
    assert given_back(server, of) == 100


async def test_a_refund_under_way_is_unknown(gateway, account, knobs):
    of = await paid(gateway, account)
    refund = new_refund(gateway, of)
    fault(knobs, "refunds.create", "delay", delay_ms=2000)
    first = asyncio.create_task(gateway.refund(account, refund))
    await until_struck(knobs)
    assert (await gateway.refund(account, refund))[0] == Unknown("in_flight_at_gateway")
    assert isinstance((await first)[0], Refunded)
    assert given_back(knobs, of) == AMOUNT


async def test_fifty_refunds_at_once_are_one_sum(gateway, account, server):
    of = await paid(gateway, account)
    refunds = [new_refund(gateway, of) for _ in range(50)]
    answers = [
        answer for answer, _ in await asyncio.gather(*(gateway.refund(account, r) for r in refunds))
    ]
    assert sum(isinstance(answer, Refunded) for answer in answers) == 1
    assert answers.count(Refused("charge_already_refunded")) == 49
    assert given_back(server, of) == AMOUNT


SPOILT: list[tuple[str, RefundAnswer, int]] = [
    ("drop_before", LOST, 0),
    ("drop_after", LOST, PART),
    ("error_500_before", BROKEN, 0),
    ("error_500_after", BROKEN, PART),
    ("error_503", BROKEN, 0),
    ("error_429", NotSent("rate_limited"), 0),
    ("malformed", BROKEN, PART),
    ("wrong_amount", Mismatched(PART + 1, "EUR"), PART),
    ("wrong_currency", Mismatched(PART, "USD"), PART),
]


@pytest.mark.parametrize(("what", "expected", "back"), SPOILT)
async def test_what_goes_wrong_with_a_refund(gateway, account, knobs, what, expected, back):
    of = await paid(gateway, account)
    refund = new_refund(gateway, of, PART)
    fault(knobs, "refunds.create", what)
    assert (await gateway.refund(account, refund))[0] == expected
    assert given_back(knobs, of) == back
    looked, _ = await gateway.look_at_refund(account, refund)
    if back:
        assert isinstance(looked, Refunded)
    else:
        assert looked == Absent()
    again, _ = await gateway.refund(account, refund)
    # A 500 that Stripe keeps is all that the key will ever say.
    assert again == BROKEN if what == "error_500_after" else isinstance(again, Refunded)
    assert given_back(knobs, of) == PART


@pytest.mark.parametrize(("what", "back"), [("withhold_before", 0), ("withhold_after", PART)])
async def test_a_withheld_refund(gateway, account, knobs, what, back):
    of = await paid(gateway, account)
    refund = new_refund(gateway, of, PART)
    fault(knobs, "refunds.create", what, hold_seconds=5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gateway.refund(account, refund), 0.3)
    assert given_back(knobs, of) == back
    assert isinstance((await gateway.refund(account, refund))[0], Refunded)
    assert given_back(knobs, of) == PART


@pytest.mark.parametrize(
    ("what", "why"),
    [("drop_before", "connection_lost"), ("error_500_before", "gateway_error"),
     ("error_503", "gateway_error"), ("error_429", "rate_limited"),
     ("malformed", "gateway_error")],
)  # fmt: skip
@pytest.mark.parametrize("by", ["id", "reference"])
async def test_a_look_that_learns_nothing_is_unknown(gateway, account, knobs, what, why, by):
    of = await paid(gateway, account)
    refund = new_refund(gateway, of)
    made, _ = await gateway.refund(account, refund)
    if by == "id":
        refund = replace(refund, gateway_object_id=made.object_id)
    fault(knobs, "refunds.retrieve" if by == "id" else "refunds.list", what)
    assert (await gateway.look_at_refund(account, refund))[0] == Unknown(why)


async def test_a_refund_without_credentials_or_without_anybody_there(
    gateway, gateway_with, account, unused_tcp_port
):
    of = await paid(gateway, account)
    refund = new_refund(gateway, of)
    fields = {name: getattr(account, name) for name in account.__struct_fields__}
    nowhere = type(account)(**fields | {"base_url": f"http://127.0.0.1:{unused_tcp_port}"})
    for asked, at, why in (
        (gateway, nowhere, "not_reached"),
        (gateway_with(Keys()), account, "credentials_unreadable"),
        (gateway_with(Keys("sk_test_wrong0123456789")), account, "credentials_refused"),
    ):
        assert (await asked.refund(at, refund))[0] == NotSent(why)
        assert (await asked.look_at_refund(at, refund))[0] == Unknown(why)


async def test_nothing_is_sent_that_was_not_committed_or_cannot_be_said(gateway, account, server):
    of = await paid(gateway, account, amount_minor=50_000, currency="MGA")
    refund = new_refund(gateway, of, 150)
    answer, call = await gateway.refund(account, refund)
    assert answer == Refused("amount_not_representable")
    assert call.http_status is None
    bare = replace(refund, parameters=None)
    assert (await gateway.refund(account, bare))[0] == NotSent("parameters_missing")
    assert (await gateway.look_at_refund(account, bare))[0] == Unknown("no_object_id")
    assert given_back(server, of) == 0


@pytest.mark.parametrize(
    ("amount", "part", "currency", "sent"),
    [(500, 200, "JPY", 200), (100, 30, "ISK", 3000), (5120, 1230, "KWD", 1230),
     (50_000, 20_000, "MGA", 200)],
)  # fmt: skip
async def test_amounts_come_back_as_they_went(
    gateway, account, server, amount, part, currency, sent
):
    of = await paid(gateway, account, amount_minor=amount, currency=currency)
    refund = new_refund(gateway, of, part)
    assert refund.parameters["amount"] == sent
    made, _ = await gateway.refund(account, refund)
    assert (made.amount_minor, made.currency) == (part, currency)
    assert given_back(server, of) == sent

"""Refunds through the Braintree adapter: a void before the settlement, a refund after it."""

import pytest
from msgspec.structs import replace

from strongroom.payments.refunds import Absent, NoneYet, Refunded, Refused
from strongroom.payments.states import Canceled, Mismatched, NotSent, Unknown
from tests.integration.braintree_adapter.selling import (
    charges,
    fault,
    new_refund,
    settle,
    sold,
)
from tests.unit.examples import AMOUNT

PART = 700
WAITS = NotSent("waits_for_settlement")


async def settled(gateway, account, server):
    one, _, _ = await sold(gateway, account)
    settle(server, one.gateway_object_id)
    return one


def given_back(server, of):
    return [each["amount"] for each in server.refunds(transaction=of.gateway_object_id)]


async def test_all_of_what_has_not_settled_is_voided_once(gateway, account, server):
    of, _, _ = await sold(gateway, account)
    refund = new_refund(gateway, of)
    assert (await gateway.look_at_refund(account, refund))[0] == Absent()
    made, call = await gateway.refund(account, refund)
    assert made == Refunded(str(of.gateway_object_id), "succeeded", AMOUNT, "EUR")
    assert (call.operation, call.outcome) == ("refund", "voided")
    assert (await gateway.refund(account, refund))[0] == made
    known = replace(refund, gateway_object_id=of.gateway_object_id)
    assert (await gateway.look_at_refund(account, known))[0] == made
    assert (await gateway.look(account, of))[0] == Canceled()
    assert (charges(server, of), given_back(server, of)) == ([], [])


async def test_a_part_of_what_has_not_settled_waits(gateway, account, server):
    of, _, _ = await sold(gateway, account)
    refund = new_refund(gateway, of, PART)
    assert (await gateway.refund(account, refund))[0] == WAITS
    assert (await gateway.look_at_refund(account, refund))[0] == NoneYet()
    settle(server, of.gateway_object_id)
    assert (await gateway.look_at_refund(account, refund))[0] == Absent()
    made, _ = await gateway.refund(account, refund)
    assert isinstance(made, Refunded)
    assert (made.status, made.amount_minor, made.currency) == ("pending", PART, "EUR")
    assert given_back(server, of) == [PART]


async def test_a_refund_is_made_once_and_found(gateway, account, server):
    of = await settled(gateway, account, server)
    refund = new_refund(gateway, of, PART)
    made, _ = await gateway.refund(account, refund)
    assert (await gateway.refund(account, refund))[0] == made
    assert (await gateway.look_at_refund(account, refund))[0] == made
    known = replace(refund, gateway_object_id=made.object_id)
    assert (await gateway.look_at_refund(account, known))[0] == made
    other = new_refund(gateway, of, PART)
    assert (await gateway.look_at_refund(account, other))[0] == Absent()
    assert given_back(server, of) == [PART]
    settle(server, made.object_id)
    assert (await gateway.look_at_refund(account, known))[0] == replace(made, status="succeeded")
    settle(server, made.object_id, succeed=False)
    found, _ = await gateway.look_at_refund(account, known)
    assert (found.status, found.why) == ("failed", "settlement_declined")


@pytest.mark.parametrize(
    ("name", "times"),
    [("drop_before", 0), ("drop_after", 1), ("error_500_before", 0), ("error_500_after", 1),
     ("malformed", 1)],
)  # fmt: skip
async def test_a_lost_answer_to_a_refund_is_learnt_by_a_look(gateway, account, knobs, name, times):
    of = await settled(gateway, account, knobs)
    refund = new_refund(gateway, of, PART)
    fault(knobs, "refund", name)
    assert isinstance((await gateway.refund(account, refund))[0], Unknown)
    knobs.control("DELETE", "/_knobs")
    found, _ = await gateway.look_at_refund(account, refund)
    assert isinstance(found, Refunded if times else Absent)
    assert isinstance((await gateway.refund(account, refund))[0], Refunded)
    assert given_back(knobs, of) == [PART]


@pytest.mark.parametrize("name", ["drop_after", "error_500_after", "malformed"])
async def test_a_lost_answer_to_a_void_is_learnt_by_a_look(gateway, account, knobs, name):
    of, _, _ = await sold(gateway, account)
    refund = new_refund(gateway, of)
    fault(knobs, "void", name)
    assert isinstance((await gateway.refund(account, refund))[0], Unknown)
    knobs.control("DELETE", "/_knobs")
    made = Refunded(str(of.gateway_object_id), "succeeded", AMOUNT, "EUR")
    assert (await gateway.look_at_refund(account, refund))[0] == made
    assert (await gateway.refund(account, refund))[0] == made


async def test_what_cannot_be_given_back_is_refused(gateway, account, server):
    of = await settled(gateway, account, server)
    more = new_refund(gateway, of, AMOUNT + 1)
    assert (await gateway.refund(account, more))[0] == Refused("91521")
    gone, _, _ = await sold(gateway, account)
    await gateway.cancel(account, gone)
    assert (await gateway.refund(account, new_refund(gateway, gone, PART)))[0] == Refused(
        "voided_at_gateway"
    )
    declined, _, _ = await sold(gateway, account, server.nonce(decline="2001"))
    assert (await gateway.refund(account, new_refund(gateway, declined)))[0] == Refused(
        "processor_declined"
    )
    assert given_back(server, of) == given_back(server, gone) == given_back(server, declined) == []


async def test_another_amount_or_object_is_not_believed(gateway, account, knobs):
    of = await settled(gateway, account, knobs)
    refund = new_refund(gateway, of, PART)
    fault(knobs, "refund", "wrong_amount")
    assert isinstance((await gateway.refund(account, refund))[0], Mismatched)
    knobs.control("DELETE", "/_knobs")
    other, _ = await gateway.refund(account, new_refund(gateway, of, PART))
    crossed = replace(refund, gateway_object_id=other.object_id)
    assert (await gateway.look_at_refund(account, crossed))[0] == Unknown("another_object")


async def test_keys_and_codes_of_refunds(gateway, account, knobs):
    of = await settled(gateway, account, knobs)
    refund = new_refund(gateway, of, PART)
    fault(knobs, "refund", "error_500_saved")
    assert (await gateway.refund(account, refund))[0] == Unknown("gateway_error")
    assert (await gateway.refund(account, refund))[0] == Unknown("gateway_error_under_key")
    assert (await gateway.look_at_refund(account, refund))[0] == Absent()
    fault(knobs, "refund", "error_429")
    assert (await gateway.refund(account, new_refund(gateway, of)))[0] == NotSent("rate_limited")
    missing = replace(refund, parameters={**(refund.parameters or {}), "transaction": None})
    assert (await gateway.refund(account, missing))[0] == NotSent("parameters_missing")
    assert (await gateway.look_at_refund(account, missing))[0] == Unknown("parameters_missing")
    assert given_back(knobs, of) == []

"""What the Stripe adapter makes of refunds, refusals and lists, whatever a server answers."""

import pytest
from msgspec.structs import replace

from strongroom.ids import to_text
from strongroom.payments.refunds import Absent, Refunded, Refused, Several
from strongroom.payments.states import Mismatched, NotSent, Unknown
from tests.integration.stripe_adapter.asking import BROKEN, new_attempt, new_refund
from tests.unit.examples import AMOUNT


def body_of(refund, **fields):
    return {
        "id": "re_1", "object": "refund", "amount": AMOUNT, "currency": "eur",
        "status": "succeeded", "payment_intent": "pi_1",
        "metadata": {"strongroom_refund": to_text("ref", refund.refund_id)}, **fields,
    }  # fmt: skip


@pytest.fixture
def refund(gateway):
    return new_refund(gateway, replace(new_attempt(gateway), gateway_object_id="pi_1"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Refunded("re_1", "succeeded", AMOUNT, "EUR")),
        ({"status": "pending"}, Refunded("re_1", "pending", AMOUNT, "EUR")),
        ({"status": "requires_action"}, Refunded("re_1", "pending", AMOUNT, "EUR")),
        ({"status": "failed", "failure_reason": "declined"},
         Refunded("re_1", "failed", AMOUNT, "EUR", "declined")),
        ({"status": "failed", "failure_reason": "x" * 300},
         Refunded("re_1", "failed", AMOUNT, "EUR", "x" * 100)),
        ({"status": "failed"}, Refunded("re_1", "failed", AMOUNT, "EUR", "failed")),
        ({"status": "canceled"}, Refunded("re_1", "failed", AMOUNT, "EUR", "canceled")),
        ({"status": None}, Unknown("unexpected_status")),
        ({"status": "resting"}, Unknown("unexpected_status")),
        ({"id": None}, Unknown("another_object")),
        ({"id": 7}, Unknown("another_object")),
        ({"payment_intent": "pi_2"}, Unknown("another_object")),
        ({"payment_intent": None}, Unknown("another_object")),
        ({"metadata": {"strongroom_refund": "ref_of_another"}}, Unknown("another_object")),
        ({"amount": 1}, Mismatched(1, "EUR")),
        ({"currency": "usd"}, Mismatched(AMOUNT, "USD")),
        ({"amount": "2000"}, Unknown("malformed_TypeError")),
        ({"amount": True}, Unknown("malformed_TypeError")),
        ({"currency": None}, Unknown("malformed_AttributeError")),
        ({"metadata": {}}, Refunded("re_1", "succeeded", AMOUNT, "EUR")),
        ({"metadata": None}, Refunded("re_1", "succeeded", AMOUNT, "EUR")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", ["refund", "look"])
async def test_whatever_a_refund_looks_like(gateway, answering, refund, fields, expected, by):
    answering.will_say(body_of(refund, **fields))
    if by == "look":
        refund = replace(refund, gateway_object_id="re_1")
    ask = gateway.refund if by == "refund" else gateway.look_at_refund
    assert (await ask(answering.account(), refund))[0] == expected


@pytest.mark.parametrize("body", [{}, [], None, 7, "x", b"", b"<html>", b'{"id": "re_1", "am'])
async def test_a_body_that_is_no_refund(gateway, answering, refund, body):
    answering.will_say(body)
    known = replace(refund, gateway_object_id="re_1")
    for ask, asked in (
        (gateway.refund, refund), (gateway.look_at_refund, known), (gateway.look_at_refund, refund)
    ):  # fmt: skip
        answer, _ = await ask(answering.account(), asked)
        assert isinstance(answer, Unknown), answer


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": {"type": "invalid_request_error", "code": "charge_disputed"}},
         Refused("charge_disputed")),
        (400, {"error": {"type": "invalid_request_error", "code": "balance_insufficient"}},
         Refused("balance_insufficient")),
        (402, {"error": {"type": "card_error", "code": "card_declined"}},
         Refused("card_declined")),
        (404, {"error": {"type": "invalid_request_error", "code": "resource_missing"}},
         Refused("resource_missing")),
        (400, {"error": {"type": "idempotency_error"}}, Unknown("idempotency_mismatch")),
        (409, {"error": {"type": "invalid_request_error"}}, Unknown("in_flight_at_gateway")),
        (403, {"error": {"type": "invalid_request_error"}}, NotSent("credentials_refused")),
        (429, {"error": {"type": "invalid_request_error"}}, NotSent("rate_limited")),
        (404, b"<html>", BROKEN),
        (400, {"error": {}}, BROKEN),
        (400, {"error": "invalid"}, Unknown("malformed_AttributeError")),
        (400, {}, BROKEN),
        (500, {"error": {"type": "api_error"}}, BROKEN),
        (504, b"", BROKEN),
        (302, b"", BROKEN),
    ],
)  # fmt: skip
async def test_refusals_are_told_from_what_proves_nothing(
    gateway, answering, refund, status, body, expected
):
    answering.will_say(body, status=status)
    assert (await gateway.refund(answering.account(), refund))[0] == expected


def page_of(*refunds, more=False):
    return {"object": "list", "data": list(refunds), "has_more": more, "url": "/v1/refunds"}


async def test_two_refunds_with_one_reference_are_told(gateway, answering, refund):
    twin = body_of(refund, id="re_2")
    answering.will_say(page_of(body_of(refund), more=True), page_of(twin))
    answer, call = await gateway.look_at_refund(answering.account(), refund)
    assert (answer, call.outcome) == (Several(2), "several")
    assert "starting_after=re_1" in answering.asked[1]


async def test_a_list_without_an_end_is_left(gateway, answering, refund):
    answering.will_say(page_of(body_of(refund), more=True))
    assert (await gateway.look_at_refund(answering.account(), refund))[0] == Unknown(
        "too_many_refunds"
    )
    assert len(answering.asked) == 20


async def test_a_list_that_breaks_off_proves_no_absence(gateway, answering, refund):
    answering.will_say(page_of(more=True))
    answer, _ = await gateway.look_at_refund(answering.account(), refund)
    assert isinstance(answer, Unknown)
    other = body_of(refund, metadata={})
    answering.will_say(page_of(other, more=True), b"<html>")
    assert (await gateway.look_at_refund(answering.account(), refund))[0] == BROKEN
    answering.will_say(page_of(other, other | {"metadata": None}))
    assert (await gateway.look_at_refund(answering.account(), refund))[0] == Absent()

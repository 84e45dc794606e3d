"""Holds through the Stripe adapter: how they are read, captured, canceled, and how they end."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from strongroom.payments.states import (
    Answer,
    Approved,
    Authorized,
    Canceled,
    Declined,
    Mismatched,
    NotSent,
    Pending,
    Unknown,
)
from tests.integration.stripe_adapter.asking import (
    APPROVED,
    BROKEN,
    LOST,
    Keys,
    charges,
    fault,
    held,
    new_attempt,
    paid,
    prepared,
)
from tests.unit.examples import AMOUNT

WEEK = timedelta(days=7)
PART = 1500


def captured(server, one):
    entries = server.charges(payment_intent=one.gateway_object_id)
    return sum(entry["captured"] for entry in entries)


async def test_a_hold_is_authorized_with_its_end(gateway, account, server):
    one = await prepared(gateway, account, capture="manual")
    sent, _ = await gateway.send(account, one)
    looked, call = await gateway.look(account, one)
    assert sent == looked
    assert isinstance(sent, Authorized)
    assert sent.capture_before is not None
    assert (sent.amount_minor, sent.currency) == (AMOUNT, "EUR")
    now = datetime.fromtimestamp(server.control("GET", "/_clock")["now"], UTC)
    assert timedelta() <= now + WEEK - sent.capture_before < timedelta(minutes=1)
    assert (call.operation, call.outcome, call.http_status) == (
        "retrieve", "requires_capture", 200,
    )  # fmt: skip
    assert captured(server, one) == 0


async def test_a_hold_after_an_action_has_its_end_too(gateway, account, server):
    one = await prepared(gateway, account, capture="manual", token="pm_card_authenticationRequired")
    asked, _ = await gateway.send(account, one)
    path = asked.next_action["url"].removeprefix(server.url)
    assert server.raw("POST", path + "/complete", "")[0] == 303
    answer, _ = await gateway.look(account, one)
    assert answer.capture_before is not None


def test_only_a_hold_asks_for_the_charge(gateway):
    manual = new_attempt(gateway, capture="manual").parameters
    automatic = new_attempt(gateway).parameters
    assert manual["create"]["capture_method"] == "manual"
    assert manual["confirm"]["expand"] == ["latest_charge"]
    assert "capture_method" not in automatic["create"]
    assert "expand" not in automatic["confirm"]


@pytest.mark.parametrize("amount", [AMOUNT, PART, 1])
async def test_a_capture_takes_what_was_asked_once(gateway, account, server, amount):
    one = await held(gateway, account)
    answer, call = await gateway.capture(account, one, amount)
    assert answer == Approved(amount, "EUR")
    assert (call.operation, call.outcome) == ("capture", "succeeded")
    # However often and whatever is asked then: what it took is the answer.
    for more in (amount, AMOUNT, 2):
        assert (await gateway.capture(account, one, more))[0] == Approved(amount, "EUR")
    for ask in (gateway.look, gateway.cancel):
        assert (await ask(account, one))[0] == Approved(amount, "EUR")
    assert captured(server, one) == amount
    assert charges(server, one) == 1


async def test_a_canceled_hold_is_not_captured(gateway, account, server):
    one = await held(gateway, account)
    assert (await gateway.cancel(account, one))[0] == Canceled()
    assert (await gateway.capture(account, one, AMOUNT))[0] == Canceled()
    assert (await gateway.look(account, one))[0] == Canceled()
    assert captured(server, one) == 0


async def test_capture_and_cancel_at_once_are_one_truth(gateway, account, server):
    for _ in range(10):
        one = await held(gateway, account)
        (taken, _), (left, _) = await asyncio.gather(
            gateway.capture(account, one, AMOUNT), gateway.cancel(account, one)
        )
        assert taken == left
        assert taken in (APPROVED, Canceled())
        assert captured(server, one) == (AMOUNT if taken == APPROVED else 0)


async def test_a_hold_past_its_end_is_canceled(gateway, account, server):
    one = await held(gateway, account)
    server.advance(int(WEEK.total_seconds()))
    assert (await gateway.capture(account, one, AMOUNT))[0] == Canceled()
    assert (await gateway.look(account, one))[0] == Canceled()
    assert captured(server, one) == 0


async def test_more_than_is_held_is_refused_and_the_hold_stands(gateway, account, server):
    one = await held(gateway, account)
    answer, call = await gateway.capture(account, one, AMOUNT + 1)
    assert answer == Declined("config_error", "amount_too_large", object_open=True)
    assert call.code == "amount_too_large"
    assert isinstance((await gateway.look(account, one))[0], Authorized)
    assert captured(server, one) == 0


async def test_an_amount_that_stripe_cannot_write_is_not_asked_for(gateway, account, server):
    one = await held(gateway, account, amount_minor=50_000, currency="MGA")
    answer, call = await gateway.capture(account, one, 150)
    assert answer == Declined("config_error", "amount_not_representable", object_open=True)
    assert call.http_status is None
    assert (await gateway.capture(account, one, 20_000))[0] == Approved(20_000, "MGA")


async def test_what_was_not_confirmed_or_not_held_is_told(gateway, account):
    one = await prepared(gateway, account, capture="manual")
    assert (await gateway.capture(account, one, AMOUNT))[0] == NotSent("not_confirmed_yet")
    sale = await paid(gateway, account)
    assert (await gateway.capture(account, sale, AMOUNT))[0] == APPROVED
    gone = replace(new_attempt(gateway, capture="manual"), gateway_object_id="pi_gone")
    refused = Declined("config_error", "resource_missing", object_open=True)
    assert (await gateway.capture(account, gone, AMOUNT))[0] == refused


SPOILT: list[tuple[str, Answer, int]] = [
    ("drop_before", LOST, 0),
    ("drop_after", LOST, PART),
    ("error_500_before", BROKEN, 0),
    ("error_500_saved", BROKEN, 0),
    ("error_500_after", BROKEN, PART),
    ("error_503", BROKEN, 0),
    ("error_429", NotSent("rate_limited"), 0),
    ("malformed", BROKEN, PART),
    ("wrong_amount", Mismatched(AMOUNT + 1, "EUR"), PART),
    ("wrong_currency", Mismatched(AMOUNT, "USD"), PART),
]


@pytest.mark.parametrize(("what", "expected", "taken"), SPOILT)
async def test_what_goes_wrong_with_a_capture(gateway, account, knobs, what, expected, taken):
    one = await held(gateway, account)
    fault(knobs, "capture", what)
    assert (await gateway.capture(account, one, PART))[0] == expected
    assert captured(knobs, one) == taken
    looked, _ = await gateway.look(account, one)
    if taken:
        assert looked == Approved(taken, "EUR")
    else:
        assert isinstance(looked, Authorized)
    # Asked again, in spite of a stored 500, it is captured: each call has its own key.
    assert (await gateway.capture(account, one, PART))[0] == Approved(PART, "EUR")
    assert captured(knobs, one) == PART


@pytest.mark.parametrize(("what", "taken"), [("withhold_before", 0), ("withhold_after", PART)])
async def test_a_withheld_capture(gateway, account, knobs, what, taken):
    one = await held(gateway, account)
    fault(knobs, "capture", what, hold_seconds=5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gateway.capture(account, one, PART), 0.3)
    assert captured(knobs, one) == taken
    assert (await gateway.capture(account, one, PART))[0] == Approved(PART, "EUR")
    assert captured(knobs, one) == PART


async def test_a_capture_without_credentials_or_without_anybody_there(
    gateway, gateway_with, account, unused_tcp_port
):
    one = await held(gateway, account)
    fields = {name: getattr(account, name) for name in account.__struct_fields__}
    nowhere = type(account)(**fields | {"base_url": f"http://127.0.0.1:{unused_tcp_port}"})
    assert (await gateway.capture(nowhere, one, AMOUNT))[0] == NotSent("not_reached")
    keyless = gateway_with(Keys())
    unreadable = NotSent("credentials_unreadable")
    assert (await keyless.capture(account, one, AMOUNT))[0] == unreadable


INTENT = {
    "id": "pi_1", "object": "payment_intent", "amount": AMOUNT, "currency": "eur",
    "status": "requires_capture", "amount_capturable": AMOUNT, "amount_received": 0,
    "latest_charge": None,
}  # fmt: skip


def with_end(seconds):
    card = {"card": {"capture_before": seconds}}
    return INTENT | {"latest_charge": {"object": "charge", "payment_method_details": card}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (INTENT, Authorized(AMOUNT, "EUR", None)),
        (INTENT | {"latest_charge": "ch_1"}, Authorized(AMOUNT, "EUR", None)),
        (INTENT | {"latest_charge": {"object": "charge"}}, Authorized(AMOUNT, "EUR", None)),
        (with_end(None), Authorized(AMOUNT, "EUR", None)),
        (with_end("soon"), Authorized(AMOUNT, "EUR", None)),
        (with_end(10**30), Authorized(AMOUNT, "EUR", None)),
        (with_end(0), Authorized(AMOUNT, "EUR", datetime(1970, 1, 1, tzinfo=UTC))),
        (INTENT | {"amount_capturable": 5}, Mismatched(5, "EUR")),
        (INTENT | {"amount_capturable": None}, Unknown("malformed_TypeError")),
        (INTENT | {"amount": "2000"}, Unknown("malformed_TypeError")),
        (INTENT | {"currency": None}, Unknown("malformed_AttributeError")),
        (INTENT | {"currency": "usd"}, Mismatched(AMOUNT, "USD")),
        (INTENT | {"id": "pi_2"}, Unknown("another_object")),
        (INTENT | {"id": 7}, Unknown("another_object")),
        (INTENT | {"status": "succeeded", "amount_received": 7}, Approved(7, "EUR")),
        (INTENT | {"status": "processing"}, Pending()),
        (INTENT | {"status": "resting"}, Unknown("unexpected_status")),
        ({}, Unknown("malformed_AttributeError")),
        ([], Unknown("malformed_AttributeError")),
        (b"<html>", BROKEN),
    ],
)
async def test_whatever_a_capture_is_answered(gateway, answering, body, expected):
    answering.will_say(body)
    one = replace(new_attempt(gateway, capture="manual"), gateway_object_id="pi_1")
    assert (await gateway.capture(answering.account(), one, AMOUNT))[0] == expected


ERRORS = [
    (400, {"code": "charge_expired_for_capture"}, "charge_expired_for_capture"),
    (400, {"code": "capture_charge_authorization_expired"},
     "capture_charge_authorization_expired"),
    (400, {"param": "amount_to_capture"}, "invalid_amount_to_capture"),
    (404, {"code": "resource_missing"}, "resource_missing"),
    (400, {"code": "x" * 300}, "x" * 100),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error", "code"), ERRORS)
async def test_a_capture_that_stripe_refuses(gateway, answering, status, error, code):
    answering.will_say({"error": {"type": "invalid_request_error"} | error}, status=status)
    one = replace(new_attempt(gateway, capture="manual"), gateway_object_id="pi_1")
    answer, _ = await gateway.capture(answering.account(), one, AMOUNT)
    assert answer == Declined("config_error", code, object_open=True)


async def test_a_card_that_declines_the_capture(gateway, answering):
    error = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}
    answering.will_say({"error": error}, status=402)
    one = replace(new_attempt(gateway, capture="manual"), gateway_object_id="pi_1")
    answer, _ = await gateway.capture(answering.account(), one, AMOUNT)
    assert answer == Declined("insufficient_funds", "insufficient_funds", object_open=True)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b"<html>not here</html>", BROKEN),
        (400, {"message": "no"}, BROKEN),
        (400, {"error": "no"}, Unknown("malformed_AttributeError")),
        (413, b"", BROKEN),
        (409, {"error": {"type": "invalid_request_error", "code": "idempotency_key_in_use"}},
         Unknown("in_flight_at_gateway")),
        (400, {"error": {"type": "idempotency_error"}}, Unknown("idempotency_mismatch")),
        (502, b"<html>", BROKEN),
        (403, {"error": {"type": "invalid_request_error"}}, NotSent("credentials_refused")),
        (429, {"error": {"type": "invalid_request_error", "code": "lock_timeout"}},
         NotSent("rate_limited")),
        (400, {"error": {"type": "invalid_request_error", "code": "rate_limit"}},
         NotSent("rate_limited")),
    ],
)  # fmt: skip
async def test_only_stripes_own_words_prove_anything(gateway, answering, status, body, expected):
    answering.will_say(body, status=status)
    one = replace(new_attempt(gateway, capture="manual"), gateway_object_id="pi_1")
    assert (await gateway.capture(answering.account(), one, AMOUNT))[0] == expected

"""Holds: manual capture, cancel, and the end of a hold on the stand-in's clock."""

import pytest
import stripe

WEEK = 7 * 24 * 3600


def hold(stand_in, pay, **more):
    parameters = pay(capture_method="manual", expand=["latest_charge"], **more)
    return stand_in.client().v1.payment_intents.create(parameters)


def ledger_entry(stand_in, intent, kind="all"):
    [entry] = stand_in.charges(payment_intent=intent.id, kind=kind)
    return entry


def test_a_hold_says_until_when_it_lasts_and_takes_no_money(stand_in, pay):
    intent = hold(stand_in, pay)
    charge = intent.latest_charge
    assert (intent.status, intent.amount_capturable, intent.amount_received) == (
        "requires_capture", 2000, 0,
    )  # fmt: skip
    assert charge.payment_method_details.card.capture_before == charge.created + WEEK
    assert (charge.captured, charge.amount_captured, charge.refunded) == (False, 0, False)
    entry = ledger_entry(stand_in, intent)
    assert (entry["taken"], entry["captured"], entry["refunded"]) == (False, 0, 0)


@pytest.mark.parametrize(("asked", "taken"), [({}, 2000), ({"amount_to_capture": 1500}, 1500)])
def test_a_hold_is_captured_once(stand_in, pay, asked, taken):
    intents = stand_in.client().v1.payment_intents
    intent = hold(stand_in, pay)
    done = intents.capture(intent.id, {**asked, "expand": ["latest_charge"]})
    assert (done.status, done.amount, done.amount_received) == ("succeeded", 2000, taken)
    assert done.amount_capturable == 0
    charge = done.latest_charge
    assert (charge.captured, charge.amount, charge.amount_captured) == (True, 2000, taken)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert ledger_entry(stand_in, intent, "taken")["captured"] == taken
    for more in ({}, {"amount_to_capture": 500}):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            intents.capture(intent.id, more)
        assert refused.value.code == "payment_intent_unexpected_state"
        assert refused.value.error.payment_intent.amount_received == taken
    assert ledger_entry(stand_in, intent, "taken")["captured"] == taken


def test_no_more_than_the_hold_can_be_captured(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = hold(stand_in, pay)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.capture(intent.id, {"amount_to_capture": 2001})
    assert (refused.value.code, refused.value.http_status) == ("amount_too_large", 400)
    assert refused.value.error.payment_intent.status == "requires_capture"
    for wrong in ({"amount_to_capture": 0}, {"amount_to_capture": -5}, {"final_capture": False},
                  {"statement_descriptor": "SHOP"}, {"colour": "red"}):  # fmt: skip
        with pytest.raises(stripe.InvalidRequestError):
            intents.capture(intent.id, wrong)
    assert stand_in.charges(payment_intent=intent.id) == []
    assert intents.capture(intent.id, {"statement_descriptor_suffix": "X"}).status == "succeeded"


def test_a_capture_under_the_same_key_is_replayed(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = hold(stand_in, pay)
    first, second = (
        intents.capture(intent.id, {"amount_to_capture": 700}, {"idempotency_key": intent.id})
        for _ in range(2)
    )
    assert first.to_dict() == second.to_dict()
    assert ledger_entry(stand_in, intent)["idempotency_key"] == intent.id


def test_a_canceled_hold_is_released_and_no_refund(stand_in, pay):
    client = stand_in.client()
    intent = hold(stand_in, pay)
    client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "duplicate"})
    charge = client.v1.charges.retrieve(intent.latest_charge.id, {"expand": ["refunds"]})
    assert (charge.captured, charge.amount_refunded, charge.refunded) == (False, 2000, True)
    [released] = charge.refunds.data
    assert (released.status, released.reason) == ("succeeded", "duplicate")
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent.id})
    page = stand_in.control("GET", f"/_ledger/refunds?payment_intent={intent.id}")
    assert page == {"data": [], "has_more": False}
    assert ledger_entry(stand_in, intent)["refunded"] == 0


def test_a_hold_ends_by_itself(own_stripe, pay):
    client = own_stripe.client()
    intents = client.v1.payment_intents
    intent, captured, canceled = (hold(own_stripe, pay) for _ in range(3))
    intents.capture(captured.id)
    intents.cancel(canceled.id)
    own_stripe.advance(WEEK - 60)
    assert intents.retrieve(intent.id).status == "requires_capture"
    own_stripe.advance(60)
    ended = intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert (ended.status, ended.cancellation_reason) == ("canceled", "automatic")
    before = intent.latest_charge.payment_method_details.card.capture_before
    assert (ended.amount_capturable, ended.canceled_at) == (0, before)
    assert (ended.latest_charge.refunded, ended.latest_charge.captured) == (True, False)
    [released] = client.v1.refunds.list({"payment_intent": intent.id}).data
    assert released.reason == "expired_uncaptured_charge"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.capture(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error.payment_intent.status == "canceled"
    assert intents.retrieve(captured.id).status == "succeeded"
    assert intents.retrieve(canceled.id).cancellation_reason is None
    summary = own_stripe.control("GET", "/_ledger/summary")
    assert (summary["charges"], summary["sums"]) == (1, {"usd": 2000})
    assert (summary["refunds"], summary["refunded"]) == ({}, {})


def test_a_hold_that_ends_while_the_server_is_down_is_released_at_its_start(own_stripe, pay):
    intent = hold(own_stripe, pay)
    own_stripe.advance(WEEK)
    own_stripe.kill()
    own_stripe.start()
    found = own_stripe.client().v1.payment_intents.retrieve(intent.id)
    assert (found.status, found.cancellation_reason) == ("canceled", "automatic")
    own_stripe.kill()
    own_stripe.start()
    again = own_stripe.client().v1.payment_intents.retrieve(intent.id)
    assert again.to_dict() == found.to_dict()


@pytest.mark.parametrize(
    ("fault", "captured"),
    [("drop_before", 0), ("drop_after", 2000), ("error_500_before", 0), ("error_500_saved", 0),
     ("error_500_after", 2000), ("error_429", 0), ("malformed", 2000), ("withhold_after", 2000)],
)  # fmt: skip
def test_faults_around_a_capture(stand_in, pay, fault, captured):
    intent = hold(stand_in, pay)
    match = {"operation": "payment_intents.capture", "first_n": 1}
    stand_in.knobs({"match": match, "fault": fault, "hold_seconds": 10})
    client = stand_in.client(http_client=stripe.RequestsClient(timeout=2.0))
    with pytest.raises(stripe.StripeError):
        client.v1.payment_intents.capture(intent.id)
    assert (
        sum(entry["captured"] for entry in stand_in.charges(payment_intent=intent.id)) == captured
    )

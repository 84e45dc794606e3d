"""What Stripe lists or shows when asked is read as what it sends: nothing of it is believed."""

import json
from typing import Any

import pytest

from strongroom.gateways.stripe.webhook import NO_EVENT, read_charge, read_event, read_object
from strongroom.ids import new_entity_id, new_id, to_text
from strongroom.webhooks.hints import Matched

ENTITY = new_entity_id(1_795_000_000_000_000)
PAYMENT = new_id(1_795_000_000_000_000, ENTITY)
MARK = {"strongroom_payment": to_text("pay", PAYMENT), "strongroom_attempt": "2"}
INTENT = {"id": "pi_1", "object": "payment_intent", "amount": 1999, "currency": "eur"}
CHARGE = {
    "id": "ch_1", "object": "charge", "amount": 1999, "currency": "eur", "payment_intent": "pi_1",
    "paid": True, "created": 1_795_000_000, "metadata": MARK,
}  # fmt: skip


def event(**changes: Any) -> bytes:
    made = {
        "id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "livemode": False,
        "created": 1_795_000_000, "data": {"object": INTENT | {"metadata": MARK}},
    }  # fmt: skip
    return json.dumps(made | changes).encode()


def test_a_listed_event_is_the_hint_that_it_is_when_sent() -> None:
    hint = read_event(event())
    assert hint is not None
    assert (hint.event_id, hint.owner_id, hint.attempt_no) == ("evt_1", PAYMENT, 2)
    assert (hint.state, hint.amount_minor, hint.currency) == ("received", 1999, "EUR")


@pytest.mark.parametrize(
    "listed",
    [b"{}", b"null", b"\xff", event(id="4242424242424242"), event(id="evt 1"), event(created="x"),
     event(object="charge"), event(type=7)],
)  # fmt: skip
def test_what_is_no_event_is_left_out(listed: bytes) -> None:
    assert read_event(listed) is None


def test_a_charge_bears_our_mark_or_none() -> None:
    found = read_charge(json.dumps(CHARGE).encode())
    assert found is not None
    assert (found.object_id, found.payment_id, found.attempt_no) == ("pi_1", PAYMENT, 2)
    strange: list[Any] = [{}, None, [], {"strongroom_payment": 7}, {"strongroom_payment": "pay_x"}]
    for metadata in strange:
        other = read_charge(json.dumps(CHARGE | {"metadata": metadata}).encode())
        assert other is not None
        assert other.payment_id is None
    alone = read_charge(json.dumps(CHARGE | {"payment_intent": None}).encode())
    assert alone is not None
    assert alone.object_id == "ch_1"


@pytest.mark.parametrize(
    "change", [{"paid": False}, {"paid": "yes"}, {"amount": None}, {"currency": 1}, {"id": 7}]
)
def test_a_charge_that_took_nothing_is_none(change: dict[str, Any]) -> None:
    assert read_charge(json.dumps(CHARGE | change).encode()) is None


def test_a_fetched_charge_is_matched_by_its_intents_mark() -> None:
    shown = CHARGE | {"metadata": {}, "payment_intent": INTENT | {"metadata": MARK}}
    found = read_object("charge", "ch_1", json.dumps(shown).encode())
    assert (found.owner_id, found.attempt_no, found.known_by) == (PAYMENT, 2, "pi_1")


@pytest.mark.parametrize(
    ("object_type", "object_id", "shown"),
    [
        ("payment_intent", "pi_2", INTENT | {"metadata": MARK}),
        ("charge", "pi_1", INTENT | {"metadata": MARK}),
        ("customer", "cus_1", {"id": "cus_1", "object": "customer", "metadata": MARK}),
    ],
)
def test_another_object_than_was_asked_for_is_none_of_ours(
    object_type: str, object_id: str, shown: dict[str, Any]
) -> None:
    assert read_object(object_type, object_id, json.dumps(shown).encode()) == Matched()


def test_what_is_no_object_is_said_so() -> None:
    with pytest.raises(NO_EVENT):
        read_object("charge", "ch_1", b"[")

"""The stand-in's objects against the SDK's own types and Stripe's sample resources."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import stripe

SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "data" / "stripe-fixtures3.json"
# Left out by today's API unless expanded (changelog 2022-11-15).
NOT_ANSWERED = {"charge": {"refunds"}}
# Answered before the confirmation only, or null in one place and an object in the other.
CLASSES = {
    "payment_intent": stripe.PaymentIntent,
    "charge": stripe.Charge,
    "payment_method": stripe.PaymentMethod,
    "refund": stripe.Refund,
}


@pytest.fixture
def samples() -> dict[str, Any]:
    if not SAMPLES.exists():
        pytest.skip(f"{SAMPLES.name} is missing: Stripe's sample resources are not compared")
    resources: dict[str, Any] = json.loads(SAMPLES.read_text())["resources"]
    return resources


def answered(stand_in, pay) -> list[dict[str, Any]]:
    """One of each object in the states that differ most."""
    client = stand_in.client()
    intents = client.v1.payment_intents
    shipping = {"name": "A", "address": {"line1": "1 Street", "city": "Town"}}
    done = intents.create(pay(expand=["latest_charge", "payment_method"], shipping=shipping))
    asks = intents.create(pay("pm_card_threeDSecure2Required", return_url="https://shop.example/"))
    sdk = intents.create(pay("pm_card_threeDSecure2Required"))
    held = intents.create(pay(capture_method="manual", expand=["latest_charge"]))
    with pytest.raises(stripe.CardError) as declined:
        intents.create(pay("pm_card_chargeDeclined"))
    failed = client.v1.charges.retrieve(declined.value.error.charge)
    open_one = intents.create({"amount": 100, "currency": "usd"})
    expand = {"expand": ["charge", "payment_intent"]}
    refund = client.v1.refunds.create({"payment_intent": done.id, "amount": 1, **expand})
    slow = intents.create(pay("pm_card_pendingRefund"))
    pending = client.v1.refunds.create({"payment_intent": slow.id})
    ends = {"refund": pending.id, "succeed": False}
    stand_in.control("POST", "/_settle", ends)
    lost = client.v1.refunds.retrieve(pending.id)
    charge = client.v1.charges.retrieve(done.latest_charge.id, {"expand": ["refunds"]})
    found = [
        refund,
        pending,
        lost,
        charge,
        done,
        asks,
        sdk,
        held,
        declined.value.error.payment_intent,
        failed,
        open_one,
    ]
    found += [done.latest_charge, held.latest_charge, done.payment_method]
    return [each.to_dict() for each in found]


def unknown_fields(shown: dict[str, Any], kind: type, path: str) -> list[str]:
    """List fields that the SDK's class does not have, in the object and those inside it."""
    names: dict[str, Any] = {}
    for each in kind.__mro__:
        names |= getattr(each, "__annotations__", {})
    inner = getattr(kind, "_inner_class_types", {})
    wrong = []
    for name, value in shown.items():
        if name not in names:
            wrong.append(f"{path}.{name}")
        elif isinstance(value, dict) and value.get("object") in CLASSES:
            wrong += unknown_fields(value, CLASSES[value["object"]], f"{path}.{name}")
        elif isinstance(value, dict) and name in inner:
            wrong += unknown_fields(value, inner[name], f"{path}.{name}")
    return wrong


def test_every_field_is_one_of_the_sdks_types(stand_in, pay):
    for shown in answered(stand_in, pay):
        assert unknown_fields(shown, CLASSES[shown["object"]], shown["object"]) == []


def test_every_required_field_is_answered(stand_in, pay):
    for shown in answered(stand_in, pay):
        for name, annotation in CLASSES[shown["object"]].__annotations__.items():
            if name.startswith("_") or name == "OBJECT_NAME":
                continue
            optional = "Optional" in str(annotation) or type(None) in get_args(annotation)
            assert optional or shown.get(name) is not None, f"{shown['object']}.{name}"


def test_the_samples_have_no_field_that_is_not_answered(stand_in, pay, samples):
    for shown in answered(stand_in, pay):
        sample = samples[shown["object"]]
        missing = sample.keys() - shown.keys() - NOT_ANSWERED.get(shown["object"], set())
        assert missing == set()
        for name in sample.keys() & shown.keys():
            expected, got = sample[name], shown[name]
            plain = (bool, int, str, list)
            if isinstance(expected, plain) and got is not None and not isinstance(got, dict):
                assert type(got) is type(expected), f"{shown['object']}.{name}"


def test_lists_have_stripes_shape(stand_in, pay):
    client = stand_in.client()
    client.v1.payment_intents.create(pay())
    for page, kind in (
        (client.v1.payment_intents.list(), "list"),
        (client.v1.charges.list(), "list"),
        (client.v1.refunds.list(), "list"),
        (client.v1.payment_intents.search({"query": "amount>1"}), "search_result"),
    ):
        shown = page.to_dict()
        assert shown["object"] == kind
        assert isinstance(shown["data"], list)
        assert isinstance(shown["has_more"], bool)
        assert shown["url"].startswith("/v1/")

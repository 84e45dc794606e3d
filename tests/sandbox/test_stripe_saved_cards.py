"""Customers, SetupIntents, and cards that are saved, charged later, and detached."""

import re
from typing import Any

import pytest
import stripe

RETURN_URL = "https://shop.example/back"
CARD = {"allowed_payment_method_types": ["card"]}


def customer(stand_in: Any, **fields: Any) -> Any:
    return stand_in.client().v1.customers.create(fields)


def set_up(stand_in: Any, owner: str | None, card: str = "pm_card_visa", **more: Any) -> Any:
    asked = {**CARD, "customer": owner, "payment_method": card, "confirm": True, **more}
    if owner is None:
        del asked["customer"]
    asked.setdefault("return_url", RETURN_URL)
    return stand_in.client().v1.setup_intents.create(asked)


def press(stand_in: Any, setup: Any, button: str) -> str:
    path = setup.next_action.redirect_to_url.url.removeprefix(stand_in.url)
    status, _, body = stand_in.raw("GET", path)
    assert status == 200
    forms = {
        label: action
        for action, label in re.findall(r'action="([^"]+)"><button>([^<]+)', body.decode())
    }
    status, headers, _ = stand_in.raw("POST", forms[f"{button} authentication"], "")
    assert status == 303
    return str(headers["location"])


def test_a_customer_is_made_changed_and_shown(stand_in):
    made = customer(stand_in, name="Ada", metadata={"a": "1", "b": "2"})
    assert (made.object, made.name, made.livemode) == ("customer", "Ada", False)
    customers = stand_in.client().v1.customers
    changed = customers.update(made.id, {"name": "", "metadata": {"a": ""}})
    assert (changed.name, changed.metadata.to_dict()) == (None, {"b": "2"})
    assert customers.retrieve(made.id).metadata.to_dict() == {"b": "2"}
    with pytest.raises(stripe.InvalidRequestError) as raised:
        customers.retrieve("cus_unknown")
    assert (raised.value.http_status, raised.value.code) == (404, "resource_missing")


def test_one_key_makes_one_customer(stand_in):
    customers = stand_in.client().v1.customers
    one, two = (
        customers.create({"name": "Ada"}, {"idempotency_key": "customer-1"}) for _ in range(2)
    )
    assert one.id == two.id
    with pytest.raises(stripe.IdempotencyError):
        customers.create({"name": "Eve"}, {"idempotency_key": "customer-1"})


def test_a_card_is_saved_without_taking_money_and_charged_later(stand_in, pay):
    owner = customer(stand_in).id
    setups = stand_in.client().v1.setup_intents
    made = setups.create({**CARD, "customer": owner, "payment_method": "pm_card_visa"})
    assert (made.status, made.usage) == ("requires_confirmation", "off_session")
    methods = stand_in.client().v1.payment_methods
    assert methods.list({"customer": owner}).data == []
    done = setups.confirm(made.id, {"expand": ["payment_method"]})
    assert (done.status, done.payment_method.customer) == ("succeeded", owner)
    assert (done.payment_method.card.last4, done.payment_method.card.brand) == ("4242", "visa")
    [listed] = methods.list({"customer": owner, "type": "card"}).data
    assert listed.id == done.payment_method.id
    for _ in range(2):
        paid = stand_in.client().v1.payment_intents.create(
            pay(listed.id, customer=owner, off_session=True)
        )
        assert paid.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError) as raised:
        setups.confirm(made.id)
    assert raised.value.code == "setup_intent_unexpected_state"


def test_a_saved_card_pays_for_nobody_else(stand_in, pay):
    mine, theirs = customer(stand_in).id, customer(stand_in).id
    saved = set_up(stand_in, mine).payment_method
    intents = stand_in.client().v1.payment_intents
    for more in ({}, {"customer": theirs}):
        with pytest.raises(stripe.InvalidRequestError):
            intents.create(pay(saved, **more))
    with pytest.raises(stripe.InvalidRequestError):
        stand_in.client().v1.payment_methods.attach(saved, {"customer": theirs})
    with pytest.raises(stripe.InvalidRequestError):
        set_up(stand_in, theirs, saved)


def test_what_is_detached_is_never_charged_again(stand_in, pay):
    owner = customer(stand_in).id
    saved = set_up(stand_in, owner).payment_method
    methods = stand_in.client().v1.payment_methods
    assert methods.detach(saved).customer is None
    assert methods.list({"customer": owner}).data == []
    with pytest.raises(stripe.InvalidRequestError) as raised:
        methods.detach(saved)
    assert raised.value.http_status == 400
    for attempt in (
        lambda: methods.attach(saved, {"customer": owner}),
        lambda: stand_in.client().v1.payment_intents.create(pay(saved, customer=owner)),
        lambda: set_up(stand_in, owner, saved),
    ):
        with pytest.raises(stripe.InvalidRequestError):
            attempt()
    with pytest.raises(stripe.InvalidRequestError) as missing:
        methods.detach("pm_unknown")
    assert missing.value.http_status == 404


@pytest.mark.parametrize(("button", "ends"), [("Complete", "succeeded"), ("Fail", "failed")])
def test_a_card_that_asks_is_authenticated_before_it_is_saved(stand_in, button, ends):
    owner = customer(stand_in).id
    setup = set_up(stand_in, owner, "pm_card_authenticationRequiredOnSetup")
    assert (setup.status, setup.next_action.type) == ("requires_action", "redirect_to_url")
    methods = stand_in.client().v1.payment_methods
    assert methods.list({"customer": owner}).data == []
    back = press(stand_in, setup, button)
    assert back == (
        f"{RETURN_URL}?setup_intent={setup.id}"
        f"&setup_intent_client_secret={setup.client_secret}&redirect_status={ends}"
    )
    now = stand_in.client().v1.setup_intents.retrieve(setup.id)
    assert len(methods.list({"customer": owner}).data) == (ends == "succeeded")
    if ends == "succeeded":
        assert (now.status, now.next_action) == ("succeeded", None)
    else:
        assert now.status == "requires_payment_method"
        assert now.last_setup_error.code == "setup_intent_authentication_failure"


def test_what_was_authenticated_when_saved_is_charged_off_session_and_else_it_is_declined(
    stand_in, pay
):
    owner, intents = customer(stand_in).id, stand_in.client().v1.payment_intents
    setup = set_up(stand_in, owner, "pm_card_authenticationRequiredOnSetup")
    press(stand_in, setup, "Complete")
    saved = stand_in.client().v1.setup_intents.retrieve(setup.id).payment_method
    assert intents.create(pay(saved, customer=owner, off_session=True)).status == "succeeded"
    always = set_up(stand_in, owner, "pm_card_authenticationRequired")
    press(stand_in, always, "Complete")
    saved = stand_in.client().v1.setup_intents.retrieve(always.id).payment_method
    with pytest.raises(stripe.CardError) as raised:
        intents.create(pay(saved, customer=owner, off_session=True))
    assert raised.value.code == "authentication_required"


@pytest.mark.parametrize(
    ("card", "code"),
    [("pm_card_chargeDeclined", "card_declined"), ("pm_card_chargeDeclinedExpiredCard",
      "expired_card")],
)  # fmt: skip
def test_a_card_that_is_declined_is_not_saved(stand_in, card, code):
    owner = customer(stand_in).id
    with pytest.raises(stripe.CardError) as raised:
        set_up(stand_in, owner, card)
    assert (raised.value.http_status, raised.value.code) == (402, code)
    shown = raised.value.error.setup_intent
    assert (shown.status, shown.last_setup_error.code) == ("requires_payment_method", code)
    with pytest.raises(stripe.CardError):
        stand_in.client().v1.payment_methods.attach(card, {"customer": owner})
    assert stand_in.client().v1.payment_methods.list({"customer": owner}).data == []


def test_a_canceled_setup_saves_nothing(stand_in):
    owner, setups = customer(stand_in).id, stand_in.client().v1.setup_intents
    setup = set_up(stand_in, owner, "pm_card_threeDSecure2Required")
    path = setup.next_action.redirect_to_url.url.removeprefix(stand_in.url)
    canceled = setups.cancel(setup.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert stand_in.raw("POST", path + "/complete", "")[0] == 404
    assert stand_in.client().v1.payment_methods.list({"customer": owner}).data == []
    for attempt in (lambda: setups.cancel(setup.id), lambda: setups.confirm(setup.id)):
        with pytest.raises(stripe.InvalidRequestError):
            attempt()


def test_what_was_saved_survives_a_crash(own_stripe):
    owner = customer(own_stripe, name="Ada").id
    saved = set_up(own_stripe, owner).payment_method
    waiting = set_up(own_stripe, owner, "pm_card_threeDSecure2Required")
    own_stripe.kill()
    own_stripe.start()
    client = own_stripe.client()
    assert client.v1.customers.retrieve(owner).name == "Ada"
    assert [one.id for one in client.v1.payment_methods.list({"customer": owner}).data] == [saved]
    assert client.v1.setup_intents.retrieve(waiting.id).status == "requires_action"


@pytest.mark.parametrize(
    ("noun", "asked"),
    [
        ("customers", {"colour": "red"}), ("customers", {"balance": 5}),
        ("customers", {"email": "nobody"}), ("setup_intents", {"usage": "never"}),
        ("setup_intents", {"customer": "cus_unknown"}), ("setup_intents", {"amount": 5}),
        ("setup_intents", {"confirm": True}), ("setup_intents", {"payment_method": "pm_no"}),
        ("setup_intents", {"return_url": RETURN_URL}),
    ],
)  # fmt: skip
def test_what_stripe_would_refuse_is_refused(stand_in, noun, asked):
    with pytest.raises(stripe.InvalidRequestError) as raised:
        getattr(stand_in.client().v1, noun).create(asked)
    assert raised.value.http_status == 400

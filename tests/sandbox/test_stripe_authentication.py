"""3D Secure: who is asked, the page, and what becomes of the payment."""

import re

import pytest
import stripe

RETURN_URL = "https://shop.example/back?cart=5"


def page_path(stand_in, intent):
    action = intent.next_action
    url = (
        action.redirect_to_url.url
        if action.type == "redirect_to_url"
        else action.use_stripe_sdk["stripe_js"]
    )
    assert url.startswith(stand_in.url)
    return url.removeprefix(stand_in.url)


def press(stand_in, intent, button):
    path = page_path(stand_in, intent)
    status, headers, body = stand_in.raw("GET", path)
    assert status == 200
    assert b"<script" not in body
    assert "default-src 'none'" in headers["content-security-policy"]
    assert stand_in.client().v1.payment_intents.retrieve(intent.id).status == "requires_action"
    forms = {
        label: action
        for action, label in re.findall(r'action="([^"]+)"><button>([^<]+)', body.decode())
    }
    return stand_in.raw("POST", forms[f"{button} authentication"], "")


@pytest.mark.parametrize(
    "method",
    ["pm_card_threeDSecure2Required", "pm_card_threeDSecureRequired",
     "pm_card_authenticationRequired", "pm_card_authenticationRequiredOnSetup"],
)  # fmt: skip
def test_completing_charges_once_and_returns_to_the_merchant(stand_in, pay, method):
    intents = stand_in.client().v1.payment_intents
    intent = intents.create(
        pay(method, return_url=RETURN_URL), {"idempotency_key": f"3ds-{method}"}
    )
    assert (intent.status, intent.next_action.type) == ("requires_action", "redirect_to_url")
    assert intent.next_action.redirect_to_url.return_url == RETURN_URL
    assert stand_in.charges(payment_intent=intent.id) == []
    status, headers, _ = press(stand_in, intent, "Complete")
    assert (status, headers["location"]) == (
        303,
        (
            f"{RETURN_URL}&payment_intent={intent.id}"
            f"&payment_intent_client_secret={intent.client_secret}&redirect_status=succeeded"
        ),
    )
    path = page_path(stand_in, intent)
    for late in ("/complete", "/fail"):
        assert "redirect_status=succeeded" in stand_in.raw("POST", path + late, "")[1]["location"]
    done = intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert (done.status, done.next_action) == ("succeeded", None)
    assert done.latest_charge.payment_method_details.card.three_d_secure.result == "authenticated"
    [charge] = stand_in.charges(payment_intent=intent.id)
    assert charge["idempotency_key"] == f"3ds-{method}"


def test_failing_returns_to_requires_payment_method(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = intents.create(pay("pm_card_threeDSecure2Required", return_url=RETURN_URL))
    path = page_path(stand_in, intent)
    assert "redirect_status=failed" in press(stand_in, intent, "Fail")[1]["location"]
    failed = intents.retrieve(intent.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error.code == "payment_intent_authentication_failure"
    # The page is over: it cannot take money any more.
    assert "redirect_status=failed" in stand_in.raw("POST", path + "/complete", "")[1]["location"]
    assert stand_in.charges(payment_intent=intent.id) == []
    assert intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status == "succeeded"


def test_without_a_return_url_the_sdk_is_asked_and_a_page_ends_it(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = intents.create(pay("pm_card_authenticationRequired"))
    assert intent.next_action.type == "use_stripe_sdk"
    status, _, body = press(stand_in, intent, "Complete")
    assert status == 200
    assert b"succeeded" in body
    assert intents.retrieve(intent.id).status == "succeeded"


@pytest.mark.parametrize(
    ("method", "code"),
    [("pm_card_threeDSecureRequiredChargeDeclined", "card_declined"),
     ("pm_card_threeDSecureRequiredProcessingError", "processing_error")],
)  # fmt: skip
def test_a_decline_after_authentication(stand_in, pay, method, code):
    intents = stand_in.client().v1.payment_intents
    intent = intents.create(pay(method, return_url=RETURN_URL))
    assert "redirect_status=failed" in press(stand_in, intent, "Complete")[1]["location"]
    assert intents.retrieve(intent.id).last_payment_error.code == code
    assert stand_in.charges(payment_intent=intent.id) == []


def test_off_session_brings_the_customer_back(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    with pytest.raises(stripe.CardError) as declined:
        intents.create(pay("pm_card_authenticationRequired", off_session=True))
    error = declined.value.error
    assert (error.code, error.decline_code) == ("authentication_required",) * 2
    intent = error.payment_intent
    again = intents.confirm(
        intent.id, {"payment_method": error.payment_method.id, "return_url": RETURN_URL}
    )
    press(stand_in, again, "Complete")
    assert intents.retrieve(intent.id).status == "succeeded"


def test_a_method_set_up_with_authentication_pays_off_session(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    first = intents.create(
        pay("pm_card_authenticationRequiredOnSetup", customer="cus_setup", return_url=RETURN_URL,
            setup_future_usage="off_session")
    )  # fmt: skip
    press(stand_in, first, "Complete")
    saved = intents.retrieve(first.id).payment_method
    later = intents.create(pay(saved, customer="cus_setup", off_session=True))
    assert later.status == "succeeded"


def test_cards_that_do_not_ask(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    optional = pay("pm_card_threeDSecureOptional", return_url=RETURN_URL)
    assert intents.create(optional).status == "succeeded"
    wish = {"card": {"request_three_d_secure": "any"}}
    asked = intents.create(optional | {"payment_method_options": wish})
    assert asked.status == "requires_action"
    with pytest.raises(stripe.CardError) as refused:
        intents.create(pay("pm_card_authenticationRequired", error_on_requires_action=True))
    assert refused.value.code == "authentication_required"


def test_pages_need_the_right_token_and_end_with_the_intent(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = intents.create(pay("pm_card_threeDSecure2Required"))
    path = page_path(stand_in, intent)
    for guess in ("/_3ds/", f"/_3ds/{intent.id}", f"/_3ds/{intent.client_secret}", path[:-1]):
        assert stand_in.raw("GET", guess)[0] == 404
    assert stand_in.raw("GET", path + "/complete")[0] == 405
    intents.cancel(intent.id)
    assert stand_in.raw("POST", path + "/complete", "")[0] == 404
    assert stand_in.charges(payment_intent=intent.id) == []

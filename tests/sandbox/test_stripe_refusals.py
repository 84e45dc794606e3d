"""What the stand-in refuses: declines, parameters, credentials, addresses."""

import base64
import json

import pytest
import stripe

DECLINES = [
    ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
    ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", None),
    ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_declined", "card_velocity_exceeded"),
    ("pm_card_chargeDeclinedFraudulent", "card_declined", "fraudulent"),
    ("pm_card_radarBlock", "card_declined", "fraudulent"),
    ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
]


@pytest.mark.parametrize(("method", "code", "decline_code"), DECLINES)
def test_declines(stand_in, pay, method, code, decline_code):
    intents = stand_in.client().v1.payment_intents
    with pytest.raises(stripe.CardError) as declined:
        intents.create(pay(method))
    error = declined.value.error
    assert declined.value.http_status == 402
    assert (error.code, error.decline_code) == (code, decline_code)
    assert str(error.advice_code) in ("try_again_later", "do_not_try_again", "confirm_card_data")
    intent = intents.retrieve(error.payment_intent.id)
    assert intent.status == "requires_payment_method"
    assert intent.payment_method is None
    assert intent.last_payment_error.code == code
    assert intent.latest_charge == error.charge
    charge = stand_in.client().v1.charges.retrieve(error.charge)
    assert (charge.status, charge.paid, charge.failure_code) == ("failed", False, code)
    assert stand_in.charges(payment_intent=intent.id) == []
    # Another card finishes the same intent.
    assert intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status == "succeeded"
    assert len(stand_in.charges(payment_intent=intent.id)) == 1


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"colour": "red"}, "parameter_unknown", "colour"),
        (
            {"payment_method_types": ["card"]},
            "payment_method_types_no_longer_supported",
            "payment_method_types",
        ),
        ({"shipping": {"planet": "x"}}, "parameter_unknown", "shipping[planet]"),
        ({"amount": None}, "parameter_missing", "amount"),
        ({"currency": None}, "parameter_missing", "currency"),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount"),
        ({"amount": "10.5"}, "parameter_invalid_integer", "amount"),
        ({"amount": 0}, "parameter_invalid_integer", "amount"),
        ({"amount": -5}, "parameter_invalid_integer", "amount"),
        ({"amount": 49}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"currency": "xxx"}, None, "currency"),
        ({"currency": "kwd", "amount": 1005}, "invalid_charge_amount", "amount"),
        ({"currency": "isk", "amount": 10_050}, "invalid_charge_amount", "amount"),
        ({"currency": "ugx", "amount": 10_050}, "invalid_charge_amount", "amount"),
        ({"payment_method": "pm_unknown"}, "resource_missing", "payment_method"),
        ({"transfer_group": "g"}, None, "transfer_group"),
        ({"return_url": "javascript:alert(1)"}, "url_invalid", "return_url"),
        ({"metadata": {"k" * 41: "v"}}, None, "metadata[" + "k" * 41 + "]"),
        ({"confirm": "maybe"}, None, "confirm"),
        ({"expand": ["secrets"]}, None, "expand"),
    ],
)
def test_refused_parameters(stand_in, pay, changes, code, param):
    parameters = {k: v for k, v in pay(**changes).items() if v is not None}
    before = stand_in.control("GET", "/_ledger/summary")["intents"]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        stand_in.client().v1.payment_intents.create(parameters)
    assert refused.value.http_status == 400
    assert refused.value.error.code == code
    assert refused.value.error.param == param
    assert stand_in.control("GET", "/_ledger/summary")["intents"] == before


@pytest.mark.parametrize(
    ("currency", "amount"), [("jpy", 50), ("kwd", 1010), ("isk", 10_000), ("eur", 99_999_999)]
)
def test_accepted_amounts(stand_in, pay, currency, amount):
    intent = stand_in.client().v1.payment_intents.create(pay(currency=currency, amount=amount))
    assert (intent.status, intent.amount) == ("succeeded", amount)


def test_unknown_objects_and_addresses(stand_in):
    client = stand_in.client()
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.retrieve("pi_nobody")
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.list()
    assert refused.value.http_status == 404
    assert "Unrecognized request URL" in str(refused.value)


def test_credentials_come_first_and_are_never_echoed(stand_in):
    with pytest.raises(stripe.AuthenticationError) as refused:
        stand_in.client("sk_test_wrongKey0123456789").v1.payment_intents.retrieve("pi_x")
    assert refused.value.http_status == 401
    assert "wrongKey" not in json.dumps(refused.value.json_body)
    assert stand_in.raw("GET", "/v1/payment_intents")[0] == 401
    from_file = stand_in.key_file.read_text().strip()
    basic = base64.b64encode(f"{from_file}:".encode()).decode()
    status, headers, _ = stand_in.raw(
        "GET", "/v1/payment_intents", Authorization=f"Basic {basic}", Stripe_Version="2026-10-28.x"
    )
    assert status == 200
    assert headers["stripe-version"] == "2026-10-28.x"
    assert headers["request-id"].startswith("req_")
    for header in (f"Bearer {from_file}x", "Basic ###", "Bearer", f"Digest {from_file}"):
        assert stand_in.raw("GET", "/v1/payment_intents", Authorization=header)[0] == 401


def test_bodies_are_bounded_and_must_be_forms(stand_in):
    bearer = {"Authorization": "Bearer " + stand_in.key_file.read_text().strip()}
    path = "/v1/payment_intents"
    assert stand_in.raw("POST", path, "amount=" + "1" * 1_100_000, **bearer)[0] == 413
    status, _, body = stand_in.raw("POST", path, "{}", Content_Type="application/json", **bearer)
    assert status == 400, body
    for odd in ("a[=1", "a]=1", "a[b]=1&a=2", "%ff=1", "a=%00", "[x]=1", "a" + "[b]" * 9 + "=1"):
        assert stand_in.raw("POST", path, odd, **bearer)[0] == 400, odd
    assert stand_in.raw("GET", path + "?limit=%ff", **bearer)[0] == 400


def test_controls_need_their_token(stand_in):
    for method, path in (("GET", "/_knobs"), ("GET", "/_ledger/charges"), ("POST", "/_clock")):
        assert stand_in.raw(method, path)[0] == 403
        assert stand_in.raw(method, path, X_Knob_Token="wrong")[0] == 403
    bearer = "Bearer " + stand_in.key_file.read_text().strip()
    assert stand_in.raw("GET", "/_knobs", Authorization=bearer)[0] == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com"])
def test_it_listens_on_loopback_only(stand_in, tmp_path, host):
    said = stand_in.refused("--host", host, "--data", str(tmp_path / "other"))
    assert "refused to start" in said
    assert not (tmp_path / "other").exists()


def test_it_takes_test_keys_only(stand_in, tmp_path):
    wrong = tmp_path / "key"
    wrong.write_text(stand_in.key_file.read_text().replace("_test_", "_live_"))
    said = stand_in.refused("--secret-key-file", str(wrong), "--data", str(tmp_path / "other"))
    assert "sk_test_" in said
    assert wrong.read_text().strip() not in said

"""The origin of the browser script: its files, and payment methods made of test card numbers."""

import json
from urllib.parse import urlencode

import pytest
import stripe

from tests.sandbox.conftest import PUBLISHABLE_KEY, SECRET_KEY

HOST = {"Host": "js.stripe.localhost"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
GOOD = {
    "type": "card",
    "key": PUBLISHABLE_KEY,
    "card[number]": "4242 4242 4242 4242",
    "card[exp_month]": "12",
    "card[exp_year]": "34",
    "card[cvc]": "123",
}


def make(stand_in, **headers):
    def of(**changed):
        fields = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
        status, _, body = stand_in.raw(
            "POST", "/v1/payment_methods", urlencode(fields), **HOST, **FORM, **headers
        )
        return status, json.loads(body)

    return of


def test_a_number_makes_a_method_that_pays(stand_in):
    status, method = make(stand_in)()
    assert (status, method["card"]["last4"]) == (200, "4242")
    intents = stand_in.client().v1.payment_intents
    paid = intents.create(
        {"amount": 500, "currency": "eur", "payment_method": method["id"], "confirm": True,
         "allowed_payment_method_types": ["card"]},
    )  # fmt: skip
    assert paid.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError):  # it pays once
        intents.create(
            {"amount": 500, "currency": "eur", "payment_method": method["id"], "confirm": True,
             "allowed_payment_method_types": ["card"]},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "decline_code"),
    [("4000000000000002", "generic_decline"), ("4000000000009995", "insufficient_funds"),
     ("4000000000009987", "lost_card")],
)  # fmt: skip
def test_a_card_that_declines(stand_in, number, decline_code):
    _, method = make(stand_in)(**{"card[number]": number})
    with pytest.raises(stripe.CardError) as declined:
        stand_in.client().v1.payment_intents.create(
            {"amount": 500, "currency": "eur", "payment_method": method["id"], "confirm": True,
             "allowed_payment_method_types": ["card"]},
        )  # fmt: skip
    assert declined.value.error.decline_code == decline_code


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"card[number]": "4242424242424241"}, 402, "incorrect_number"),
        ({"card[number]": "4111111111111111"}, 402, "card_declined"),
        ({"card[number]": None}, 402, "incorrect_number"),
        ({"card[exp_month]": "13"}, 402, "invalid_expiry_month"),
        ({"card[exp_year]": "20"}, 402, "invalid_expiry_year"),
        ({"card[exp_year]": "²²"}, 402, "invalid_expiry_year"),
        ({"card[cvc]": "12"}, 402, "invalid_cvc"),
        ({"key": "pk_test_another0123456789"}, 401, None),
        ({"key": SECRET_KEY}, 401, None),
        ({"key": None}, 401, None),
        ({"type": "sepa_debit"}, 400, None),
        ({"card[token]": "tok_visa"}, 400, "parameter_unknown"),
        ({"customer": "cus_1"}, 400, "parameter_unknown"),
        ({"card": "4242424242424242"}, 400, None),
    ],
)
def test_what_is_refused_shows_no_number(stand_in, changed, status, code):
    found, body = make(stand_in)(**changed)
    assert (found, body["error"].get("code")) == (status, code)
    assert "4242" not in json.dumps(body).replace(" ", "")


def test_another_site_cannot_make_methods(stand_in):
    assert make(stand_in, **{"Sec-Fetch-Site": "cross-site"})()[0] == 403


def test_the_number_is_kept_nowhere(own_stripe):
    assert make(own_stripe)()[0] == 200
    for file in own_stripe.data.parent.rglob("*"):
        if file.is_file():
            assert b"4242424242424242" not in file.read_bytes().replace(b" ", b""), file


@pytest.mark.parametrize("path", ["/v3/", "/v3/card.html", "/v3/card.js", "/v3/card.css"])
def test_its_files_are_served_on_their_own_host_alone(stand_in, path):
    status, headers, body = stand_in.raw("GET", path, **HOST)
    assert status == 200
    assert body
    assert "default-src 'none'" in headers["content-security-policy"]
    assert stand_in.raw("GET", path)[0] != 200


def test_its_host_serves_nothing_else(stand_in):
    for path in ("/v1/payment_intents", "/_knobs", "/_ledger/charges", "/v3/../v3/", "/"):
        assert stand_in.raw("GET", path, **HOST)[0] == 404, path

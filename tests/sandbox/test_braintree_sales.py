"""Sales, declines, rejections, 3D Secure, currencies: as the official SDK sees them."""

import base64
import json
import uuid

import braintree
import pytest
from braintree.exceptions.authentication_error import AuthenticationError
from braintree.exceptions.authorization_error import AuthorizationError
from braintree.exceptions.not_found_error import NotFoundError

from tests.sandbox.braintree_server import (
    MERCHANT,
    PRIVATE_KEY,
    PUBLIC_KEY,
    VISA,
    codes,
    gate,
    own_braintree,
    shared_braintree,
)

__all__ = ["gate", "own_braintree", "shared_braintree"]


def order() -> str:
    return uuid.uuid4().hex


def test_a_sale_is_held_and_can_be_found(gate):
    name = order()
    made = gate.sold(order_id=name)
    assert (made.status, str(made.amount), made.currency_iso_code) == ("authorized", "10.00", "USD")
    assert made.processor_response_code == "1000"
    assert made.network_transaction_id.isdigit()
    assert (made.authorization_expires_at - made.created_at).days == 7
    assert made.credit_card_details.masked_number == "411111******1111"
    found = gate.gateway().transaction.find(made.id)
    assert [each.status for each in found.status_history] == ["authorized"]
    [held] = gate.charges(order_id=name, kind="held")
    assert (held["amount"], held["taken"]) == (1000, False)
    assert gate.charges(order_id=name) == []


def test_a_sale_that_is_submitted_takes_money(gate):
    name = order()
    assert gate.sold(submit=True, order_id=name).status == "submitted_for_settlement"
    [taken] = gate.charges(order_id=name)
    assert (taken["captured"], taken["currency"]) == (1000, "USD")


@pytest.mark.parametrize(
    ("merchant", "public", "private"),
    [
        ("somebody_else", PUBLIC_KEY, PRIVATE_KEY),
        (MERCHANT, "another", PRIVATE_KEY),
        (MERCHANT, PUBLIC_KEY, "another_private_key"),
        (MERCHANT, PUBLIC_KEY + ":", PRIVATE_KEY),
    ],
)
def test_who_has_no_key_is_told_nothing(gate, merchant, public, private):
    gateway = gate.gateway(merchant, public, private)
    with pytest.raises(AuthenticationError):
        gateway.transaction.sale({"amount": "1.00", "payment_method_nonce": VISA})
    with pytest.raises(AuthenticationError):
        gateway.client_token.generate()
    with pytest.raises(AuthenticationError):
        gateway.transaction.find("anything")


def test_keys_take_turns_without_a_restart(own_braintree):
    own_braintree.write_key("secondkey", "secondprivatekey", PUBLIC_KEY, PRIVATE_KEY)
    newer = own_braintree.gateway(public="secondkey", private="secondprivatekey")
    assert newer.transaction.sale({"amount": "1.00", "payment_method_nonce": VISA}).is_success
    assert own_braintree.sell().is_success
    own_braintree.write_key("secondkey", "secondprivatekey")
    with pytest.raises(AuthenticationError):
        own_braintree.sell()


def test_a_client_token_says_where_to_go(gate):
    token = json.loads(base64.b64decode(gate.gateway().client_token.generate()))
    assert token["merchantId"] == MERCHANT
    origin = gate.url.replace("127.0.0.1", "js.braintree.localhost")
    assert token["clientApiUrl"] == f"{origin}/merchants/{MERCHANT}/client_api"
    with pytest.raises(ValueError, match="Merchant account does not exist"):
        gate.gateway().client_token.generate({"merchant_account_id": "nobody"})


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"amount": "ten"}, "81503"),
        ({"amount": "1.001"}, "81503"),
        ({"amount": "1e3"}, "81503"),
        ({"amount": "-1.00"}, "81501"),
        ({"amount": "0.00"}, "81531"),
        ({"amount": "99999999999999.00"}, "81528"),
        ({"merchant_account_id": "gbp"}, "91513"),
        ({"order_id": "x" * 256}, "91501"),
        ({"payment_method_nonce": "made-up"}, "91565"),
        ({"payment_method_nonce": "fake-consumed-nonce"}, "91564"),
        ({"payment_method_nonce": "fake-luhn-invalid-nonce"}, "81715"),
        ({"payment_method_token": "made-up"}, "91518"),
        ({"payment_method_token": "made-up", "payment_method_nonce": VISA}, "91515"),
        ({"customer_id": "nobody"}, "91510"),
        ({"transaction_source": "whim"}, "915133"),
        ({"external_vault": {"status": "maybe"}}, "915175"),
        (
            {"external_vault": {"status": "will_vault", "previous_network_transaction_id": "1"}},
            "915177",
        ),
        ({"amount": "1000.50", "merchant_account_id": "jpy"}, "81503"),
        ({"amount": "1.234", "merchant_account_id": "kwd"}, "81503"),
    ],
)
def test_what_is_wrong_has_the_code_of_the_sdk_and_makes_nothing(gate, params, code):
    before = gate.control("GET", "/_ledger/summary")["transactions"]
    assert codes(gate.sell(**params)) == [code]
    assert gate.control("GET", "/_ledger/summary")["transactions"] == before


def test_without_an_amount_or_a_card_there_is_no_sale(gate):
    gateway = gate.gateway()
    assert codes(gateway.transaction.sale({"payment_method_nonce": VISA})) == ["81502"]
    assert codes(gateway.transaction.sale({"amount": "1.00"})) == ["91508"]


def test_unknown_parameters_and_raw_cards_are_refused(gate):
    gateway = gate.gateway()
    card = {"number": "4111111111111111", "expiration_date": "12/2034"}
    with pytest.raises(AuthorizationError):
        gateway.transaction.sale({"amount": "1.00", "credit_card": card})
    status, _, _ = gate.raw(
        "POST",
        f"/merchants/{MERCHANT}/transactions",
        "<transaction><amount>1.00</amount><colour>red</colour></transaction>",
        Authorization="Basic " + base64.b64encode(f"{PUBLIC_KEY}:{PRIVATE_KEY}".encode()).decode(),
    )
    assert status == 403


@pytest.mark.parametrize(
    "body",
    [
        "<transaction>",
        "",
        "no xml",
        "<payment><amount>1.00</amount></payment>",
        '<!DOCTYPE t [<!ENTITY a "1.00">]><transaction><amount>&a;</amount></transaction>',
        "<transaction>" * 50 + "</transaction>" * 50,
        "<transaction><amount>1.00</amount><amount>2.00</amount></transaction>",
    ],
)
def test_a_body_that_cannot_be_read_makes_nothing(gate, body):
    before = gate.control("GET", "/_ledger/summary")["transactions"]
    login = base64.b64encode(f"{PUBLIC_KEY}:{PRIVATE_KEY}".encode()).decode()
    status, _, _ = gate.raw(
        "POST", f"/merchants/{MERCHANT}/transactions", body, Authorization="Basic " + login
    )
    assert status in (400, 422)
    assert gate.control("GET", "/_ledger/summary")["transactions"] == before


@pytest.mark.parametrize(
    ("account", "amount", "minor", "shown"),
    [
        ("usd", "19.99", 1999, "19.99"),
        ("eur", "19.9", 1990, "19.90"),
        ("jpy", "1500", 1500, "1500"),
        ("kwd", "1.23", 1230, "1.23"),
        ("isk", "995", 995, "995"),
    ],
)
def test_amounts_are_counted_as_the_currency_counts(gate, account, amount, minor, shown):
    name = order()
    made = gate.sold(submit=True, order_id=name, amount=amount, merchant_account_id=account)
    assert (str(made.amount), made.currency_iso_code) == (shown, account.upper())
    [taken] = gate.charges(order_id=name)
    assert (taken["amount"], taken["currency"]) == (minor, account.upper())


def test_merchant_accounts_are_listed_by_currency(gate):
    found = list(gate.gateway().merchant_account.all().merchant_accounts.items)
    assert [(each.id, each.currency_iso_code, each.default) for each in found][:2] == [
        ("usd", "USD", True),
        ("eur", "EUR", False),
    ]
    assert gate.gateway().merchant_account.find("kwd").currency_iso_code == "KWD"
    with pytest.raises(NotFoundError):
        gate.gateway().merchant_account.find("gbp")


@pytest.mark.parametrize(
    ("params", "status", "code", "kind"),
    [
        ({"amount": "2000.00"}, "processor_declined", "2000", "soft_declined"),
        ({"amount": "2001.00"}, "processor_declined", "2001", "soft_declined"),
        ({"amount": "2004.00"}, "processor_declined", "2004", "hard_declined"),
        ({"amount": "2099.00"}, "processor_declined", "2099", "hard_declined"),
        ({"amount": "3000.00"}, "failed", "3000", "soft_declined"),
        (
            {"payment_method_nonce": "fake-processor-declined-2014-nonce"},
            "processor_declined",
            "2014",
            "hard_declined",
        ),
        (
            {"payment_method_nonce": "fake-authentication-required-nonce"},
            "processor_declined",
            "2099",
            "hard_declined",
        ),
        (
            {"payment_method_nonce": "fake-processor-declined-visa-nonce"},
            "processor_declined",
            "2000",
            "soft_declined",
        ),
    ],
)
def test_declines(gate, params, status, code, kind):
    name = order()
    result = gate.sell(order_id=name, **params)
    assert not result.is_success
    assert list(result.errors.deep_errors) == []
    made = result.transaction
    assert (made.status, made.processor_response_code) == (status, code)
    assert made.processor_response_type == kind
    assert gate.charges(order_id=name) == []
    assert [each["status"] for each in gate.charges(order_id=name, kind="declined")] == [status]


def test_a_nonce_declines_with_the_code_that_a_test_wants_and_is_used_up_by_it(gate):
    nonce = gate.nonce(decline="2014")
    assert gate.sell(payment_method_nonce=nonce).transaction.processor_response_code == "2014"
    assert codes(gate.sell(payment_method_nonce=nonce)) == ["91564"]


def test_a_nonce_is_good_for_one_sale_and_for_three_hours(own_braintree):
    nonce, late = own_braintree.nonce(), own_braintree.nonce()
    assert codes(own_braintree.sell(payment_method_nonce=nonce, amount="x")) == ["81503"]
    assert own_braintree.sell(payment_method_nonce=nonce).is_success
    assert codes(own_braintree.sell(payment_method_nonce=nonce)) == ["91564"]
    own_braintree.advance(3 * 3600 + 1)
    assert codes(own_braintree.sell(payment_method_nonce=late)) == ["91565"]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"payment_method_nonce": "fake-gateway-rejected-fraud-nonce"}, "fraud"),
        ({"payment_method_nonce": "fake-gateway-rejected-risk-thresholds-nonce"}, "risk_threshold"),
        ({"payment_method_nonce": "fake-gateway-rejected-avs-and-cvv-nonce"}, "avs_and_cvv"),
        ({"amount": "5001.00"}, "application_incomplete"),
        ({"options": {"three_d_secure": {"required": True}}}, "three_d_secure"),
    ],
)
def test_gateway_rejections(gate, params, reason):
    made = gate.sell(**params).transaction
    assert (made.status, made.gateway_rejection_reason) == ("gateway_rejected", reason)


def test_the_same_sale_again_within_half_a_minute_is_a_duplicate(own_braintree):
    name = order()
    own_braintree.sold(order_id=name)
    again = own_braintree.sell(order_id=name).transaction
    assert again.gateway_rejection_reason == "duplicate"
    assert own_braintree.sell(order_id=name, amount="10.01").is_success
    own_braintree.knobs(duplicate_seconds=0)
    assert own_braintree.sell(order_id=name).is_success


SHIFTED = "fake-three-d-secure-visa-full-authentication-nonce"
FAILED = "fake-three-d-secure-visa-failed-authentication-nonce"


def test_three_d_secure_is_shown_by_the_server_and_required_where_asked(gate):
    required = {"three_d_secure": {"required": True}}
    passed = gate.sell(payment_method_nonce=SHIFTED, options=required)
    assert passed.is_success
    info = passed.transaction.three_d_secure_info
    assert (info.status, info.liability_shifted) == ("authenticate_successful", True)
    failed = gate.sell(payment_method_nonce=FAILED, options=required).transaction
    assert failed.gateway_rejection_reason == "three_d_secure"
    assert failed.three_d_secure_info.liability_shifted is False
    # Who does not ask for it, is not protected by it.
    assert gate.sell(payment_method_nonce=FAILED).is_success


def test_what_was_authenticated_is_what_may_be_charged(gate):
    def agreed():
        info = {
            "status": "authenticate_successful", "liability_shifted": True, "amount": "10.00",
            "merchant_account": "usd",
        }  # fmt: skip
        return gate.nonce(three_d_secure=info)

    assert codes(gate.sell(payment_method_nonce=agreed(), amount="1000.00")) == ["91585"]
    assert codes(gate.sell(payment_method_nonce=agreed(), merchant_account_id="eur")) == ["91584"]
    assert gate.sell(payment_method_nonce=agreed()).is_success


def test_an_issuer_that_wants_authentication_says_2099_unless_the_merchant_may(gate):
    assert gate.sell(payment_method_nonce=gate.nonce(sca=True)).transaction.status == (
        "processor_declined"
    )
    customer = gate.gateway().customer.create(
        {"payment_method_nonce": gate.nonce(sca=True)}
    ).customer  # fmt: skip
    token = customer.payment_methods[0].token
    asked = gate.sell(payment_method_token=token).transaction
    assert asked.processor_response_code == "2099"
    assert gate.sell(payment_method_token=token, transaction_source="recurring").is_success


def test_a_search_lags_and_finds_by_order(gate):
    name = order()
    made = gate.sold(order_id=name)
    by_order = braintree.TransactionSearch.order_id == name
    assert gate.search(by_order) == []
    gate.knobs(search_lag_seconds=0)
    assert [each.id for each in gate.search(by_order)] == [made.id]
    held = braintree.TransactionSearch.status == "authorized"
    settled = braintree.TransactionSearch.status == "settled"
    assert [each.id for each in gate.search(by_order, held)] == [made.id]
    assert gate.search(by_order, settled) == []
    since = braintree.TransactionSearch.created_at >= made.created_at
    before = braintree.TransactionSearch.created_at <= made.created_at.replace(year=2001)
    assert [each.id for each in gate.search(by_order, since)] == [made.id]
    assert gate.search(by_order, before) == []


def test_a_search_of_many_pages_finds_each_once(own_braintree):
    own_braintree.knobs(search_lag_seconds=0)
    made = {own_braintree.sold(order_id=f"many-{number}").id for number in range(120)}
    found = own_braintree.search(braintree.TransactionSearch.order_id.starts_with("many-"))
    assert len(found) == 120
    assert {each.id for each in found} == made

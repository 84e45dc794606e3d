"""Braintree's amounts, declines, and what its answers prove: the pure parts."""

import datetime as dt
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from braintree import exceptions
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from urllib3.exceptions import MaxRetryError, NewConnectionError

from strongroom.gateways.braintree.declines import CLASSES, classify, classify_rejection
from strongroom.gateways.braintree.errors import unanswered
from strongroom.gateways.braintree.keys import keys_of
from strongroom.gateways.braintree.money import from_braintree, refusal, to_braintree
from strongroom.gateways.braintree.reading import read_refusal, read_transaction
from strongroom.money import EXPONENTS
from strongroom.payments.states import (
    Approved,
    Authorized,
    Canceled,
    Declined,
    Mismatched,
    NotSent,
    Pending,
    Unknown,
)
from strongroom.vault.kinds import BRAINTREE_KEYS, checked, kind_of
from strongroom.vault.secret import Secret
from tests.unit.examples import AMOUNT, attempt

ORDER = "pay_1.1"
SALE = {"sale": {"order_id": ORDER, "options": {}}}
ONE = attempt(gateway="braintree", staged=False, gateway_object_id=None, parameters=SALE)
HELD = replace(ONE, kind="authorize")


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [(1050, "EUR", "10.50"), (5, "EUR", "0.05"), (2000, "JPY", "2000"), (1500, "ISK", "1500"),
     (12340, "KWD", "12.34"), (10, "KWD", "0.01"), (999_999_999_9, "USD", "99999999.99")],
)  # fmt: skip
def test_amounts_are_decimal_text(amount_minor, currency, text):
    assert to_braintree(amount_minor, currency) == text
    assert from_braintree(text, currency) == amount_minor
    assert refusal(amount_minor, currency) is None


@given(st.integers(1, 10**10 - 1), st.sampled_from(sorted(EXPONENTS)))
def test_whatever_is_not_refused_comes_back_as_it_was(amount_minor, currency):
    if refusal(amount_minor, currency) is None:
        assert from_braintree(to_braintree(amount_minor, currency), currency) == amount_minor
        assert from_braintree(Decimal(to_braintree(amount_minor, currency)), currency)


@pytest.mark.parametrize(
    ("amount_minor", "currency"), [(1, "KWD"), (12345, "BHD"), (10**10, "EUR"), (100, "XXX")]
)
def test_what_cannot_be_written_is_refused(amount_minor, currency):
    assert refusal(amount_minor, currency)
    assert refusal(amount_minor, currency, part=True)


@pytest.mark.parametrize(
    "amount", ["", "x", "1.234", "NaN", "Infinity", "1e99999", None, 10, 10.0, True, "1" * 40]
)
def test_what_is_no_amount_is_none(amount):
    assert from_braintree(amount, "EUR") is None
    assert from_braintree("1.00", "XXX") is None


def test_the_table_of_declines():
    assert classify("2001") == ("insufficient_funds", "2001")
    assert classify("2099")[0] == "authentication_required"
    assert {classify(code)[0] for code in ("2000", "2038", "2046", "2109", "2999")} == {
        "generic_decline"
    }
    assert classify(None) == ("generic_decline", "unknown")
    assert len(CLASSES) == len(set(CLASSES)) > 40
    assert classify("9" * 200)[1] == "9" * 100


def test_advice_comes_before_the_kind_of_response_and_that_before_the_table():
    assert classify("2001", "soft_declined", "21")[0] == "revoked"
    assert classify("2001", "soft_declined", "03")[0] == "not_permitted"
    assert classify("2014", "hard_declined", "21")[0] == "fraud"  # never again anyway
    assert classify("2001", "soft_declined", "02")[0] == "insufficient_funds"
    assert classify("2200", "hard_declined")[0] == "not_permitted"
    assert classify("2200", "soft_declined")[0] == "generic_decline"
    assert classify("2034", "hard_declined")[0] == "not_permitted"
    assert classify("2001", "hard_declined")[0] == "insufficient_funds"
    assert classify_rejection("three_d_secure") == ("authentication_failed", "three_d_secure")
    assert classify_rejection("new_one") == ("generic_decline", "new_one")
    assert classify_rejection(None) == ("generic_decline", "gateway_rejected")


def found(**fields: Any) -> Any:
    known = {
        "id": "tr1", "type": "sale", "order_id": ORDER, "currency_iso_code": "EUR",
        "amount": Decimal("20.00"), "status": "submitted_for_settlement",
    }  # fmt: skip
    return SimpleNamespace(**(known | fields))


DECLINED = {"processor_response_code": "2001", "processor_response_type": "soft_declined"}


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({}, Approved(AMOUNT, "EUR", settled=False)),
        ({"status": "settlement_pending"}, Approved(AMOUNT, "EUR", settled=False)),
        ({"status": "settling"}, Approved(AMOUNT, "EUR", settled=False)),
        ({"status": "settled"}, Approved(AMOUNT, "EUR")),
        ({"status": "settlement_confirmed"}, Approved(AMOUNT, "EUR")),
        ({"status": "authorized"}, Authorized(AMOUNT, "EUR", None)),
        ({"status": "authorizing"}, Pending()),
        ({"status": "voided"}, Canceled()),
        ({"status": "authorization_expired"}, Canceled(expired=True)),
        ({"status": "processor_declined", **DECLINED},
         Declined("insufficient_funds", "2001", object_open=False)),
        ({"status": "failed"}, Declined("try_again", "failed", object_open=False)),
        ({"status": "gateway_rejected", "gateway_rejection_reason": "cvv"},
         Declined("incorrect_cvc", "cvv", object_open=False)),
        ({"status": "settlement_declined", "processor_settlement_response_code": "4001"},
         Declined("generic_decline", "4001", object_open=False)),
        ({"status": "settlement_failed"},
         Declined("generic_decline", "settlement_failed", object_open=False)),
        ({"status": "something_new"}, Unknown("unexpected_status")),
        ({"amount": Decimal("20.01")}, Mismatched(AMOUNT + 1, "EUR")),
        ({"amount": Decimal("20.001")}, Mismatched(0, "EUR")),
        ({"currency_iso_code": "USD"}, Mismatched(AMOUNT, "USD")),
        ({"order_id": "pay_2.1"}, Unknown("another_object")),
        ({"type": "credit"}, Unknown("another_object")),
        ({"id": ""}, Unknown("another_object")),
    ],
)  # fmt: skip
def test_each_status_says_what_it_proves(fields, answer):
    assert read_transaction(found(**fields), ONE) == answer


def test_of_a_hold_a_part_may_be_taken_and_of_a_sale_may_not():
    part = found(amount=Decimal("7.00"))
    assert read_transaction(part, HELD) == Approved(700, "EUR", settled=False)
    assert read_transaction(part, ONE) == Mismatched(700, "EUR")
    # Given back whole on the same day, which is a void of what was captured.
    back = found(amount=Decimal("7.00"), status="voided")
    assert read_transaction(back, HELD) == Canceled()
    assert read_transaction(back, ONE) == Mismatched(700, "EUR")
    fewer = found(amount=Decimal("7.00"), status="authorized")
    assert read_transaction(fewer, HELD) == Mismatched(700, "EUR")
    assert read_transaction(found(amount=Decimal("27.00")), HELD) == Mismatched(2700, "EUR")


def test_a_moment_without_a_zone_is_utc():
    ends = dt.datetime(2026, 12, 1, 12)  # noqa: DTZ001 - as the SDK gives it
    held = found(status="authorized", authorization_expires_at=ends)
    answer = read_transaction(held, HELD)
    assert answer == Authorized(AMOUNT, "EUR", ends.replace(tzinfo=dt.UTC))


def required(info: Any, **fields: Any) -> Any:
    options = {"options": {"three_d_secure": {"required": True}}}
    strict = replace(ONE, parameters={"sale": {"order_id": ORDER, **options}})
    return read_transaction(found(three_d_secure_info=info, **fields), strict)


def test_authentication_is_looked_at_on_the_server():
    refused = Declined("authentication_failed", "three_d_secure_info", object_open=True)
    good = {"liability_shifted": True, "liability_shift_possible": True, "status": "x"}
    assert required(SimpleNamespace(**good)) == Approved(AMOUNT, "EUR", settled=False)
    apart = good | {"liability_shifted": False, "liability_shift_possible": False}
    assert required(SimpleNamespace(**apart)) == Approved(AMOUNT, "EUR", settled=False)
    for bad in (
        None,
        SimpleNamespace(),
        SimpleNamespace(**(good | {"liability_shifted": False})),
        SimpleNamespace(**(good | {"liability_shifted": "true"})),
        SimpleNamespace(**(apart | {"status": "authenticate_failed"})),
    ):
        assert required(bad) == refused
        for status in ("settling", "settled", "settlement_confirmed"):  # no void undoes it
            assert required(bad, status=status) == Unknown("taken_unauthenticated")


def test_a_rejected_duplicate_is_of_the_attempt_itself_which_may_have_the_money():
    duplicate = {"status": "gateway_rejected", "gateway_rejection_reason": "duplicate"}
    assert read_transaction(found(**duplicate), ONE) == Unknown("duplicate_at_gateway")


def refused_with(*codes: str) -> Any:
    errors = [SimpleNamespace(code=code) for code in codes]
    return SimpleNamespace(errors=SimpleNamespace(deep_errors=errors))


@pytest.mark.parametrize(
    ("codes", "answer"),
    [
        (("915232",), Unknown("idempotency_mismatch")),
        (("915233",), Unknown("in_flight_at_gateway")),
        (("915234",), Unknown("failed_under_key")),
        (("915235",), Unknown("gateway_error_under_key")),
        (("81503", "915233"), Unknown("in_flight_at_gateway")),
        (("915230",), Declined("config_error", "915230", object_open=False)),
        (("915231",), Declined("config_error", "915231", object_open=False)),
        (("81503", "91564"), Declined("invalid_instrument", "91564", object_open=False)),
        (("91513",), Declined("config_error", "91513", object_open=False)),
        ((), Unknown("gateway_error")),
    ],
)
def test_a_refusal_without_a_transaction(codes, answer):
    assert read_refusal(refused_with(*codes)) == answer


def never_connected() -> Exception:
    pool: Any = None
    reason = NewConnectionError(pool, "refused")
    return requests.exceptions.ConnectionError(MaxRetryError(pool, "/", reason))


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (never_connected(), NotSent("not_reached")),
        (requests.exceptions.ConnectionError("aborted"), Unknown("connection_lost")),
        (requests.exceptions.ConnectionError(), Unknown("connection_lost")),
        (requests.exceptions.ReadTimeout(), Unknown("connection_lost")),
        (exceptions.AuthenticationError(), NotSent("credentials_refused")),
        (exceptions.AuthorizationError("x"), NotSent("credentials_refused")),
        (exceptions.TooManyRequestsError(), NotSent("rate_limited")),
        (exceptions.NotFoundError(), Unknown("not_found")),
        (exceptions.ServerError(), Unknown("gateway_error")),
        (exceptions.ServiceUnavailableError(), Unknown("gateway_error")),
        (exceptions.GatewayTimeoutError(), Unknown("gateway_error")),
        (exceptions.UnexpectedError("302"), Unknown("gateway_error")),
        (KeyError("transaction"), Unknown("malformed_KeyError")),
    ],
)
def test_what_an_error_proves(error, answer):
    assert unanswered(error) == answer


def test_the_keys_of_an_account_are_three_parts_and_shown_by_nothing():
    secret = Secret("merchant1:public1234:0123456789abcdef0123456789abcdef")
    keys = keys_of(checked(kind_of(BRAINTREE_KEYS), "live", secret))
    assert keys.merchant_id == "merchant1"
    assert "0123456789abcdef" not in repr(keys)
    with pytest.raises(ValueError, match="no secret") as raised:
        keys_of(Secret("secretsecret"))
    assert "secretsecret" not in str(raised.value)

"""Amounts: what a currency's minor unit is, and what Stripe makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.gateways.stripe.money import (
    _MINIMUM,
    _TAKEN,
    AMOUNT_MAX,
    from_stripe,
    refusal,
    to_stripe,
)
from strongroom.money import EXPONENTS, as_decimal_text, is_currency

# docs.stripe.com/currencies
STRIPE_ZERO = set("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
STRIPE_THREE = {"BHD", "JOD", "KWD", "OMR", "TND"}


def stripe_exponent(currency: str) -> int:
    return 0 if currency in STRIPE_ZERO else 3 if currency in STRIPE_THREE else 2


@pytest.mark.parametrize("currency", sorted(_TAKEN))
def test_a_whole_unit_is_a_whole_unit_at_stripe(currency):
    """Where Stripe counts other decimals than ISO 4217, the factor is ours to get right."""
    units = 10 ** EXPONENTS[currency] * 1000
    assert to_stripe(units, currency) == 1000 * 10 ** stripe_exponent(currency)
    assert from_stripe(to_stripe(units, currency), currency) == units


@given(st.sampled_from(sorted(_TAKEN)), st.integers(1, 10**11))
def test_what_is_not_refused_comes_back_as_it_went(currency, amount):
    if refusal(amount, currency) is None:
        assert 0 < to_stripe(amount, currency) <= AMOUNT_MAX
        assert from_stripe(to_stripe(amount, currency), currency) == amount


@pytest.mark.parametrize(
    ("amount", "currency", "taken"),
    [
        (50, "USD", True), (49, "USD", False), (99_999_999, "USD", True),
        (100_000_000, "USD", False), (2**63 - 1, "USD", False), (30, "GBP", True),
        (29, "GBP", False), (50, "JPY", True), (49, "JPY", False), (17500, "HUF", True),
        (17499, "HUF", False), (5120, "KWD", True), (5124, "KWD", False), (999_999, "ISK", True),
        (1_000_000, "ISK", False), (1, "UGX", True), (1_000_000, "UGX", False),
        (10_000, "MGA", True), (10_050, "MGA", False), (100, "KPW", False), (100, "XXX", False),
        (1000, "IQD", False),
    ],
)  # fmt: skip
def test_what_stripe_can_take(amount, currency, taken):
    assert (refusal(amount, currency) is None) == taken


@pytest.mark.parametrize("currency", ["ISK", "UGX"])
def test_what_cannot_be_said_in_minor_units_is_none(currency):
    assert from_stripe(150, currency) is None
    assert from_stripe(100, currency) == 1


def test_tables_agree():
    assert set(EXPONENTS) >= _TAKEN >= set(_MINIMUM)
    assert {code for code in EXPONENTS if len(code) != 3 or not code.isupper()} == set()
    assert is_currency("EUR")
    assert not is_currency("eur")


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(1234, "EUR", "12.34 EUR"), (5, "EUR", "0.05 EUR"), (500, "JPY", "500 JPY"),
     (5124, "KWD", "5.124 KWD")],
)  # fmt: skip
def test_text_for_people(amount, currency, text):
    assert as_decimal_text(amount, currency) == text

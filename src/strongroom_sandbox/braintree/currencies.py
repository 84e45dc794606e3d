"""Amounts: decimal text on the wire, integers of the currency's minor unit inside.

Decimals as ISO 4217 has them, but never more than two: a form that the currency cannot hold, or
a third decimal, is refused.
"""

import re
from decimal import Decimal

DECIMALS_MAX = 2
AMOUNT_MAX = 999_999_999_999
"""In the minor unit."""
ZERO_DECIMAL = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())
THREE_DECIMAL = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
FORM = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,2})?")


def exponent(currency: str) -> int:
    """How many decimals the currency has."""
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2


def minor(text: str, currency: str) -> int | None:
    """Decimal text in the minor unit, or None when it is no amount of this currency."""
    if FORM.fullmatch(text) is None:
        return None
    scaled = Decimal(text).scaleb(exponent(currency))
    return int(scaled) if scaled == scaled.to_integral_value() else None


def decimal_text(amount: int, currency: str) -> str:
    """The minor unit as Braintree writes it: ``10.00``, ``1000`` for JPY, ``1.50`` for KWD."""
    places = exponent(currency)
    return f"{Decimal(amount).scaleb(-places):.{min(places, DECIMALS_MAX)}f}"


def whole_units(amount: int, currency: str) -> Decimal:
    """The amount in the currency's main unit, which the test amounts are told by."""
    return Decimal(amount).scaleb(-exponent(currency))

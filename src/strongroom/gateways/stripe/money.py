"""What Stripe can take, and how it writes amounts.

Source: docs.stripe.com/currencies. Stripe counts ISK and UGX with two decimals for backward
compatibility, where ISO 4217 counts none, and MGA with none, where ISO 4217 counts two;
three-decimal amounts must end in 0; amounts have at most eight digits.
"""

from typing import Any, Final

DIGITS_MAX: Final = 8
AMOUNT_MAX: Final = 10**DIGITS_MAX - 1

_TAKEN: Final = frozenset(
    (
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP "
        "BYN BZD CAD CDF CHF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL "
        "GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD "
        "KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN "
        "NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD "
        "SHP SLE SOS SRD STN SZL THB TJS TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST "
        "XAF XCD XCG XOF XPF YER ZAR ZMW"
    ).split()
)
_TWO_DECIMALS_HERE: Final = frozenset({"ISK", "UGX"})
_NO_DECIMALS_HERE: Final = frozenset({"MGA"})
_THREE_DECIMALS: Final = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
_MINIMUM: Final = {
    "USD": 50, "AED": 200, "AUD": 50, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500, "DKK": 250,
    "EUR": 50, "GBP": 30, "HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50, "MXN": 1000,
    "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200, "RON": 200, "SEK": 300, "SGD": 50, "THB": 1000,
}  # fmt: skip


def refusal(amount_minor: int, currency: str, *, part: bool = False) -> str | None:
    """Why Stripe cannot take the amount, in words for the caller, or None when it can.

    A `part` of a charge, captured or given back, has no minimum.
    """
    if currency not in _TAKEN:
        return "Stripe does not take payments in this currency."
    if currency in _NO_DECIMALS_HERE and amount_minor % 100:
        return "Stripe takes whole units of this currency only."
    if to_stripe(amount_minor, currency) > AMOUNT_MAX:
        return f"Stripe takes at most {DIGITS_MAX} digits."
    if currency in _THREE_DECIMALS and amount_minor % 10:
        return "Stripe wants the last digit of a three-decimal amount to be 0."
    minimum = _MINIMUM.get(currency)
    if not part and minimum is not None and amount_minor < minimum:
        return f"Stripe takes no less than {minimum} minor units of this currency."
    return None


def to_stripe(amount_minor: int, currency: str) -> int:
    """Minor units of ISO 4217 as Stripe writes them; only for amounts that `refusal` lets pass."""
    if currency in _NO_DECIMALS_HERE:
        return amount_minor // 100
    return amount_minor * 100 if currency in _TWO_DECIMALS_HERE else amount_minor


def from_stripe(amount: Any, currency: str) -> int | None:
    """Stripe's amount in minor units of ISO 4217; None when it cannot be said in them.

    Raises TypeError for what is no integer.
    """
    if not isinstance(amount, int) or isinstance(amount, bool):
        raise TypeError("an amount is an integer")
    whole: int = amount
    if currency in _NO_DECIMALS_HERE:
        return whole * 100
    if currency not in _TWO_DECIMALS_HERE:
        return whole
    return whole // 100 if whole % 100 == 0 else None

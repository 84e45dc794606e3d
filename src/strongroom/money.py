"""Amounts: integers in the currency's minor unit, with an ISO 4217 code.

Which currencies a gateway takes, and how it writes them, is that gateway's own table
(gateways/*/money.py): exponents differ between gateways (ISK, UGX).
"""

from typing import Final

AMOUNT_MINOR_MAX: Final = 2**63 - 1
"""What a PostgreSQL bigint holds; gateways allow far less."""

_ZERO: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE: Final = "BHD IQD JOD KWD LYD OMR TND"
_TWO: Final = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD "
    "CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
    "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD "
    "MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP "
    "PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS "
    "TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)

EXPONENTS: Final[dict[str, int]] = (
    dict.fromkeys(_TWO.split(), 2)
    | dict.fromkeys(_ZERO.split(), 0)
    | dict.fromkeys(_THREE.split(), 3)
)
"""ISO 4217 code (upper case) to the number of decimals of its minor unit."""


def is_currency(code: str) -> bool:
    """Whether `code`, in upper case, is a currency of ISO 4217 that payments are made in."""
    return code in EXPONENTS


def as_decimal_text(amount_minor: int, currency: str) -> str:
    """`1234, "EUR"` → `12.34 EUR`, for people; never computed with."""
    exponent = EXPONENTS[currency]
    if exponent == 0:
        return f"{amount_minor} {currency}"
    whole, part = divmod(amount_minor, 10**exponent)
    return f"{whole}.{part:0{exponent}d} {currency}"

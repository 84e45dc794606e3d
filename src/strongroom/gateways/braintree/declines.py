"""Braintree's processor responses and rejections as normalised classes.

Codes: developer.paypal.com/braintree/docs/reference/general/processor-responses/
authorization-responses. An advice of the card network comes first, then what Braintree says of the
response's kind, then the table; the raw code is kept beside the class.
"""

from collections.abc import Mapping
from typing import Final

from strongroom.payments.states import DeclineClass

CODE_CHARACTERS_MAX: Final = 100

_BY_CLASS: Final[Mapping[DeclineClass, str]] = {
    "insufficient_funds": "2001",
    "limit_exceeded": "2002 2003",
    "generic_decline": "2000 2038 2046",
    "try_again": "2034 3000",
    "authentication_required": "2099",
    "expired_card": "2004",
    "invalid_card": "2005 2006 2007 2008 2009 2108",
    "incorrect_cvc": "2010",
    "avs_mismatch": "2059 2060",
    "lost_stolen": "2012 2013 2047 2053",
    "fraud": "2014 2021",
    "not_permitted": "2015 2019 2057 2064",
    "revoked": "2017 2018",
    "call_issuer": "2011 2041 2043 2044",
    "duplicate": "2016",
    "config_error": "2023 2024 2025 2026 2027 2028 2029 2030 2045",
}
CLASSES: Final[dict[str, DeclineClass]] = {
    code: name for name, codes in _BY_CLASS.items() for code in codes.split()
}
REJECTIONS: Final[dict[str, DeclineClass]] = {
    "application_incomplete": "config_error",
    "avs": "avs_mismatch",
    "avs_and_cvv": "avs_mismatch",
    "cvv": "incorrect_cvc",
    "duplicate": "duplicate",
    "excessive_retry": "not_permitted",
    "fraud": "fraud",
    "risk_threshold": "fraud",
    "three_d_secure": "authentication_failed",
    "token_issuance": "generic_decline",
}
"""By gateway_rejection_reason: Braintree refused by itself, nobody else was asked."""
NEVER_AGAIN: Final[dict[str, DeclineClass]] = {"03": "not_permitted", "21": "revoked"}
"""Mastercard's merchant advice codes that forbid another try with this card."""
_MAY_BE_TRIED_AGAIN: Final = frozenset(
    {"insufficient_funds", "limit_exceeded", "generic_decline", "try_again", "call_issuer"}
)


def classify(
    code: str | None, response_type: str | None = None, advice_code: str | None = None
) -> tuple[DeclineClass, str]:
    """The class of a processor's decline and the raw code that it came from.

    Unknown codes are generic; one that is declined for good is not called worth another try.
    """
    raw = code or "unknown"
    known = CLASSES.get(raw, "generic_decline")
    if known in _MAY_BE_TRIED_AGAIN and advice_code in NEVER_AGAIN:
        known = NEVER_AGAIN[advice_code]
    elif response_type == "hard_declined" and known in ("generic_decline", "try_again"):
        known = "not_permitted"
    return known, raw[:CODE_CHARACTERS_MAX]


def classify_rejection(reason: str | None) -> tuple[DeclineClass, str]:
    """The class of what Braintree itself refused, and its reason."""
    raw = reason or "gateway_rejected"
    return REJECTIONS.get(raw, "generic_decline"), raw[:CODE_CHARACTERS_MAX]

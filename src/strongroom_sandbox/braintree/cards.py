"""Test instruments: the nonces of Braintree's sandbox, its test amounts, and its decline codes.

developer.paypal.com/braintree/docs/reference/general/testing; names as in `braintree.test.nonces`.
"""

from decimal import Decimal

import msgspec


class ThreeDSecure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a 3D Secure lookup or challenge came to, as an enriched nonce carries it."""

    status: str
    enrolled: str = "Y"
    liability_shifted: bool = False
    liability_shift_possible: bool = True
    version: str = "2.2.0"
    amount: str | None = None
    """Decimal text that the customer agreed to; None: whatever is charged."""
    merchant_account: str | None = None
    authentication_id: str | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A test card. ``decline`` is the processor's code, ``rejection`` the gateway's reason.

    ``sca``: the issuer declines it with 2099 where the customer did not authenticate.
    """

    brand: str = "Visa"
    bin: str = "411111"
    last4: str = "1111"
    country: str = "USA"
    debit: str = "No"
    prepaid: str = "No"
    expiration_month: str = "12"
    expiration_year: str = "2034"
    decline: str | None = None
    rejection: str | None = None
    sca: bool = False


VISA = Card()
MASTERCARD = Card(brand="MasterCard", bin="555555", last4="4444")
AMEX = Card(brand="American Express", bin="378282", last4="0005")
DISCOVER = Card(brand="Discover", bin="601111", last4="1117")
JCB = Card(brand="JCB", bin="353011", last4="0000", country="JPN")

_VALID: dict[str, Card] = {
    "": VISA,
    "visa": VISA,
    "mastercard": MASTERCARD,
    "amex": AMEX,
    "discover": DISCOVER,
    "jcb": JCB,
    "dinersclub": Card(brand="Diners Club", bin="362596", last4="0004"),
    "maestro": Card(brand="Maestro", bin="630495", last4="0000", debit="Yes", country="GBR"),
    "debit": Card(debit="Yes"),
    "prepaid": Card(prepaid="Yes"),
    "business": VISA,
    "commercial": VISA,
    "consumer": VISA,
    "corporate": VISA,
    "purchase": VISA,
    "country-of-issuance-usa": VISA,
    "country-of-issuance-cad": Card(country="CAN"),
    "no-indicators": VISA,
    "unknown-indicators": VISA,
}
CONSUMED = "fake-consumed-nonce"
LUHN_INVALID = "fake-luhn-invalid-nonce"

_STEPPED_UP = ThreeDSecure(status="authenticate_successful", liability_shifted=True)
_AUTHENTICATIONS: dict[str, ThreeDSecure] = {
    "two-visa-successful-frictionless-authentication": _STEPPED_UP,
    "two-visa-successful-step-up-authentication": _STEPPED_UP,
    "two-visa-error-on-lookup": ThreeDSecure(
        status="lookup_error", enrolled="E", liability_shift_possible=False
    ),
    "two-visa-timeout-on-lookup": ThreeDSecure(
        status="lookup_error", enrolled="E", liability_shift_possible=False
    ),
    "visa-full-authentication": _STEPPED_UP,
    "visa-attempts-non-participating": ThreeDSecure(
        status="authenticate_attempt_successful", liability_shifted=True
    ),
    "visa-authentication-unavailable": ThreeDSecure(status="authenticate_unable_to_authenticate"),
    "visa-bypassed-authentication": ThreeDSecure(
        status="lookup_bypassed", enrolled="B", liability_shift_possible=False
    ),
    "visa-failed-authentication": ThreeDSecure(status="authenticate_failed"),
    "visa-failed-signature": ThreeDSecure(status="authenticate_signature_verification_failed"),
    "visa-lookup-timeout": ThreeDSecure(
        status="lookup_error", enrolled="E", liability_shift_possible=False
    ),
    "visa-mpi-authenticate-error": ThreeDSecure(status="authenticate_error"),
    "visa-mpi-lookup-error": ThreeDSecure(
        status="lookup_error", enrolled="E", liability_shift_possible=False
    ),
    "visa-not-enrolled": ThreeDSecure(
        status="lookup_not_enrolled", enrolled="N", liability_shift_possible=False
    ),
    "visa-unavailable": ThreeDSecure(
        status="unsupported_card", enrolled="U", liability_shift_possible=False
    ),
}

CODES = tuple(str(code) for code in (*range(2000, 2093), 2099, *range(2101, 2110), 3000))
REJECTIONS = (
    "avs", "avs_and_cvv", "cvv", "duplicate", "excessive_retry", "fraud", "risk_threshold",
    "three_d_secure", "token_issuance",
)  # fmt: skip
"""Braintree has nonces for few declines and rejections; here is one for each code and reason."""
FAKE_NONCES: dict[str, tuple[Card, ThreeDSecure | None]] = {
    **{f"fake-valid{'-' * bool(name)}{name}-nonce": (card, None) for name, card in _VALID.items()},
    "fake-processor-declined-visa-nonce": (Card(bin="400011", last4="1115", decline="2000"), None),
    "fake-processor-declined-mastercard-nonce": (
        Card(brand="MasterCard", bin="510510", last4="5100", decline="2000"), None),
    "fake-processor-declined-amex-nonce": (
        Card(brand="American Express", bin="378734", last4="1000", decline="2000"), None),
    "fake-processor-declined-discover-nonce": (
        Card(brand="Discover", bin="601100", last4="9424", decline="2000"), None),
    "fake-processor-failure-jcb-nonce": (
        Card(brand="JCB", bin="356600", last4="0505", decline="3000"), None),
    "fake-gateway-rejected-fraud-nonce": (Card(bin="400011", rejection="fraud"), None),
    "fake-gateway-rejected-risk-thresholds-nonce": (
        Card(bin="400011", rejection="risk_threshold"), None),
    **{
        f"fake-processor-declined-{code}-nonce": (
            Card(bin="400011", last4="1115", decline=code), None)
        for code in CODES
    },
    **{
        f"fake-gateway-rejected-{reason.replace('_', '-')}-nonce": (
            Card(bin="400011", rejection=reason), None)
        for reason in REJECTIONS
    },
    "fake-authentication-required-nonce": (Card(bin="400000", last4="1091", sca=True), None),
    **{
        f"fake-three-d-secure-{name}-nonce": (Card(bin="400000", last4="1091"), info)
        for name, info in _AUTHENTICATIONS.items()
    },
}  # fmt: skip
"""The nonces that may be used again and again, with what they stand for."""

APPROVED = ("1000", "Approved")
TEXTS = {
    "2000": "Do Not Honor", "2001": "Insufficient Funds", "2002": "Limit Exceeded",
    "2003": "Cardholder's Activity Limit Exceeded", "2004": "Expired Card",
    "2005": "Invalid Credit Card Number", "2006": "Invalid Expiration Date",
    "2007": "No Account", "2008": "Card Account Length Error", "2009": "No Such Issuer",
    "2010": "Card Issuer Declined CVV", "2011": "Voice Authorization Required",
    "2012": "Processor Declined Possible Lost Card",
    "2013": "Processor Declined - Possible Stolen Card",
    "2014": "Processor Declined - Fraud Suspected", "2015": "Transaction Not Allowed",
    "2016": "Duplicate Transaction", "2017": "Cardholder Stopped Billing",
    "2018": "Cardholder Stopped All Billing", "2019": "Invalid Transaction",
    "2021": "Security Violation", "2034": "No Action Taken", "2038": "Processor Declined",
    "2041": "Declined - Call Issuer", "2044": "Declined - Call Issuer", "2046": "Declined",
    "2047": "Call Issuer. Pick Up Card.", "2053": "Card reported as lost or stolen",
    "2057": "Issuer or Cardholder has put a restriction on the card",
    "2059": "Address Verification Failed", "2060": "Address Verification and CVV Failed",
    "2099": "Cardholder Authentication Required",
    "3000": "Processor Network Unavailable - Try Again",
    "4001": "Settlement Declined", "4002": "Settlement Pending",
}  # fmt: skip
SOFT = frozenset(
    "2000 2001 2002 2003 2009 2016 2021 2025 2026 2027 2028 2030 2033 2034 2035 2038 2040 2042 "
    "2046 2048 2050 2054 2055 2056 3000".split()
)
"""Codes that may be approved another time; all others stay declined."""


def text_of(code: str) -> str:
    """The processor's words for a code."""
    return TEXTS.get(code, "Processor Declined")


def response_type(code: str) -> str:
    """``approved``, ``soft_declined`` or ``hard_declined``."""
    if code.startswith("1"):
        return "approved"
    return "soft_declined" if code in SOFT else "hard_declined"


def decline_of_amount(units: Decimal) -> str | None:
    """The code that an amount (in the main unit) of the sandbox is declined with, or None."""
    return str(int(units)) if 2000 <= units < 3001 else None


def rejection_of_amount(units: Decimal) -> str | None:
    """The reason for which an amount of the sandbox is rejected by the gateway."""
    return "application_incomplete" if units == 5001 else None


def settlement_of_amount(units: Decimal) -> str | None:
    """``settlement_declined`` or ``settlement_pending`` for the sandbox's amounts."""
    if 4001 <= units < 4002:
        return "settlement_declined"
    return "settlement_pending" if 4002 <= units < 4003 else None

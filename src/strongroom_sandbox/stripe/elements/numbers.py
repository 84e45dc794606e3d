"""The documented test card numbers (docs.stripe.com/testing), by the test method that they make."""

import re
from datetime import UTC, datetime
from typing import Final

from strongroom_sandbox.stripe.errors import ErrorBody, Refusal

NUMBERS: Final = {
    "4242424242424242": "pm_card_visa",
    "4000056655665556": "pm_card_visa_debit",
    "5555555555554444": "pm_card_mastercard",
    "378282246310005": "pm_card_amex",
    "6011111111111117": "pm_card_discover",
    "3056930009020004": "pm_card_diners",
    "3566002020360505": "pm_card_jcb",
    "4000000000000002": "pm_card_visa_chargeDeclined",
    "4000000000009995": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "4000000000009987": "pm_card_visa_chargeDeclinedLostCard",
    "4000000000009979": "pm_card_visa_chargeDeclinedStolenCard",
    "4000000000000069": "pm_card_visa_chargeDeclinedExpiredCard",
    "4000000000000127": "pm_card_visa_chargeDeclinedIncorrectCvc",
    "4000000000000119": "pm_card_visa_chargeDeclinedProcessingError",
    "4000000000006975": "pm_card_visa_chargeDeclinedVelocityLimitExceeded",
    "4000000000000341": "pm_card_chargeCustomerFail",
    "4100000000000019": "pm_card_radarBlock",
    "4000000000003220": "pm_card_threeDSecure2Required",
    "4000000000003063": "pm_card_threeDSecureRequired",
    "4000008400001629": "pm_card_threeDSecureRequiredChargeDeclined",
    "4000000000003055": "pm_card_threeDSecureOptional",
    "4000002500003155": "pm_card_authenticationRequiredOnSetup",
    "4000002760003184": "pm_card_authenticationRequired",
}
_NUMBER: Final = re.compile(r"[0-9]{12,19}")
_CODE: Final = re.compile(r"[0-9]{3,4}")
_YEARS_AHEAD_MAX: Final = 50


def method_of_number(number: str, month: str, year: str, code: str, now: int) -> str:
    """Return the test method that a card makes. Raises Refusal, which never shows the number.

    What is entered is not kept: only the name of the test method is.
    """
    digits = number.replace(" ", "").replace("-", "")
    if not _NUMBER.fullmatch(digits) or not is_luhn(digits):
        raise _refused("incorrect_number", "Your card number is incorrect.", "number")
    if not _is_digits(month) or not 1 <= int(month) <= 12:
        raise _refused(
            "invalid_expiry_month", "Your card's expiration month is invalid.", "exp_month"
        )
    today = datetime.fromtimestamp(now, UTC)
    if not _is_digits(year) or len(year) not in (2, 4):
        raise _refused("invalid_expiry_year", "Your card's expiration year is invalid.", "exp_year")
    full_year = int(year) if len(year) == 4 else 2000 + int(year)
    if not (today.year, today.month) <= (full_year, int(month)) < (
        today.year + _YEARS_AHEAD_MAX, 13
    ):  # fmt: skip
        raise _refused("invalid_expiry_year", "Your card's expiration year is invalid.", "exp_year")
    if not _CODE.fullmatch(code):
        raise _refused("invalid_cvc", "Your card's security code is invalid.", "cvc")
    method = NUMBERS.get(digits)
    if method is None:
        error = ErrorBody(
            type="card_error",
            code="card_declined",
            decline_code="test_mode_live_card",
            message="Your card was declined. Your request was in test mode, but used a non test "
            "card. For a list of valid test cards, visit: https://stripe.com/docs/testing.",
        )
        raise Refusal(402, error)
    return method


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 4


def is_luhn(digits: str) -> bool:
    """Tell whether the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _refused(code: str, message: str, param: str) -> Refusal:
    return Refusal(402, ErrorBody(type="card_error", message=message, code=code, param=param))

"""The documented test card numbers, by the card that they make; no number is kept.

developer.paypal.com/braintree/docs: reference/general/testing, guides/3d-secure/testing-go-live.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from strongroom_sandbox.braintree.cards import Card

NUMBER: Final = re.compile(r"[0-9]{12,19}")
CODE: Final = re.compile(r"[0-9]{3,4}")
YEARS_AHEAD_MAX: Final = 50


class Lookup(StrEnum):
    """What the issuer does when a card is looked up for 3D Secure."""

    NOT_ENROLLED = "not_enrolled"
    FRICTIONLESS = "frictionless"
    FAILED = "failed"
    CHALLENGE = "challenge"


@dataclass(frozen=True, slots=True)
class Entered:
    """What a number stands for."""

    card: Card
    lookup: Lookup


_BRANDS: Final = {"3": "American Express", "4": "Visa", "5": "MasterCard", "6": "Discover"}
_JCB: Final = ("3530111333300000", "3566002020360505")
_DECLINES: Final = {
    "4000111111111115": "2000",
    "5105105105105100": "2000",
    "378734493671000": "2000",
    "6011000990139424": "2000",
    "3566002020360505": "3000",
}
_LOOKUPS: Final = {
    "4000000000001000": Lookup.FRICTIONLESS,
    "5200000000001005": Lookup.FRICTIONLESS,
    "4000000000001018": Lookup.FAILED,
    "4000000000001091": Lookup.CHALLENGE,
    "5200000000001096": Lookup.CHALLENGE,
    "4000000000001109": Lookup.CHALLENGE,
}
_PLAIN: Final = (
    "4111111111111111", "4012888888881881", "4005519200000004", "5555555555554444",
    "378282246310005", "6011111111111117", "3530111333300000",
)  # fmt: skip
_NUMBERS: Final = frozenset((*_PLAIN, *_DECLINES, *_LOOKUPS))


class WrongCard(ValueError):
    """What was entered is no test card. It never shows the number."""

    def __init__(self, field: str, code: str, message: str) -> None:
        self.field, self.code = field, code
        super().__init__(message)


def entered(number: str, month: str, year: str, code: str, now: int) -> Entered:
    """What was typed into the fields stands for. Raises WrongCard."""
    digits = number.replace(" ", "")
    if NUMBER.fullmatch(digits) is None or not is_luhn(digits):
        raise WrongCard("number", "81715", "Credit card number is invalid")
    if not _is_number(month) or not 1 <= int(month) <= 12:
        raise WrongCard("expirationMonth", "81712", "Expiration month is invalid")
    today = datetime.fromtimestamp(now, UTC)
    if not _is_number(year) or len(year) not in (2, 4):
        raise WrongCard("expirationYear", "81713", "Expiration year is invalid")
    full_year = int(year) if len(year) == 4 else 2000 + int(year)
    last = (today.year + YEARS_AHEAD_MAX, 13)
    if not (today.year, today.month) <= (full_year, int(month)) < last:
        raise WrongCard("expirationYear", "81713", "Expiration year is invalid")
    if CODE.fullmatch(code) is None:
        raise WrongCard("cvv", "81707", "CVV must be 3 or 4 digits")
    if digits not in _NUMBERS:
        raise WrongCard("number", "81717", "Credit card number is not an accepted test number")
    card = Card(
        brand="JCB" if digits in _JCB else _BRANDS[digits[0]],
        bin=digits[:6],
        last4=digits[-4:],
        expiration_month=f"{int(month):02d}",
        expiration_year=str(full_year),
        decline=_DECLINES.get(digits),
    )
    return Entered(card, _LOOKUPS.get(digits, Lookup.NOT_ENROLLED))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 4


def is_luhn(digits: str) -> bool:
    """Tell whether the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0

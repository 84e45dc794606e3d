"""What Braintree can take, and how it writes amounts.

Braintree counts in units of the currency, as decimal text: "10.00", "2000" for a currency without
decimals. So ISK needs no special case here, where Stripe's does. It takes two decimals at most, so
a three-decimal amount has to end in 0. What a merchant is paid in is decided by the merchant
account that a transaction names (developer.paypal.com/braintree/docs/reference/request/transaction/
sale); whether there is one for a currency is checked where a payment is accepted.
"""

from decimal import Decimal, InvalidOperation
from typing import Any, Final

from strongroom.money import AMOUNT_MINOR_MAX, EXPONENTS

DIGITS_MAX: Final = 10
"""Of the amount in units of hundredths, or in whole units where there are none."""
DECIMALS_MAX: Final = 2
_TEXT_CHARACTERS_MAX: Final = 32


def refusal(amount_minor: int, currency: str, *, part: bool = False) -> str | None:
    """Why Braintree cannot take the amount, in words for the caller, or None when it can.

    There is no minimum above one minor unit, so a `part` of a charge is judged as the whole is.
    """
    del part
    exponent = EXPONENTS.get(currency)
    if exponent is None:
        return "Braintree does not take payments in this currency."
    surplus = 10 ** max(exponent - DECIMALS_MAX, 0)
    if amount_minor % surplus:
        return "Braintree wants the last digit of a three-decimal amount to be 0."
    if amount_minor // surplus >= 10**DIGITS_MAX:
        return f"Braintree takes at most {DIGITS_MAX} digits."
    return None


def to_braintree(amount_minor: int, currency: str) -> str:
    """Minor units of ISO 4217 as Braintree writes them; only for amounts that `refusal` passes."""
    exponent = EXPONENTS[currency]
    amount = Decimal(amount_minor).scaleb(-exponent)
    return f"{amount:.{min(exponent, DECIMALS_MAX)}f}"


def from_braintree(amount: Any, currency: str) -> int | None:
    """Braintree's amount in minor units of ISO 4217; None when it cannot be said in them."""
    exponent = EXPONENTS.get(currency)
    if exponent is None or not isinstance(amount, str | Decimal):
        return None
    if len(str(amount)) > _TEXT_CHARACTERS_MAX:
        return None
    try:
        minor = Decimal(amount).scaleb(exponent)
        if not minor.is_finite() or abs(minor) > AMOUNT_MINOR_MAX:
            return None
        return int(minor) if minor == minor.to_integral_value() else None
    except InvalidOperation:
        return None

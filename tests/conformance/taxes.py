"""The same for tax services: what each operation of their port does whatever happens."""

from enum import StrEnum
from typing import Final

from tests.conformance.matrix import Condition

NO_SERVICE: Final = {
    "braintree": "Braintree has no tax service: the payment may go there all the same, and its tax "
    "be calculated and reported by Stripe Tax (docs/tax.md)",
}
"""Gateways without one, and why that is no hole."""


class TaxOperation(StrEnum):
    """A method of the port."""

    CALCULATE = "calculate"
    RECORD = "record"
    REVERSE = "reverse"
    UNDO = "undo"


REASONS: Final[dict[Condition, str]] = {
    Condition.ACTION: "nothing is asked of the customer here",
    Condition.WRONG_AMOUNT: "what is calculated is not known before; that it adds up is looked at",
    Condition.WRONG_CURRENCY: "told by the calculation alone, which then has failed",
}
"""Conditions that no operation of a tax service can meet, and why."""
NAMES: Final = {
    TaxOperation.CALCULATE: "tax.calculations.create",
    TaxOperation.RECORD: "tax.transactions.create_from_calculation",
    TaxOperation.REVERSE: "tax.transactions.create_reversal",
    TaxOperation.UNDO: "tax.transactions.create_reversal",
}
"""What the stand-in calls them."""
TAX_CELLS: Final = [
    (operation, condition)
    for operation in TaxOperation
    for condition in Condition
    if condition not in REASONS
]

"""A payment that names a tax calculation: whether it can be taxed by that."""

from datetime import datetime
from typing import Final
from uuid import UUID

from strongroom.errors import Invalid
from strongroom.ids import MalformedId, from_text
from strongroom.tax.calculations import Calculation

FIELD: Final = "tax_calculation"


def named_calculation(text: str) -> UUID | None:
    """The id in its text form; malformed ones are unknown ones."""
    try:
        return from_text("txc", text)
    except MalformedId:
        return None


def unusable(
    calculation: Calculation | None, amount_minor: int, currency: str, now: datetime
) -> Invalid | None:
    """Why a payment of this amount cannot be taxed by the calculation; None where it can."""
    if calculation is None or calculation.status != "ready" or calculation.usable_until is None:
        return Invalid("tax_calculation_unknown", field=FIELD)
    if now >= calculation.usable_until:
        return Invalid("tax_calculation_expired", field=FIELD)
    if (amount_minor, currency) != (calculation.total_minor, calculation.currency):
        return Invalid("tax_calculation_differs", field=FIELD)
    return None

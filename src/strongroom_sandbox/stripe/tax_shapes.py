"""Stripe Tax's objects as Stripe answers them (docs.stripe.com/api/tax)."""

from decimal import Decimal
from typing import Any

from strongroom_sandbox.stripe.tax_rates import RATES
from strongroom_sandbox.stripe.tax_records import Calculation, Taxed, TaxLine

LINES_SHOWN = 10
"""Of a list within an object; the others are asked for by the list's own URL."""
LINES = "line_items"
BREAKDOWN = "line_items.data.tax_breakdown"

Json = dict[str, Any]


def calculation_shape(found: Calculation, expand: tuple[str, ...]) -> Json:
    """A calculation; its lines only where they are expanded."""
    lines = found.all_lines
    exclusive = sum(line.amount_tax for line in lines if line.tax_behavior == "exclusive")
    inclusive = sum(line.amount_tax for line in lines if line.tax_behavior == "inclusive")
    shipping = found.shipping
    return {
        "id": found.id,
        "object": "tax.calculation",
        "amount_total": sum(line.total for line in lines),
        "currency": found.currency,
        "customer": None,
        "customer_details": found.customer,
        "expires_at": found.expires_at,
        "line_items": _first_lines(found, expand),
        "livemode": False,
        "ship_from_details": None,
        "shipping_cost": None if shipping is None else _shipping(shipping) | _itemised(shipping),
        "tax_amount_exclusive": exclusive,
        "tax_amount_inclusive": inclusive,
        "tax_breakdown": _by_rate(lines),
        "tax_date": found.tax_date,
    }


def taxed_shape(found: Taxed, expand: tuple[str, ...]) -> Json:
    """A transaction; its lines only where they are expanded."""
    return {
        "id": found.id,
        "object": "tax.transaction",
        "created": found.created,
        "currency": found.currency,
        "customer": None,
        "customer_details": found.customer,
        "line_items": _first_lines(found, expand),
        "livemode": False,
        "metadata": found.metadata,
        "posted_at": found.posted_at,
        "reference": found.reference,
        "reversal": None if found.original is None else {"original_transaction": found.original},
        "ship_from_details": None,
        "shipping_cost": None if found.shipping is None else _shipping(found.shipping),
        "tax_date": found.tax_date,
        "type": "transaction" if found.original is None else "reversal",
    }


def lines_shape(
    found: Calculation | Taxed, first: int, limit: int, expand: tuple[str, ...]
) -> Json:
    """A page of the lines, from the place ``first`` on."""
    shown = found.lines[first : first + limit]
    noun = "calculations" if isinstance(found, Calculation) else "transactions"
    return {
        "object": "list",
        "data": [_line(found, line, expand) for line in shown],
        "has_more": len(found.lines) > first + limit,
        "url": f"/v1/tax/{noun}/{found.id}/line_items",
    }


def _first_lines(found: Calculation | Taxed, expand: tuple[str, ...]) -> Json | None:
    if LINES not in expand and BREAKDOWN not in expand:
        return None
    within = ("tax_breakdown",) if BREAKDOWN in expand else ()
    return lines_shape(found, 0, LINES_SHOWN, within)


def _line(found: Calculation | Taxed, line: TaxLine, expand: tuple[str, ...]) -> Json:
    shown = {
        "id": line.id,
        "amount": line.amount,
        "amount_tax": line.amount_tax,
        "livemode": False,
        "metadata": line.metadata,
        "product": None,
        "quantity": line.quantity,
        "reference": line.reference,
        "tax_behavior": line.tax_behavior,
        "tax_code": line.tax_code,
    }
    if isinstance(found, Calculation):
        itemised = _itemised(line) if "tax_breakdown" in expand else {"tax_breakdown": None}
        return {"object": "tax.calculation_line_item", "performance_location": None, **itemised} | (
            shown
        )
    reversal = None if line.original is None else {"original_line_item": line.original}
    kind = "transaction" if line.original is None else "reversal"
    return {"object": "tax.transaction_line_item", "reversal": reversal, "type": kind} | shown


def _shipping(line: TaxLine) -> Json:
    return {
        "amount": line.amount,
        "amount_tax": line.amount_tax,
        "tax_behavior": line.tax_behavior,
        "tax_code": line.tax_code,
    }


def _itemised(line: TaxLine) -> Json:
    """How the tax of one line comes about."""
    rate = RATES.get(line.country)
    return {
        "tax_breakdown": [
            {
                "amount": line.amount_tax,
                "jurisdiction": {
                    "country": line.country,
                    "display_name": line.country if rate is None else rate.country,
                    "level": "country" if line.state is None else "state",
                    "state": line.state,
                },
                "sourcing": "destination",
                "tax_rate_details": None
                if rate is None or line.reason != "standard_rated"
                else {
                    "display_name": rate.name,
                    "percentage_decimal": rate.percent,
                    "tax_type": rate.kind,
                },
                "taxability_reason": line.reason,
                "taxable_amount": _taxable(line),
            }
        ]
    }


def _by_rate(lines: tuple[TaxLine, ...]) -> list[Json]:
    """The sums of lines that are taxed alike."""
    sums: dict[tuple[str, str | None, str, bool], list[int]] = {}
    for line in lines:
        alike = (line.country, line.state, line.reason, line.tax_behavior == "inclusive")
        found = sums.setdefault(alike, [0, 0])
        found[0] += line.amount_tax
        found[1] += _taxable(line)
    return [
        {
            "amount": amount,
            "inclusive": inclusive,
            "tax_rate_details": _details(country, state, reason),
            "taxability_reason": reason,
            "taxable_amount": taxable,
        }
        for (country, state, reason, inclusive), (amount, taxable) in sums.items()
    ]


def _details(country: str, state: str | None, reason: str) -> Json:
    rate = RATES.get(country) if reason == "standard_rated" else None
    return {
        "country": country,
        "flat_amount": None,
        "percentage_decimal": "0.0" if rate is None else rate.percent,
        "rate_type": "percentage",
        "state": state,
        "tax_type": None if rate is None else rate.kind,
    }


def _taxable(line: TaxLine) -> int:
    if line.reason != "standard_rated":
        return 0
    return line.amount - (line.amount_tax if line.tax_behavior == "inclusive" else 0)


def tax_of(amount: int, percent: str, *, inclusive: bool) -> int:
    """The tax on an amount, or in it, to the nearest minor unit."""
    rate = Decimal(percent) / 100
    tax = Decimal(amount) * rate / (1 + rate) if inclusive else Decimal(amount) * rate
    return int(tax.quantize(Decimal(1), rounding="ROUND_HALF_UP"))

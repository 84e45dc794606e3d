"""Stripe Tax: calculations (docs.stripe.com/api/tax/calculations)."""

from dataclasses import dataclass, field
from typing import Any

from strongroom_sandbox.stripe.books import Change
from strongroom_sandbox.stripe.currencies import checked_currency
from strongroom_sandbox.stripe.errors import Refusal, invalid, missing_resource
from strongroom_sandbox.stripe.form import Tree
from strongroom_sandbox.stripe.outcome import Outcome, Scene, new_id
from strongroom_sandbox.stripe.params import Params
from strongroom_sandbox.stripe.shapes import Shapes
from strongroom_sandbox.stripe.tax_rates import (
    DEFAULT_TAX_CODE,
    POSTAL_CODE_NEEDED,
    RATES,
    SHIPPING_TAX_CODE,
    TAX_CODE,
    TAX_ID_FORMS,
    reason_of,
)
from strongroom_sandbox.stripe.tax_records import Calculation, Taxed, TaxLine
from strongroom_sandbox.stripe.tax_shapes import (
    BREAKDOWN,
    LINES,
    calculation_shape,
    lines_shape,
    tax_of,
)

EXPAND = frozenset((LINES, BREAKDOWN))
LINES_MAX = 100
TAX_IDS_MAX = 10
AMOUNT_MAX = 999_999_999_999
PARTS = ("line1", "line2", "city", "state", "postal_code", "country")
OF_A_LINE = ("amount", "metadata", "quantity", "reference", "tax_behavior", "tax_code")
BEHAVIORS = ("exclusive", "inclusive")
OVERRIDES = ("customer_exempt", "none", "reverse_charge")
TAX_DATE_SECONDS = 31 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Priced:
    """A line, or the shipping, as it was asked for."""

    amount: int
    behavior: str
    tax_code: str
    reference: str
    quantity: int = 1
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Create:
    """Parameters of a calculation."""

    currency: str
    lines: tuple[Priced, ...]
    shipping: Priced | None
    customer: dict[str, Any]
    tax_date: int | None
    expand: tuple[str, ...]


def read_create(tree: Tree) -> Create:
    """Read the parameters of create. Raises Refusal (400)."""
    params = Params(
        tree,
        ("currency", "line_items", "shipping_cost", "customer_details", "tax_date", "expand"),
        ("customer", "ship_from_details"),
    )
    currency = checked_currency(params.required_text("currency"))
    shipping = params.within(
        "shipping_cost", ("amount", "tax_behavior", "tax_code"), ("shipping_rate",)
    )
    return Create(
        currency=currency,
        lines=_lines(params),
        shipping=None if shipping is None else _priced(shipping, "shipping", SHIPPING_TAX_CODE),
        customer=_customer(params),
        tax_date=params.integer("tax_date"),
        expand=params.expand(EXPAND),
    )


def create(scene: Scene, _: str, command: Create, __: Shapes) -> Outcome:
    """Calculate: nothing is reported before a transaction is made of it."""
    address = command.customer["address"]
    country, state = address["country"], address["state"]
    if country in POSTAL_CODE_NEEDED and not address["postal_code"]:
        raise invalid(
            "We could not determine the customer's tax location based on the provided customer "
            "address.",
            param="customer_details[address]",
            code="customer_tax_location_invalid",
        )
    has_vat = any(one["type"] == "eu_vat" for one in command.customer["tax_ids"])
    override = command.customer["taxability_override"]

    def taxed(priced: Priced) -> TaxLine:
        reason = reason_of(country, priced.tax_code, has_vat, override)
        tax = 0
        if reason == "standard_rated":
            inclusive = priced.behavior == "inclusive"
            tax = tax_of(priced.amount, RATES[country].percent, inclusive=inclusive)
        return TaxLine(
            id=new_id("tax_li"),
            amount=priced.amount,
            amount_tax=tax,
            reference=priced.reference,
            tax_behavior=priced.behavior,
            tax_code=priced.tax_code,
            reason=reason,
            country=country,
            state=state if country in POSTAL_CODE_NEEDED else None,
            quantity=priced.quantity,
            metadata=priced.metadata,
        )

    date = scene.now if command.tax_date is None else command.tax_date
    if abs(date - scene.now) > TAX_DATE_SECONDS:
        raise invalid("The tax date lies more than 31 days away.", param="tax_date")
    made = Calculation(
        id=new_id("taxcalc"),
        created=scene.now,
        currency=command.currency,
        lines=tuple(taxed(line) for line in command.lines),
        shipping=None if command.shipping is None else taxed(command.shipping),
        customer=command.customer,
        tax_date=date,
    )
    change = Change(time=scene.now, calculations=[made])
    return Outcome(change, body=calculation_shape(made, command.expand))


def find(scene: Scene, calculation_id: str, status: int = 404) -> Calculation:
    """Return a calculation that has not expired. Raises Refusal ``resource_missing``."""
    found = scene.books.tax.calculations.get(calculation_id)
    if found is None:
        raise missing_resource("tax calculation", calculation_id[:100], "calculation", status)
    if found.expires_at <= scene.now:
        raise invalid("This tax calculation has expired.", param="calculation", status=status)
    return found


def retrieve(scene: Scene, calculation_id: str, expand: tuple[str, ...], _: Shapes) -> Outcome:
    """Show a calculation."""
    shown = calculation_shape(find(scene, calculation_id), expand)
    return Outcome(Change(time=scene.now), body=shown)


def read_lines(tree: Tree) -> tuple[int, str | None, tuple[str, ...]]:
    """Read the parameters of a list of lines: limit, cursor, and what is expanded."""
    params = Params(tree, ("limit", "starting_after", "expand"), ("ending_before",))
    expand = params.expand(frozenset(("tax_breakdown",)), "data.")
    return params.limit(), params.text("starting_after"), expand


def list_lines(
    scene: Scene,
    calculation_id: str,
    command: tuple[int, str | None, tuple[str, ...]],
    _: Shapes,
) -> Outcome:
    """Show a calculation's lines, in their order."""
    return page_of_lines(scene, find(scene, calculation_id), command)


def page_of_lines(
    scene: Scene, found: Calculation | Taxed, command: tuple[int, str | None, tuple[str, ...]]
) -> Outcome:
    """Show a page of lines. Raises Refusal (400) for a cursor that is none of them."""
    limit, after, expand = command
    first = 0
    if after is not None:
        ids = [line.id for line in found.lines]
        if after not in ids:
            raise missing_resource("line item", after[:100], "starting_after", 400)
        first = ids.index(after) + 1
    return Outcome(Change(time=scene.now), body=lines_shape(found, first, limit, expand))


def _lines(params: Params) -> tuple[Priced, ...]:
    given = params.hashes("line_items", OF_A_LINE, LINES_MAX)
    if not given:
        raise invalid(
            "Missing required param: line_items.", param="line_items", code="parameter_missing"
        )
    lines = [
        _priced(line, f"L{place}", DEFAULT_TAX_CODE) for place, line in enumerate(given, start=1)
    ]
    if len({line.reference for line in lines}) < len(lines):
        raise invalid("References of line items must be unique.", param="line_items")
    return tuple(lines)


def _priced(params: Params, reference: str, tax_code: str) -> Priced:
    amount = params.required_integer("amount")
    if not 0 <= amount <= AMOUNT_MAX:
        raise invalid("Invalid amount: it must not be below zero.", param=params.name_of("amount"))
    code = params.text("tax_code") or tax_code
    if not TAX_CODE.fullmatch(code):
        raise missing_resource("tax code", code[:100], params.name_of("tax_code"), 400)
    quantity = params.integer("quantity")
    if quantity is not None and quantity < 1:
        raise invalid("Invalid positive integer", param=params.name_of("quantity"))
    return Priced(
        amount=amount,
        behavior=params.choice("tax_behavior", BEHAVIORS) or "exclusive",
        tax_code=code,
        reference=params.text("reference", characters_max=500) or reference,
        quantity=quantity or 1,
        metadata=params.metadata() or {},
    )


def _customer(params: Params) -> dict[str, Any]:
    details = params.within(
        "customer_details",
        ("address", "address_source", "tax_ids", "taxability_override"),
        ("ip_address",),
    )
    address = None if details is None else details.within("address", PARTS)
    if details is None or address is None:
        raise _nowhere("customer_details[address]")
    country = address.required_text("country").upper()
    if len(country) != 2 or not country.isalpha():
        raise _nowhere("customer_details[address][country]")
    source = details.choice("address_source", ("billing", "shipping"))
    if source is None:
        raise invalid(
            "You must provide an address_source with an address.",
            param="customer_details[address_source]",
            code="parameter_missing",
        )
    parts = {name: address.text(name) for name in PARTS} | {"country": country}
    return {
        "address": parts,
        "address_source": source,
        "ip_address": None,
        "tax_ids": _tax_ids(details),
        "taxability_override": details.choice("taxability_override", OVERRIDES) or "none",
    }


def _tax_ids(details: Params) -> list[dict[str, str]]:
    found = []
    for one in details.hashes("tax_ids", ("type", "value"), TAX_IDS_MAX):
        kind, value = one.required_text("type"), one.required_text("value")
        form = TAX_ID_FORMS.get(kind)
        if form is None:
            raise invalid(
                f"This stand-in does not know the tax id type: {kind[:40]}",
                param=one.name_of("type"),
            )
        if not form.fullmatch(value):
            raise invalid(
                f"Invalid value for {kind}.", param=one.name_of("value"), code="tax_id_invalid"
            )
        found.append({"type": kind, "value": value})
    return found


def _nowhere(param: str) -> Refusal:
    return invalid(
        "We could not determine the customer's tax location based on the provided customer "
        "address.",
        param=param,
        code="customer_tax_location_invalid",
    )

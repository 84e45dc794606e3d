"""What callers write of a tax calculation: types of fields, and the rules of each."""

import re
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from strongroom.errors import Invalid
from strongroom.http import bodies, fields
from strongroom.http.persons import COUNTRY, Country, Line, PostalCode, rule_broken
from strongroom.tax.calculations import Asked, AskedLine, Behavior, Place, TaxNumber

LINES_MAX: Final = 100
TAX_IDS_MAX: Final = 10
REFERENCE_CHARACTERS_MAX: Final = 100
TAX_ID_CHARACTERS_MAX: Final = 40
SHIPPING: Final = "shipping"

_REFERENCE: Final = rf"[^\x00-\x1f\x7f-\x9f]{{1,{REFERENCE_CHARACTERS_MAX}}}"
_TAX_CODE: Final = r"txcd_[0-9]{8}"
_TAX_ID_TYPE: Final = r"[a-z]{2,6}_[a-z_]{1,12}"
_TAX_ID: Final = rf"[A-Za-z0-9 ./-]{{1,{TAX_ID_CHARACTERS_MAX}}}"

Reference = Annotated[
    str,
    Meta(
        description="Your own name of the line, of which there is one in the calculation. It "
        "stands in the tax service's reports. Not for personal data.",
        extra_json_schema={"pattern": f"^{_REFERENCE}$"},
        examples=["ticket"],
    ),
]
TaxCode = Annotated[
    str,
    Meta(
        description="What is sold, as Stripe Tax knows it; without it what the account says.",
        extra_json_schema={"pattern": f"^{_TAX_CODE}$"},
        examples=["txcd_10103000"],
    ),
]
TaxBehavior = Annotated[
    Behavior, Meta(description="`exclusive`: tax comes on top of the amount; `inclusive`: in it.")
]


class TaxLineItem(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line that is to be taxed."""

    amount: Annotated[fields.Amount, Meta(description="Of the whole line, in minor units.")]
    reference: Reference
    tax_code: TaxCode | None = None
    tax_behavior: TaxBehavior = "exclusive"


class TaxShipping(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the way costs."""

    amount: Annotated[fields.Amount, Meta(description="In minor units.")]
    tax_code: TaxCode | None = None
    tax_behavior: TaxBehavior = "exclusive"


class TaxAddress(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the customer is taxed; how much of it is needed depends on the country."""

    country: Country
    line1: Annotated[Line | None, Meta(description="Street and number.")] = None
    line2: Annotated[Line | None, Meta(description="Floor, flat, care of.")] = None
    city: Annotated[Line | None, Meta(description="City or town.")] = None
    state: Annotated[Line | None, Meta(description="State, province or county.")] = None
    postal_code: Annotated[PostalCode | None, Meta(description="ZIP or postcode.")] = None


class TaxId(Struct, frozen=True, forbid_unknown_fields=True):
    """A tax id of the customer's."""

    type: Annotated[
        str,
        Meta(
            description="Its kind, as Stripe calls it.",
            extra_json_schema={"pattern": f"^{_TAX_ID_TYPE}$"},
            examples=["eu_vat"],
        ),
    ]
    value: Annotated[
        str,
        Meta(
            description="The id itself.",
            extra_json_schema={"pattern": f"^{_TAX_ID}$"},
            examples=["DE123456789"],
        ),
    ]


class TaxCustomer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who pays; all of it goes to the tax service, and is kept here no longer than that takes."""

    address: Annotated[TaxAddress, Meta(description="Where the customer is taxed.")]
    address_source: Annotated[
        Literal["billing", "shipping"], Meta(description="What kind of address it is.")
    ] = "billing"
    tax_ids: Annotated[
        tuple[TaxId, ...],
        Meta(
            description="A business may have to account for the tax itself.",
            extra_json_schema={"maxItems": TAX_IDS_MAX},
        ),
    ] = ()


class CreateTaxCalculation(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be taxed."""

    currency: fields.Currency
    line_items: Annotated[
        tuple[TaxLineItem, ...],
        Meta(description="What is sold.", extra_json_schema={"minItems": 1, "maxItems": LINES_MAX}),
    ]
    customer: Annotated[TaxCustomer, Meta(description="Who pays.")]
    shipping_cost: Annotated[TaxShipping | None, Meta(description="What the way costs.")] = None
    gateway_account: fields.GatewayAccountId | None = None


def asked_of(body: CreateTaxCalculation) -> Asked:
    """What the tax service is to be asked. Raises Invalid with the field and the rule."""
    currency = fields.CURRENCIES.get(body.currency)
    if currency is None:
        raise Invalid("currency_unknown", field="currency")
    if not 1 <= len(body.line_items) <= LINES_MAX:
        raise _invalid("line_items", f"1 to {LINES_MAX} lines")
    for line in body.line_items:
        _check(
            line.reference,
            _REFERENCE,
            "line_items.reference",
            f"1 to {REFERENCE_CHARACTERS_MAX} characters without control characters",
        )
        _check_priced(line, "line_items")
    if len({line.reference for line in body.line_items}) < len(body.line_items):
        raise _invalid("line_items", "lines with a reference of their own each")
    shipping = body.shipping_cost
    if shipping is not None:
        _check_priced(shipping, "shipping_cost")
    customer = body.customer
    return Asked(
        currency=currency,
        lines=tuple(_line(line, line.reference) for line in body.line_items),
        shipping=None if shipping is None else _line(shipping, SHIPPING),
        place=_place(customer.address),
        address_source=customer.address_source,
        tax_numbers=tuple(_numbers(customer.tax_ids)),
    )


def _line(given: TaxLineItem | TaxShipping, reference: str) -> AskedLine:
    return AskedLine(given.amount, reference, given.tax_behavior, given.tax_code)


def _check_priced(given: TaxLineItem | TaxShipping, where: str) -> None:
    bodies.check_amount(given.amount, f"{where}.amount")
    if given.tax_code is not None:
        rule = "a tax code, txcd_ and eight digits"
        _check(given.tax_code, _TAX_CODE, f"{where}.tax_code", rule)


def _place(given: TaxAddress) -> Place:
    parts = asdict(given)
    for name, value in parts.items():
        if name != "country":
            rule = rule_broken(name, value)
            if rule is not None:
                raise _invalid(f"customer.address.{name}", rule)
    if not COUNTRY.fullmatch(given.country):
        raise _invalid("customer.address.country", "two capital letters, as GB")
    return Place(**parts)


def _numbers(given: tuple[TaxId, ...]) -> list[TaxNumber]:
    if len(given) > TAX_IDS_MAX:
        raise _invalid("customer.tax_ids", f"at most {TAX_IDS_MAX} ids")
    for one in given:
        _check(one.type, _TAX_ID_TYPE, "customer.tax_ids.type", "a kind of tax id, as eu_vat")
        rule = f"1 to {TAX_ID_CHARACTERS_MAX} letters, digits, spaces, dots, dashes and slashes"
        _check(one.value, _TAX_ID, "customer.tax_ids.value", rule)
    return [TaxNumber(one.type, one.value) for one in given]


def _check(text: str, pattern: str, field: str, rule: str) -> None:
    if not re.fullmatch(pattern, text):
        raise _invalid(field, rule)


def _invalid(field: str, rule: str) -> Invalid:
    return Invalid("tax_field_invalid", field=field, rule=rule)

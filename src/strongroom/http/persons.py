"""What callers write and read of a customer: types of fields, and the rules of each."""

import re
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict

from strongroom.customers.persons import Address, Changes, Person
from strongroom.customers.register import Known
from strongroom.errors import Invalid
from strongroom.http import bodies, fields
from strongroom.http.listing import LIMIT_DEFAULT, Limit
from strongroom.ids import to_text

NAME_CHARACTERS_MAX: Final = 200
PHONE_CHARACTERS_MAX: Final = 40
LINE_CHARACTERS_MAX: Final = 200
POSTAL_CODE_CHARACTERS_MAX: Final = 20

_PART: Final = r"[^\x00-\x20\x7f-\x9f@]"
_EMAIL: Final = rf"{_PART}{{1,64}}@{_PART}{{1,189}}"
"""RFC 5321: 64 octets before the @, 254 in all. Whether somebody reads it, only mail can tell."""
_COUNTRY: Final = r"[A-Z]{2}"

EMAIL: Final = re.compile(_EMAIL)
COUNTRY: Final = re.compile(_COUNTRY)
_LINES_MAX: Final = {
    "name": NAME_CHARACTERS_MAX,
    "phone": PHONE_CHARACTERS_MAX,
    "line1": LINE_CHARACTERS_MAX,
    "line2": LINE_CHARACTERS_MAX,
    "city": LINE_CHARACTERS_MAX,
    "state": LINE_CHARACTERS_MAX,
    "postal_code": POSTAL_CODE_CHARACTERS_MAX,
}


def _line(name: str) -> dict[str, object]:
    return {"pattern": f"^{fields.LINE.pattern}$", "minLength": 1, "maxLength": _LINES_MAX[name]}


CustomerId = Annotated[
    str,
    Meta(
        description="Begins with `cus_`, and sorts by the time of its making.",
        extra_json_schema={"pattern": fields.id_pattern("cus")},
        examples=["cus_01m7xyk4d2f8rbqf5r8f0krvww"],
    ),
]
Name = Annotated[
    str, Meta(description="Of the person.", extra_json_schema=_line("name"), examples=["Ada Byron"])
]
Email = Annotated[
    str,
    Meta(
        description="An e-mail address; customers are found by it, in whatever case it is written.",
        extra_json_schema={"pattern": f"^{_EMAIL}$"},
        examples=["ada@shop.example"],
    ),
]
Phone = Annotated[
    str,
    Meta(
        description="A telephone number, as you like to write it.",
        extra_json_schema=_line("phone"),
        examples=["+44 20 7946 0018"],
    ),
]
Line = Annotated[str, Meta(extra_json_schema=_line("line1"), examples=["12 St James's Square"])]
PostalCode = Annotated[str, Meta(extra_json_schema=_line("postal_code"), examples=["SW1Y 4JH"])]
Country = Annotated[
    str,
    Meta(
        description="ISO 3166-1 alpha-2, in upper case.",
        extra_json_schema={"pattern": f"^{_COUNTRY}$"},
        examples=["GB"],
    ),
]


class PostalAddress(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An address for bills, given and replaced as a whole."""

    line1: Annotated[Line | None, Meta(description="Street and number.")] = None
    line2: Annotated[Line | None, Meta(description="Floor, flat, care of.")] = None
    city: Annotated[Line | None, Meta(description="City or town.")] = None
    state: Annotated[Line | None, Meta(description="State, province or county.")] = None
    postal_code: Annotated[PostalCode | None, Meta(description="ZIP or postcode.")] = None
    country: Country | None = None


class CreateCustomer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A customer that is to be made; all of it is sealed under a key of the customer's own."""

    name: Name | None = None
    email: Email | None = None
    phone: Phone | None = None
    address: Annotated[PostalAddress | None, Meta(description="Where bills go.")] = None
    description: fields.Description | None = None
    metadata: fields.Metadata = {}


class ChangeCustomer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be different: fields that are not sent stay, null takes one away."""

    name: Name | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    phone: Phone | UnsetType | None = UNSET
    address: Annotated[
        PostalAddress | UnsetType | None, Meta(description="Where bills go; replaced as a whole.")
    ] = UNSET
    description: fields.Description | UnsetType | None = UNSET
    metadata: fields.Metadata | UnsetType = UNSET


class CustomerView(Struct, frozen=True, kw_only=True):
    """A customer as it now stands; times in UTC (RFC 3339)."""

    id: CustomerId
    erased: Annotated[
        bool, Meta(description="The customer's key was destroyed: nobody can read it any more.")
    ]
    name: Name | None
    email: Email | None
    phone: Phone | None
    address: Annotated[PostalAddress | None, Meta(description="Where bills go.")]
    description: fields.Description | None
    metadata: fields.Metadata
    created_at: datetime
    updated_at: datetime
    version: fields.Version


class CustomerList(Struct, frozen=True, kw_only=True):
    """A page, newest first; it may hold fewer than asked for while there is a next one."""

    data: list[CustomerView]
    next_cursor: Annotated[
        CustomerId | None,
        Meta(description="Where to go on, as `cursor`; null at the end of the list."),
    ]


class CustomerParameters(Struct, frozen=True, kw_only=True):
    """What a list of customers may be asked for."""

    cursor: Annotated[
        CustomerId | None, Meta(description="The `next_cursor` of the page before.")
    ] = None
    limit: Limit = LIMIT_DEFAULT


class SearchCustomers(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who is looked for. In a body: addresses of pages are written into logs on their way."""

    email: Annotated[Email, Meta(description="Customers with this address, in whatever case.")]
    cursor: Annotated[
        CustomerId | None, Meta(description="The `next_cursor` of the page before.")
    ] = None
    limit: Limit = LIMIT_DEFAULT


def person_of(body: CreateCustomer) -> Person:
    """The person that a body describes. Raises Invalid with the field and the rule."""
    return Person(**_checked(body))


def changes_of(body: ChangeCustomer) -> Changes:
    """The changes that a body asks for. Raises Invalid with the field and the rule."""
    return Changes(**_checked(body))


def view_of(known: Known) -> CustomerView:
    """The customer as callers see it."""
    customer, person = known.customer, known.person
    address = person.address
    return CustomerView(
        id=to_text("cus", customer.customer_id),
        erased=known.erased,
        name=person.name,
        email=person.email,
        phone=person.phone,
        address=None if address is None else PostalAddress(**asdict(address)),
        description=person.description,
        metadata=person.metadata,
        created_at=customer.created_at,
        updated_at=customer.updated_at,
        version=customer.version,
    )


def _checked(body: CreateCustomer | ChangeCustomer) -> dict[str, Any]:
    """The fields that were sent, each within its rule."""
    sent = {name: value for name, value in asdict(body).items() if value is not UNSET}
    for name in ("name", "phone"):
        check_line(name, name, sent.get(name))
    email = sent.get("email")
    if email is not None and not EMAIL.fullmatch(email):
        raise _invalid("email", "an e-mail address of at most 254 characters")
    bodies.check_description(sent.get("description"))
    bodies.check_metadata(sent.get("metadata", {}))
    address = sent.get("address")
    if address is not None:
        sent["address"] = _address(address)
    return sent


def _address(given: PostalAddress) -> Address | None:
    """An address of nothing is none."""
    parts = asdict(given)
    for name, value in parts.items():
        if name != "country":
            check_line(f"address.{name}", name, value)
    if given.country is not None and not COUNTRY.fullmatch(given.country):
        raise _invalid("address.country", "two capital letters, as GB")
    address = Address(**parts)
    return None if address == Address() else address


def check_line(field: str, name: str, value: str | None) -> None:
    """Raises Invalid for a part of an address, by its name, that is too long or unprintable."""
    rule = rule_broken(name, value)
    if rule is not None:
        raise _invalid(field, rule)


def rule_broken(name: str, value: str | None) -> str | None:
    """The rule that a part of an address, by its name, does not keep to."""
    most = _LINES_MAX[name]
    if value is None or (1 <= len(value) <= most and fields.LINE.fullmatch(value)):
        return None
    return f"1 to {most} characters without control characters, or null"


def _invalid(field: str, rule: str) -> Invalid:
    return Invalid("customer_field_invalid", field=field, rule=rule)

"""What callers write and read of a consent to be charged while away."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Final

from msgspec import Meta, Struct

from strongroom.customers.consents import Agreed, Consent, Origin
from strongroom.errors import Invalid
from strongroom.http import fields
from strongroom.payments.ways import Purpose

TEXT_VERSION_CHARACTERS_MAX: Final = 100
USER_AGENT_CHARACTERS_MAX: Final = 500
IP_CHARACTERS_MAX: Final = 45
"""Of an IPv6 address with an IPv4 address in it (RFC 4291, 2.2)."""
EARLIEST: Final = datetime(1950, 1, 1, tzinfo=UTC)
"""Before there were cards nobody agreed to be charged by one."""
AHEAD_MAX: Final = timedelta(minutes=5)
"""For clocks that differ: nobody has agreed to something in the future."""


def _line(most: int) -> dict[str, object]:
    return {"pattern": f"^{fields.LINE.pattern}$", "minLength": 1, "maxLength": most}


GivenAt = Annotated[
    datetime,
    Meta(tz=True, description="When the customer agreed.", examples=["2026-10-01T09:30:00Z"]),
]
TextVersion = Annotated[
    str,
    Meta(
        description="Which text the customer agreed to, by a name of yours.",
        extra_json_schema=_line(TEXT_VERSION_CHARACTERS_MAX),
        examples=["terms-2026-10"],
    ),
]
AgreedPurpose = Annotated[
    Purpose,
    Meta(
        description="`recurring`: by a schedule, as a subscription is; `unscheduled`: now and "
        "then, as a top-up is."
    ),
]


class ConsentBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """That the customer agreed to be charged while away. From where is sealed, never shown."""

    given_at: GivenAt
    text_version: TextVersion
    purpose: AgreedPurpose = "unscheduled"
    ip_address: Annotated[
        str | None,
        Meta(
            description="The address that the customer agreed from, IPv4 or IPv6.",
            extra_json_schema={"pattern": r"^[0-9A-Fa-f:.]+$", "maxLength": IP_CHARACTERS_MAX},
            examples=["192.0.2.17"],
        ),
    ] = None
    user_agent: Annotated[
        str | None,
        Meta(
            description="What the customer's browser calls itself.",
            extra_json_schema=_line(USER_AGENT_CHARACTERS_MAX),
            examples=["Mozilla/5.0"],
        ),
    ] = None


class SaveBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """For whom what pays is to be saved, once it has paid, to be charged again."""

    customer: Annotated[
        str,
        Meta(
            description="Whose payment method it becomes.",
            extra_json_schema={"pattern": fields.id_pattern("cus")},
            examples=["cus_01m7xyk4d2f8rbqf5r8f0krvww"],
        ),
    ]
    consent: Annotated[
        ConsentBody | None,
        Meta(description="Without one it pays later only while the customer is there."),
    ] = None

    @property
    def stable_fields(self) -> dict[str, object]:
        """What of it makes two requests the same one; nothing that is personal."""
        if self.consent is None:
            return {"customer": self.customer}
        consent = {
            "given_at": self.consent.given_at,
            "purpose": self.consent.purpose,
            "text_version": self.consent.text_version,
        }
        return {"customer": self.customer, "consent": consent}


class ConsentView(Struct, frozen=True, kw_only=True):
    """What the customer last agreed to."""

    given_at: GivenAt
    text_version: TextVersion
    purpose: AgreedPurpose
    recorded_at: Annotated[datetime, Meta(description="When we were told.")]


def agreed_of(body: ConsentBody, now: datetime, place: str = "") -> Agreed:
    """The consent that a body tells of. Raises Invalid with the field, below `place`."""
    if not EARLIEST <= body.given_at <= now + AHEAD_MAX:
        raise _invalid(place, "given_at", "a moment that has passed")
    _check_line(place, "text_version", body.text_version, TEXT_VERSION_CHARACTERS_MAX)
    _check_line(place, "user_agent", body.user_agent, USER_AGENT_CHARACTERS_MAX)
    return Agreed(
        given_at=body.given_at.astimezone(UTC),
        purpose=body.purpose,
        text_version=body.text_version,
        origin=Origin(ip_address=_address(place, body.ip_address), user_agent=body.user_agent),
    )


def consent_view(consent: Consent | None) -> ConsentView | None:
    """The consent as callers see it; not from where it was given."""
    if consent is None:
        return None
    return ConsentView(
        given_at=consent.given_at,
        text_version=consent.text_version,
        purpose=consent.purpose,
        recorded_at=consent.recorded_at,
    )


def _address(place: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        raise _invalid(place, "ip_address", "an IPv4 or IPv6 address") from None


def _check_line(place: str, name: str, text: str | None, most: int) -> None:
    if text is None:
        return
    if not 1 <= len(text) <= most or not fields.LINE.fullmatch(text):
        raise _invalid(place, name, f"1 to {most} characters without control characters")


def _invalid(place: str, name: str, rule: str) -> Invalid:
    return Invalid("customer_field_invalid", field=f"{place}{name}", rule=rule)

"""How a payment is shown, and what a list may be asked for."""

import re
from datetime import datetime
from typing import Any, Final, get_args
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.errors import Invalid
from strongroom.ids import MalformedId, Prefix, from_text, to_text
from strongroom.payments.reads import Filters
from strongroom.payments.states import Capture, Payment, Status

CREATE_PATH: Final = "/v1/payments"
LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
PARAMETERS: Final = (
    "status",
    "merchant_reference",
    "created_from",
    "created_before",
)


class InstrumentView(Struct, frozen=True):
    """Where the instrument's token belongs; the token itself is not shown."""

    gateway: str


class PaymentView(Struct, frozen=True, kw_only=True):
    """A payment as callers see it: amounts in minor units, times in UTC (RFC 3339).

    `refunding_amount` is held by refunds whose end is not known yet; `refundable_amount` is what a
    refund may still ask for.
    """

    id: str
    status: Status
    status_reason: str | None
    review: str | None
    amount: int
    capture: Capture
    capture_before: datetime | None
    captured_amount: int
    refunded_amount: int
    refunding_amount: int
    refundable_amount: int
    currency: str
    merchant_reference: str
    description: str | None
    metadata: dict[str, str]
    instrument: InstrumentView | None
    next_action: dict[str, Any] | None
    not_after: datetime
    created_at: datetime
    updated_at: datetime
    version: int


class PaymentList(Struct, frozen=True, kw_only=True):
    """A page; go on with `cursor=next_cursor` until that is null."""

    data: list[PaymentView]
    next_cursor: str | None


def view_of(payment: Payment) -> PaymentView:
    """The payment as callers see it."""
    return PaymentView(
        id=to_text("pay", payment.payment_id),
        status=payment.status,
        status_reason=payment.status_reason,
        review=payment.review,
        amount=payment.amount_minor,
        capture=payment.capture,
        capture_before=payment.capture_before,
        captured_amount=payment.captured_minor,
        refunded_amount=payment.refunded_minor,
        refunding_amount=payment.refunding_minor,
        refundable_amount=payment.refundable_minor,
        currency=payment.currency,
        merchant_reference=payment.merchant_reference,
        description=payment.description,
        metadata=payment.metadata,
        instrument=None if payment.gateway is None else InstrumentView(payment.gateway),
        next_action=payment.next_action,
        not_after=payment.not_after,
        created_at=payment.created_at,
        updated_at=payment.updated_at,
        version=payment.version,
    )


def read_query(query: dict[str, list[str]]) -> tuple[Filters, UUID | None, int]:
    """Filters, cursor and limit of a list.

    Raises Invalid for unknown or repeated parameters and for values out of form.
    """
    given, below, limit = read_page(query, PARAMETERS, "pay")
    status = given.get("status")
    if status is not None and status not in get_args(Status):
        raise _refused("parameter_invalid", "status", "one of: " + ", ".join(get_args(Status)))
    reference = given.get("merchant_reference")
    if reference is not None and ("\x00" in reference or not reference.isprintable()):
        raise _refused("parameter_invalid", "merchant_reference", "printable text")
    filters = Filters(
        status=status,  # type: ignore[arg-type]
        merchant_reference=reference,
        created_from=_moment(given, "created_from"),
        created_before=_moment(given, "created_before"),
    )
    return filters, below, limit


def read_page(
    query: dict[str, list[str]], names: tuple[str, ...], prefix: Prefix
) -> tuple[dict[str, str], UUID | None, int]:
    """The parameters given, the cursor and the limit; `names` may be given beside those two.

    Raises Invalid for unknown or repeated parameters and for values out of form.
    """
    known = (*names, "cursor", "limit")
    if any(name not in known for name in query):
        raise _refused("parameter_unknown", None, "one of: " + ", ".join(known))
    for name, values in query.items():
        if len(values) != 1:
            raise _refused("parameter_repeated", name, "given once")
    given = {name: values[0] for name, values in query.items()}
    return given, _cursor(given, prefix), _limit(given)


def _moment(given: dict[str, str], name: str) -> datetime | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        moment = msgspec.convert(text, datetime, strict=False)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year < 1970 or moment.year > 5000:
        raise _refused("parameter_invalid", name, "an RFC 3339 time with an offset")
    return moment


def _cursor(given: dict[str, str], prefix: Prefix) -> UUID | None:
    text = given.get("cursor")
    if text is None:
        return None
    try:
        return from_text(prefix, text)
    except MalformedId:
        raise _refused("parameter_invalid", "cursor", "the next_cursor of a page") from None


def _limit(given: dict[str, str]) -> int:
    text = given.get("limit")
    if text is None:
        return LIMIT_DEFAULT
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= LIMIT_MAX:
        raise _refused("parameter_invalid", "limit", f"a number from 1 to {LIMIT_MAX}")
    return int(text)


def _refused(code: str, name: str | None, rule: str) -> Invalid:
    subject = "A query parameter" if name is None else f"The query parameter {name}"
    return Invalid(code, f"{subject} must be {rule}.", "Correct it and ask again.", field=name)

"""How a payment is shown, and what a list may be asked for."""

import re
from datetime import datetime
from typing import Annotated, Final, get_args
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from strongroom.clock import EPOCH
from strongroom.errors import Invalid
from strongroom.http import fields
from strongroom.ids import MalformedId, Prefix, from_text, to_text
from strongroom.payments.declines import MEANINGS
from strongroom.payments.reads import Filters
from strongroom.payments.states import Capture, DeclineClass, Payment, Status
from strongroom.payments.texts import Texts
from strongroom.payments.ways import Refusal, Retry

CREATE_PATH: Final = "/v1/payments"
LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100

Moment = Annotated[datetime, Meta(tz=True, examples=["2026-11-21T00:00:00Z"])]


Limit = Annotated[
    int,
    Meta(
        description="How many a page may hold.",
        extra_json_schema={"minimum": 1, "maximum": LIMIT_MAX},
    ),
]


class InstrumentView(Struct, frozen=True):
    """Where the instrument's token belongs; the token itself is not shown."""

    gateway: str


class DeclineView(Struct, frozen=True, kw_only=True):
    """Why the last attempt was declined, and what follows from that."""

    class_: Annotated[DeclineClass, Meta(description="The same words for every gateway.")] = (
        msgspec.field(name="class")
    )
    raw_code: Annotated[str, Meta(description="The gateway's own code.")]
    retry: Annotated[
        Retry,
        Meta(description="Whether, and how, the same instrument may be tried once more."),
    ]
    customer_message: Annotated[
        str,
        Meta(description="What the customer may read; of theft and fraud it says nothing."),
    ]
    merchant_advice: Annotated[str, Meta(description="What you can do. Not for the customer.")]


class PaymentView(Struct, frozen=True, kw_only=True):
    """A payment as it now stands: amounts in minor units, times in UTC (RFC 3339)."""

    id: fields.PaymentId
    status: Annotated[Status, Meta(description="Where it stands.")]
    status_reason: Annotated[
        str | None, Meta(description="Why it stands there, e.g. `insufficient_funds`.")
    ]
    review: Annotated[
        str | None,
        Meta(description="Set when a person has to look: the payment is frozen until then."),
    ]
    amount: fields.Amount
    capture: Annotated[Capture, Meta(description="Whether a capture of your own takes it.")]
    capture_before: Annotated[
        datetime | None,
        Meta(description="What is only held is given back by then, at the latest."),
    ]
    captured_amount: Annotated[fields.Sum, Meta(description="What was really taken.")]
    refunded_amount: Annotated[fields.Sum, Meta(description="What was given back.")]
    refunding_amount: Annotated[
        fields.Sum, Meta(description="What refunds hold whose end is not known yet.")
    ]
    disputed_amount: Annotated[
        fields.Sum, Meta(description="What banks have taken back, or hold in open disputes.")
    ]
    refundable_amount: Annotated[fields.Sum, Meta(description="What a refund may still ask for.")]
    currency: fields.CurrencyShown
    merchant_reference: fields.MerchantReference
    description: fields.Description | None
    metadata: fields.Metadata
    instrument: Annotated[
        InstrumentView | None, Meta(description="None as long as the payment waits for one.")
    ]
    next_gateway: Annotated[
        str | None,
        Meta(
            description="Whose instrument the payment waits for, where the routes, or a decline at "
            "another gateway, say so: confirm with one."
        ),
    ]
    decline: Annotated[
        DeclineView | None,
        Meta(description="The last decline, as long as nothing was approved since."),
    ]
    next_action: fields.NextAction | None
    not_after: Annotated[
        datetime, Meta(description="What was not sent to the gateway by then is canceled.")
    ]
    created_at: datetime
    updated_at: datetime
    version: fields.Version


class PaymentList(Struct, frozen=True, kw_only=True):
    """A page, newest first; it may hold fewer than asked for while there is a next one."""

    data: list[PaymentView]
    next_cursor: Annotated[
        fields.PaymentId | None,
        Meta(description="Where to go on, as `cursor`; null at the end of the list."),
    ]


class ListParameters(Struct, frozen=True, kw_only=True):
    """What a list may be asked for."""

    status: Annotated[Status | None, Meta(description="Only payments that stand here.")] = None
    merchant_reference: Annotated[
        fields.MerchantReference | None, Meta(description="Only payments of this order.")
    ] = None
    created_from: Annotated[
        Moment | None, Meta(description="Only payments made at this time or later.")
    ] = None
    created_before: Annotated[
        Moment | None, Meta(description="Only payments made before this time.")
    ] = None
    cursor: Annotated[
        fields.PaymentId | None, Meta(description="The `next_cursor` of the page before.")
    ] = None
    limit: Limit = LIMIT_DEFAULT


def view_of(payment: Payment, texts: Texts) -> PaymentView:
    """The payment as callers see it, with what was written about it."""
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
        disputed_amount=payment.disputed_minor,
        refundable_amount=payment.refundable_minor,
        currency=payment.currency,
        merchant_reference=payment.merchant_reference,
        description=texts.description,
        metadata=texts.metadata,
        instrument=None if payment.gateway is None else InstrumentView(payment.gateway),
        next_gateway=next_gateway_of(payment),
        decline=None if payment.decline is None else decline_view(payment.decline),
        next_action=payment.next_action,
        not_after=payment.not_after,
        created_at=payment.created_at,
        updated_at=payment.updated_at,
        version=payment.version,
    )


def next_gateway_of(payment: Payment) -> str | None:
    """Whose instrument is waited for, if anybody's in particular."""
    if payment.status != "requires_payment_method" or not payment.ways:
        return None
    return payment.ways[0].gateway


def decline_view(refusal: Refusal) -> DeclineView:
    """The decline as callers see it."""
    meaning = MEANINGS[refusal.decline]
    return DeclineView(
        class_=refusal.decline,
        raw_code=refusal.raw_code,
        retry=refusal.retry,
        customer_message=meaning.customer_message,
        merchant_advice=meaning.merchant_advice,
    )


def read_query(query: dict[str, list[str]]) -> tuple[Filters, UUID | None, int]:
    """Filters, cursor and limit of a list.

    Raises Invalid for unknown or repeated parameters and for values out of form.
    """
    given, below, limit = read_page(query, ListParameters, "pay")
    status = given.get("status")
    if status is not None and status not in get_args(Status):
        raise _refused("status", "one of: " + ", ".join(get_args(Status)))
    reference = given.get("merchant_reference")
    if reference is not None and not fields.is_merchant_reference(reference):
        raise _refused("merchant_reference", "a reference that a payment could carry")
    filters = Filters(
        status=status,  # type: ignore[arg-type]
        merchant_reference=reference,
        created_from=_moment(given, "created_from"),
        created_before=_moment(given, "created_before"),
    )
    return filters, below, limit


def read_page(
    query: dict[str, list[str]], parameters: type[Struct], prefix: Prefix
) -> tuple[dict[str, str], UUID | None, int]:
    """The parameters given, the cursor and the limit; `parameters` says what there is.

    Raises Invalid for unknown or repeated parameters and for values out of form.
    """
    known = parameters.__struct_fields__
    if any(name not in known for name in query):
        raise Invalid("parameter_unknown", known=", ".join(known))
    for name, values in query.items():
        if len(values) != 1:
            raise Invalid("parameter_repeated", field=name)
    given = {name: values[0] for name, values in query.items()}
    return given, _cursor(given, prefix), _limit(given)


def _moment(given: dict[str, str], name: str) -> datetime | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _refused(name, "an RFC 3339 time with an offset")
    return max(moment, EPOCH)  # no payment is older, and no id can say so


def _cursor(given: dict[str, str], prefix: Prefix) -> UUID | None:
    text = given.get("cursor")
    if text is None:
        return None
    try:
        return from_text(prefix, text)
    except MalformedId:
        raise _refused("cursor", "the next_cursor of a page") from None


def _limit(given: dict[str, str]) -> int:
    text = given.get("limit")
    if text is None:
        return LIMIT_DEFAULT
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= LIMIT_MAX:
        raise _refused("limit", f"a number from 1 to {LIMIT_MAX}")
    return int(text)


def _refused(name: str, rule: str) -> Invalid:
    return Invalid("parameter_invalid", field=name, rule=rule)

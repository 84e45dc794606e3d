"""POST /v1/payments/bulk: up to 500 payments in one request, each judged by itself.

An item is a create of its own, under its own key: it has the fingerprint that POST /v1/payments
would give it, so it may be sent again through either way. Limits count items; what does not fit
into the queue is refused by item, with `queue_full`.

The answer is 200 as soon as the body can be taken apart into items, and holds one result an item,
with the status that the single request would have been answered with. `Prefer: wait` is left
aside, as RFC 7240 allows, and no Preference-Applied says otherwise: a bulk answers when its
payments are on disk, and each can be waited for by its id.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from strongroom.errors import Invalid, Problem, ProblemDocument
from strongroom.http import bodies, fields
from strongroom.http.asking import problem_of
from strongroom.http.creation import Accepted, Wanted, wanted_of
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.listing import CREATE_PATH, PaymentView, view_of
from strongroom.http.waiting import status_of
from strongroom.payments.texts import Texts, texts_of

BULK_PATH: Final = f"{CREATE_PATH}/bulk"


class BulkPayment(bodies.CreatePayment, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One payment of a bulk, with the key that it would have been sent under alone."""

    idempotency_key: fields.IdempotencyKey


class BulkPayments(Struct, frozen=True, forbid_unknown_fields=True):
    """Payments that are to be made; each is judged, made and answered for itself."""

    payments: Annotated[
        list[BulkPayment],
        Meta(
            description="In any order; none waits for another.",
            extra_json_schema={"minItems": 1, "maxItems": bodies.BULK_ITEMS_MAX},
        ),
    ]


class BulkPaymentResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item: the status that it would have been answered with alone.

    There is a `payment` or a `problem`, never both.
    """

    index: Annotated[int, Meta(description="Which item, from 0.")]
    status: Annotated[int, Meta(description="The HTTP status of this item alone.")]
    replayed: Annotated[bool, Meta(description="The key had made it before.")]
    payment: PaymentView | None = None
    problem: ProblemDocument | None = None


class BulkPaymentResults(Struct, frozen=True, kw_only=True):
    """One result an item, in their order."""

    results: list[BulkPaymentResult]


class _Apart(Struct, frozen=True, forbid_unknown_fields=True):
    """The body with its items unread."""

    payments: list[msgspec.Raw]


_decoder: Final = msgspec.json.Decoder(BulkPayments)
_apart_decoder: Final = msgspec.json.Decoder(_Apart)
_item_decoder: Final = msgspec.json.Decoder(BulkPayment)
_FIELDS: Final = bodies.fields_of(BulkPayments)
_ITEM_FIELDS: Final = bodies.fields_of(BulkPayment)


def read_items(asked: Asked) -> list[Wanted | Problem]:
    """The payments that are asked for; in place of one that cannot be read, its refusal.

    Raises Invalid for a body that cannot be taken apart, for none or too many items, and for an
    Idempotency-Key in the header.
    """
    bodies.check_no_idempotency_key(asked)
    try:
        items: Sequence[BulkPayment | msgspec.Raw]
        items = bodies.decode(asked, _decoder, _FIELDS).payments
    except Invalid:
        # Some item is at fault, or the whole: each is read by itself.
        apart = bodies.decode(asked, _apart_decoder, _FIELDS, leaves_items=True)
        items = apart.payments
    bodies.check_bulk_size("payments", len(items))
    return [_read(item) for item in items]


def _read(item: BulkPayment | msgspec.Raw) -> Wanted | Problem:
    try:
        if isinstance(item, msgspec.Raw):
            alone = Asked(method="POST", path=CREATE_PATH, body=bytes(item))
            item = bodies.decode(alone, _item_decoder, _ITEM_FIELDS)
        return wanted_of(bodies.check_idempotency_key(item.idempotency_key), item)
    except Invalid as problem:
        return problem


def bulk_reply(ends: Sequence[Accepted | Exception], opened: Mapping[UUID, Texts]) -> Reply:
    """The answer to a bulk; `opened` are the texts of those payments that were there before."""
    results = [_result(index, end, opened) for index, end in enumerate(ends)]
    return json_reply(200, BulkPaymentResults(results=results))


def _result(
    index: int, end: Accepted | Exception, opened: Mapping[UUID, Texts]
) -> BulkPaymentResult:
    if isinstance(end, Exception):
        problem = problem_of(end)
        return BulkPaymentResult(
            index=index,
            status=problem.status,
            replayed=False,
            problem=problem.as_document(),
        )
    return BulkPaymentResult(
        index=index,
        status=status_of(end.payment, replayed=end.replayed),
        replayed=end.replayed,
        payment=view_of(
            end.payment, texts_of(end.payment, opened) if end.texts is None else end.texts
        ),
    )

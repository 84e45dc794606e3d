"""The operations on payouts."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from msgspec import Meta, Struct

from strongroom.access.api_keys import ApiKeys
from strongroom.errors import Missing
from strongroom.http import fields
from strongroom.http.asking import answer, authorise
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.listing import LIMIT_DEFAULT, Limit, read_page
from strongroom.ids import MalformedId, from_text, to_text
from strongroom.payments.rows import Row
from strongroom.settlement.payout_reads import Reconciled, list_payouts, read_payout
from strongroom.settlement.payouts import Payout, PayoutStatus

PATH: Final = "/v1/payouts"


class PayoutView(Struct, frozen=True, kw_only=True):
    """A payout as its gateway last showed it: amounts in minor units, times in UTC (RFC 3339)."""

    id: fields.PayoutId
    status: Annotated[
        PayoutStatus, Meta(description="Where it stands. What is `paid` can become `failed`.")
    ]
    status_reason: Annotated[str | None, Meta(description="Why it failed, in the gateway's word.")]
    amount: Annotated[
        fields.SignedSum, Meta(description="What arrives; below zero: what your bank is asked for.")
    ]
    currency: fields.CurrencyShown
    arrives_at: Annotated[datetime, Meta(description="The day on which it arrives.")]
    itemised: Annotated[bool, Meta(description="What it is made of is known.")]
    gateway: Annotated[str, Meta(description="Which gateway pays.")]
    gateway_payout: Annotated[str, Meta(description="The gateway's own id of it.")]
    opened_at: Annotated[datetime, Meta(description="When it was made, as the gateway says.")]
    created_at: datetime
    updated_at: datetime


class PayoutItem(Struct, frozen=True, kw_only=True):
    """One movement of the gateway's balance that was paid out; at most one of ours is named."""

    kind: Annotated[str, Meta(description="What it is, in the gateway's word: `charge`, `refund`.")]
    amount: Annotated[fields.SignedSum, Meta(description="Before fees.")]
    fee: Annotated[fields.SignedSum, Meta(description="What the gateway keeps of it.")]
    currency: fields.CurrencyShown
    payment: Annotated[fields.PaymentId | None, Meta(description="Of a charge of ours.")]
    refund: Annotated[fields.RefundId | None, Meta(description="Of a refund of ours.")]
    dispute: Annotated[fields.DisputeId | None, Meta(description="Of a dispute of ours.")]
    gateway_item: Annotated[str, Meta(description="The gateway's own id of it.")]
    gateway_source: Annotated[str | None, Meta(description="The gateway's id of what caused it.")]


class PayoutDetail(PayoutView, frozen=True, kw_only=True):
    """A payout with what it is made of."""

    items: Annotated[list[PayoutItem], Meta(description="The first thousand.")]
    items_count: Annotated[fields.Sum, Meta(description="How many there are.")]
    items_net: Annotated[fields.SignedSum, Meta(description="Their amounts less their fees.")]
    unknown_count: Annotated[fields.Sum, Meta(description="How many are nothing of ours.")]
    unknown_net: Annotated[fields.SignedSum, Meta(description="What those are in sum.")]


class PayoutList(Struct, frozen=True, kw_only=True):
    """A page, newest first."""

    data: list[PayoutView]
    next_cursor: Annotated[
        fields.PayoutId | None,
        Meta(description="Where to go on, as `cursor`; null at the end of the list."),
    ]


class PayoutParameters(Struct, frozen=True, kw_only=True):
    """What a list of payouts may be asked for."""

    cursor: Annotated[
        fields.PayoutId | None, Meta(description="The `next_cursor` of the page before.")
    ] = None
    limit: Limit = LIMIT_DEFAULT


class PayoutOperations:
    """What can be asked for payouts over HTTP; each method answers with a Reply, always."""

    def __init__(self, *, pool: asyncpg.Pool, keys: ApiKeys) -> None:
        self._pool, self._keys = pool, keys

    async def get(self, asked: Asked, payout_text: str) -> Reply:
        """GET /v1/payouts/{id}."""
        return await answer(self._get, asked, payout_text)

    async def list_page(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        """GET /v1/payouts."""
        return await answer(self._list, asked, query)

    async def _get(self, asked: Asked, payout_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payouts:read")
        payout_id = _payout_id(payout_text)
        found = await read_payout(self._pool, credential.legal_entity_id, payout_id)
        if found is None:
            raise Missing("payout_not_found")
        return json_reply(200, detail_of(found))

    async def _list(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        credential = await authorise(self._keys, asked, "payouts:read")
        _, below, limit = read_page(query, PayoutParameters, "pyt")
        payouts, rest = await list_payouts(self._pool, credential.legal_entity_id, below, limit)
        cursor = None if rest is None else to_text("pyt", rest)
        return json_reply(
            200, PayoutList(data=[view_of(one) for one in payouts], next_cursor=cursor)
        )


def view_of(payout: Payout) -> PayoutView:
    """The payout as callers see it."""
    return PayoutView(**_fields_of(payout))


def detail_of(found: Reconciled) -> PayoutDetail:
    """The payout with its items as callers see them."""
    return PayoutDetail(
        **_fields_of(found.payout),
        items=[_item_of(row) for row in found.items],
        items_count=found.count,
        items_net=found.net_minor,
        unknown_count=found.unknown,
        unknown_net=found.unknown_minor,
    )


def _fields_of(payout: Payout) -> dict[str, Any]:
    return {
        "id": to_text("pyt", payout.payout_id),
        "status": payout.status,
        "status_reason": payout.status_reason,
        "amount": payout.amount_minor,
        "currency": payout.currency,
        "arrives_at": payout.arrives_at,
        "itemised": payout.itemised,
        "gateway": payout.gateway,
        "gateway_payout": payout.gateway_object_id,
        "opened_at": payout.opened_at,
        "created_at": payout.created_at,
        "updated_at": payout.updated_at,
    }


def _item_of(row: Row) -> PayoutItem:
    payment, refund, dispute = row["payment_id"], row["refund_id"], row["dispute_id"]
    return PayoutItem(
        kind=row["kind"],
        amount=row["amount_minor"],
        fee=row["fee_minor"],
        currency=row["currency"],
        payment=None if payment is None else to_text("pay", payment),
        refund=None if refund is None else to_text("ref", refund),
        dispute=None if dispute is None else to_text("dsp", dispute),
        gateway_item=row["gateway_item"],
        gateway_source=row["gateway_source"],
    )


def _payout_id(text: str) -> UUID:
    try:
        return from_text("pyt", text)
    except MalformedId:
        raise Missing("payout_not_found") from None

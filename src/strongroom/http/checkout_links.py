"""The operations on checkout links: a page of ours on which the customer pays a payment."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from strongroom.access.api_keys import ApiKeys
from strongroom.checkout.choosing import Choosing
from strongroom.checkout.links import (
    Link,
    current_payment_id,
    link_url,
    make_link,
    read_link,
    revoke_link,
)
from strongroom.checkout.standing import standing_of
from strongroom.clock import Clock
from strongroom.errors import Conflict, Invalid, Missing, no_such_payment
from strongroom.http import bodies, fields
from strongroom.http.asking import answer, authorise, payment_id_of
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.ids import MalformedId, from_text, to_text
from strongroom.payments.reads import read_payments
from strongroom.payments.states import Payment


class MakeCheckoutLink(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An empty object: all that the page shows is the payment's."""


class CheckoutLinkView(Struct, frozen=True, kw_only=True):
    """A checkout link as an answer shows it."""

    payment: fields.PaymentId
    current_payment: Annotated[
        fields.PaymentId,
        Meta(
            description="The payment of the last try: after a decline, another one for the same "
            "`merchant_reference`."
        ),
    ]
    status: Annotated[
        Literal["open", "paying", "paid", "closed"],
        Meta(
            description="`open`: a card can be tried. `paying`: one is being tried. `paid`: the "
            "current payment is `authorized` or `succeeded`. `closed`: nothing can be tried."
        ),
    ]
    tries: Annotated[int, Meta(description="Cards that were tried.")]
    url: Annotated[
        str | None,
        Meta(description="The page's address; shown once, by the request that makes the link."),
    ]
    expires_at: Annotated[datetime, Meta(description="The payment's `not_after`.")]


_decoder: Final = msgspec.json.Decoder(MakeCheckoutLink)
STATUSES: Final[dict[str, Literal["open", "paying", "paid", "closed"]]] = {
    "open": "open",
    "processing": "paying",
    "action": "paying",
    "unknown": "paying",
    "paid": "paid",
    "closed": "closed",
}


class CheckoutLinkOperations:
    """What can be asked for links over HTTP; each method answers with a Reply, always."""

    def __init__(
        self, pool: asyncpg.Pool, clock: Clock, keys: ApiKeys, choosing: Choosing, url: str
    ) -> None:
        self._pool, self._clock, self._keys = pool, clock, keys
        self._choosing, self._url = choosing, url

    async def make(self, asked: Asked, payment_text: str) -> Reply:
        """POST /v1/payments/{id}/checkout_link."""
        return await answer(self._make, asked, payment_text)

    async def get(self, asked: Asked, payment_text: str) -> Reply:
        """GET /v1/payments/{id}/checkout_link."""
        return await answer(self._get, asked, payment_text)

    async def revoke(self, asked: Asked, payment_text: str) -> Reply:
        """POST /v1/payments/{id}/checkout_link/revoke."""
        return await answer(self._revoke, asked, payment_text)

    async def _make(self, asked: Asked, payment_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        bodies.decode(asked, _decoder, bodies.fields_of(MakeCheckoutLink))
        entity, payment_id = credential.legal_entity_id, payment_id_of(payment_text)
        found = await read_payments(self._pool, {payment_id: entity})
        if not found:
            raise no_such_payment()
        _check_can_be_paid(found[0], self._clock.now())
        if await self._choosing.of(found[0]) is None:
            raise Invalid("checkout_not_set_up")
        link, secret = await make_link(self._pool, found[0], self._clock.now())
        return await self._reply(201, link, link_url(self._url, payment_id, secret))

    async def _get(self, asked: Asked, payment_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:read")
        entity = credential.legal_entity_id
        link = await read_link(self._pool, entity, _payment_of_link(payment_text))
        if link is None:
            raise Missing("checkout_link_not_found")
        return await self._reply(200, link, None)

    async def _revoke(self, asked: Asked, payment_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        bodies.decode(asked, _decoder, bodies.fields_of(MakeCheckoutLink))
        entity, payment_id = credential.legal_entity_id, _payment_of_link(payment_text)
        if not await revoke_link(self._pool, entity, payment_id, self._clock.now()):
            raise Missing("checkout_link_not_found")
        link = await read_link(self._pool, entity, payment_id)
        if link is None:
            raise Missing("checkout_link_not_found")
        return await self._reply(200, link, None)

    async def _reply(self, status: int, link: Link, url: str | None) -> Reply:
        payment_id = await current_payment_id(self._pool, link)
        found = await read_payments(self._pool, {payment_id: link.legal_entity_id})
        if not found:
            raise no_such_payment()
        step = standing_of(link, found[0], self._clock.now()).step
        view = CheckoutLinkView(
            payment=to_text("pay", link.payment_id),
            current_payment=to_text("pay", payment_id),
            status=STATUSES[step],
            tries=link.tries,
            url=url,
            expires_at=link.expires_at,
        )
        return json_reply(status, view)


def _payment_of_link(text: str) -> UUID:
    """The id in its text form; a malformed one is that of no link."""
    try:
        return from_text("pay", text)
    except MalformedId:
        raise Missing("checkout_link_not_found") from None


def _check_can_be_paid(payment: Payment, now: datetime) -> None:
    """Raises Conflict for a payment that waits for no instrument."""
    if payment.review:
        raise Conflict("payment_under_review")
    if payment.status in ("succeeded", "failed", "canceled"):
        raise Conflict("payment_is_over")
    if payment.closing:
        raise Conflict("payment_is_closing")
    if payment.status != "requires_payment_method":
        raise Conflict("payment_has_an_instrument")
    if now >= payment.not_after:
        raise Conflict("not_after_passed")

"""The operations on refunds."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.errors import Invalid, Missing, Problem, ProblemDocument
from strongroom.http import bodies, fields
from strongroom.http.asking import (
    answer,
    authorise,
    held_back,
    payment_id_of,
    problem_of,
)
from strongroom.http.commands import done_or_raise
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.instruments import Instruments
from strongroom.http.listing import LIMIT_DEFAULT, Limit, read_page
from strongroom.http.waiting import Waiting, status_of
from strongroom.ids import MalformedId, from_text, new_id, to_text
from strongroom.log.window import NoWindow
from strongroom.payments.commands import Commander, Order, RefundWish
from strongroom.payments.idempotency import fingerprint, gateway_key_seed
from strongroom.payments.reads import list_refunds, read_refunds
from strongroom.payments.refunds import Refund, RefundReason, RefundStatus
from strongroom.payments.texts import SALT_BYTES, Texts, TextStore, seal_texts, texts_of
from strongroom.vault.keys import UNAVAILABLE, EntityKeys

PATH: Final = "/v1/refunds"


class CreateRefund(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A refund that is to be made."""

    payment: Annotated[fields.PaymentId, Meta(description="Which payment gives back.")]
    amount: Annotated[
        fields.Amount | None, Meta(description="Without it, all that is left of the payment.")
    ] = None
    reason: Annotated[RefundReason | None, Meta(description="Why, for the gateway.")] = None
    metadata: fields.Metadata = {}


class BulkRefund(CreateRefund, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One refund of a bulk, with the key that it would have been sent under alone."""

    idempotency_key: fields.IdempotencyKey


class BulkRefunds(Struct, frozen=True, forbid_unknown_fields=True):
    """Refunds that are to be made; each is checked, made and answered for itself."""

    refunds: Annotated[
        list[BulkRefund],
        Meta(
            description="In any order; none waits for another.",
            extra_json_schema={"minItems": 1, "maxItems": bodies.BULK_ITEMS_MAX},
        ),
    ]


class RefundView(Struct, frozen=True, kw_only=True):
    """A refund as it now stands: amounts in minor units, times in UTC (RFC 3339)."""

    id: fields.RefundId
    payment: Annotated[fields.PaymentId, Meta(description="Which payment gives back.")]
    status: Annotated[RefundStatus, Meta(description="Where it stands.")]
    status_reason: Annotated[str | None, Meta(description="Why it stands there.")]
    review: Annotated[
        str | None,
        Meta(description="Set when a person has to look: the refund is frozen until then."),
    ]
    amount: fields.Amount
    currency: fields.CurrencyShown
    reason: Annotated[RefundReason | None, Meta(description="Why, as it was asked for.")]
    metadata: fields.Metadata
    created_at: datetime
    updated_at: datetime


class RefundList(Struct, frozen=True, kw_only=True):
    """A page, newest first."""

    data: list[RefundView]
    next_cursor: Annotated[
        fields.RefundId | None,
        Meta(description="Where to go on, as `cursor`; null at the end of the list."),
    ]


class RefundParameters(Struct, frozen=True, kw_only=True):
    """What a list of refunds may be asked for."""

    payment: Annotated[
        fields.PaymentId | None, Meta(description="Only refunds of this payment.")
    ] = None
    cursor: Annotated[
        fields.RefundId | None, Meta(description="The `next_cursor` of the page before.")
    ] = None
    limit: Limit = LIMIT_DEFAULT


class BulkRefundResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item: the status that it would have been answered with alone."""

    index: Annotated[int, Meta(description="Which item, from 0.")]
    status: Annotated[int, Meta(description="The HTTP status of this item alone.")]
    replayed: Annotated[bool, Meta(description="The key had made it before.")]
    refund: RefundView | None = None
    problem: ProblemDocument | None = None


class BulkRefundResults(Struct, frozen=True, kw_only=True):
    """One result an item, in order."""

    results: list[BulkRefundResult]


class _Apart(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a bulk with its items unread."""

    refunds: list[msgspec.Raw]


_decoder: Final = msgspec.json.Decoder(CreateRefund)
_item_decoder: Final = msgspec.json.Decoder(BulkRefund)
_apart_decoder: Final = msgspec.json.Decoder(_Apart)


class RefundOperations:
    """What can be asked for refunds over HTTP; each method answers with a Reply, always."""

    def __init__(  # noqa: PLR0913 - the parts that it is put together of
        self,
        *,
        pool: asyncpg.Pool,
        clock: Clock,
        keys: ApiKeys,
        instruments: Instruments,
        commander: Commander,
        texts: TextStore,
        waiting: Waiting[Refund],
        random_bytes: Callable[[int], bytes],
        window: NoWindow,
    ) -> None:
        self._window = window
        self._pool = pool
        self._clock = clock
        self._keys = keys
        self._instruments = instruments
        self._commander = commander
        self._texts = texts
        self._waiting = waiting
        self._random_bytes = random_bytes

    async def create(self, asked: Asked) -> Reply:
        """POST /v1/refunds."""
        return await answer(self._create, asked)

    async def bulk(self, asked: Asked) -> Reply:
        """POST /v1/refunds/bulk."""
        return await answer(self._bulk, asked)

    async def get(self, asked: Asked, refund_text: str) -> Reply:
        """GET /v1/refunds/{id}."""
        return await answer(self._get, asked, refund_text)

    async def list_page(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        """GET /v1/refunds."""
        return await answer(self._list, asked, query)

    async def _create(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        body = bodies.decode(asked, _decoder, bodies.fields_of(CreateRefund))
        refund, texts, replayed = await self._refund(credential, key, body)
        refund, headers = await self._waiting.preferred(asked, refund)
        if replayed:
            headers.append(("idempotent-replayed", "true"))
        view = view_of(refund, texts)
        headers.append(("location", f"{PATH}/{view.id}"))
        return json_reply(status_of(refund, replayed=replayed), view, *headers)

    async def _refund(
        self, credential: Credential, key: str, body: CreateRefund
    ) -> tuple[Refund, Texts, bool]:
        """The refund as it now stands, its texts, and whether its key had made it before."""
        if body.amount is not None:
            bodies.check_amount(body.amount)
        bodies.check_metadata(body.metadata)
        entity, now = credential.legal_entity_id, self._clock.now()
        stable = {
            "payment": body.payment,
            "amount": body.amount,
            "reason": body.reason,
            "metadata": body.metadata,
        }
        refund_id, texts = new_id(microseconds_since_epoch(now), entity), Texts(None, body.metadata)
        sealed, forms = None, [fingerprint("POST", PATH, stable)]
        if not texts.is_empty:
            keys = await self._text_keys(entity)
            forms.append(b"" if keys is None else fingerprint("POST", PATH, stable, keys.mac))
            if keys is not None and self._texts.seals:
                sealed = seal_texts(keys, refund_id, texts, self._random_bytes(SALT_BYTES))
                forms.reverse()
        order = Order(
            legal_entity_id=entity,
            payment_id=payment_id_of(body.payment),
            idempotency_key=key,
            operation="refunds.create",
            fingerprint=forms[0],
            other_fingerprint=forms[-1],
            actor=credential.actor,
            at=now,
            wish=RefundWish(
                refund_id=refund_id,
                amount_minor=body.amount,
                reason=body.reason,
                metadata=body.metadata if sealed is None else {},
                sealed_texts=sealed,
                gateway_key=f"sr_{gateway_key_seed(entity, key).hex()}_refund",
                digest_salt=self._random_bytes(16),
                check_amount=self._instruments.check_part,
                held=await held_back(self._window, entity),
            ),
        )
        done = done_or_raise(await self._commander.carry_out(order))
        if done.refund is None:
            raise Invalid("idempotency_key_reused")
        if done.replayed:
            texts = await self._texts.of(done.refund)
        return done.refund, texts, done.replayed

    async def _text_keys(self, legal_entity_id: UUID) -> EntityKeys | None:
        """What texts are sealed by; None while they are not sealed yet and it cannot be had."""
        try:
            return await self._texts.keys(legal_entity_id)
        except UNAVAILABLE:
            if self._texts.seals:
                raise
            return None

    async def _bulk(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        bodies.check_no_idempotency_key(asked)
        body = bodies.decode(
            asked, _apart_decoder, bodies.fields_of(BulkRefunds), leaves_items=True
        )
        bodies.check_bulk_size("refunds", len(body.refunds))
        results = await asyncio.gather(
            *(self._item(credential, index, raw) for index, raw in enumerate(body.refunds))
        )
        return json_reply(200, BulkRefundResults(results=list(results)))

    async def _item(self, credential: Credential, index: int, raw: msgspec.Raw) -> BulkRefundResult:
        """One item of a bulk; whatever is wrong with it stays with it."""
        try:
            asked = Asked(method="POST", path=PATH, body=bytes(raw))
            item = bodies.decode(asked, _item_decoder, bodies.fields_of(BulkRefund))
            key = bodies.check_idempotency_key(item.idempotency_key)
            refund, texts, replayed = await self._refund(credential, key, item)
        except Exception as error:  # noqa: BLE001 - one item must not cost the others their answer
            problem: Problem = problem_of(error)
            return BulkRefundResult(
                index=index,
                status=problem.status,
                replayed=False,
                problem=problem.as_document(),
            )
        return BulkRefundResult(
            index=index,
            status=status_of(refund, replayed=replayed),
            replayed=replayed,
            refund=view_of(refund, texts),
        )

    async def _get(self, asked: Asked, refund_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:read")
        refund_id = _refund_id(refund_text)
        found = await read_refunds(self._pool, {refund_id: credential.legal_entity_id})
        if not found:
            raise Missing("refund_not_found")
        texts = await self._texts.of(found[0])
        refund, headers = await self._waiting.preferred(asked, found[0])
        return json_reply(200, view_of(refund, texts), *headers)

    async def _list(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        credential = await authorise(self._keys, asked, "payments:read")
        given, below, limit = read_page(query, RefundParameters, "ref")
        payment_id: UUID | None = None
        if (text := given.get("payment")) is not None:
            payment_id = payment_id_of(text)
        page = await list_refunds(self._pool, credential.legal_entity_id, payment_id, below, limit)
        opened = await self._texts.read(
            credential.legal_entity_id, [refund.refund_id for refund in page.refunds]
        )
        cursor = None if page.below is None else to_text("ref", page.below)
        views = [view_of(refund, texts_of(refund, opened)) for refund in page.refunds]
        return json_reply(200, RefundList(data=views, next_cursor=cursor))


def view_of(refund: Refund, texts: Texts) -> RefundView:
    """The refund as callers see it, with what was written about it."""
    return RefundView(
        id=to_text("ref", refund.refund_id),
        payment=to_text("pay", refund.payment_id),
        status=refund.status,
        status_reason=refund.status_reason,
        review=refund.review,
        amount=refund.amount_minor,
        currency=refund.currency,
        reason=refund.reason,
        metadata=texts.metadata,
        created_at=refund.created_at,
        updated_at=refund.updated_at,
    )


def _refund_id(text: str) -> UUID:
    try:
        return from_text("ref", text)
    except MalformedId:
        raise Missing("refund_not_found") from None

"""The operations on refunds."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.errors import Invalid, Missing, Problem, ProblemDocument
from strongroom.http import bodies
from strongroom.http.asking import answer, authorise, payment_id_of, problem_of
from strongroom.http.commands import done_or_raise
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.instruments import Instruments
from strongroom.http.listing import read_page
from strongroom.http.waiting import Waiting
from strongroom.ids import MalformedId, from_text, new_id, to_text
from strongroom.payments.commands import Commander, Order, RefundWish
from strongroom.payments.idempotency import fingerprint, gateway_key_seed
from strongroom.payments.reads import list_refunds, read_refunds
from strongroom.payments.refunds import Refund, RefundReason, RefundStatus

PATH: Final = "/v1/refunds"


class CreateRefund(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/refunds; without `amount`, all that is left of the payment."""

    payment: str
    amount: int | None = None
    reason: RefundReason | None = None
    metadata: dict[str, str] = {}


class BulkRefund(CreateRefund, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One refund of a bulk, with the key that it would have been sent under alone."""

    idempotency_key: str


class BulkRefunds(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/refunds/bulk."""

    refunds: list[msgspec.Raw]


class RefundView(Struct, frozen=True, kw_only=True):
    """A refund as callers see it: amounts in minor units, times in UTC (RFC 3339)."""

    id: str
    payment: str
    status: RefundStatus
    status_reason: str | None
    review: str | None
    amount: int
    currency: str
    reason: RefundReason | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime


class RefundList(Struct, frozen=True, kw_only=True):
    """A page; go on with `cursor=next_cursor` until that is null."""

    data: list[RefundView]
    next_cursor: str | None


class BulkRefundResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item: the status that it would have been answered with alone."""

    index: int
    status: int
    replayed: bool = msgspec.field(default=False)
    refund: RefundView | None = None
    problem: ProblemDocument | None = None


class BulkRefundResults(Struct, frozen=True, kw_only=True):
    """One result an item, in order."""

    results: list[BulkRefundResult]


_decoder: Final = msgspec.json.Decoder(CreateRefund)
_item_decoder: Final = msgspec.json.Decoder(BulkRefund)
_bulk_decoder: Final = msgspec.json.Decoder(BulkRefunds)


class RefundOperations:
    """What can be asked for refunds over HTTP; each method answers with a Reply, always."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        clock: Clock,
        keys: ApiKeys,
        instruments: Instruments,
        commander: Commander,
        waiting: Waiting[Refund],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._keys = keys
        self._instruments = instruments
        self._commander = commander
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
        refund, replayed = await self._refund(credential, key, body)
        headers: list[tuple[str, str]] = []
        seconds = bodies.wait_seconds(asked)
        if seconds:
            refund = await self._waiting.settled(refund, seconds)
            headers.append(("preference-applied", f"wait={seconds}"))
        if replayed:
            headers.append(("idempotent-replayed", "true"))
        view = view_of(refund)
        headers.append(("location", f"{PATH}/{view.id}"))
        return json_reply(_status_of(refund, replayed=replayed), view, *headers)

    async def _refund(
        self, credential: Credential, key: str, body: CreateRefund
    ) -> tuple[Refund, bool]:
        """The refund as it now stands, and whether its key had made it before."""
        if body.amount is not None:
            bodies.check_amount(body.amount)
        bodies.check_metadata(body.metadata)
        entity, now = credential.legal_entity_id, self._clock.now()
        fields = {
            "payment": body.payment,
            "amount": body.amount,
            "reason": body.reason,
            "metadata": body.metadata,
        }
        order = Order(
            legal_entity_id=entity,
            payment_id=payment_id_of(body.payment),
            idempotency_key=key,
            operation="refunds.create",
            fingerprint=fingerprint("POST", PATH, fields),
            actor=credential.actor,
            at=now,
            wish=RefundWish(
                refund_id=new_id(microseconds_since_epoch(now), entity),
                amount_minor=body.amount,
                reason=body.reason,
                metadata=body.metadata,
                gateway_key=f"sr_{gateway_key_seed(entity, key).hex()}_refund",
                digest_salt=self._random_bytes(16),
                check_amount=self._instruments.check_part,
            ),
        )
        done = done_or_raise(await self._commander.carry_out(order))
        if done.refund is None:
            raise Invalid(
                "idempotency_key_reused",
                "This Idempotency-Key was used before for something that is no refund.",
                "Make a new key for a new intent.",
            )
        return done.refund, done.replayed

    async def _bulk(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        body = bodies.decode(asked, _bulk_decoder, bodies.fields_of(BulkRefunds))
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
            refund, replayed = await self._refund(credential, key, item)
        except Exception as error:  # noqa: BLE001 - one item must not cost the others their answer
            problem: Problem = problem_of(error)
            return BulkRefundResult(
                index=index, status=problem.status, problem=problem.as_document()
            )
        return BulkRefundResult(
            index=index,
            status=_status_of(refund, replayed=replayed),
            replayed=replayed,
            refund=view_of(refund),
        )

    async def _get(self, asked: Asked, refund_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:read")
        refund_id = _refund_id(refund_text)
        found = await read_refunds(self._pool, {refund_id: credential.legal_entity_id})
        if not found:
            raise _no_such_refund()
        refund, seconds = found[0], bodies.wait_seconds(asked)
        if seconds:
            refund = await self._waiting.settled(refund, seconds)
        return json_reply(200, view_of(refund))

    async def _list(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        credential = await authorise(self._keys, asked, "payments:read")
        given, below, limit = read_page(query, ("payment",), "ref")
        payment_id: UUID | None = None
        if (text := given.get("payment")) is not None:
            payment_id = payment_id_of(text)
        page = await list_refunds(self._pool, credential.legal_entity_id, payment_id, below, limit)
        cursor = None if page.below is None else to_text("ref", page.below)
        return json_reply(
            200, RefundList(data=[view_of(one) for one in page.refunds], next_cursor=cursor)
        )


def view_of(refund: Refund) -> RefundView:
    """The refund as callers see it."""
    return RefundView(
        id=to_text("ref", refund.refund_id),
        payment=to_text("pay", refund.payment_id),
        status=refund.status,
        status_reason=refund.status_reason,
        review=refund.review,
        amount=refund.amount_minor,
        currency=refund.currency,
        reason=refund.reason,
        metadata=refund.metadata,
        created_at=refund.created_at,
        updated_at=refund.updated_at,
    )


def _status_of(refund: Refund, *, replayed: bool) -> int:
    return 202 if refund.status == "processing" else 200 if replayed else 201


def _refund_id(text: str) -> UUID:
    try:
        return from_text("ref", text)
    except MalformedId:
        raise _no_such_refund() from None


def _no_such_refund() -> Missing:
    return Missing(
        "refund_not_found",
        "There is no refund with this id for the legal entity of your API key.",
        "Check the id, and that the API key belongs to the legal entity that made the refund.",
    )

"""The operations on payments, the same behind the front door and behind Litestar."""

from typing import Final

import asyncpg
import msgspec

from strongroom.access.api_keys import ApiKeys
from strongroom.errors import no_such_payment
from strongroom.http import bodies
from strongroom.http.asking import answer, authorise, check_caller, payment_id_of
from strongroom.http.bulk import bulk_reply, read_items
from strongroom.http.creation import Accepted, Creation, wanted_of
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.listing import CREATE_PATH, PaymentList, read_query, view_of
from strongroom.http.waiting import Waiting, status_of
from strongroom.ids import to_text
from strongroom.payments.reads import list_payments, read_payments
from strongroom.payments.states import Payment
from strongroom.payments.texts import Texts, TextStore, texts_of
from strongroom.vault.keys import UNAVAILABLE

_create_decoder: Final = msgspec.json.Decoder(bodies.CreatePayment)
_CREATE_FIELDS: Final = bodies.fields_of(bodies.CreatePayment)


class PaymentOperations:
    """What can be asked for payments over HTTP; each method answers with a Reply, always."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        keys: ApiKeys,
        creation: Creation,
        texts: TextStore,
        waiting: Waiting[Payment],
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._waiting = waiting
        self._texts = texts
        self._creation = creation

    async def create(self, asked: Asked) -> Reply:
        """POST /v1/payments."""
        return await answer(self._create, asked)

    async def bulk(self, asked: Asked) -> Reply:
        """POST /v1/payments/bulk."""
        return await answer(self._bulk, asked)

    async def check_caller(self, asked: Asked, scope: str) -> None:
        """Raises Problem unless the API key of the request is good and has the scope."""
        await check_caller(self._keys, asked, scope)

    async def get(self, asked: Asked, payment_text: str) -> Reply:
        """GET /v1/payments/{id}."""
        return await answer(self._get, asked, payment_text)

    async def list_page(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        """GET /v1/payments."""
        return await answer(self._list, asked, query)

    async def _create(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        body = bodies.decode(asked, _create_decoder, _CREATE_FIELDS)
        accepted = await self._creation.one(credential, wanted_of(key, body))
        texts = accepted.texts
        return await payment_reply(
            asked,
            accepted.payment,
            await self._texts.of(accepted.payment) if texts is None else texts,
            self._waiting,
            replayed=accepted.replayed,
            created=not accepted.replayed,
        )

    async def _bulk(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, "payments:write")
        ends = await self._creation.many(credential, read_items(asked))
        old = [end.payment for end in ends if isinstance(end, Accepted) and end.replayed]
        try:
            opened = await self._texts.read(
                credential.legal_entity_id, [payment.payment_id for payment in old]
            )
        except UNAVAILABLE as error:
            # Those that were there before wait; the others are on disk, and are told so.
            ends = [error if isinstance(end, Accepted) and end.replayed else end for end in ends]
            opened = {}
        return bulk_reply(ends, opened)

    async def _get(self, asked: Asked, payment_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:read")
        payment_id = payment_id_of(payment_text)
        found = await read_payments(self._pool, {payment_id: credential.legal_entity_id})
        if not found:
            raise no_such_payment()
        texts = await self._texts.of(found[0])
        payment, headers = await self._waiting.preferred(asked, found[0])
        return json_reply(200, view_of(payment, texts), *headers)

    async def _list(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        credential = await authorise(self._keys, asked, "payments:read")
        filters, below, limit = read_query(query)
        page = await list_payments(self._pool, credential.legal_entity_id, filters, below, limit)
        opened = await self._texts.read(
            credential.legal_entity_id, [payment.payment_id for payment in page.payments]
        )
        views = [view_of(payment, texts_of(payment, opened)) for payment in page.payments]
        cursor = None if page.below is None else to_text("pay", page.below)
        return json_reply(200, PaymentList(data=views, next_cursor=cursor))


async def payment_reply(
    asked: Asked,
    payment: Payment,
    texts: Texts,
    waiting: Waiting[Payment],
    *,
    replayed: bool,
    created: bool,
) -> Reply:
    """The payment, after the wait that the caller prefers: 202 while it is `processing`."""
    payment, headers = await waiting.preferred(asked, payment)
    if replayed:
        headers.append(("idempotent-replayed", "true"))
    view = view_of(payment, texts)
    headers.append(("location", f"{CREATE_PATH}/{view.id}"))
    return json_reply(status_of(payment, replayed=not created), view, *headers)

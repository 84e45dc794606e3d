"""The operations on payments, the same behind the front door and behind Litestar."""

from collections.abc import Callable
from typing import Final, assert_never

import asyncpg
import msgspec

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.errors import Conflict, no_such_payment
from strongroom.http import bodies
from strongroom.http.asking import answer, authorise, key_reused, payment_id_of, unavailable
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.instruments import Instruments
from strongroom.http.listing import CREATE_PATH, PaymentList, PaymentView, read_query, view_of
from strongroom.http.waiting import Waiting
from strongroom.ids import new_id, to_text
from strongroom.payments.accept import (
    Acceptor,
    Created,
    KeyReused,
    ReferenceTaken,
    Replayed,
    Request,
    TryAgain,
)
from strongroom.payments.idempotency import fingerprint, gateway_key_seed
from strongroom.payments.journal import accepted_payload
from strongroom.payments.reads import list_payments, read_payments
from strongroom.payments.states import Payment

_create_decoder: Final = msgspec.json.Decoder(bodies.CreatePayment)
_CREATE_FIELDS: Final = bodies.fields_of(bodies.CreatePayment)


class PaymentOperations:
    """What can be asked for payments over HTTP; each method answers with a Reply, always."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        clock: Clock,
        keys: ApiKeys,
        instruments: Instruments,
        acceptor: Acceptor,
        waiting: Waiting[Payment],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._keys = keys
        self._instruments = instruments
        self._acceptor = acceptor
        self._waiting = waiting
        self._random_bytes = random_bytes

    async def create(self, asked: Asked) -> Reply:
        """POST /v1/payments."""
        return await answer(self._create, asked)

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
        request = await self._request(credential, key, body)
        outcome = await self._acceptor.accept(request)
        if request.replay_only and isinstance(outcome, ReferenceTaken | TryAgain):
            raise bodies.not_after_invalid()
        match outcome:
            case Created(payment):
                return await payment_reply(
                    asked, payment, self._waiting, replayed=False, created=True
                )
            case Replayed(payment):
                return await payment_reply(
                    asked, payment, self._waiting, replayed=True, created=False
                )
            case KeyReused():
                raise key_reused()
            case ReferenceTaken(holder):
                raise Conflict(
                    "merchant_reference_taken",
                    "Another payment that may still charge, or has charged, carries this "
                    "merchant_reference.",
                    "Look at the payment in payment_id; make a new reference for a new order.",
                    field="merchant_reference",
                    payment_id=to_text("pay", holder),
                )
            case TryAgain():
                raise unavailable("accept_contended", "Requests got in each other's way.")
        assert_never(outcome)

    async def _request(
        self, credential: Credential, key: str, body: bodies.CreatePayment
    ) -> Request:
        now = self._clock.now()
        currency, not_after = bodies.check_create(body, now)
        entity = credential.legal_entity_id
        account = None
        if body.instrument is not None:
            account = await self._instruments.account(entity, body.instrument.gateway)
            self._instruments.check_amount(account.gateway, body.amount, currency)
        payment = Payment(
            legal_entity_id=entity,
            payment_id=new_id(microseconds_since_epoch(now), entity),
            version=1,
            status="requires_payment_method" if account is None else "processing",
            amount_minor=body.amount,
            currency=currency,
            merchant_reference=body.merchant_reference,
            description=body.description,
            metadata=body.metadata,
            return_url=body.return_url,
            capture=body.capture,
            gateway=account.gateway if account else None,
            gateway_account_id=account.gateway_account_id if account else None,
            instrument_token=body.instrument.token if body.instrument else None,
            not_after=not_after,
            gateway_key_seed=gateway_key_seed(entity, key),
            digest_salt=self._random_bytes(16),
            created_at=now,
            updated_at=now,
        )
        return Request(
            payment=payment,
            idempotency_key=key,
            fingerprint=fingerprint("POST", CREATE_PATH, bodies.stable_fields(body)),
            actor=credential.actor,
            run_at=not_after if account is None else now,
            row_digest=payment.row_digest(),
            payload=accepted_payload(payment, key),
            replay_only=not_after <= now,
        )

    async def _get(self, asked: Asked, payment_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "payments:read")
        payment_id = payment_id_of(payment_text)
        found = await read_payments(self._pool, {payment_id: credential.legal_entity_id})
        if not found:
            raise no_such_payment()
        payment = found[0]
        seconds = bodies.wait_seconds(asked)
        if seconds:
            payment = await self._waiting.settled(payment, seconds)
        return json_reply(200, view_of(payment))

    async def _list(self, asked: Asked, query: dict[str, list[str]]) -> Reply:
        credential = await authorise(self._keys, asked, "payments:read")
        filters, below, limit = read_query(query)
        page = await list_payments(self._pool, credential.legal_entity_id, filters, below, limit)
        views: list[PaymentView] = [view_of(payment) for payment in page.payments]
        cursor = None if page.below is None else to_text("pay", page.below)
        return json_reply(200, PaymentList(data=views, next_cursor=cursor))


async def payment_reply(
    asked: Asked, payment: Payment, waiting: Waiting[Payment], *, replayed: bool, created: bool
) -> Reply:
    """The payment, after the wait that the caller prefers: 202 while it is `processing`."""
    seconds = bodies.wait_seconds(asked)
    headers: list[tuple[str, str]] = []
    if seconds:
        payment = await waiting.settled(payment, seconds)
        headers.append(("preference-applied", f"wait={seconds}"))
    if replayed:
        headers.append(("idempotent-replayed", "true"))
    view = view_of(payment)
    headers.append(("location", f"{CREATE_PATH}/{view.id}"))
    status = 202 if payment.status == "processing" else 201 if created else 200
    return json_reply(status, view, *headers)

"""The operations on payment methods: saved instruments of customers."""

from datetime import datetime
from functools import partial
from typing import Annotated, Final, Literal

import asyncpg
import msgspec
from msgspec import Meta, Struct

from strongroom.access.api_keys import ApiKeys
from strongroom.clock import Clock
from strongroom.customers.consents import Agreed
from strongroom.customers.methods import Methods, Shown
from strongroom.customers.rows import read_methods
from strongroom.customers.saving import MethodStatus, Saving
from strongroom.errors import Invalid
from strongroom.http import bodies, fields
from strongroom.http.asking import answer, authorise, customer_id_of, method_id_of
from strongroom.http.consents import ConsentBody, ConsentView, agreed_of, consent_view
from strongroom.http.customers import PATH as CUSTOMERS_PATH
from strongroom.http.customers import refusing, wish_of
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.instruments import Instruments, account_missing
from strongroom.http.listing import LIMIT_DEFAULT, InstrumentView, Limit, read_page
from strongroom.http.persons import CustomerId
from strongroom.http.waiting import Waiting, status_of
from strongroom.ids import to_text
from strongroom.payments.ways import ChargeToken

PATH: Final = "/v1/payment_methods"
OF_CUSTOMER: Final = CUSTOMERS_PATH + "/{customer_id}/payment_methods"


class SavableInstrument(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be saved: a token that the gateway gave to the customer's browser."""

    gateway: Annotated[
        Literal["stripe", "braintree"], Meta(description="Who knows the token, and saves it.")
    ]
    token: fields.Token
    gateway_customer: fields.GatewayCustomer | None = None
    account: fields.GatewayAccountId | None = None


class SavePaymentMethod(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An instrument that is to be saved, to be charged later, also while its owner is away."""

    instrument: SavableInstrument
    return_url: fields.ReturnUrl | None = None
    consent: Annotated[
        ConsentBody | None,
        Meta(description="Without one it pays only while the customer is there."),
    ] = None


class DetachPaymentMethod(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An empty object."""


class CardView(Struct, frozen=True, kw_only=True):
    """What is shown of a card."""

    brand: Annotated[str, Meta(description="As the gateway calls it, e.g. `visa`.")]
    last4: Annotated[str, Meta(description="The last digits of its number.")]
    exp_month: Annotated[int, Meta(description="1 to 12.")]
    exp_year: Annotated[int, Meta(description="With its century.")]


class PaymentMethodView(Struct, frozen=True, kw_only=True):
    """A payment method as it now stands; times in UTC (RFC 3339)."""

    id: fields.PaymentMethodId
    customer: Annotated[CustomerId, Meta(description="Whose it is.")]
    status: Annotated[MethodStatus, Meta(description="Where it stands.")]
    status_reason: Annotated[
        str | None, Meta(description="Why it stands there, e.g. `expired_card`.")
    ]
    instrument: InstrumentView
    card: Annotated[
        CardView | None, Meta(description="None until it is saved, and once its owner is erased.")
    ]
    consent: Annotated[
        ConsentView | None,
        Meta(description="What its customer last agreed to; without, nothing is paid off session."),
    ]
    next_action: fields.NextAction | None
    created_at: datetime
    updated_at: datetime
    version: fields.Version


class PaymentMethodList(Struct, frozen=True, kw_only=True):
    """A page, newest first."""

    data: list[PaymentMethodView]
    next_cursor: Annotated[
        fields.PaymentMethodId | None,
        Meta(description="Where to go on, as `cursor`; null at the end of the list."),
    ]


class PaymentMethodParameters(Struct, frozen=True, kw_only=True):
    """What a list of payment methods may be asked for."""

    cursor: Annotated[
        fields.PaymentMethodId | None, Meta(description="The `next_cursor` of the page before.")
    ] = None
    limit: Limit = LIMIT_DEFAULT


_save_decoder: Final = msgspec.json.Decoder(SavePaymentMethod)
_consent_decoder: Final = msgspec.json.Decoder(ConsentBody)
_detach_decoder: Final = msgspec.json.Decoder(DetachPaymentMethod)


class PaymentMethodOperations:
    """What can be asked for payment methods over HTTP; each method answers with a Reply, always."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        clock: Clock,
        keys: ApiKeys,
        instruments: Instruments,
        methods: Methods,
    ) -> None:
        self._clock, self._keys, self._instruments = clock, keys, instruments
        self._methods = methods
        self._waiting = Waiting(partial(read_methods, pool), lambda one: one.payment_method_id)

    def start(self) -> None:
        """Starts the look for those who wait, in the running loop."""
        self._waiting.start()

    async def close(self) -> None:
        """Lets everyone who waits go."""
        await self._waiting.close()

    async def save(self, asked: Asked, customer_text: str) -> Reply:
        """POST /v1/customers/{id}/payment_methods."""
        return await answer(self._save, asked, customer_text)

    async def list_page(
        self, asked: Asked, customer_text: str, query: dict[str, list[str]]
    ) -> Reply:
        """GET /v1/customers/{id}/payment_methods."""
        return await answer(self._list, asked, customer_text, query)

    async def get(self, asked: Asked, method_text: str) -> Reply:
        """GET /v1/payment_methods/{id}."""
        return await answer(self._get, asked, method_text)

    async def detach(self, asked: Asked, method_text: str) -> Reply:
        """POST /v1/payment_methods/{id}/detach."""
        return await answer(self._detach, asked, method_text)

    async def agree(self, asked: Asked, method_text: str) -> Reply:
        """POST /v1/payment_methods/{id}/consent."""
        return await answer(self._agree, asked, method_text)

    async def _save(self, asked: Asked, customer_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "customers:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        body = bodies.decode(asked, _save_decoder, bodies.fields_of(SavePaymentMethod))
        bodies.check_token(body.instrument.gateway, body.instrument.token)
        bodies.check_return_url(body.return_url)
        customer_id, gateway = customer_id_of(customer_text), body.instrument.gateway
        offered, stable = _offered(body)
        agreed = None
        if body.consent is not None:
            agreed, stable["consent"] = _agreed(body.consent, self._clock.now(), "consent.")
        named = body.instrument.account
        account = await self._instruments.find(credential.legal_entity_id, gateway, named)
        path = OF_CUSTOMER.format(customer_id=customer_text)
        wish = wish_of(credential, key, path, stable, self._clock.now())
        try:
            with refusing():
                saving, replayed = await self._methods.save(
                    wish, customer_id, account, offered, body.return_url, agreed
                )
        except LookupError:
            if named is not None:
                raise Invalid("gateway_account_unknown", field="instrument.account") from None
            raise account_missing(gateway) from None
        saving, headers = await self._waiting.preferred(asked, saving)
        status = status_of(saving, replayed=replayed)
        return await self._reply(saving, headers, status, replayed=replayed)

    async def _list(self, asked: Asked, customer_text: str, query: dict[str, list[str]]) -> Reply:
        credential = await authorise(self._keys, asked, "customers:read")
        customer_id = customer_id_of(customer_text)
        _, below, limit = read_page(query, PaymentMethodParameters, "pm")
        with refusing():
            savings, more = await self._methods.page(
                credential.legal_entity_id, customer_id, below, limit
            )
        views = [view_of(shown) for shown in await self._methods.shown(savings)]
        cursor = None if more is None else to_text("pm", more)
        return json_reply(200, PaymentMethodList(data=views, next_cursor=cursor))

    async def _get(self, asked: Asked, method_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "customers:read")
        method_id = method_id_of(method_text)
        with refusing():
            saving = await self._methods.get(credential.legal_entity_id, method_id)
        saving, headers = await self._waiting.preferred(asked, saving)
        [shown] = await self._methods.shown([saving])
        return json_reply(200, view_of(shown), *headers)

    async def _detach(self, asked: Asked, method_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "customers:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        bodies.decode(asked, _detach_decoder, bodies.fields_of(DetachPaymentMethod))
        method_id, path = method_id_of(method_text), f"{PATH}/{method_text}/detach"
        wish = wish_of(credential, key, path, {}, self._clock.now())
        with refusing():
            saving, replayed = await self._methods.detach(wish, method_id)
        return await self._reply(saving, [], 200, replayed=replayed)

    async def _agree(self, asked: Asked, method_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "customers:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        body = bodies.decode(asked, _consent_decoder, bodies.fields_of(ConsentBody))
        method_id, path = method_id_of(method_text), f"{PATH}/{method_text}/consent"
        agreed, stable = _agreed(body, self._clock.now())
        wish = wish_of(credential, key, path, stable, self._clock.now())
        with refusing():
            saving, replayed = await self._methods.agree(wish, method_id, agreed)
        return await self._reply(saving, [], 200, replayed=replayed)

    async def _reply(
        self, saving: Saving, headers: list[tuple[str, str]], status: int, *, replayed: bool
    ) -> Reply:
        [shown] = await self._methods.shown([saving])
        if replayed:
            headers.append(("idempotent-replayed", "true"))
        view = view_of(shown)
        headers.append(("location", f"{PATH}/{view.id}"))
        return json_reply(status, view, *headers)


def _offered(body: SavePaymentMethod) -> tuple[str, dict[str, object]]:
    """What is to be saved or adopted, and what makes two requests the same one.

    As for payments that is everything but a one-time token. Raises Invalid.
    """
    instrument = body.instrument
    stable: dict[str, object] = {"gateway": instrument.gateway, "return_url": body.return_url}
    if instrument.account is not None:
        stable["account"] = instrument.account
    if instrument.gateway_customer is None:
        return instrument.token, stable
    # At Braintree a card is of our own customer alone.
    known = fields.GATEWAY_CUSTOMER.fullmatch(instrument.gateway_customer)
    if known is None or instrument.gateway != "stripe":
        raise Invalid("gateway_customer_malformed", field="instrument.gateway_customer")
    offered = ChargeToken(instrument.gateway_customer, instrument.token).text()
    return offered, stable | {"adopts": offered}


def _agreed(body: ConsentBody, now: datetime, place: str = "") -> tuple[Agreed, object]:
    """The consent, and what of it makes two requests the same one: all of it."""
    return agreed_of(body, now, place), msgspec.structs.asdict(body)


def view_of(shown: Shown) -> PaymentMethodView:
    """The payment method as callers see it; no token of a gateway."""
    saving, card = shown.saving, shown.card
    return PaymentMethodView(
        id=to_text("pm", saving.payment_method_id),
        customer=to_text("cus", saving.customer_id),
        status=saving.status,
        status_reason=saving.status_reason,
        instrument=InstrumentView(saving.gateway),
        card=None if card is None else CardView(**msgspec.structs.asdict(card)),
        consent=consent_view(shown.consent),
        next_action=saving.next_action,
        created_at=saving.created_at,
        updated_at=saving.updated_at,
        version=saving.version,
    )

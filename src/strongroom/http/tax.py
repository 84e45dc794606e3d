"""The operations on tax calculations: asked of a gateway's tax service, named by payments."""

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from strongroom.access.api_keys import ApiKeys
from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.customers.register import KeyReused
from strongroom.errors import Invalid, Missing
from strongroom.gateways.accounts import Accounts, NoSuchAccount
from strongroom.gateways.port import Account
from strongroom.http import bodies, fields
from strongroom.http.asking import answer, authorise
from strongroom.http.customers import wish_of
from strongroom.http.exchange import Asked, Reply, json_reply
from strongroom.http.instruments import AmountRule
from strongroom.http.tax_bodies import CreateTaxCalculation, asked_of
from strongroom.http.waiting import Waiting, status_of
from strongroom.ids import MalformedId, from_text, new_id, to_text
from strongroom.tax.calculations import (
    SALT_BYTES,
    Calculation,
    CalculationStatus,
    Kind,
    TaxedLine,
    Transaction,
    TransactionStatus,
    seal_asked,
)
from strongroom.tax.calculations import Asked as Question
from strongroom.tax.rows import Shown, ask_calculation, read_calculations, show
from strongroom.vault.keys import Keyring

PATH: Final = "/v1/tax_calculations"
SERVICES: Final = frozenset({"stripe"})
"""Gateways that calculate taxes. Braintree has nothing of that kind (developer.paypal.com)."""
WAIT_DEFAULT_SECONDS: Final = 10
"""Whoever asks what to charge waits for it, unless he prefers otherwise."""

_decoder: Final = msgspec.json.Decoder(CreateTaxCalculation)


class TaxRateView(Struct, frozen=True, kw_only=True):
    """One tax on one line."""

    country: Annotated[str, Meta(description="Whose tax it is.")]
    state: Annotated[str | None, Meta(description="Whose of its states, if it is one's.")]
    type: Annotated[str | None, Meta(description="`vat`, `sales_tax`, in the gateway's word.")]
    percent: Annotated[str | None, Meta(description="The rate; null where nothing is taxed.")]
    reason: Annotated[
        str,
        Meta(description="Why so much: `standard_rated`, `reverse_charge`, `not_collecting`, …"),
    ]
    taxable_amount: Annotated[fields.Sum, Meta(description="What it is reckoned on.")]
    tax_amount: Annotated[fields.Sum, Meta(description="What it comes to.")]


class TaxedLineView(Struct, frozen=True, kw_only=True):
    """One line with its tax."""

    reference: Annotated[str, Meta(description="Yours; `shipping` for the shipping.")]
    amount: Annotated[fields.Sum, Meta(description="As you gave it.")]
    tax_amount: Annotated[fields.Sum, Meta(description="On top of it, or in it.")]
    tax_behavior: Annotated[str, Meta(description="`exclusive`: on top; `inclusive`: in it.")]
    tax_code: Annotated[str, Meta(description="What is sold, in the gateway's words.")]
    rates: Annotated[list[TaxRateView], Meta(description="How its tax comes about.")]


class TaxTransactionView(Struct, frozen=True, kw_only=True):
    """What is reported of the calculation."""

    kind: Annotated[
        Kind,
        Meta(
            description="`sale`; `uncaptured`: what of a hold was not taken; `reversal`: a refund; "
            "`restoral`: a refund that failed after all."
        ),
    ]
    status: Annotated[
        TransactionStatus,
        Meta(description="`open` while it is sent; `refused`: a person has to report it."),
    ]
    status_reason: Annotated[
        str | None, Meta(description="What stands in the way, in the service's word.")
    ]
    amount: Annotated[fields.Sum, Meta(description="Tax included.")]
    reference: Annotated[
        str, Meta(description="Its name at the tax service: the payment's id, or the refund's.")
    ]
    gateway_transaction: Annotated[str | None, Meta(description="The tax service's own id of it.")]


class TaxCalculationView(Struct, frozen=True, kw_only=True):
    """A tax calculation as it now stands: amounts in minor units, times in UTC (RFC 3339)."""

    id: fields.TaxCalculationId
    status: Annotated[
        CalculationStatus, Meta(description="Only one that is `ready` can be named by a payment.")
    ]
    status_reason: Annotated[
        str | None, Meta(description="Why it has failed, in the tax service's word.")
    ]
    currency: fields.CurrencyShown
    total: Annotated[fields.Sum | None, Meta(description="What the customer pays, tax included.")]
    tax_amount_exclusive: Annotated[
        fields.Sum | None, Meta(description="Tax that comes on top of the amounts given.")
    ]
    tax_amount_inclusive: Annotated[
        fields.Sum | None, Meta(description="Tax that was in the amounts given.")
    ]
    line_items: Annotated[list[TaxedLineView], Meta(description="In your order, once it is ready.")]
    shipping_cost: Annotated[TaxedLineView | None, Meta(description="What the way costs.")]
    usable_until: Annotated[
        datetime | None, Meta(description="Until when a payment can name it: 60 days.")
    ]
    payment: Annotated[fields.PaymentId | None, Meta(description="Which payment has named it.")]
    transactions: Annotated[
        list[TaxTransactionView], Meta(description="What of it was reported, in that order.")
    ]
    gateway: Annotated[str, Meta(description="Whose tax service it is.")]
    gateway_calculation: Annotated[str | None, Meta(description="The tax service's own id of it.")]
    created_at: datetime
    updated_at: datetime
    version: fields.Version


class TaxOperations:
    """What can be asked of tax calculations over HTTP; each method answers with a Reply, always."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        keys: ApiKeys,
        keyring: Keyring,
        amount_rules: Mapping[str, AmountRule],
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._pool, self._clock, self._keys = pool, clock, keys
        self._keyring, self._accounts = keyring, Accounts(pool)
        self._amount_rules, self._random_bytes = amount_rules, random_bytes
        self._waiting = Waiting(
            partial(read_calculations, pool), lambda calculation: calculation.calculation_id
        )

    def start(self) -> None:
        """Starts the look that serves all who wait."""
        self._waiting.start()

    async def close(self) -> None:
        """Lets everyone go who waits."""
        await self._waiting.close()

    async def create(self, asked: Asked) -> Reply:
        """POST /v1/tax_calculations."""
        return await answer(self._create, asked)

    async def get(self, asked: Asked, calculation_text: str) -> Reply:
        """GET /v1/tax_calculations/{id}."""
        return await answer(self._get, asked, calculation_text)

    async def _create(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, "taxes:write")
        key = bodies.check_idempotency_key(asked.idempotency_key)
        body = bodies.decode(asked, _decoder, bodies.fields_of(CreateTaxCalculation))
        question = asked_of(body)
        account = await self._account(credential.legal_entity_id, body.gateway_account)
        self._check_amounts(account.gateway, question)
        wish = wish_of(credential, key, PATH, body, self._clock.now())
        entity, now = wish.legal_entity_id, wish.at
        keys = await self._keyring.entity(entity)
        calculation = Calculation(
            legal_entity_id=entity,
            calculation_id=new_id(microseconds_since_epoch(now), entity),
            version=1,
            status="processing",
            currency=question.currency,
            gateway=account.gateway,
            gateway_account_id=account.gateway_account_id,
            digest_salt=self._random_bytes(16),
            created_at=now,
            updated_at=now,
        )
        salt = self._random_bytes(SALT_BYTES)
        sealed = seal_asked(keys, calculation.calculation_id, question, salt)
        try:
            made, replayed = await ask_calculation(self._pool, wish, keys, calculation, sealed)
        except KeyReused:
            raise Invalid("idempotency_key_reused") from None
        headers: list[tuple[str, str]] = []
        if asked.prefer is None:
            made = await self._waiting.settled(made, WAIT_DEFAULT_SECONDS)
        else:
            made, headers = await self._waiting.preferred(asked, made)
        if replayed:
            headers.append(("idempotent-replayed", "true"))
        shown = await show(self._pool, entity, made.calculation_id) or Shown(made, None, ())
        headers.append(("location", f"{PATH}/{to_text('txc', made.calculation_id)}"))
        status = status_of(shown.calculation, replayed=replayed)
        return json_reply(status, view_of(shown), *headers)

    async def _get(self, asked: Asked, calculation_text: str) -> Reply:
        credential = await authorise(self._keys, asked, "taxes:read")
        entity, calculation_id = credential.legal_entity_id, calculation_id_of(calculation_text)
        shown = await show(self._pool, entity, calculation_id)
        if shown is None:
            raise Missing("tax_calculation_not_found")
        settled, headers = await self._waiting.preferred(asked, shown.calculation)
        return json_reply(200, view_of(shown._replace(calculation=settled)), *headers)

    def _check_amounts(self, gateway: str, question: Question) -> None:
        rule = self._amount_rules[gateway]
        shipping = [] if question.shipping is None else [("shipping_cost", question.shipping)]
        for where, line in [*(("line_items", line) for line in question.lines), *shipping]:
            why = rule(line.amount_minor, question.currency, part=True)
            if why is not None:
                raise Invalid("amount_not_representable", field=f"{where}.amount", why=why)

    async def _account(self, legal_entity_id: UUID, named: str | None) -> Account:
        """The account whose tax service is asked; the oldest one, where none is named."""
        if named is None:
            for gateway in SERVICES:
                account = await self._accounts.choose(legal_entity_id, gateway)
                if account is not None:
                    return account
            raise Invalid("tax_service_missing", field="gateway_account")
        try:
            account = await self._accounts.get(legal_entity_id, from_text("gwa", named))
        except (MalformedId, NoSuchAccount):
            raise _no_service() from None
        if account.gateway not in SERVICES:
            raise _no_service()
        return account


def _no_service() -> Invalid:
    rule = "an account of yours at a gateway that calculates taxes"
    return Invalid("tax_field_invalid", field="gateway_account", rule=rule)


def calculation_id_of(text: str) -> UUID:
    """The id in its text form; malformed ones are unknown ones."""
    try:
        return from_text("txc", text)
    except MalformedId:
        raise Missing("tax_calculation_not_found") from None


def view_of(shown: Shown) -> TaxCalculationView:
    """The calculation as callers see it."""
    calculation, lines = shown.calculation, shown.calculation.lines
    shipping = None if lines is None else lines.shipping
    payment_id = shown.payment_id
    return TaxCalculationView(
        id=to_text("txc", calculation.calculation_id),
        status=calculation.status,
        status_reason=calculation.status_reason,
        currency=calculation.currency,
        total=calculation.total_minor,
        tax_amount_exclusive=calculation.exclusive_minor,
        tax_amount_inclusive=calculation.inclusive_minor,
        line_items=[] if lines is None else [_line(line) for line in lines.lines],
        shipping_cost=None if shipping is None else _line(shipping),
        usable_until=calculation.usable_until,
        payment=None if payment_id is None else to_text("pay", payment_id),
        transactions=[_transaction(one) for one in shown.transactions],
        gateway=calculation.gateway,
        gateway_calculation=calculation.gateway_object_id,
        created_at=calculation.created_at,
        updated_at=calculation.updated_at,
        version=calculation.version,
    )


def _line(line: TaxedLine) -> TaxedLineView:
    return TaxedLineView(
        reference=line.reference,
        amount=line.amount_minor,
        tax_amount=line.tax_minor,
        tax_behavior=line.tax_behavior,
        tax_code=line.tax_code,
        rates=[
            TaxRateView(
                country=rate.country,
                state=rate.state,
                type=rate.kind,
                percent=rate.percent,
                reason=rate.reason,
                taxable_amount=rate.taxable_minor,
                tax_amount=rate.tax_minor,
            )
            for rate in line.rates
        ],
    )


def _transaction(one: Transaction) -> TaxTransactionView:
    return TaxTransactionView(
        kind=one.kind,
        status=one.status,
        status_reason=one.status_reason,
        amount=one.amount_minor,
        reference=one.reference,
        gateway_transaction=one.gateway_object_id,
    )

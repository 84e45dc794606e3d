"""Stripe Tax: calculations, the transactions made of them, and their reversals.

Reversals are of a flat amount, which Stripe shares out over what is left of each line: only a
partial reversal can be undone (docs.stripe.com/tax/custom).
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from stripe import StripeClient, StripeError
from stripe.params.tax import CalculationCreateParams, TransactionCreateReversalParams
from stripe.tax import Calculation, CalculationLineItem, Transaction

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.port import Account, Credentials
from strongroom.gateways.stripe.connections import Ask, Connections
from strongroom.gateways.stripe.errors import code_of, unanswered
from strongroom.gateways.stripe.money import from_stripe, to_stripe
from strongroom.gateways.tax import CalculationAnswer, RecordAnswer
from strongroom.payments.refunds import Refused
from strongroom.payments.states import Call, NotSent, Unknown
from strongroom.tax.calculations import (
    Asked,
    AskedLine,
    Calculated,
    Lines,
    Recorded,
    TaxedLine,
    TaxRate,
)

BREAKDOWN: Final = "line_items.data.tax_breakdown"
PAGE: Final = 100
LINES_MAX: Final = 1000
"""As many as Stripe takes (docs.stripe.com/api/tax/calculations/create)."""


class StripeTax:
    """One adapter for all of a process's Stripe accounts."""

    def __init__(self, clock: Clock, credentials: Credentials, *, mode: Mode) -> None:
        self._connections = Connections(clock, credentials, mode)

    async def calculate(
        self, account: Account, asked: Asked, key: str
    ) -> tuple[CalculationAnswer, Call]:
        """Calculates; of many lines the further ones are read page by page."""
        answer, call, _ = await self._connections.ask(
            account,
            Ask(
                "calculate_tax",
                lambda client: _calculated(client, _parameters(asked), key),
                lambda found: _read(*found),
                _calculation_error,
            ),
        )
        return answer, call

    async def record(
        self, account: Account, calculation_id: str, reference: str, key: str
    ) -> tuple[RecordAnswer, Call]:
        """Makes the transaction of a calculation."""
        return await self._ask(
            "record_tax",
            account,
            reference,
            lambda client: client.v1.tax.transactions.create_from_calculation_async(
                {"calculation": calculation_id, "reference": reference}, {"idempotency_key": key}
            ),
        )

    async def reverse(
        self,
        account: Account,
        original_id: str,
        amount_minor: int,
        currency: str,
        reference: str,
        key: str,
    ) -> tuple[RecordAnswer, Call]:
        """A partial reversal, also of all that is left."""
        asked: TransactionCreateReversalParams = {
            "mode": "partial",
            "original_transaction": original_id,
            "flat_amount": -to_stripe(amount_minor, currency),
            "reference": reference,
        }
        return await self._reversal("reverse_tax", account, asked, key)

    async def undo(
        self, account: Account, original_id: str, reference: str, key: str
    ) -> tuple[RecordAnswer, Call]:
        """A full reversal of a partial one."""
        asked: TransactionCreateReversalParams = {
            "mode": "full",
            "original_transaction": original_id,
            "reference": reference,
        }
        return await self._reversal("restore_tax", account, asked, key)

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        await self._connections.close()

    async def _reversal(
        self, operation: str, account: Account, asked: TransactionCreateReversalParams, key: str
    ) -> tuple[RecordAnswer, Call]:
        return await self._ask(
            operation,
            account,
            asked["reference"],
            lambda client: client.v1.tax.transactions.create_reversal_async(
                asked, {"idempotency_key": key}
            ),
        )

    async def _ask(
        self,
        operation: str,
        account: Account,
        reference: str,
        request: Callable[[StripeClient], Awaitable[Transaction]],
    ) -> tuple[RecordAnswer, Call]:
        def read(found: Transaction) -> RecordAnswer:
            if found.reference != reference:
                return Unknown("another_object")
            return Recorded(found.id)

        ask = Ask(operation, request, read, _record_error)
        answer, call, _ = await self._connections.ask(account, ask)
        return answer, call


async def _calculated(
    client: StripeClient, asked: CalculationCreateParams, key: str
) -> tuple[Calculation, list[CalculationLineItem]]:
    """The calculation with all of its lines."""
    found = await client.v1.tax.calculations.create_async(asked, {"idempotency_key": key})
    lines = [] if found.line_items is None else list(found.line_items.data)
    more = found.line_items is not None and found.line_items.has_more
    while more and lines and found.id is not None and len(lines) < LINES_MAX:
        page = await client.v1.tax.calculations.line_items.list_async(
            found.id,
            {"limit": PAGE, "starting_after": lines[-1].id, "expand": ["data.tax_breakdown"]},
        )
        lines += page.data
        more = page.has_more
    return found, lines


def _parameters(asked: Asked) -> CalculationCreateParams:
    place = {
        name: value
        for name in asked.place.__struct_fields__
        if (value := getattr(asked.place, name)) is not None
    }
    customer: dict[str, Any] = {"address": place, "address_source": asked.address_source}
    if asked.tax_numbers:
        customer["tax_ids"] = [{"type": one.type, "value": one.value} for one in asked.tax_numbers]
    found: dict[str, Any] = {
        "currency": asked.currency.lower(),
        "line_items": [
            _line(line, asked.currency) | {"reference": line.reference} for line in asked.lines
        ],
        "customer_details": customer,
        "expand": [BREAKDOWN],
    }
    if asked.shipping is not None:
        found["shipping_cost"] = _line(asked.shipping, asked.currency)
    return found  # type: ignore[return-value]


def _line(line: AskedLine, currency: str) -> dict[str, Any]:
    code = {} if line.tax_code is None else {"tax_code": line.tax_code}
    return {
        "amount": to_stripe(line.amount_minor, currency),
        "tax_behavior": line.tax_behavior,
        **code,
    }


class _NotRepresentable(Exception):
    """An amount of Stripe's that cannot be said in minor units of ISO 4217."""


def _read(found: Calculation, lines: list[CalculationLineItem]) -> CalculationAnswer:
    """What Stripe calculated; an answer that does not add up is none."""
    if found.id is None or found.expires_at is None:
        return Unknown("malformed_calculation")
    currency, shipping = found.currency.upper(), found.shipping_cost
    try:
        read = Lines(
            tuple(_taxed(line, line.reference, currency) for line in lines),
            None if shipping is None else _taxed(shipping, "shipping", currency),
        )
        answer = Calculated(
            object_id=found.id,
            currency=currency,
            total_minor=_minor(found.amount_total, currency),
            exclusive_minor=_minor(found.tax_amount_exclusive, currency),
            inclusive_minor=_minor(found.tax_amount_inclusive, currency),
            lines=read,
            expires_at=datetime.fromtimestamp(found.expires_at, UTC),
        )
    except _NotRepresentable:
        return Refused("amount_not_representable")
    parts = [*read.lines, *([] if read.shipping is None else [read.shipping])]
    total = sum(part.amount_minor for part in parts) + answer.exclusive_minor
    return answer if total == answer.total_minor else Unknown("malformed_calculation")


def _taxed(line: Any, reference: str, currency: str) -> TaxedLine:
    return TaxedLine(
        reference=reference,
        amount_minor=_minor(line.amount, currency),
        tax_minor=_minor(line.amount_tax, currency),
        tax_behavior=str(line.tax_behavior),
        tax_code=line.tax_code,
        rates=tuple(_rate(one, currency) for one in line.tax_breakdown or ()),
    )


def _rate(one: Any, currency: str) -> TaxRate:
    details = one.tax_rate_details
    return TaxRate(
        country=one.jurisdiction.country,
        state=one.jurisdiction.state,
        kind=None if details is None else str(details.tax_type),
        percent=None if details is None else str(details.percentage_decimal),
        reason=str(one.taxability_reason),
        taxable_minor=_minor(one.taxable_amount, currency),
        tax_minor=_minor(one.amount, currency),
    )


def _minor(amount: Any, currency: str) -> int:
    found = from_stripe(amount, currency)
    if found is None:
        raise _NotRepresentable
    return found


def _calculation_error(error: StripeError) -> tuple[Refused | NotSent | Unknown, None]:
    return unanswered(error) or Refused(code_of(error)), None


def _record_error(error: StripeError) -> tuple[RecordAnswer, None]:
    """Our references are well-formed: one that Stripe does not like was used before."""
    unknown = unanswered(error)
    if unknown is not None:
        return unknown, None
    if getattr(error.error, "param", None) == "reference":
        return Recorded(None), None
    return Refused(code_of(error)), None

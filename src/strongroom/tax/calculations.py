"""What a tax calculation is, and what of it is to be reported when. Pure.

A calculation is made by a gateway's tax service, which knows the rates. Once its payment has taken
money, a transaction is reported there, under our payment's id as its reference; a refund is a
reversal of as much, under the refund's id. A reference can be used once, so what may have been sent
can be sent again.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from strongroom.ids import to_text
from strongroom.payments.refunds import Refund
from strongroom.payments.states import Payment, digest_of
from strongroom.vault.envelope import Column
from strongroom.vault.keys import EntityKeys

CalculationStatus = Literal["processing", "ready", "failed"]
Kind = Literal["sale", "uncaptured", "reversal", "restoral"]
TransactionStatus = Literal["open", "made", "refused"]
Behavior = Literal["exclusive", "inclusive"]

LABEL: Final = Column("tax_calculations", "sealed").label
SALT_BYTES: Final = 16
ANSWERED_WITHIN: Final = timedelta(minutes=10)
"""A calculation that the gateway has not answered by then has failed: whoever waits has left."""
REPORTING_TIME: Final = timedelta(days=30)
"""Before a gateway forgets a calculation, so long is kept for its payment: to be taken, held,
captured and reported."""
SAME_KEY_WINDOW: Final = timedelta(hours=20)
"""Stripe may forget a key after 24 h (docs.stripe.com/api/idempotent_requests)."""
REVERSED_WITHIN: Final = timedelta(days=30)
"""A reversal that is refused for so long is a person's to make."""
NOT_YET_SHARE: Final = 4
"""A payment that is not at its end is looked at again after this part of its age."""
NOT_YET_SECONDS: Final = (1, 3600)


class Place(Struct, frozen=True, omit_defaults=True):
    """Where the customer is taxed; the country as ISO 3166-1 alpha-2."""

    country: str
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None


class TaxNumber(Struct, frozen=True):
    """A tax id of the customer's, and its kind in the gateway's word (`eu_vat`)."""

    type: str
    value: str


class AskedLine(Struct, frozen=True, omit_defaults=True):
    """One line that is to be taxed, or the shipping."""

    amount_minor: int
    reference: str
    tax_behavior: Behavior = "exclusive"
    tax_code: str | None = None


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is asked of a gateway; what is personal in it is kept no longer than that takes."""

    currency: str
    lines: tuple[AskedLine, ...]
    shipping: AskedLine | None = None
    place: Place
    address_source: Literal["billing", "shipping"] = "billing"
    tax_numbers: tuple[TaxNumber, ...] = ()


class TaxRate(Struct, frozen=True, kw_only=True):
    """One tax on one line: `percent` as the gateway writes it; `reason` says why it is none."""

    country: str
    state: str | None
    kind: str | None
    percent: str | None
    reason: str
    taxable_minor: int
    tax_minor: int


class TaxedLine(Struct, frozen=True, kw_only=True):
    """One line, or the shipping, with its tax."""

    reference: str
    amount_minor: int
    tax_minor: int
    tax_behavior: str
    tax_code: str
    rates: tuple[TaxRate, ...] = ()


class Lines(Struct, frozen=True):
    """What a calculation is made of."""

    lines: tuple[TaxedLine, ...]
    shipping: TaxedLine | None = None


class Calculated(Struct, frozen=True, kw_only=True):
    """What the gateway answered; from `expires_at` on it does not know it any more."""

    object_id: str
    currency: str
    total_minor: int
    exclusive_minor: int
    inclusive_minor: int
    lines: Lines
    expires_at: datetime


class Recorded(Struct, frozen=True):
    """The transaction stands at the gateway; without an id only that is known."""

    object_id: str | None


class Calculation(Struct, frozen=True, kw_only=True):
    """A calculation as it now stands; nothing in it is personal."""

    legal_entity_id: UUID
    calculation_id: UUID
    version: int
    status: CalculationStatus
    status_reason: str | None = None
    currency: str
    total_minor: int | None = None
    exclusive_minor: int | None = None
    inclusive_minor: int | None = None
    lines: Lines | None = None
    gateway: str
    gateway_account_id: UUID
    gateway_object_id: str | None = None
    expires_at: datetime | None = None
    digest_salt: bytes
    created_at: datetime
    updated_at: datetime

    @property
    def usable_until(self) -> datetime | None:
        """Until when a payment can name it."""
        return None if self.expires_at is None else self.expires_at - REPORTING_TIME

    def row_digest(self) -> bytes:
        """Of all of it."""
        return digest_of(self)

    def changed(self, now: datetime, **fields: object) -> "Calculation":
        """A version on."""
        return msgspec.structs.replace(self, version=self.version + 1, updated_at=now, **fields)

    def answered(self, found: Calculated, now: datetime) -> "Calculation":
        """With what the gateway said; one that speaks of other money than was asked has failed."""
        if found.currency != self.currency:
            return self.failed("answer_differs", now)
        return self.changed(
            now,
            status="ready",
            total_minor=found.total_minor,
            exclusive_minor=found.exclusive_minor,
            inclusive_minor=found.inclusive_minor,
            lines=found.lines,
            gateway_object_id=found.object_id,
            expires_at=found.expires_at,
        )

    def failed(self, why: str, now: datetime) -> "Calculation":
        """It will never be ready."""
        return self.changed(now, status="failed", status_reason=why)


class Transaction(Struct, frozen=True, kw_only=True):
    """One report to the gateway. `opened_at`: since when it is sent under its present key."""

    legal_entity_id: UUID
    calculation_id: UUID
    source_id: UUID
    kind: Kind
    status: TransactionStatus
    status_reason: str | None = None
    amount_minor: int
    gateway_object_id: str | None = None
    opened_at: datetime
    created_at: datetime
    updated_at: datetime

    @property
    def reference(self) -> str:
        """Its name at the gateway, which no other transaction there can have."""
        text = to_text("pay" if self.kind in ("sale", "uncaptured") else "ref", self.source_id)
        return text if self.kind in ("sale", "reversal") else f"{text}-{self.kind}"

    @property
    def gateway_key(self) -> str:
        """The key that it is sent under."""
        moment = int(self.opened_at.timestamp())
        return f"sr_{self.source_id.hex}_tax_{self.kind}_{moment}"


class Make(Struct, frozen=True):
    """Report this; `original_id` is what it takes back, at the gateway."""

    kind: Kind
    source_id: UUID
    amount_minor: int
    original_id: str | None = None


class Wait(Struct, frozen=True):
    """Nothing can be said yet: look again after so many seconds."""

    seconds: float


class Over(Struct, frozen=True):
    """Nothing is to be reported until a refund changes."""


Due = Make | Wait | Over


def due_of(
    payment: Payment, transactions: Sequence[Transaction], refunds: Sequence[Refund], now: datetime
) -> Due:
    """What is to be reported next for a payment that is taxed by the calculation.

    Under review it is not known what was taken; what went back of a sale that is reported is.
    """
    if payment.status in ("failed", "canceled"):
        return Over()
    made = {(one.source_id, one.kind): one for one in transactions}
    sale = made.get((payment.payment_id, "sale"))
    if payment.status != "succeeded" or (payment.review is not None and _is_open(sale)):
        age = (now - payment.created_at).total_seconds()
        least, most = NOT_YET_SECONDS
        return Wait(min(max(age / NOT_YET_SHARE, least), most))
    if sale is None or sale.status == "open":
        return Make("sale", payment.payment_id, payment.amount_minor)
    if sale.status == "refused" or sale.gateway_object_id is None:
        return Over()  # a person has to see to it, and to what is taken back of it
    rest = 0 if payment.review else payment.amount_minor - payment.captured_minor
    if rest > 0 and _is_open(made.get((payment.payment_id, "uncaptured"))):
        return Make("uncaptured", payment.payment_id, rest, sale.gateway_object_id)
    for refund in sorted(refunds, key=lambda one: one.refund_id):
        found = _due_of_refund(refund, made, sale.gateway_object_id)
        if found is not None:
            return found
    return Over()


def _due_of_refund(
    refund: Refund, made: dict[tuple[UUID, Kind], Transaction], sale_id: str
) -> Make | None:
    """A refund that gave money back is reversed; one that failed after that is restored."""
    reversal = made.get((refund.refund_id, "reversal"))
    if refund.status == "succeeded" and _is_open(reversal):
        return Make("reversal", refund.refund_id, refund.amount_minor, sale_id)
    if refund.status != "failed" or reversal is None:
        return None
    if reversal.status == "open":
        # It may have been made: only what is known can be undone.
        return Make("reversal", refund.refund_id, refund.amount_minor, sale_id)
    was_made = reversal.status == "made" and reversal.gateway_object_id is not None
    if was_made and _is_open(made.get((refund.refund_id, "restoral"))):
        amount, original = refund.amount_minor, reversal.gateway_object_id
        return Make("restoral", refund.refund_id, amount, original)
    return None


def _is_open(transaction: Transaction | None) -> bool:
    return transaction is None or transaction.status == "open"


def gives_up(transaction: Transaction, calculation: Calculation, now: datetime) -> bool:
    """Whether a report that is refused can only be made by a person."""
    if transaction.kind == "sale":
        return calculation.expires_at is not None and now >= calculation.expires_at
    return now - transaction.created_at >= REVERSED_WITHIN


def event_kind(transaction: Transaction) -> str:
    """The name of the event that its end leaves in the payment's history."""
    if transaction.status == "refused":
        return "tax.refused"
    names = {"sale": "recorded", "restoral": "restored"}
    return f"tax.{names.get(transaction.kind, 'reversed')}"


def summary(transaction: Transaction) -> dict[str, Any]:
    """What an event says of it."""
    return {
        "calculation": transaction.calculation_id,
        "source": transaction.source_id,
        "kind": transaction.kind,
        "status": transaction.status,
        "status_reason": transaction.status_reason,
        "amount_minor": transaction.amount_minor,
        "gateway_object_id": transaction.gateway_object_id,
        "reference": transaction.reference,
        "row_digest": digest_of(transaction).hex(),
    }


def seal_asked(
    keys: EntityKeys, calculation_id: UUID, asked: Asked, salt: bytes
) -> tuple[bytes, bytes]:
    """What is asked, sealed for its row, and 32 bytes that commit to it; `salt` is SALT_BYTES."""
    content = salt + msgspec.json.encode(asked, order="deterministic")
    return keys.seal(LABEL, calculation_id.bytes, content), hashlib.sha256(content).digest()


def open_asked(keys: EntityKeys, calculation_id: UUID, sealed: bytes) -> Asked:
    """What was sealed for this row. Raises Unreadable and KeyMissing of vault.errors."""
    content = keys.open(LABEL, calculation_id.bytes, sealed)
    return msgspec.json.decode(content[SALT_BYTES:], type=Asked)

"""What Stripe Tax keeps: calculations, and the transactions that were made of them.

Amounts are in the currency's minor unit, times in Unix seconds.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

CALCULATION_SECONDS = 90 * 24 * 3600  # docs.stripe.com/api/tax/calculations


class TaxLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One line, or the shipping; in a reversal its amounts are below zero.

    ``original`` is the line that it reverses.
    """

    id: str
    amount: int
    amount_tax: int
    reference: str
    tax_behavior: str
    tax_code: str
    reason: str
    country: str
    state: str | None = None
    quantity: int = 1
    metadata: dict[str, str] = {}
    original: str | None = None

    @property
    def total(self) -> int:
        """What the customer pays for it."""
        return self.amount + (self.amount_tax if self.tax_behavior == "exclusive" else 0)


class Calculation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A tax calculation. ``customer`` is what is answered as ``customer_details``."""

    id: str
    created: int
    currency: str
    lines: tuple[TaxLine, ...]
    customer: dict[str, Any]
    shipping: TaxLine | None = None
    tax_date: int = 0

    @property
    def expires_at(self) -> int:
        """From then on it can neither be read nor made a transaction of."""
        return self.created + CALCULATION_SECONDS

    @property
    def all_lines(self) -> tuple[TaxLine, ...]:
        """The lines, and the shipping as one of them."""
        return self.lines if self.shipping is None else (*self.lines, self.shipping)


class Taxed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A tax transaction; with ``original`` a reversal, which is ``full`` or not."""

    id: str
    created: int
    currency: str
    reference: str
    lines: tuple[TaxLine, ...]
    customer: dict[str, Any]
    shipping: TaxLine | None = None
    tax_date: int = 0
    posted_at: int = 0
    metadata: dict[str, str] = {}
    original: str | None = None
    full: bool = False
    calculation: str | None = None
    idempotency_key: str | None = None

    @property
    def all_lines(self) -> tuple[TaxLine, ...]:
        """The lines, and the shipping as one of them."""
        return self.lines if self.shipping is None else (*self.lines, self.shipping)

    @property
    def total(self) -> int:
        """What the customer paid by it, or got back."""
        return sum(line.total for line in self.all_lines)


class TaxBook:
    """All calculations and transactions, by id; which references are used, what was reversed."""

    def __init__(self) -> None:
        self.calculations: dict[str, Calculation] = {}
        self.transactions: dict[str, Taxed] = {}
        self.references: set[str] = set()
        self._reversals: dict[str, list[Taxed]] = {}

    def keep(self, calculations: Iterable[Calculation], taxed: Iterable[Taxed]) -> None:
        """Fold in what one change brings."""
        self.calculations.update((one.id, one) for one in calculations)
        for one in taxed:
            self.transactions[one.id] = one
            self.references.add(one.reference)
            if one.original is not None:
                self._reversals.setdefault(one.original, []).append(one)

    def reversals_of(self, taxed_id: str) -> list[Taxed]:
        """What was taken back of a transaction, oldest first."""
        return self._reversals.get(taxed_id, [])

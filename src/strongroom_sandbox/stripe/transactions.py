"""What moved the merchant's balance: computed from what was charged, given back and paid out."""

from collections.abc import Iterator
from typing import NamedTuple

from strongroom_sandbox.stripe.books import Books, Charge, Refund
from strongroom_sandbox.stripe.records import Dispute, Payout

FEE_THOUSANDTHS = 15


class Transaction(NamedTuple):
    """One movement, in minor units and Unix seconds; ``source`` is the id of what caused it."""

    id: str
    type: str
    category: str
    source: str
    amount: int
    fee: int
    currency: str
    created: int

    @property
    def net(self) -> int:
        """What it does to the balance."""
        return self.amount - self.fee


def all_of(books: Books) -> list[Transaction]:
    """Every movement, oldest first."""
    found = [one for charge in books.charges.values() for one in _of_charge(charge)]
    found += [one for refund in books.refunds.values() for one in _of_refund(refund)]
    found += [one for dispute in books.disputes.values() for one in of_dispute(dispute)]
    found += [one for payout in books.payouts.values() for one in of_payout(payout)]
    return sorted(found, key=lambda one: (one.created, one.id))


def of_dispute(dispute: Dispute) -> Iterator[Transaction]:
    """What the bank took, and what it gave back."""
    for moment, sign, suffix in ((dispute.withdrawn, -1, ""), (dispute.reinstated, 1, "r")):
        if moment is not None:
            category = "dispute" if sign < 0 else "dispute_reversal"
            name = f"txn{dispute.id[2:]}{suffix}"
            amount = sign * dispute.amount
            yield Transaction(
                name, "adjustment", category, dispute.id, amount, 0, dispute.currency, moment
            )


def of_payout(payout: Payout) -> Iterator[Transaction]:
    """What left the balance for the bank, and what came back from it."""
    name = f"txn{payout.id[2:]}"
    yield Transaction(
        name, "payout", "payout", payout.id, -payout.amount, 0, payout.currency, payout.created
    )
    if payout.failed_at is not None:
        yield Transaction(
            name + "f", "payout_failure", "payout_reversal", payout.id, payout.amount, 0,
            payout.currency, payout.failed_at,
        )  # fmt: skip


def _of_charge(charge: Charge) -> Iterator[Transaction]:
    if charge.captured:
        taken = charge.amount_captured
        fee = taken * FEE_THOUSANDTHS // 1000
        yield Transaction(
            f"txn{charge.id[2:]}", "charge", "charge", charge.id, taken, fee, charge.currency,
            charge.captured_at or charge.created,
        )  # fmt: skip


def _of_refund(refund: Refund) -> Iterator[Transaction]:
    if refund.releases:
        return
    name = f"txn{refund.id[2:]}"
    yield Transaction(
        name, "refund", "refund", refund.id, -refund.amount, 0, refund.currency, refund.created
    )
    if refund.status == "failed":
        yield Transaction(
            name + "f", "refund_failure", "refund_failure", refund.id, refund.amount, 0,
            refund.currency, refund.created,
        )  # fmt: skip

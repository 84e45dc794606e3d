"""How disputes, payouts and balance transactions look on the wire (API 2026-10-28)."""

from typing import Any

from strongroom_sandbox.stripe.books import Books
from strongroom_sandbox.stripe.records import Dispute, Payout
from strongroom_sandbox.stripe.shapes import Shapes
from strongroom_sandbox.stripe.transactions import Transaction, of_dispute

Json = dict[str, Any]


def dispute_shape(
    dispute: Dispute, shapes: Shapes, books: Books, expand: tuple[str, ...] = ()
) -> Json:
    """Render a Dispute; ``expand`` may name charge and payment_intent."""
    charge: str | Json = dispute.charge
    intent: str | Json = dispute.payment_intent
    if "charge" in expand:
        charge = shapes.charge(books.charges[dispute.charge])
    if "payment_intent" in expand:
        intent = shapes.intent(books.intents[dispute.payment_intent])
    return {
        "id": dispute.id,
        "object": "dispute",
        "amount": dispute.amount,
        "balance_transactions": [transaction_shape(one, None) for one in of_dispute(dispute)],
        "charge": charge,
        "created": dispute.created,
        "currency": dispute.currency,
        "enhanced_eligibility_types": [],
        "evidence": dispute.evidence,
        "evidence_details": {
            "due_by": dispute.due_by,
            "enhanced_eligibility": {},
            "has_evidence": bool(dispute.evidence),
            "past_due": dispute.past_due,
            "submission_count": dispute.submission_count,
        },
        "is_charge_refundable": dispute.status.startswith("warning_"),
        "livemode": False,
        "metadata": dispute.metadata,
        "payment_intent": intent,
        "payment_method_details": {
            "card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"},
            "type": "card",
        },
        "reason": dispute.reason,
        "status": dispute.status,
    }


def payout_shape(payout: Payout) -> Json:
    """Render a Payout."""
    failed = payout.status == "failed"
    suffix = payout.id[2:]
    return {
        "id": payout.id,
        "object": "payout",
        "amount": payout.amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": payout.arrival_date,
        "automatic": True,
        "balance_transaction": f"txn{suffix}",
        "created": payout.created,
        "currency": payout.currency,
        "description": "STRIPE PAYOUT",
        "destination": "ba_000000000000000000000000",
        "failure_balance_transaction": f"txn{suffix}f" if failed else None,
        "failure_code": payout.failure_code,
        "failure_message": "The bank returned the payout." if failed else None,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "completed",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": payout.status,
        "trace_id": None,
        "type": "bank_account",
    }


def source_shape(found: Transaction, shapes: Shapes, books: Books) -> str | Json:
    """Render what caused a movement, where it is asked for."""
    if (charge := books.charges.get(found.source)) is not None:
        return shapes.charge(charge)
    if (refund := books.refunds.get(found.source)) is not None:
        return shapes.refund(refund)
    if (dispute := books.disputes.get(found.source)) is not None:
        return dispute_shape(dispute, shapes, books)
    payout = books.payouts.get(found.source)
    return found.source if payout is None else payout_shape(payout)


def transaction_shape(found: Transaction, payout: Payout | None) -> Json:
    """Render a BalanceTransaction; its payout is not shown, as at Stripe."""
    return {
        "id": found.id,
        "object": "balance_transaction",
        "amount": found.amount,
        "available_on": found.created,
        "balance_type": "payments",
        "created": found.created,
        "currency": found.currency,
        "description": None,
        "exchange_rate": None,
        "fee": found.fee,
        "fee_details": [],
        "net": found.amount - found.fee,
        "reporting_category": found.category,
        "source": found.source,
        "status": "available" if payout is not None else "pending",
        "type": found.type,
    }

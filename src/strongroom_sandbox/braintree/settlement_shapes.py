"""How disputes and disbursements are shown, by the API and in webhooks."""

from typing import Any

from strongroom_sandbox.braintree.books import Books, Disbursement, Dispute, Evidence
from strongroom_sandbox.braintree.currencies import decimal_text
from strongroom_sandbox.braintree.wire import Items, day, moment

Json = dict[str, Any]


def dispute_shape(books: Books, one: Dispute) -> Json:
    """``<dispute>``, as `braintree.dispute` reads it."""
    of = books.transactions[one.transaction]
    return {
        "id": one.id,
        "global_id": f"dispute_{one.id}",
        "amount": decimal_text(one.amount, one.currency),
        "amount_disputed": decimal_text(one.amount, one.currency),
        "amount_won": decimal_text(one.won, one.currency),
        "case_number": f"CASE-{one.id.upper()}",
        "created_at": moment(one.opened),
        "currency_iso_code": one.currency,
        "date_opened": day(one.opened),
        "date_won": day(one.updated) if one.status == "won" else None,
        "kind": one.kind,
        "merchant_account_id": one.merchant_account,
        "reason": one.reason,
        "reason_code": None,
        "received_date": day(one.opened),
        "reference_number": None,
        "reply_by_date": day(one.reply_by),
        "status": one.status,
        "updated_at": moment(one.updated),
        "status_history": Items(
            "status-history",
            [
                {
                    "status": each.status,
                    "timestamp": moment(each.at),
                    "effective_date": day(each.at),
                }
                for each in one.history
            ],
        ),
        "evidence": Items("evidence", [evidence_shape(each) for each in one.evidence]),
        "transaction": {
            "id": of.id,
            "global_id": f"transaction_{of.id}",
            "amount": decimal_text(of.amount, of.currency),
            "created_at": moment(of.created),
            "order_id": of.order_id,
            "payment_instrument_subtype": of.card.brand,
            "purchase_order_number": None,
        },
    }


def evidence_shape(one: Evidence) -> Json:
    """``<evidence>``."""
    return {
        "id": one.id,
        "global_id": f"evidence_{one.id}",
        "created_at": moment(one.created),
        "comments": one.comments,
        "category": one.category,
        "sequence_number": one.sequence_number,
        "sent_to_processor_at": None,
        "url": None,
    }


def disbursement_shape(one: Disbursement) -> Json:
    """``<disbursement>``, as `braintree.disbursement` reads it."""
    return {
        "id": one.id,
        "amount": decimal_text(one.amount, one.currency),
        "disbursement_date": day(one.day),
        "disbursement_type": "credit",
        "exception_message": one.exception,
        "follow_up_action": one.follow_up,
        "merchant_account": {
            "id": one.merchant_account,
            "currency_iso_code": one.currency,
            "status": "active",
            "sub_merchant_account": False,
        },
        "retry": False,
        "success": one.success,
        "transaction_ids": list(one.transactions),
    }

"""What several operations share: groups of problems, answers, and examples of what is shown."""

from typing import Any, Final

from strongroom.http.fields import PaymentId, PaymentMethodId, RefundId
from strongroom.http.listing import PaymentView
from strongroom.http.persons import CustomerId
from strongroom.http.reference.operation import (
    LOCATION,
    PREFERENCE_APPLIED,
    REPLAYED,
    Answer,
    Parameter,
)
from strongroom.payments.declines import MEANINGS

EXAMPLE_PAYMENT: Final = "pay_01m7xymr1mfnzbqf5r8f0krvww"
EXAMPLE_PAYOUT: Final = "pyt_01m7xyp4t0f8k1tqf5r8f0krvw"
EXAMPLE_DISPUTE: Final = "dsp_01m7xyp4t0f8k1tqf5r8f0krvw"
EXAMPLE_REFUND: Final = "ref_01m7xyn2v0ezjtqf5r8f0krvww"
EXAMPLE_CALCULATION: Final = "txc_01m7xyn8s6d3k0tqf5r8f0krvw"
EXAMPLE_CUSTOMER: Final = "cus_01m7xyk4d2f8rbqf5r8f0krvww"
EXAMPLE_PAYMENT_METHOD: Final = "pm_01m7xykq8v3w1bqf5r8f0krvww"
EXAMPLE_IDS: Final = {
    "payment_id": EXAMPLE_PAYMENT,
    "refund_id": EXAMPLE_REFUND,
    "customer_id": EXAMPLE_CUSTOMER,
    "calculation_id": EXAMPLE_CALCULATION,
    "dispute_id": EXAMPLE_DISPUTE,
    "payout_id": EXAMPLE_PAYOUT,
    "payment_method_id": EXAMPLE_PAYMENT_METHOD,
    "tile": "0/x001/234",
    "epoch": "2",
}
"""By the name that a path has for it."""

PAYMENT_ID: Final = Parameter("payment_id", "path", PaymentId, required=True)
REFUND_ID: Final = Parameter("refund_id", "path", RefundId, required=True)
CUSTOMER_ID: Final = Parameter("customer_id", "path", CustomerId, required=True)
PAYMENT_METHOD_ID: Final = Parameter("payment_method_id", "path", PaymentMethodId, required=True)

WITH_A_KEY: Final = (
    "header_repeated",
    "header_not_ascii",
    "api_key_invalid",
    "scope_missing",
    "key_not_checked",
    "internal_error",
)
"""What every operation can answer that wants an API key."""
WITH_A_BODY: Final = (
    "parameter_unknown",
    "body_too_slow",
    "body_too_large",
    "content_type_not_json",
    "json_malformed",
    "field_unknown",
    "field_type_wrong",
)
"""What every operation can answer that reads a body."""
WITH_AN_IDEMPOTENCY_KEY: Final = (
    "idempotency_key_missing",
    "idempotency_key_malformed",
    "idempotency_key_reused",
)
WITH_AN_INSTRUMENT: Final = (
    "field_missing",
    "instrument_token_malformed",
    "return_url_invalid",
    "instrument_alternatives_too_many",
    "gateway_account_unknown",
    "gateway_account_missing",
    "merchant_account_missing",
    "amount_not_representable",
)
WITH_METADATA: Final = ("metadata_too_large", "metadata_length", "metadata_characters")
WRITTEN_IN_A_BATCH: Final = ("refused_by_database", "queue_full", "accept_unknown")
"""What can become of a request on its way to disk. A database that is away is `accept_unknown`
there: the batch is run again until that has no sense any more."""
MADE_IN_A_BATCH: Final = (*WRITTEN_IN_A_BATCH, "accept_contended")
"""The same for a request that makes something: its id may be that of another."""
OF_A_BULK: Final = ("field_missing", "field_repeated", "bulk_size", "idempotency_key_misplaced")
"""What a bulk as a whole can be refused for; all else is said by item."""
WITH_A_LIST: Final = (
    "database_unavailable",
    "vault_unavailable",
    "query_malformed",
    "parameter_unknown",
    "parameter_repeated",
    "parameter_invalid",
)

OF_A_MOVE: Final = (LOCATION, PREFERENCE_APPLIED, REPLAYED)
DECLINED: Final = {
    "class": "insufficient_funds",
    "raw_code": "insufficient_funds",
    "retry": "later",
    "customer_message": MEANINGS["insufficient_funds"].customer_message,
    "merchant_advice": MEANINGS["insufficient_funds"].merchant_advice,
}
PAYMENT_PROCESSING: Final = Answer(
    status=202,
    description="It is on disk and on its way: `processing`. Read it later, or ask again with "
    "`Prefer: wait=N`.",
    type=PaymentView,
    headers=OF_A_MOVE,
    links={"payment_id": "/id"},
)
PAYMENT_MOVED: Final = Answer(
    status=200,
    description="The payment, which has come further than `processing`.",
    type=PaymentView,
    headers=OF_A_MOVE,
    links={"payment_id": "/id"},
)


def payment(**changes: Any) -> dict[str, Any]:
    """A payment as an answer shows it, for examples."""
    return {
        "id": EXAMPLE_PAYMENT,
        "status": "succeeded",
        "status_reason": None,
        "review": None,
        "amount": 1999,
        "capture": "automatic",
        "capture_before": None,
        "captured_amount": 1999,
        "refunded_amount": 0,
        "refunding_amount": 0,
        "disputed_amount": 0,
        "refundable_amount": 1999,
        "currency": "EUR",
        "merchant_reference": "order-1001",
        "description": None,
        "metadata": {},
        "instrument": {"gateway": "stripe"},
        "next_gateway": None,
        "decline": None,
        "next_action": None,
        "not_after": "2026-11-21T10:25:00.116724Z",
        "created_at": "2026-11-21T10:10:00.116724Z",
        "updated_at": "2026-11-21T10:10:00.161207Z",
        "version": 2,
        **changes,
    }


def untaken(**changes: Any) -> dict[str, Any]:
    """A payment of which nothing was captured."""
    return payment(captured_amount=0, refundable_amount=0, **changes)


def refund(**changes: Any) -> dict[str, Any]:
    """A refund as an answer shows it, for examples."""
    return {
        "id": EXAMPLE_REFUND,
        "payment": EXAMPLE_PAYMENT,
        "status": "succeeded",
        "status_reason": None,
        "review": None,
        "amount": 1500,
        "currency": "EUR",
        "reason": "requested_by_customer",
        "metadata": {},
        "created_at": "2026-11-21T10:12:00.500210Z",
        "updated_at": "2026-11-21T10:12:00.547301Z",
        **changes,
    }


def card(token: str) -> dict[str, str]:
    """An instrument of the gateway's test cards."""
    return {"gateway": "stripe", "token": token}


def customer(**changes: Any) -> dict[str, Any]:
    """A customer as an answer shows it, for examples."""
    return {
        "id": EXAMPLE_CUSTOMER,
        "erased": False,
        "name": "Ada Byron",
        "email": "ada@shop.example",
        "phone": None,
        "address": {"city": "London", "country": "GB"},
        "description": None,
        "metadata": {},
        "created_at": "2026-11-21T10:08:00.500210Z",
        "updated_at": "2026-11-21T10:08:00.500210Z",
        "version": 1,
        **changes,
    }


CONSENT_GIVEN: Final = {
    "given_at": "2026-10-01T09:30:00Z",
    "text_version": "terms-2026-10",
    "ip_address": "192.0.2.17",
    "user_agent": "Mozilla/5.0",
}
CONSENT_SHOWN: Final = {
    "given_at": "2026-10-01T09:30:00Z",
    "text_version": "terms-2026-10",
    "purpose": "unscheduled",
    "recorded_at": "2026-11-21T10:08:30.500210Z",
}
"""The same as an answer shows it: not from where it was given."""


def payment_method(**changes: Any) -> dict[str, Any]:
    """A payment method as an answer shows it, for examples."""
    return {
        "id": EXAMPLE_PAYMENT_METHOD,
        "customer": EXAMPLE_CUSTOMER,
        "status": "ready",
        "status_reason": None,
        "instrument": {"gateway": "stripe"},
        "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034},
        "consent": CONSENT_SHOWN,
        "next_action": None,
        "created_at": "2026-11-21T10:08:30.500210Z",
        "updated_at": "2026-11-21T10:08:30.747301Z",
        "version": 3,
        **changes,
    }

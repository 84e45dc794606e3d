"""Refunds and answers for them that tests begin with."""

from datetime import timedelta
from typing import Any, Final, get_args
from uuid import UUID

from strongroom.payments.refunds import (
    AFTER_FAILED,
    NOT_FOUND,
    Absent,
    NoneYet,
    Refund,
    RefundAnswer,
    RefundAnswered,
    Refunded,
    RefundStatus,
    Refused,
    Several,
)
from strongroom.payments.states import Call, Mismatched, NotSent, Payment, Unknown
from tests.unit.examples import ACCOUNT, AMOUNT, ENTITY, PART, PAYMENT, START, payment

REFUND: Final = UUID("019a4000-0000-7000-8000-000300000001")
STATUSES: Final[tuple[RefundStatus, ...]] = get_args(RefundStatus)
REVIEWS: Final = (None, NOT_FOUND, "amount_mismatch", AFTER_FAILED)
OBJECT: Final = "re_1"

ANSWERS: Final[tuple[RefundAnswer, ...]] = (
    Refunded(OBJECT, "pending", PART, "EUR"),
    Refunded(OBJECT, "succeeded", PART, "EUR"),
    Refunded(OBJECT, "failed", PART, "EUR", "expired_or_canceled_card"),
    Refunded("re_2", "succeeded", PART, "EUR"),
    Refunded(OBJECT, "succeeded", PART + 1, "EUR"),
    Refunded(OBJECT, "succeeded", PART, "USD"),
    Refused("charge_already_refunded"),
    Absent(),
    NoneYet(),
    Several(2),
    NotSent("rate_limited"),
    NotSent("gateway_error", fresh_key=True),
    Unknown("no_answer"),
    Mismatched(PART + 1, "EUR"),
)
MOMENTS: Final = tuple(
    START + after
    for after in (
        timedelta(seconds=1),
        timedelta(hours=1),
        timedelta(hours=20),
        timedelta(days=6),
        timedelta(days=30),
        timedelta(days=31),
    )
)


def refund(**fields: Any) -> Refund:
    """A refund of a part that was opened at START, unless told otherwise."""
    known: dict[str, Any] = {
        "legal_entity_id": ENTITY,
        "refund_id": REFUND,
        "payment_id": PAYMENT,
        "status": "processing",
        "amount_minor": PART,
        "currency": "EUR",
        "gateway": "stripe",
        "gateway_account_id": ACCOUNT,
        "gateway_key": "sr_key_refund",
        "parameters": {"payment_intent": "pi_1"},
        "opened_at": START,
        "digest_salt": bytes(16),
        "created_at": START,
        "updated_at": START,
    }
    return Refund(**(known | fields))


def sums_of(*refunds: Refund) -> tuple[int, int]:
    """What these refunds hold, and what they gave back."""
    open_still = ("processing", "pending", "outcome_unknown")
    return (
        sum(one.amount_minor for one in refunds if one.status in open_still),
        sum(one.amount_minor for one in refunds if one.status == "succeeded"),
    )


def payment_of(*refunds: Refund, captured_minor: int = AMOUNT) -> Payment:
    """The payment that these are all the refunds of."""
    refunding, refunded = sums_of(*refunds)
    return payment(
        status="succeeded",
        captured_minor=captured_minor,
        refunding_minor=refunding,
        refunded_minor=refunded,
    )


def answered(answer: RefundAnswer, **fields: Any) -> RefundAnswered:
    """An answer to a look, unless told otherwise."""
    call = Call(operation="retrieve_refund", started_at=START, duration_ms=1.0, outcome="x")
    known: dict[str, Any] = {"call": call, "asked": "look", "tries": 1}
    return RefundAnswered(answer=answer, **(known | fields))

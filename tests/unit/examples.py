"""Payments, attempts and answers that tests begin with."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from strongroom.payments.states import (
    ActionRequired,
    Answer,
    Answered,
    Approved,
    Attempt,
    Call,
    Canceled,
    CustomerReturned,
    Declined,
    Due,
    Happening,
    InstrumentBrought,
    Mismatched,
    NotSent,
    Payment,
    Pending,
    Unknown,
)

START: Final = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
NOT_AFTER: Final = START + timedelta(minutes=15)
ENTITY: Final = UUID("019a4000-0000-7000-8000-000000000001")
PAYMENT: Final = UUID("019a4000-0000-7000-8000-000100000001")
ACCOUNT: Final = UUID("019a4000-0000-7000-8000-000200000001")
AMOUNT: Final = 2000

STATUSES: Final = (
    "requires_payment_method", "processing", "requires_action", "authorized", "succeeded",
    "failed", "canceled", "outcome_unknown",
)  # fmt: skip
ATTEMPT_STATES: Final = (
    "open", "action_required", "unknown", "approved", "declined", "canceled", "not_sent",
)  # fmt: skip
CLOSINGS: Final = (None, "failed", "canceled", "new_attempt")

ANSWERS: Final[tuple[Answer, ...]] = (
    Approved(AMOUNT, "EUR"),
    Approved(AMOUNT - 1, "EUR"),
    Approved(AMOUNT, "USD"),
    Declined("insufficient_funds", "insufficient_funds", object_open=True),
    Declined("invalid_instrument", "resource_missing", object_open=False),
    ActionRequired({"type": "redirect_to_url", "url": "https://bank.example/3ds"}),
    Pending(),
    Canceled(),
    NotSent("not_confirmed_yet"),
    NotSent("gateway_error", fresh_key=True),
    Unknown("no_answer"),
    Mismatched(AMOUNT + 1, "EUR"),
)


def payment(**fields: Any) -> Payment:
    """A payment that waits to be sent, unless told otherwise."""
    known: dict[str, Any] = {
        "legal_entity_id": ENTITY,
        "payment_id": PAYMENT,
        "version": 3,
        "status": "processing",
        "amount_minor": AMOUNT,
        "currency": "EUR",
        "merchant_reference": "order-1",
        "gateway": "stripe",
        "gateway_account_id": ACCOUNT,
        "instrument_token": "pm_card_visa",
        "attempt_no": 1,
        "not_after": NOT_AFTER,
        "gateway_key_seed": bytes(16),
        "digest_salt": bytes(16),
        "created_at": START,
        "updated_at": START,
    }
    if fields.get("status") == "succeeded":
        known["captured_minor"] = fields.get("amount_minor", AMOUNT)
    return Payment(**(known | fields))


def attempt(**fields: Any) -> Attempt:
    """An open attempt whose object's id is committed, unless told otherwise."""
    known: dict[str, Any] = {
        "attempt_no": 1,
        "state": "open",
        "gateway": "stripe",
        "gateway_account_id": ACCOUNT,
        "gateway_key": "sr_key_1",
        "staged": True,
        "gateway_object_id": "pi_1",
        "amount_minor": AMOUNT,
        "currency": "EUR",
        "parameters": {},
        "opened_at": START,
    }
    return Attempt(**(known | fields))


def answered(answer: Answer, of: Attempt | None = None, **fields: Any) -> Answered:
    """An answer to a look at the first attempt, unless told otherwise."""
    call = Call(operation="retrieve", started_at=START, duration_ms=1.0, outcome="x")
    known: dict[str, Any] = {"call": call, "asked": "look", "tries": 1}
    return Answered(attempt=of or attempt(), answer=answer, **(known | fields))


def brought() -> InstrumentBrought:
    """The caller brings a card."""
    return InstrumentBrought("stripe", ACCOUNT, "pm_card_visa", None)


# Whatever the database can hold, and whatever can happen to it.

moments = st.sampled_from(
    [START, NOT_AFTER - timedelta(seconds=1), NOT_AFTER, START + timedelta(hours=21)]
)
payments = st.builds(
    payment,
    status=st.sampled_from(STATUSES),
    attempt_no=st.integers(1, 21),
    closing=st.sampled_from(CLOSINGS),
    closing_reason=st.sampled_from([None, "insufficient_funds"]),
    review=st.sampled_from([None, "amount_mismatch"]),
    next_action=st.sampled_from([None, {"type": "redirect_to_url"}]),
)
attempts = st.builds(
    attempt,
    attempt_no=st.integers(1, 21),
    state=st.sampled_from(ATTEMPT_STATES),
    staged=st.booleans(),
    gateway_object_id=st.sampled_from([None, "pi_1"]),
)
answers = st.sampled_from(ANSWERS)
answereds = st.builds(
    answered,
    answers,
    attempts,
    asked=st.sampled_from(["send", "look", "cancel"]),
    tries=st.integers(0, 30),
)
dues = st.builds(Due, st.none() | attempts)
happenings: st.SearchStrategy[Happening] = st.one_of(
    answereds, dues, st.builds(brought), st.builds(CustomerReturned)
)

"""Payments, attempts and answers that tests begin with."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from strongroom.payments.decide import ATTEMPTS_MAX
from strongroom.payments.states import (
    ActionRequired,
    Answer,
    Answered,
    Approved,
    Attempt,
    Authorized,
    Call,
    CancelAsked,
    Canceled,
    CaptureAsked,
    Command,
    CustomerReturned,
    Declined,
    Due,
    Happening,
    InstrumentBrought,
    Mismatched,
    NotSent,
    NotShown,
    Payment,
    Pending,
    Unknown,
    Withheld,
)
from strongroom.payments.ways import Refusal, Way

START: Final = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
NOT_AFTER: Final = START + timedelta(minutes=15)
ENTITY: Final = UUID("019a4000-0000-7000-8000-000000000001")
PAYMENT: Final = UUID("019a4000-0000-7000-8000-000100000001")
ACCOUNT: Final = UUID("019a4000-0000-7000-8000-000200000001")
OTHER_ACCOUNT: Final = UUID("019a4000-0000-7000-8000-000200000002")
THIRD_ACCOUNT: Final = UUID("019a4000-0000-7000-8000-000200000003")
CAPTURE_BEFORE: Final = START + timedelta(days=7)
AMOUNT: Final = 2000
PART: Final = 500

ATTEMPT_STATES: Final = (
    "open", "action_required", "unknown", "approved", "declined", "canceled", "not_sent",
)  # fmt: skip
ASKED: Final = ("send", "look", "cancel", "capture")
CLOSINGS: Final = (None, "failed", "canceled", "new_attempt")

ANSWERS: Final[tuple[Answer, ...]] = (
    Approved(AMOUNT, "EUR"),
    Approved(AMOUNT - 1, "EUR"),
    Approved(AMOUNT + 1, "EUR"),
    Approved(PART, "EUR"),
    Approved(AMOUNT, "USD"),
    Authorized(AMOUNT, "EUR", CAPTURE_BEFORE),
    Authorized(AMOUNT, "EUR", CAPTURE_BEFORE - timedelta(days=1)),
    Authorized(AMOUNT, "EUR", None),
    Authorized(AMOUNT - 1, "EUR", CAPTURE_BEFORE),
    Authorized(AMOUNT, "USD", CAPTURE_BEFORE),
    Declined("insufficient_funds", "insufficient_funds", object_open=True),
    Declined("invalid_instrument", "resource_missing", object_open=False),
    Declined("try_again", "processing_error", object_open=True),
    Declined("try_again", "processing_error", object_open=False),
    Declined("generic_decline", "do_not_honor", object_open=False, retry="never"),
    ActionRequired({"type": "redirect_to_url", "url": "https://bank.example/3ds"}),
    Pending(),
    Canceled(),
    Canceled(expired=True),
    Approved(AMOUNT, "EUR", settled=False),
    NotShown(),
    NotSent("not_confirmed_yet"),
    NotSent("gateway_error", fresh_key=True),
    Withheld("gateway_resting", first=True),
    Withheld("gateway_resting", first=False),
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


def held(**fields: Any) -> Payment:
    """A payment whose money is held, and that nobody has asked anything of, unless told so."""
    known: dict[str, Any] = {
        "status": "authorized",
        "capture": "manual",
        "capture_before": CAPTURE_BEFORE,
    }
    return payment(**(known | fields))


def _shapes() -> Iterator[dict[str, Any]]:
    manual = {"capture": "manual"}
    begun = manual | {"capture_before": CAPTURE_BEFORE}
    for way in ({}, manual):
        for status in ("requires_payment_method", "requires_action", "outcome_unknown", "failed"):
            yield way | {"status": status}
        for closing in CLOSINGS:
            yield way | {"closing": closing, "closing_reason": closing and "insufficient_funds"}
        yield way | {"status": "canceled"}
        yield way | {"status": "canceled", "instrument_token": None}
    yield begun | {"closing": "canceled", "closing_reason": "authorization_expired"}
    yield begun | {"status": "authorized"}
    yield begun | {"status": "canceled", "status_reason": "authorization_expired"}
    for asked in (AMOUNT, PART):
        for status in ("processing", "outcome_unknown"):
            yield begun | {"status": status, "capture_minor": asked}
        done = {"status": "succeeded", "capture_minor": asked, "captured_minor": asked}
        yield begun | done
        yield begun | done | {"capture_minor": None, "status_reason": "captured_at_gateway"}
    yield {"status": "succeeded"}
    yield {"status": "succeeded", "refunding_minor": PART, "refunded_minor": PART}


BACKUP: Final = Way(gateway="stripe", gateway_account_id=OTHER_ACCOUNT, token="pm_there")
ELSEWHERE: Final = Way(gateway="braintree", gateway_account_id=THIRD_ACCOUNT)
REFUSAL: Final = Refusal(
    attempt_no=1, decline="try_again", raw_code="processing_error", retry="yes"
)


def _with_ways() -> Iterator[dict[str, Any]]:
    for shape in _shapes():
        yield shape
        if shape.get("status", "processing") in ("processing", "requires_action"):
            for ways in ((ELSEWHERE,), (ELSEWHERE, BACKUP)):
                yield shape | {"ways": ways}
                if shape.get("closing"):
                    yield shape | {"ways": ways, "decline": REFUSAL}
                if shape.get("closing") == "new_attempt":
                    yield shape | {"ways": ways, "closing_reason": "instrument_replaced"}
    yield {
        "status": "requires_payment_method",
        "instrument_token": None,
        "gateway": None,
        "gateway_account_id": None,
        "ways": (ELSEWHERE,),
        "decline": REFUSAL,
    }


SHAPES: Final = tuple(_with_ways())
"""What a payment can look like, without `review` and `attempt_no`."""


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


SHOWN: Final = Call(
    operation="sale", started_at=START, duration_ms=1.0, outcome="x", object_id="tr_1"
)
"""A call whose answer told the id of the gateway's object."""


def brought() -> InstrumentBrought:
    """The caller brings a card."""
    return InstrumentBrought("stripe", ACCOUNT, "pm_card_visa", None)


COMMANDS: Final[tuple[Command, ...]] = (
    brought(),
    CustomerReturned(),
    CancelAsked(),
    *(CaptureAsked(amount) for amount in (None, PART, AMOUNT, AMOUNT + 1)),
)


def every_payment() -> Iterator[Payment]:
    """Each shape, frozen or not, with the first attempt and one beyond the last."""
    numbers = (1, ATTEMPTS_MAX + 1)
    for shape, review, number in product(SHAPES, (None, "amount_mismatch"), numbers):
        yield payment(**shape, review=review, attempt_no=number)


def every_happening() -> Iterator[Happening]:
    """Each command, timer and answer, for whatever attempt."""
    yield from COMMANDS
    yield Due(None)
    yield Due(None, resting=True, tries=9)
    yield Due(None, staged=False)
    for object_id, staged, state in product((None, "pi_1"), (True, False), ATTEMPT_STATES):
        yield Due(attempt(state=state, gateway_object_id=object_id, staged=staged))
    for one in (
        attempt(kind="authorize"),
        attempt(),
        attempt(gateway_object_id=None),
        attempt(gateway_object_id=None, staged=False),
    ):
        for answer, asked, tries in product(ANSWERS, ASKED, (0, 9)):
            yield answered(answer, one, asked=asked, tries=tries)
            if asked == "capture":
                yield answered(answer, one, asked=asked, tries=tries, capture_minor=PART)
            if asked == "send" and not one.staged:
                yield answered(answer, one, asked=asked, tries=tries, first=True)
                yield answered(answer, one, asked=asked, tries=tries, call=SHOWN)


# Whatever the database can hold, and whatever can happen to it.

moments = st.sampled_from(
    [
        START,
        NOT_AFTER - timedelta(seconds=1),
        NOT_AFTER,
        START + timedelta(hours=21),
        CAPTURE_BEFORE - timedelta(hours=1),
        CAPTURE_BEFORE,
    ]
)
payments = st.builds(
    lambda shape, **more: payment(**(shape | more)),
    st.sampled_from(SHAPES),
    attempt_no=st.integers(1, 21),
    review=st.sampled_from([None, "amount_mismatch"]),
    next_action=st.sampled_from([None, {"type": "redirect_to_url"}]),
)
attempts = st.builds(
    attempt,
    attempt_no=st.integers(1, 21),
    state=st.sampled_from(ATTEMPT_STATES),
    kind=st.sampled_from(["sale", "authorize"]),
    staged=st.booleans(),
    gateway_object_id=st.sampled_from([None, "pi_1"]),
)
answers = st.sampled_from(ANSWERS)
answereds = st.builds(
    answered,
    answers,
    attempts,
    asked=st.sampled_from(ASKED),
    tries=st.integers(0, 30),
    capture_minor=st.sampled_from([None, PART, AMOUNT]),
)
dues = st.builds(Due, st.none() | attempts)
happenings: st.SearchStrategy[Happening] = st.one_of(answereds, dues, st.sampled_from(COMMANDS))

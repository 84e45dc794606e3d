"""The operations that ask something of a payment that exists, as the table has them."""

from typing import Final

from strongroom.http.bodies import CancelPayment, CapturePayment, ConfirmPayment
from strongroom.http.listing import CREATE_PATH
from strongroom.http.reference.operation import IDEMPOTENCY_KEY, PREFER, Example, Operation
from strongroom.http.reference.shared import (
    PAYMENT_ID,
    PAYMENT_MOVED,
    PAYMENT_PROCESSING,
    WITH_A_BODY,
    WITH_A_KEY,
    WITH_AN_IDEMPOTENCY_KEY,
    WITH_AN_INSTRUMENT,
    WRITTEN_IN_A_BATCH,
    card,
    payment,
    untaken,
)

PATH: Final = CREATE_PATH + "/{payment_id}"
TAG: Final = "Payments"
_OF_A_COMMAND: Final = (
    *WITH_A_KEY,
    *WITH_A_BODY,
    *WITH_AN_IDEMPOTENCY_KEY,
    *WRITTEN_IN_A_BATCH,
    "database_unavailable",
    "vault_unavailable",
    "payment_not_found",
    "payment_under_review",
    "payment_is_over",
)

CONFIRM: Final = Operation(
    id="confirm_payment",
    method="POST",
    path=PATH + "/confirm",
    tag=TAG,
    summary="Confirm a payment",
    description="Brings an instrument, or a `payment_method` that was saved, to a payment in "
    "`requires_payment_method`, which is then sent; `off_session` says that the customer is away, "
    "and has agreed to that. A bank that wants an authentication then declines with "
    "`authentication_required`, and the payment waits for its customer in "
    "`requires_payment_method`. "
    "Without one it says that the customer has come back from the action of "
    "`requires_action`: the gateway is asked at once.",
    answering=lambda rooms, call: rooms.commands.confirm(call.asked, call.path["payment_id"]),
    scope="payments:write",
    parameters=(PAYMENT_ID, IDEMPOTENCY_KEY, PREFER),
    body=ConfirmPayment,
    answers=(PAYMENT_MOVED, PAYMENT_PROCESSING),
    problems=(
        *_OF_A_COMMAND,
        *WITH_AN_INSTRUMENT,
        "log_window_exceeded",
        "field_repeated",
        "instrument_ambiguous",
        "payment_method_not_found",
        "payment_method_not_ready",
        "gateway_account_retired",
        "consent_missing",
        "customer_erased",
        "payment_has_an_instrument",
        "payment_is_closing",
        "not_after_passed",
        "instrument_missing",
    ),
    examples=(
        Example(
            name="instrument",
            summary="Bring an instrument",
            key="order-1003-card",
            wait=10,
            after="without_instrument",
            body={"instrument": card("pm_card_visa")},
            status=200,
            answer=payment(
                amount=4500,
                captured_amount=4500,
                refundable_amount=4500,
                merchant_reference="order-1003",
                version=3,
            ),
            headers={"Preference-Applied": "wait=10"},
        ),
    ),
)

CAPTURE: Final = Operation(
    id="capture_payment",
    method="POST",
    path=PATH + "/capture",
    tag=TAG,
    summary="Capture a payment",
    description="Takes what is held by a payment made with `capture: manual`, once, in full or in "
    "part; what is not captured is released. After `capture_before` there is nothing left to take: "
    "the payment is then `canceled` with `authorization_expired`.",
    answering=lambda rooms, call: rooms.commands.capture(call.asked, call.path["payment_id"]),
    scope="payments:write",
    parameters=(PAYMENT_ID, IDEMPOTENCY_KEY, PREFER),
    body=CapturePayment,
    answers=(PAYMENT_MOVED, PAYMENT_PROCESSING),
    problems=(
        *_OF_A_COMMAND,
        "log_window_exceeded",
        "field_repeated",
        "amount_invalid",
        "amount_not_representable",
        "payment_is_closing",
        "payment_not_authorized",
        "capture_under_way",
        "capture_exceeds_authorized",
    ),
    examples=(
        Example(
            name="part",
            summary="Capture a part, and release the rest",
            key="order-1005-capture",
            wait=10,
            after="manual",
            body={"amount": 1500},
            status=200,
            answer=payment(
                capture="manual",
                capture_before="2026-11-28T10:10:00Z",
                captured_amount=1500,
                refundable_amount=1500,
                merchant_reference="order-1005",
                version=4,
            ),
            headers={"Preference-Applied": "wait=10"},
        ),
    ),
)

CANCEL: Final = Operation(
    id="cancel_payment",
    method="POST",
    path=PATH + "/cancel",
    tag=TAG,
    summary="Cancel a payment",
    description="No money is to be taken, and what is held is released, unless the gateway has "
    "taken it by now. The payment is `processing` until the gateway has confirmed. What was "
    "charged is given back by a refund.",
    answering=lambda rooms, call: rooms.commands.cancel(call.asked, call.path["payment_id"]),
    scope="payments:write",
    parameters=(PAYMENT_ID, IDEMPOTENCY_KEY, PREFER),
    body=CancelPayment,
    answers=(PAYMENT_MOVED, PAYMENT_PROCESSING),
    problems=(*_OF_A_COMMAND, "capture_under_way", "outcome_not_known"),
    examples=(
        Example(
            name="cancel",
            summary="Cancel while the customer has not acted",
            key="order-1004-cancel",
            wait=10,
            after="three_d_secure",
            body={},
            status=200,
            answer=untaken(
                status="canceled",
                status_reason="requested_by_caller",
                merchant_reference="order-1004",
                version=4,
            ),
            headers={"Preference-Applied": "wait=10"},
        ),
    ),
)

COMMANDS: Final = (CONFIRM, CAPTURE, CANCEL)

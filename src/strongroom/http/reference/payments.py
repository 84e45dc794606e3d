"""The operations on payments, as the table has them."""

from typing import Final

from strongroom.http.bodies import BULK_BYTES_MAX, BULK_ITEMS_MAX, CreatePayment
from strongroom.http.bulk import BULK_PATH, BulkPayment, BulkPaymentResults, BulkPayments
from strongroom.http.fields import NOT_AFTER_DEFAULT, WAIT_SECONDS_MAX
from strongroom.http.listing import CREATE_PATH, ListParameters, PaymentList, PaymentView
from strongroom.http.reference.operation import (
    IDEMPOTENCY_KEY,
    LOCATION,
    PREFER,
    PREFERENCE_APPLIED,
    Answer,
    Example,
    Operation,
)
from strongroom.http.reference.problem_examples import problem_example
from strongroom.http.reference.shared import (
    DECLINED,
    MADE_IN_A_BATCH,
    OF_A_BULK,
    OF_A_MOVE,
    PAYMENT_ID,
    PAYMENT_PROCESSING,
    WITH_A_BODY,
    WITH_A_KEY,
    WITH_A_LIST,
    WITH_AN_IDEMPOTENCY_KEY,
    WITH_AN_INSTRUMENT,
    WITH_METADATA,
    card,
    payment,
    untaken,
)

TAG: Final = "Payments"

_THAT_SAVES: Final = ("customer_not_found", "customer_erased", "customer_field_invalid")
"""What `save` can be refused for."""

CREATE: Final = Operation(
    id="create_payment",
    method="POST",
    path=CREATE_PATH,
    tag=TAG,
    summary="Create a payment",
    description="Takes an amount from a customer. It is on disk when this answers, and is carried "
    "to an end whatever crashes. With an instrument it is sent to the gateway at once; without "
    "one it waits for a confirm. What was not sent by `not_after` "
    f"({NOT_AFTER_DEFAULT.seconds // 60} minutes unless you say otherwise) is canceled. The same "
    "Idempotency-Key with the same content gives the same payment as it now stands, never a "
    "second one. With `save` what pays becomes a payment method of a customer once it has paid, "
    "whoever brings it: this request, a confirm, or the checkout page.",
    answering=lambda rooms, call: rooms.payments.create(call.asked),
    scope="payments:write",
    parameters=(IDEMPOTENCY_KEY, PREFER),
    body=CreatePayment,
    answers=(
        Answer(
            status=201,
            description="It is on disk, and has come further than `processing` already.",
            type=PaymentView,
            headers=(LOCATION, PREFERENCE_APPLIED),
            links={"payment_id": "/id"},
        ),
        PAYMENT_PROCESSING,
        Answer(
            status=200,
            description="This key made it earlier; here it is as it now stands.",
            type=PaymentView,
            headers=OF_A_MOVE,
            links={"payment_id": "/id"},
        ),
    ),
    problems=(
        *WITH_A_KEY,
        *WITH_A_BODY,
        "field_repeated",
        *WITH_AN_IDEMPOTENCY_KEY,
        "amount_invalid",
        "currency_unknown",
        "country_invalid",
        "merchant_reference_length",
        "merchant_reference_characters",
        "merchant_reference_taken",
        "description_length",
        "description_characters",
        *WITH_METADATA,
        "database_unavailable",
        "vault_unavailable",
        "not_after_invalid",
        *WITH_AN_INSTRUMENT,
        "tax_calculation_unknown",
        "tax_calculation_expired",
        "tax_calculation_differs",
        "tax_calculation_taken",
        *MADE_IN_A_BATCH,
        "log_window_exceeded",
        *_THAT_SAVES,
    ),
    examples=(
        Example(
            name="card",
            summary="A card that is charged at once",
            key="order-1001",
            wait=10,
            body={
                "amount": 1999,
                "currency": "EUR",
                "merchant_reference": "order-1001",
                "instrument": card("pm_card_visa"),
            },
            status=201,
            answer=payment(),
            headers={"Preference-Applied": "wait=10"},
        ),
        Example(
            name="replay",
            summary="The same request again, with the same key",
            key="order-1001",
            after="card",
            body={
                "amount": 1999,
                "currency": "EUR",
                "merchant_reference": "order-1001",
                "instrument": card("pm_card_visa"),
            },
            status=200,
            answer=payment(),
            headers={"Idempotent-Replayed": "true"},
        ),
        Example(
            name="declined",
            summary="A card that is declined",
            key="order-1002",
            wait=10,
            body={
                "amount": 1999,
                "currency": "EUR",
                "merchant_reference": "order-1002",
                "description": "Two tickets, row 7",
                "metadata": {"cart": "77"},
                "instrument": card("pm_card_chargeDeclinedInsufficientFunds"),
            },
            status=201,
            answer=untaken(
                status="failed",
                status_reason="insufficient_funds",
                decline=DECLINED,
                merchant_reference="order-1002",
                description="Two tickets, row 7",
                metadata={"cart": "77"},
                version=3,
            ),
        ),
        Example(
            name="without_instrument",
            summary="Without an instrument: a confirm brings it",
            key="order-1003",
            body={"amount": 4500, "currency": "EUR", "merchant_reference": "order-1003"},
            status=201,
            answer=untaken(
                status="requires_payment_method",
                amount=4500,
                merchant_reference="order-1003",
                instrument=None,
                version=1,
            ),
        ),
        Example(
            name="for_a_page",
            summary="For a checkout page, where the customer brings the card",
            key="order-1011",
            body={"amount": 4500, "currency": "EUR", "merchant_reference": "order-1011"},
            status=201,
            answer=untaken(
                status="requires_payment_method",
                amount=4500,
                merchant_reference="order-1011",
                instrument=None,
                version=1,
            ),
        ),
        Example(
            name="three_d_secure",
            summary="A card that asks for 3-D Secure",
            key="order-1004",
            wait=10,
            body={
                "amount": 1999,
                "currency": "EUR",
                "merchant_reference": "order-1004",
                "instrument": card("pm_card_threeDSecure2Required"),
                "return_url": "https://shop.example/orders/1004",
            },
            status=201,
            answer=untaken(
                status="requires_action",
                merchant_reference="order-1004",
                next_action={
                    "type": "redirect_to_url",
                    "url": "https://hooks.stripe.example/redirect",
                },
            ),
        ),
        Example(
            name="manual",
            summary="Hold the amount, and capture it later",
            key="order-1005",
            wait=10,
            body={
                "amount": 1999,
                "currency": "EUR",
                "merchant_reference": "order-1005",
                "instrument": card("pm_card_visa"),
                "capture": "manual",
            },
            status=201,
            answer=untaken(
                status="authorized",
                capture="manual",
                capture_before="2026-11-28T10:10:00Z",
                merchant_reference="order-1005",
            ),
        ),
    ),
)

LIST: Final = Operation(
    id="list_payments",
    method="GET",
    path=CREATE_PATH,
    tag=TAG,
    summary="List payments",
    description="Newest first. Go on with `cursor=next_cursor` until that is null; a page may hold "
    "fewer than asked for while there is a next one.",
    answering=lambda rooms, call: rooms.payments.list_page(call.asked, call.query),
    scope="payments:read",
    query=ListParameters,
    answers=(
        Answer(
            status=200,
            description="A page.",
            type=PaymentList,
            links={"payment_id": "/data/0/id", "cursor": "/next_cursor"},
        ),
    ),
    problems=(
        *WITH_A_KEY,
        *WITH_A_LIST,
    ),
    examples=(
        Example(
            name="by_reference",
            summary="The payments of one order",
            query={"merchant_reference": "order-1001", "limit": "2"},
            after="card",
            status=200,
            answer={"data": [payment()], "next_cursor": None},
        ),
    ),
)

GET: Final = Operation(
    id="get_payment",
    method="GET",
    path=CREATE_PATH + "/{payment_id}",
    tag=TAG,
    summary="Read a payment",
    description=f"As it now stands; with `Prefer: wait=N` (at most {WAIT_SECONDS_MAX} seconds) "
    "once it is no longer `processing`.",
    answering=lambda rooms, call: rooms.payments.get(call.asked, call.path["payment_id"]),
    scope="payments:read",
    parameters=(PAYMENT_ID, PREFER),
    answers=(
        Answer(
            status=200, description="The payment.", type=PaymentView, headers=(PREFERENCE_APPLIED,)
        ),
    ),
    problems=(
        *WITH_A_KEY,
        "database_unavailable",
        "vault_unavailable",
        "parameter_unknown",
        "payment_not_found",
    ),
    examples=(
        Example(
            name="read",
            summary="A payment that succeeded",
            after="card",
            status=200,
            answer=payment(),
        ),
    ),
)

BULK: Final = Operation(
    id="create_payments",
    method="POST",
    path=BULK_PATH,
    tag=TAG,
    summary="Create many payments",
    description=f"Up to {BULK_ITEMS_MAX} payments. Each is a request of its own, with its own "
    "`idempotency_key` and its own result, in the order of the items: `status` is what it would "
    "have been answered with alone. The same payment may be sent again in another bulk or alone. "
    "It answers when all that was accepted is on disk, and does not wait for the gateway.",
    answering=lambda rooms, call: rooms.payments.bulk(call.asked),
    scope="payments:write",
    body=BulkPayments,
    item=BulkPayment,
    body_bytes_max=BULK_BYTES_MAX,
    answers=(
        Answer(
            status=200,
            description="A result an item.",
            type=BulkPaymentResults,
            links={"payment_id": "/results/0/payment/id"},
        ),
    ),
    problems=(*WITH_A_KEY, *WITH_A_BODY, *OF_A_BULK, "database_unavailable"),
    examples=(
        Example(
            name="payments",
            summary="One that is accepted, and one whose order is taken",
            after="without_instrument",
            body={
                "payments": [
                    {
                        "idempotency_key": "order-1006",
                        "amount": 2500,
                        "currency": "EUR",
                        "merchant_reference": "order-1006",
                    },
                    {
                        "idempotency_key": "order-1003-again",
                        "amount": 4500,
                        "currency": "EUR",
                        "merchant_reference": "order-1003",
                    },
                ]
            },
            status=200,
            answer={
                "results": [
                    {
                        "index": 0,
                        "status": 201,
                        "replayed": False,
                        "payment": untaken(
                            status="requires_payment_method",
                            amount=2500,
                            merchant_reference="order-1006",
                            instrument=None,
                            version=1,
                        ),
                    },
                    {
                        "index": 1,
                        "status": 409,
                        "replayed": False,
                        "problem": problem_example("merchant_reference_taken"),
                    },
                ]
            },
        ),
    ),
)

PAYMENTS: Final = (CREATE, BULK, LIST, GET)

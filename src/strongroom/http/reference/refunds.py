"""The operations on refunds, as the table has them."""

from typing import Final

from strongroom.http.bodies import BULK_BYTES_MAX, BULK_ITEMS_MAX
from strongroom.http.fields import WAIT_SECONDS_MAX
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
    EXAMPLE_PAYMENT,
    EXAMPLE_REFUND,
    MADE_IN_A_BATCH,
    OF_A_BULK,
    OF_A_MOVE,
    REFUND_ID,
    WITH_A_BODY,
    WITH_A_KEY,
    WITH_A_LIST,
    WITH_AN_IDEMPOTENCY_KEY,
    WITH_METADATA,
    refund,
)
from strongroom.http.refunds import (
    PATH,
    BulkRefund,
    BulkRefundResults,
    BulkRefunds,
    CreateRefund,
    RefundList,
    RefundParameters,
    RefundView,
)

TAG: Final = "Refunds"

CREATE: Final = Operation(
    id="create_refund",
    method="POST",
    path=PATH,
    tag=TAG,
    summary="Create a refund",
    description="Gives money back, in full or in part. The amount is held from the payment's "
    "`refundable_amount` before the gateway is asked, so that refunds sent at once never give back "
    "more than was captured. A refund that fails frees it again, also when it fails after it had "
    "succeeded.",
    answering=lambda rooms, call: rooms.refunds.create(call.asked),
    scope="payments:write",
    parameters=(IDEMPOTENCY_KEY, PREFER),
    body=CreateRefund,
    answers=(
        Answer(
            status=201,
            description="It is on disk, and has come further than `processing` already.",
            type=RefundView,
            headers=(LOCATION, PREFERENCE_APPLIED),
            links={"refund_id": "/id"},
        ),
        Answer(
            status=202,
            description="It is on disk and on its way: `processing`.",
            type=RefundView,
            headers=OF_A_MOVE,
            links={"refund_id": "/id"},
        ),
        Answer(
            status=200,
            description="This key made it earlier; here it is as it now stands.",
            type=RefundView,
            headers=OF_A_MOVE,
            links={"refund_id": "/id"},
        ),
    ),
    problems=(
        *WITH_A_KEY,
        *WITH_A_BODY,
        *WITH_AN_IDEMPOTENCY_KEY,
        *WITH_METADATA,
        "vault_unavailable",
        *MADE_IN_A_BATCH,
        "log_window_exceeded",
        "field_missing",
        "field_repeated",
        "amount_invalid",
        "amount_not_representable",
        "payment_not_found",
        "payment_under_review",
        "payment_not_refundable",
        "refund_exceeds_captured",
    ),
    examples=(
        Example(
            name="refund",
            summary="Give back a part",
            key="order-1003-refund",
            wait=10,
            after="instrument",
            body={"payment": EXAMPLE_PAYMENT, "amount": 1500, "reason": "requested_by_customer"},
            status=201,
            answer=refund(),
            headers={"Preference-Applied": "wait=10"},
        ),
    ),
)

LIST: Final = Operation(
    id="list_refunds",
    method="GET",
    path=PATH,
    tag=TAG,
    summary="List refunds",
    description="Newest first. Go on with `cursor=next_cursor` until that is null.",
    answering=lambda rooms, call: rooms.refunds.list_page(call.asked, call.query),
    scope="payments:read",
    query=RefundParameters,
    answers=(
        Answer(
            status=200,
            description="A page.",
            type=RefundList,
            links={"refund_id": "/data/0/id", "cursor": "/next_cursor"},
        ),
    ),
    problems=(*WITH_A_KEY, *WITH_A_LIST, "payment_not_found"),
    examples=(
        Example(
            name="refunds_of_payment",
            summary="The refunds of one payment",
            query={"payment": EXAMPLE_PAYMENT},
            after="refund",
            status=200,
            answer={"data": [refund()], "next_cursor": None},
        ),
    ),
)

GET: Final = Operation(
    id="get_refund",
    method="GET",
    path=PATH + "/{refund_id}",
    tag=TAG,
    summary="Read a refund",
    description=f"As it now stands; with `Prefer: wait=N` (at most {WAIT_SECONDS_MAX} seconds) "
    "once it is no longer `processing`.",
    answering=lambda rooms, call: rooms.refunds.get(call.asked, call.path["refund_id"]),
    scope="payments:read",
    parameters=(REFUND_ID, PREFER),
    answers=(
        Answer(
            status=200, description="The refund.", type=RefundView, headers=(PREFERENCE_APPLIED,)
        ),
    ),
    problems=(
        *WITH_A_KEY,
        "database_unavailable",
        "vault_unavailable",
        "parameter_unknown",
        "refund_not_found",
    ),
    examples=(
        Example(
            name="read_refund",
            summary="A refund that succeeded",
            after="refund",
            status=200,
            answer=refund(),
        ),
    ),
)

BULK: Final = Operation(
    id="create_refunds",
    method="POST",
    path=PATH + "/bulk",
    tag=TAG,
    summary="Create many refunds",
    description=f"Up to {BULK_ITEMS_MAX} refunds. Each is a request of its own, with its own "
    "`idempotency_key` and its own result, in the order of the items: `status` is what it would "
    "have been answered with alone. A bulk that broke off can be sent again as it was.",
    answering=lambda rooms, call: rooms.refunds.bulk(call.asked),
    scope="payments:write",
    body=BulkRefunds,
    item=BulkRefund,
    body_bytes_max=BULK_BYTES_MAX,
    answers=(
        Answer(
            status=200,
            description="A result an item.",
            type=BulkRefundResults,
            links={"refund_id": "/results/0/refund/id"},
        ),
    ),
    problems=(*WITH_A_KEY, *WITH_A_BODY, *OF_A_BULK),
    examples=(
        Example(
            name="refunds",
            summary="One that goes, and one that asks for too much",
            after="card",
            body={
                "refunds": [
                    {
                        "idempotency_key": "order-1001-back-1",
                        "payment": EXAMPLE_PAYMENT,
                        "amount": 999,
                    },
                    {
                        "idempotency_key": "order-1001-back-2",
                        "payment": EXAMPLE_PAYMENT,
                        "amount": 1500,
                    },
                ]
            },
            status=200,
            answer={
                "results": [
                    {
                        "index": 0,
                        "status": 202,
                        "replayed": False,
                        "refund": refund(
                            id=EXAMPLE_REFUND, status="processing", amount=999, reason=None
                        ),
                    },
                    {
                        "index": 1,
                        "status": 409,
                        "replayed": False,
                        "problem": problem_example("refund_exceeds_captured"),
                    },
                ]
            },
        ),
    ),
)

REFUNDS: Final = (CREATE, BULK, LIST, GET)

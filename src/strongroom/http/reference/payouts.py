"""The operations on payouts, as the table has them."""

from typing import Final

from strongroom.http.fields import PayoutId
from strongroom.http.payouts import PATH, PayoutDetail, PayoutList, PayoutParameters
from strongroom.http.reference.operation import Answer, Example, Operation, Parameter
from strongroom.http.reference.problem_examples import problem_example
from strongroom.http.reference.shared import WITH_A_KEY, WITH_A_LIST

TAG: Final = "Payouts"
PAYOUT_ID: Final = Parameter("payout_id", "path", PayoutId, required=True)

LIST: Final = Operation(
    id="list_payouts",
    method="GET",
    path=PATH,
    tag=TAG,
    summary="List payouts",
    description="Newest first. Go on with `cursor=next_cursor` until that is null. A payout shows "
    "up within moments of the gateway's webhook, and without one within ten minutes.",
    answering=lambda rooms, call: rooms.payouts.list_page(call.asked, call.query),
    scope="payouts:read",
    query=PayoutParameters,
    answers=(
        Answer(
            status=200,
            description="A page.",
            type=PayoutList,
            links={"payout_id": "/data/0/id", "cursor": "/next_cursor"},
        ),
    ),
    problems=(*WITH_A_KEY, *(code for code in WITH_A_LIST if code != "vault_unavailable")),
    examples=(
        Example(
            name="payouts",
            summary="Before the first payout",
            query={"limit": "1"},
            status=200,
            answer={"data": [], "next_cursor": None},
        ),
    ),
)

GET: Final = Operation(
    id="get_payout",
    method="GET",
    path=PATH + "/{payout_id}",
    tag=TAG,
    summary="Read a payout",
    description="With what it is made of: each movement of the gateway's balance, tied to the "
    "payment, refund or dispute of yours that caused it. What nothing of yours caused, as fees and "
    "charges that were made elsewhere, is counted as unknown.",
    answering=lambda rooms, call: rooms.payouts.get(call.asked, call.path["payout_id"]),
    scope="payouts:read",
    parameters=(PAYOUT_ID,),
    answers=(Answer(status=200, description="The payout.", type=PayoutDetail),),
    problems=(*WITH_A_KEY, "database_unavailable", "parameter_unknown", "payout_not_found"),
    examples=(
        Example(
            name="no_such_payout",
            summary="A payout of somebody else",
            status=404,
            answer=problem_example("payout_not_found"),
        ),
    ),
)

PAYOUTS: Final = (LIST, GET)

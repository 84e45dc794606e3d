"""The operations on disputes, as the table has them."""

from typing import Final

from strongroom.http.disputes import (
    PATH,
    AcceptDispute,
    DisputeList,
    DisputeParameters,
    DisputeView,
    GiveEvidence,
)
from strongroom.http.fields import DisputeId
from strongroom.http.reference.operation import (
    IDEMPOTENCY_KEY,
    LOCATION,
    REPLAYED,
    Answer,
    Example,
    Operation,
    Parameter,
)
from strongroom.http.reference.problem_examples import problem_example
from strongroom.http.reference.shared import (
    EXAMPLE_PAYMENT,
    WITH_A_BODY,
    WITH_A_KEY,
    WITH_A_LIST,
    WITH_AN_IDEMPOTENCY_KEY,
)

TAG: Final = "Disputes"
DISPUTE_ID: Final = Parameter("dispute_id", "path", DisputeId, required=True)

LIST: Final = Operation(
    id="list_disputes",
    method="GET",
    path=PATH,
    tag=TAG,
    summary="List disputes",
    description="Newest first. Go on with `cursor=next_cursor` until that is null. A dispute shows "
    "up within moments of the gateway's webhook, and without one within ten minutes.",
    answering=lambda rooms, call: rooms.disputes.list_page(call.asked, call.query),
    scope="disputes:read",
    query=DisputeParameters,
    answers=(
        Answer(
            status=200,
            description="A page.",
            type=DisputeList,
            links={"dispute_id": "/data/0/id", "cursor": "/next_cursor"},
        ),
    ),
    problems=(
        *WITH_A_KEY,
        *(code for code in WITH_A_LIST if code != "vault_unavailable"),
        "payment_not_found",
    ),
    examples=(
        Example(
            name="disputes_of_payment",
            summary="A payment that nobody disputes",
            query={"payment": EXAMPLE_PAYMENT},
            after="card",
            status=200,
            answer={"data": [], "next_cursor": None},
        ),
    ),
)

GET: Final = Operation(
    id="get_dispute",
    method="GET",
    path=PATH + "/{dispute_id}",
    tag=TAG,
    summary="Read a dispute",
    description="As its gateway last showed it.",
    answering=lambda rooms, call: rooms.disputes.get(call.asked, call.path["dispute_id"]),
    scope="disputes:read",
    parameters=(DISPUTE_ID,),
    answers=(Answer(status=200, description="The dispute.", type=DisputeView),),
    problems=(*WITH_A_KEY, "database_unavailable", "parameter_unknown", "dispute_not_found"),
    examples=(
        Example(
            name="no_such_dispute",
            summary="A dispute of somebody else",
            status=404,
            answer=problem_example("dispute_not_found"),
        ),
    ),
)

TOLD: Final = (
    Answer(
        status=202,
        description="It is on disk and on its way: `answer` is `processing`.",
        type=DisputeView,
        headers=(LOCATION, REPLAYED),
        links={"dispute_id": "/id"},
    ),
    Answer(
        status=200,
        description="This key asked for it earlier; here is the dispute as it now stands.",
        type=DisputeView,
        headers=(LOCATION, REPLAYED),
        links={"dispute_id": "/id"},
    ),
)
OF_AN_ANSWER: Final = (
    *WITH_A_KEY,
    *WITH_A_BODY,
    *WITH_AN_IDEMPOTENCY_KEY,
    "database_unavailable",
    "dispute_not_found",
    "dispute_is_over",
    "dispute_answer_under_way",
)
NOBODYS: Final = Example(
    name="evidence_for_nobody",
    summary="Evidence for a dispute of somebody else",
    key="dispute-77-evidence",
    body={"evidence": {"product_description": "Two tickets, row 7"}, "submit": False},
    status=404,
    answer=problem_example("dispute_not_found"),
)

EVIDENCE: Final = Operation(
    id="give_evidence",
    method="POST",
    path=PATH + "/{dispute_id}/evidence",
    tag=TAG,
    summary="Give evidence",
    description="Texts for the bank, by the gateway's names of them. Without `submit` they are "
    "staged at the gateway, where later ones are added to them; with it all of them go to the "
    "bank, once and for good. What was sent and not answered is looked for before it is sent "
    "again, under the same key. The texts are sealed, not shown, and deleted once the gateway has "
    "them.",
    answering=lambda rooms, call: rooms.disputes.give_evidence(call.asked, call.path["dispute_id"]),
    scope="disputes:write",
    parameters=(DISPUTE_ID, IDEMPOTENCY_KEY),
    body=GiveEvidence,
    answers=TOLD,
    problems=(
        *OF_AN_ANSWER,
        "field_repeated",
        "vault_unavailable",
        "evidence_length",
        "evidence_characters",
    ),
    examples=(NOBODYS,),
)

ACCEPT: Final = Operation(
    id="accept_dispute",
    method="POST",
    path=PATH + "/{dispute_id}/accept",
    tag=TAG,
    summary="Accept a dispute",
    description="Gives it up: it is lost then, for good, and no evidence can follow.",
    answering=lambda rooms, call: rooms.disputes.accept(call.asked, call.path["dispute_id"]),
    scope="disputes:write",
    parameters=(DISPUTE_ID, IDEMPOTENCY_KEY),
    body=AcceptDispute,
    answers=TOLD,
    problems=OF_AN_ANSWER,
    examples=(
        Example(
            name="accept_for_nobody",
            summary="A dispute of somebody else cannot be given up",
            key="dispute-77-accept",
            body={},
            status=404,
            answer=problem_example("dispute_not_found"),
        ),
    ),
)

DISPUTES: Final = (LIST, GET, EVIDENCE, ACCEPT)

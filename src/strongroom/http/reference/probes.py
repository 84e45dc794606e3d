"""The operations without an API key: probes, the customer's way back, and the API's own pages."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from strongroom.http.exchange import Reply
from strongroom.http.reference.operation import (
    HTML_TYPE,
    JSON_TYPE,
    Answer,
    Call,
    Example,
    Operation,
    Parameter,
    ReplyHeader,
    Rooms,
)

OPENAPI_PATH: Final = "/v1/openapi.json"
PAGE_PATH: Final = "/docs"


class Alive(Struct, frozen=True):
    """The process runs."""

    status: Literal["alive"]


class Ready(Struct, frozen=True):
    """The process can accept payments."""

    status: Literal["ready"]


IF_NONE_MATCH: Final = Parameter(
    "If-None-Match",
    "header",
    Annotated[
        str,
        Meta(
            description="The ETag that you have: 304 when it is still the same.",
        ),
    ],
    required=False,
)
ETAG: Final = ReplyHeader("ETag", "Names this very content.", {"type": "string"}, always=True)
CACHE_CONTROL: Final = ReplyHeader(
    "Cache-Control", "How long it may be kept.", {"type": "string"}, always=True
)
POLICY: Final = ReplyHeader(
    "Content-Security-Policy", "Nothing is loaded from elsewhere.", {"type": "string"}, always=True
)
_UNCHANGED: Final = Answer(
    status=304,
    description="You have it already.",
    media=None,
    headers=(ETAG, CACHE_CONTROL),
)


async def _alive(rooms: Rooms, _: Call) -> Reply:
    return rooms.health.alive()


async def _returned(rooms: Rooms, _: Call) -> Reply:
    return rooms.health.returned()


OPENAPI: Final = Operation(
    id="get_openapi",
    method="GET",
    path=OPENAPI_PATH,
    tag="About the API",
    summary="This API as OpenAPI 3.1",
    description="Made from the same table as the routes, so it is complete.",
    answering=lambda rooms, call: rooms.documents.openapi(call.etag),
    scope=None,
    parameters=(IF_NONE_MATCH,),
    answers=(
        Answer(
            status=200,
            description="The document.",
            media=JSON_TYPE,
            headers=(ETAG, CACHE_CONTROL),
        ),
        _UNCHANGED,
    ),
    problems=("internal_error",),
)

PAGE: Final = Operation(
    id="get_docs",
    method="GET",
    path=PAGE_PATH,
    tag="About the API",
    summary="This API as a page for readers",
    description="Loads nothing, runs nothing.",
    answering=lambda rooms, call: rooms.documents.page(call.etag),
    scope=None,
    parameters=(IF_NONE_MATCH,),
    answers=(
        Answer(
            status=200,
            description="The page.",
            media=HTML_TYPE,
            headers=(ETAG, CACHE_CONTROL, POLICY),
        ),
        _UNCHANGED,
    ),
    problems=("internal_error",),
)

HEALTHZ: Final = Operation(
    id="get_healthz",
    method="GET",
    path="/healthz",
    tag="Probes",
    summary="Whether this process runs",
    description="For a supervisor: start the process again when this does not answer.",
    answering=_alive,
    scope=None,
    answers=(Answer(status=200, description="It runs.", type=Alive),),
    problems=(),
    examples=(Example(name="alive", summary="It runs", status=200, answer={"status": "alive"}),),
)

READYZ: Final = Operation(
    id="get_readyz",
    method="GET",
    path="/readyz",
    tag="Probes",
    summary="Whether this process can accept payments now",
    description="For a load balancer: send requests elsewhere while this answers 503.",
    answering=lambda rooms, _: rooms.health.ready(),
    scope=None,
    answers=(Answer(status=200, description="It can.", type=Ready),),
    problems=("not_ready", "internal_error"),
    examples=(Example(name="ready", summary="It can", status=200, answer={"status": "ready"}),),
)

RETURNED: Final = Operation(
    id="get_returned",
    method="GET",
    path="/returned",
    tag="Browsers",
    summary="Where customers land when no return_url was given",
    description="After an action, e.g. 3-D Secure, the gateway sends the customer's browser to the "
    "payment's `return_url`, or else to this page, which thanks and says nothing more.",
    answering=_returned,
    scope=None,
    answers=(Answer(status=200, description="The page.", media=HTML_TYPE, headers=(POLICY,)),),
    problems=(),
)

WITHOUT_A_KEY: Final = (OPENAPI, PAGE, HEALTHZ, READYZ, RETURNED)

"""What an operation is: one entry of the table that routes and documents are made from."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from strongroom.http.checkout_links import CheckoutLinkOperations
from strongroom.http.commands import CommandOperations
from strongroom.http.customers import CustomerOperations
from strongroom.http.disputes import DisputeOperations
from strongroom.http.exchange import BODY_BYTES_MAX, Asked, Reply
from strongroom.http.fields import IdempotencyKey, Prefer, RequestId
from strongroom.http.health import Health
from strongroom.http.log import LogOperations
from strongroom.http.payment_methods import PaymentMethodOperations
from strongroom.http.payments import PaymentOperations
from strongroom.http.payouts import PayoutOperations
from strongroom.http.refunds import RefundOperations
from strongroom.http.tax import TaxOperations

JSON_TYPE: Final = "application/json"
HTML_TYPE: Final = "text/html; charset=utf-8"


class Rooms(Struct, frozen=True, kw_only=True):
    """What answers: the parts of a running process that operations call into."""

    payments: PaymentOperations
    commands: CommandOperations
    refunds: RefundOperations
    disputes: DisputeOperations
    customers: CustomerOperations
    payouts: PayoutOperations
    methods: PaymentMethodOperations
    checkout_links: CheckoutLinkOperations
    taxes: TaxOperations
    log: LogOperations
    health: Health
    documents: "Documents"


class Documents(Protocol):
    """The documents about the API itself, as documents.py serves them."""

    async def openapi(self, etag: str | None) -> Reply:
        """The OpenAPI document, unless the caller has it under this ETag."""
        ...

    async def page(self, etag: str | None) -> Reply:
        """The page for readers, unless the caller has it under this ETag."""
        ...


class Call(Struct, frozen=True):
    """One request on its way to an operation: what was asked, and the parts of its URL."""

    asked: Asked
    path: Mapping[str, str]
    query: dict[str, list[str]]
    etag: str | None = None
    """If-None-Match, where the operation takes no API key."""


Answering = Callable[[Rooms, Call], Awaitable[Reply]]


class Parameter(Struct, frozen=True):
    """A header or a part of the path; `type` is an annotated type of fields.py."""

    name: str
    place: Literal["path", "header"]
    type: Any
    required: bool


IDEMPOTENCY_KEY: Final = Parameter("Idempotency-Key", "header", IdempotencyKey, required=True)
PREFER: Final = Parameter("Prefer", "header", Prefer, required=False)
REQUEST_ID: Final = Parameter("X-Request-Id", "header", RequestId, required=False)


class ReplyHeader(Struct, frozen=True):
    """A header of an answer; `always` when each such answer has it."""

    name: str
    description: str
    schema: Mapping[str, object]
    always: bool = False


REQUEST_ID_TOLD: Final = ReplyHeader(
    "X-Request-Id",
    "The request's id: yours where it was well-formed, else one of ours. Name it when you ask about"
    " an answer.",
    {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    always=True,
)
LOCATION: Final = ReplyHeader(
    "Location", "Where the payment can be read.", {"type": "string"}, always=True
)
REPLAYED: Final = ReplyHeader(
    "Idempotent-Replayed",
    "`true` when the Idempotency-Key was used before: the answer shows what that request made, as "
    "it now stands.",
    {"type": "string", "const": "true"},
)
PREFERENCE_APPLIED: Final = ReplyHeader(
    "Preference-Applied", "The `wait=N` that was kept to.", {"type": "string"}
)
RETRY_AFTER: Final = ReplyHeader(
    "Retry-After", "Seconds to wait.", {"type": "integer", "minimum": 1}, always=True
)
WWW_AUTHENTICATE: Final = ReplyHeader(
    "WWW-Authenticate", "`Bearer`.", {"type": "string", "const": "Bearer"}, always=True
)


class Answer(Struct, frozen=True, kw_only=True):
    """An answer other than a problem."""

    status: int
    description: str
    type: Any = None
    """The Struct of the body; None where it is no JSON of ours."""
    media: str | None = JSON_TYPE
    """None: no body."""
    headers: tuple[ReplyHeader, ...] = ()
    links: Mapping[str, str] = {}
    """What its parts can be given as in further requests, and where they stand: JSON pointers."""


class Example(Struct, frozen=True, kw_only=True):
    """A request that works as it stands, and what it is answered with.

    `after` names the example that this one goes on with: the ids that stand in its path, query
    and body are then those of that one's answer, and of what that one went on with. Tests send
    each example; ids and times differ each time.
    """

    name: str
    summary: str
    key: str | None = None
    wait: int | None = None
    query: Mapping[str, str] = {}
    body: Mapping[str, Any] | None = None
    after: str | None = None
    status: int
    answer: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = {}
    """Headers of the answer that are worth seeing."""


OF_THE_SERVER: Final = ("request_malformed", "card_number_refused", "too_many_connections")
"""What any request can be answered with, before it is known what it asks for."""


class Operation(Struct, frozen=True, kw_only=True):
    """One method at one path.

    `scope` is what the API key has to have; None: for everybody, without a key. `query` is the
    Struct of its query parameters; None: it has none, and refuses any unless it is for everybody:
    gateways and caches add some. `problems` are codes of the catalogue.
    """

    id: str
    method: Literal["GET", "POST"]
    path: str
    tag: str
    summary: str
    description: str
    answering: Answering
    scope: str | None
    parameters: tuple[Parameter, ...] = ()
    query: Any = None
    body: Any = None
    item: Any = None
    """The Struct of one item of a bulk, which is read by itself."""
    body_bytes_max: int = BODY_BYTES_MAX
    answers: tuple[Answer, ...]
    problems: tuple[str, ...]
    examples: tuple[Example, ...] = ()

    @property
    def accepted(self) -> tuple[Parameter, ...]:
        """Its own parameters, and the header that any request may have."""
        return (*self.parameters, REQUEST_ID)

    @property
    def codes(self) -> tuple[str, ...]:
        """All problems that it can be answered with, each once."""
        return (*OF_THE_SERVER, *self.problems)

"""Every route as Litestar sees it: for the OpenAPI, for wrong methods, and as the plain way."""

from typing import Any, Final
from urllib.parse import parse_qsl

import structlog
from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.params import FromPath

from strongroom.errors import Invalid, Missing, Problem, described
from strongroom.http import bodies
from strongroom.http.commands import CommandOperations
from strongroom.http.exchange import (
    BODY_BYTES_MAX,
    Asked,
    Reply,
    internal_error,
    problem_reply,
    read_headers,
)
from strongroom.http.front_door import FIXED_HEADERS, read_body
from strongroom.http.health import Health
from strongroom.http.payments import PaymentOperations
from strongroom.http.refunds import RefundOperations

QUERY_PARAMETERS_MAX: Final = 20

AnyRequest = Request[Any, Any, Any]

log = structlog.get_logger()


def make_application(  # noqa: C901 - one small function a route
    operations: PaymentOperations,
    commands: CommandOperations,
    refunds: RefundOperations,
    health: Health,
) -> Litestar:
    """The Litestar application over the same operations that the front door calls."""

    @post("/v1/payments")
    async def create_payment(request: AnyRequest) -> Response[bytes]:
        """Accept a payment; it is on disk when this answers."""
        return _response(await operations.create(await _asked(request)))

    @post("/v1/payments/bulk")
    async def create_payments(request: AnyRequest) -> Response[bytes]:
        """Accept up to 500 payments, each with a result of its own."""
        asked = await _asked(request, bodies.BULK_BYTES_MAX)
        return _response(await operations.bulk(asked))

    @get("/v1/payments")
    async def list_payments(request: AnyRequest) -> Response[bytes]:
        """List payments, newest first."""
        return _response(await operations.list_page(await _asked(request), _query(request)))

    @get("/v1/payments/{payment_id:str}")
    async def get_payment(request: AnyRequest, payment_id: FromPath[str]) -> Response[bytes]:
        """Read one payment."""
        return _response(await operations.get(await _asked(request), payment_id))

    @post("/v1/payments/{payment_id:str}/confirm")
    async def confirm_payment(request: AnyRequest, payment_id: FromPath[str]) -> Response[bytes]:
        """Bring an instrument, or go on after the customer's action."""
        return _response(await commands.confirm(await _asked(request), payment_id))

    @post("/v1/payments/{payment_id:str}/capture")
    async def capture_payment(request: AnyRequest, payment_id: FromPath[str]) -> Response[bytes]:
        """Take what is held, in full or in part; the rest is released."""
        return _response(await commands.capture(await _asked(request), payment_id))

    @post("/v1/payments/{payment_id:str}/cancel")
    async def cancel_payment(request: AnyRequest, payment_id: FromPath[str]) -> Response[bytes]:
        """Have no money taken; `processing` until the gateway has confirmed."""
        return _response(await commands.cancel(await _asked(request), payment_id))

    @post("/v1/refunds")
    async def create_refund(request: AnyRequest) -> Response[bytes]:
        """Give money back, in full or in part."""
        return _response(await refunds.create(await _asked(request)))

    @post("/v1/refunds/bulk")
    async def create_refunds(request: AnyRequest) -> Response[bytes]:
        """Up to 500 refunds, each with a result of its own."""
        asked = await _asked(request, bodies.BULK_BYTES_MAX)
        return _response(await refunds.bulk(asked))

    @get("/v1/refunds")
    async def list_refunds(request: AnyRequest) -> Response[bytes]:
        """List refunds, newest first."""
        return _response(await refunds.list_page(await _asked(request), _query(request)))

    @get("/v1/refunds/{refund_id:str}")
    async def get_refund(request: AnyRequest, refund_id: FromPath[str]) -> Response[bytes]:
        """Read one refund."""
        return _response(await refunds.get(await _asked(request), refund_id))

    @get("/healthz")
    async def healthz() -> Response[bytes]:
        """Whether this process runs."""
        return _response(health.alive())

    @get("/readyz")
    async def readyz() -> Response[bytes]:
        """Whether this process can accept payments now."""
        return _response(await health.ready())

    @get("/returned")
    async def returned() -> Response[bytes]:
        """Where customers land after an action when the merchant names no page of its own."""
        return _response(health.returned())

    return Litestar(
        route_handlers=[
            create_payment,
            create_payments,
            list_payments,
            get_payment,
            confirm_payment,
            capture_payment,
            cancel_payment,
            create_refund,
            create_refunds,
            list_refunds,
            get_refund,
            healthz,
            readyz,
            returned,
        ],
        openapi_config=None,
        exception_handlers={Problem: _problem, HTTPException: _http, Exception: _bug},
        logging_config=None,
    )


async def _asked(request: AnyRequest, body_bytes_max: int = BODY_BYTES_MAX) -> Asked:
    headers = read_headers(request.scope["headers"])
    body = b"" if request.method == "GET" else await read_body(request.receive, body_bytes_max)
    return Asked(method=str(request.method), path=request.scope["path"], body=body, **headers)


def _query(request: AnyRequest) -> dict[str, list[str]]:
    query: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_PARAMETERS_MAX,
        )
    except ValueError:
        raise Invalid(
            "query_malformed",
            "The query string cannot be read.",
            "Send percent-encoded UTF-8, each parameter once.",
            status=400,
        ) from None
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    return query


def _response(reply: Reply) -> Response[bytes]:
    fixed = {name.decode(): value.decode() for name, value in FIXED_HEADERS}
    return Response(
        reply.body,
        status_code=reply.status,
        media_type=reply.content_type,
        headers={**fixed, **dict(reply.headers)},
    )


def _problem(_: AnyRequest, problem: Problem) -> Response[bytes]:
    return _response(problem_reply(problem))


def _http(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Litestar's own refusals, in our form and without its words."""
    if isinstance(error, NotFoundException):
        problem: Problem = Missing(
            "route_not_found", "There is nothing at this path.", "Look at the list of routes."
        )
    elif isinstance(error, MethodNotAllowedException):
        problem = Invalid(
            "method_not_allowed",
            "This path does not take this method.",
            "Look at the list of routes.",
            status=405,
        )
    else:
        problem = Invalid(
            "request_malformed",
            "The request cannot be read.",
            "Compare it with the API's reference.",
            status=error.status_code if 400 <= error.status_code < 500 else 400,
        )
    response = _response(problem_reply(problem))
    for name, value in (error.headers or {}).items():
        if name.lower() == "allow":
            response.headers["allow"] = value
    return response


def _bug(_: AnyRequest, error: Exception) -> Response[bytes]:
    log.error("route_failed", **described(error))
    return _response(problem_reply(internal_error()))

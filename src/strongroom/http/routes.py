"""Every route as Litestar sees it, made from the table of operations in reference/."""

from typing import Any, Final
from urllib.parse import parse_qsl

import structlog
from litestar import HttpMethod, Litestar, Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler

from strongroom.errors import Invalid, Missing, Problem, described
from strongroom.http.card_guard import GUARD, CardGuard
from strongroom.http.exchange import (
    Asked,
    Reply,
    internal_error,
    problem_reply,
    read_headers,
)
from strongroom.http.front_door import FIXED_HEADERS, read_all
from strongroom.http.reference.operation import Call, Operation, Rooms
from strongroom.http.reference.table import OPERATIONS

QUERY_PARAMETERS_MAX: Final = 20

AnyRequest = Request[Any, Any, Any]

log = structlog.get_logger()


def make_application(rooms: Rooms, guard: CardGuard = GUARD) -> Litestar:
    """The Litestar application over the same operations that the front door calls."""
    return Litestar(
        route_handlers=[_route(operation, rooms, guard) for operation in OPERATIONS],
        openapi_config=None,
        exception_handlers={Problem: _problem, HTTPException: _http, Exception: _bug},
        logging_config=None,
    )


def _route(operation: Operation, rooms: Rooms, guard: CardGuard) -> HTTPRouteHandler:
    async def answer(request: AnyRequest) -> Response[bytes]:
        call = await _call(operation, request, rooms, guard)
        return _response(await operation.answering(rooms, call))

    # The name of a tile has slashes in it; everything else is one segment.
    path = operation.path.replace("}", ":str}").replace("{tile:str}", "{tile:path}")
    return HTTPRouteHandler(path, http_method=HttpMethod(operation.method), name=operation.id)(
        answer
    )


async def _call(operation: Operation, request: AnyRequest, rooms: Rooms, guard: CardGuard) -> Call:
    """What the operation works on. Raises Invalid and others when it cannot be read."""
    if not is_only_way(request.scope["raw_path"]):
        raise Missing("route_not_found")
    method, path = str(request.method), request.scope["path"]
    if operation.scope is None:
        asked = Asked(method=method, path=path)
        return Call(asked, {}, {}, request.headers.get("if-none-match"))
    headers = read_headers(request.scope["headers"])
    body = b""
    if operation.body is not None:
        bare, scope = Asked(method=method, path=path, body=b"", **headers), operation.scope
        body = await read_all(
            request.receive,
            operation.body_bytes_max,
            lambda: rooms.payments.check_caller(bare, scope),
        )
    asked = Asked(method=method, path=path, body=body, **headers)
    guard.check_body(body)
    query = _query(request)
    if operation.query is None and query:
        raise Invalid("parameter_unknown", known="none")
    return Call(asked, request.path_params, query)


def is_only_way(raw_path: bytes) -> bool:
    """Whether the path is written as the table has it.

    The framework leaves empty segments out, so `//v1//payments` would lead to `/v1/payments`, past
    a filter in front of us that knows only the one.
    """
    return b"//" not in raw_path and (raw_path == b"/" or not raw_path.endswith(b"/"))


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
        raise Invalid("query_malformed") from None
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    return query


def _response(reply: Reply) -> Response[bytes]:
    fixed = {name.decode(): value.decode() for name, value in FIXED_HEADERS}
    return Response(
        reply.body,
        status_code=reply.status,
        media_type=reply.content_type,
        # Said here, because Litestar would add a charset of its own to text.
        headers={**fixed, "content-type": reply.content_type, **dict(reply.headers)},
    )


def _problem(_: AnyRequest, problem: Problem) -> Response[bytes]:
    return _response(problem_reply(problem))


def _http(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Litestar's own refusals, in our form and without its words."""
    if not is_only_way(request.scope["raw_path"]):
        return _response(problem_reply(Missing("route_not_found")))
    if isinstance(error, NotFoundException):
        problem: Problem = Missing("route_not_found")
    elif isinstance(error, MethodNotAllowedException):
        problem = Invalid("method_not_allowed")
    else:
        problem = Invalid("request_malformed")
    response = _response(problem_reply(problem))
    for name, value in (error.headers or {}).items():
        if name.lower() == "allow":
            response.headers["allow"] = value
    return response


def _bug(_: AnyRequest, error: Exception) -> Response[bytes]:
    log.error("route_failed", **described(error))
    return _response(problem_reply(internal_error()))

"""The OpenAPI 3.1 document, made from the table of operations, the types and the catalogue."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from strongroom import __version__
from strongroom.errors import PROBLEM_TYPE, ProblemDocument
from strongroom.http.reference.links import links
from strongroom.http.reference.operation import (
    JSON_TYPE,
    REQUEST_ID_TOLD,
    RETRY_AFTER,
    WWW_AUTHENTICATE,
    Answer,
    Operation,
    ReplyHeader,
)
from strongroom.http.reference.problem_examples import problem_example, words_of
from strongroom.http.reference.table import OPERATIONS
from strongroom.problems import CATALOGUE

Json = dict[str, Any]

OPENAPI_VERSION: Final = "3.1.0"
SCHEMA_REF: Final = "#/components/schemas/{name}"
API_KEY: Final = "api_key"
_REFERENCE: Final = SCHEMA_REF.format(name="")
PUBLIC_NAMES: Final = {
    "PaymentView": "Payment",
    "RefundView": "Refund",
    "CustomerView": "Customer",
    "PaymentMethodView": "PaymentMethod",
    "CardView": "Card",
    "ProblemDocument": "Problem",
}

PURPOSE: Final = (
    "Strongroom takes payments: a request becomes a charge at the gateway, at most once, whatever "
    "crashes, repeats, times out or arrives late."
)
ABOUT: Final = (
    "JSON in UTF-8, snake_case; amounts are integers "
    "in the currency's minor unit, times are RFC 3339 in UTC. Unknown fields and query parameters "
    "are refused; answers may gain fields. Refusals are problem documents (RFC 9457) with a stable "
    "`code`, `retry_safe` and `what_to_do`."
)
TAGS: Final = {
    "Payments": "One intent to take an amount from a customer.",
    "Refunds": "Money that goes back to a customer, of one payment.",
    "Disputes": "Money that a bank asks back, of one payment.",
    "Taxes": "What has to be paid with tax, and what of it is reported to a tax service.",
    "Payouts": "Money that a gateway sends to your bank, and what it is made of.",
    "Customers": "Who pays. What is personal is sealed under a key of the customer's own.",
    "Payment methods": "Instruments that a customer has left to be charged later.",
    "Browsers": "What a customer's browser sees of Strongroom.",
    "Log": "What happened, signed, in a form that an outsider can check.",
    "Checkout links": "A page of ours on which a customer pays a payment.",
    "Probes": "For supervisors and load balancers.",
    "About the API": "This document, and the page made from it.",
}


def make_openapi(operations: Iterable[Operation] = OPERATIONS) -> Json:
    """The document as plain values."""
    operations = tuple(operations)
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            operation, operations
        )
    codes = sorted({code for operation in operations for code in operation.codes})
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Strongroom",
            "version": __version__,
            "summary": PURPOSE,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                API_KEY: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key of one legal entity, with scopes; "
                    "`strongroom keys create` makes one.",
                }
            },
            "schemas": schemas(operations),
            "examples": {
                f"problem.{code}": {
                    "summary": CATALOGUE[code].detail.format_map(words_of(CATALOGUE[code])),
                    "value": problem_example(code),
                }
                for code in codes
            },
        },
    }


def schemas(operations: Iterable[Operation] = OPERATIONS) -> dict[str, Json]:
    """The JSON schemas of all bodies, by name."""
    types: dict[str, Any] = {ProblemDocument.__name__: ProblemDocument}
    for operation in operations:
        for shape in (
            operation.body,
            operation.item,
            *(answer.type for answer in operation.answers),
        ):
            if shape is not None:
                types[shape.__name__] = shape
    _, found = msgspec.json.schema_components(types.values(), ref_template=SCHEMA_REF)
    for schema in found.values():
        schema["description"] = inspect.cleandoc(schema["description"]).replace("\n", " ")
    return {
        public_name(name): _renamed(schema) | {"title": public_name(name)}
        for name, schema in found.items()
    }


def public_name(name: str) -> str:
    """The name of a schema: callers know a payment, not our view of it."""
    return PUBLIC_NAMES.get(name, name)


def schema_ref(shape: Any) -> Json:
    """A reference to the schema of a Struct."""
    return {"$ref": SCHEMA_REF.format(name=public_name(shape.__name__))}


def _renamed(value: Any) -> Any:
    """A schema whose references have the public names."""
    if isinstance(value, dict):
        return {name: _renamed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner) for inner in value]
    if isinstance(value, str) and value.startswith(_REFERENCE):
        return _REFERENCE + public_name(value.removeprefix(_REFERENCE))
    return value


def schema_of(kind: Any) -> Json:
    """The schema of an annotated scalar type, in place."""
    (schema,), _ = msgspec.json.schema_components((kind,), ref_template=SCHEMA_REF)
    return dict(schema)


def query_parameters(shape: Any) -> list[tuple[str, Json]]:
    """Name and schema of each query parameter; what is not sent is not null, it is not there."""
    _, found = msgspec.json.schema_components((shape,), ref_template=SCHEMA_REF)
    return [
        (name, without_null(schema)) for name, schema in found[shape.__name__]["properties"].items()
    ]


def without_null(schema: Json) -> Json:
    """The schema of a field that may be null, for when it is not."""
    kinds = schema.get("anyOf", [])
    rest = [kind for kind in kinds if kind != {"type": "null"}]
    if len(rest) == 1 and len(kinds) == 2:
        about = {k: v for k, v in schema.items() if k not in ("anyOf", "default")}
        return {**rest[0], **about}
    return schema


def problems_by_status(operation: Operation) -> dict[int, list[str]]:
    """The codes that an operation can answer, by status, both in order."""
    found: dict[int, list[str]] = {}
    for code in sorted(operation.codes):
        found.setdefault(CATALOGUE[code].status, []).append(code)
    return dict(sorted(found.items()))


def _operation(operation: Operation, operations: Iterable[Operation]) -> Json:
    document: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": [] if operation.scope is None else [{API_KEY: [operation.scope]}],
        "parameters": _parameters(operation),
    }
    if operation.body is not None:
        document["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": schema_ref(operation.body),
                    "examples": {
                        example.name: {"summary": example.summary, "value": example.body}
                        for example in operation.examples
                    },
                }
            },
        }
    document["responses"] = {
        **{
            str(answer.status): _answer(operation, answer, operations)
            for answer in sorted(operation.answers, key=lambda answer: answer.status)
        },
        **{
            str(status): _problems(status, codes)
            for status, codes in problems_by_status(operation).items()
        },
    }
    return document


def _parameters(operation: Operation) -> list[Json]:
    found: list[Json] = []
    for parameter in operation.accepted:
        found.append(_parameter(parameter.name, parameter.place, schema_of(parameter.type)))
        found[-1]["required"] = parameter.required
    if operation.query is not None:
        for name, schema in query_parameters(operation.query):
            found.append(_parameter(name, "query", schema))
    return found


def _parameter(name: str, place: str, schema: Json) -> Json:
    schema = dict(schema)
    text = schema.pop("description", None)
    about = {} if text is None else {"description": text}
    return {"name": name, "in": place, **about, "schema": schema}


def _answer(operation: Operation, answer: Answer, operations: Iterable[Operation]) -> Json:
    document: Json = {"description": answer.description}
    document["headers"] = _headers(*answer.headers)
    if answer.media is not None:
        schema: Json = {"type": "object"} if answer.media == JSON_TYPE else {"type": "string"}
        if answer.type is not None:
            schema = schema_ref(answer.type)
        content: Json = {"schema": schema}
        examples = {
            example.name: {"summary": example.summary, "value": example.answer}
            for example in operation.examples
            if example.status == answer.status and example.answer is not None
        }
        if examples:
            content["examples"] = examples
        document["content"] = {answer.media: content}
    if answer.links:
        document["links"] = links(operation, answer, operations)
    return document


def _problems(status: int, codes: list[str]) -> Json:
    headers = {503: (RETRY_AFTER,), 401: (WWW_AUTHENTICATE,)}
    document: Json = {"description": "; ".join(f"`{code}`" for code in codes)}
    document["headers"] = _headers(*headers.get(status, ()))
    narrowed = {"properties": {"code": {"enum": codes}, "status": {"const": status}}}
    document["content"] = {
        PROBLEM_TYPE: {
            "schema": {"allOf": [schema_ref(ProblemDocument), narrowed]},
            "examples": {code: {"$ref": f"#/components/examples/problem.{code}"} for code in codes},
        }
    }
    return document


def _headers(*headers: ReplyHeader) -> dict[str, Mapping[str, object]]:
    return {header.name: _header(header) for header in (*headers, REQUEST_ID_TOLD)}


def _header(header: ReplyHeader) -> Mapping[str, object]:
    return {
        "description": header.description,
        "required": header.always,
        "schema": dict(header.schema),
    }

"""Every answer that the acceptance tests get is held against the OpenAPI document.

Status, content type, headers, code and body have to be documented for the operation; and answers
hold no field that the document does not know, although callers have to bear with new ones.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import jsonschema_rs

from strongroom.http.reference.openapi import Json, make_openapi

OPENAPI: Final = make_openapi()
OF_EVERY_ANSWER: Final = {
    "cache-control", "connection", "content-length", "content-type", "date",
    "transfer-encoding", "x-content-type-options",
}  # fmt: skip
OF_ROUTING: Final = {
    404: "route_not_found", 405: "method_not_allowed", 422: "card_number_refused",
}  # fmt: skip
"""What is answered where there is no operation."""


def strict(value: Any) -> Any:
    """A schema under which an object holds nothing but its properties."""
    if isinstance(value, list):
        return [strict(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {name: strict(item) for name, item in value.items()}
    if made.get("type") == "object" and "properties" in made:
        made.setdefault("additionalProperties", False)
    return made


SCHEMAS: Final = {"components": {"schemas": strict(OPENAPI["components"]["schemas"])}}


def pattern_of(path: str) -> str:
    """What a path of the document stands for; the name of a tile alone has slashes in it."""
    return re.sub(r"{\w+}", "([^/]+)", path.replace("{tile}", "([^/]+(?:/[^/]+)*)"))


PATHS: Final = [(re.compile(pattern_of(path)), item) for path, item in OPENAPI["paths"].items()]


def operation_of(method: str, path: str) -> Json | None:
    """The operation at a path, None where there is none."""
    for pattern, item in PATHS:
        if pattern.fullmatch(path.partition("?")[0]):
            found: Json | None = item.get(method.lower())
            return found
    return None


@cache
def validator(operation_id: str, status: str, media: str) -> Any:
    """Checks the body of an answer."""
    for item in OPENAPI["paths"].values():
        for operation in item.values():
            if operation["operationId"] == operation_id:
                schema = operation["responses"][status]["content"][media]["schema"]
                return jsonschema_rs.Draft202012Validator(
                    {**schema, **SCHEMAS}, validate_formats=True
                )
    raise AssertionError(operation_id)


def check(
    method: str, path: str, status: int, headers: Mapping[str, str], body: bytes, json: Any
) -> None:
    """Fails where an answer is not as documented; `json` is the body read, None if it is empty."""
    operation = operation_of(method, path)
    said = f"{method} {path} → {status} {body[:300]!r}"
    if operation is None:
        assert json["code"] == OF_ROUTING.get(status), said
        return
    answer = operation["responses"].get(str(status))
    assert answer is not None, f"status not documented: {said}"
    documented = answer.get("headers", {})
    for name, header in documented.items():
        assert name in headers or not header["required"], f"{name} is missing: {said}"
        if name in headers:
            schema = header["schema"]
            value = int(headers[name]) if schema["type"] == "integer" else headers[name]
            jsonschema_rs.validate(schema, value)
    known = OF_EVERY_ANSWER | {name.lower() for name in documented}
    assert {name.lower() for name in headers} <= known, f"{dict(headers)} of {said}"
    media = headers.get("content-type", "")
    if "content" not in answer:
        assert body == b"", said
        return
    assert media in answer["content"], f"{media} not documented: {said}"
    if media.endswith("json"):
        found = list(validator(operation["operationId"], str(status), media).iter_errors(json))
        assert not found, f"{said}\n" + "\n".join(str(error) for error in found)

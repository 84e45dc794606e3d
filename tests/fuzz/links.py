"""The links of the document: which part of an answer another request can take."""

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct
from schemathesis import Case

from strongroom.http.reference.openapi import Json
from tests.acceptance import contract

OPERATIONS: Final[dict[str, Json]] = {
    operation["operationId"]: operation
    for item in contract.OPENAPI["paths"].values()
    for operation in item.values()
}


class Link(Struct, frozen=True):
    """Where an answer holds what another request takes; `place`: path, query, body or item."""

    target: str
    place: str
    name: str
    pointer: list[str]


def value_at(value: Any, pointer: list[str]) -> Any:
    """What stands there; None where nothing does."""
    for step in pointer:
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def filled_by_links(operation_id: str) -> list[tuple[str, str]]:
    """Place and name of all that links can fill of a request, in an order that stays."""
    return sorted(
        {
            (link.place, link.name)
            for links in LINKS.values()
            for link in links
            if link.target == operation_id
        }
    )


def put(case: Case[Any], place: str, name: str, known: list[str], pick: int) -> None:
    """One of the known values, the latest for 0, where a request takes it."""
    value = known[-1 - pick % len(known)]
    if place == "path":
        case.path_parameters[name] = value
    elif place == "query" and name in case.query:
        case.query[name] = value
    elif place == "body" and isinstance(case.body, dict):
        case.body = {**case.body, name: value}
    elif place == "item" and isinstance(case.body, dict):
        case.body = {
            field: [_item_with(item, name, known, pick + at) for at, item in enumerate(items)]
            if isinstance(items, list)
            else items
            for field, items in case.body.items()
        }


def _item_with(item: Any, name: str, known: list[str], pick: int) -> Any:
    if not isinstance(item, dict):
        return item
    return {**item, name: known[-1 - pick % len(known)]}


def _links_of(source: Json) -> Iterator[tuple[int, Link]]:
    for status, answer in source["responses"].items():
        for link in answer.get("links", {}).values():
            for made in _parts_of(link):
                yield int(status), made


def _parts_of(link: Json) -> Iterator[Link]:
    target = OPERATIONS[link["operationId"]]
    places = {parameter["name"]: parameter["in"] for parameter in target["parameters"]}
    for name, expression in link.get("parameters", {}).items():
        yield _link(target, places[name], name, expression)
    for name, value in link.get("requestBody", {}).items():
        if isinstance(value, list):
            for inner, expression in value[0].items():
                yield _link(target, "item", inner, expression)
        else:
            yield _link(target, "body", name, value)


def _link(target: Json, place: str, name: str, expression: str) -> Link:
    pointer = expression.removeprefix("$response.body#/").split("/")
    return Link(target["operationId"], place, name, pointer)


LINKS: Final[dict[tuple[str, int], list[Link]]] = {}
"""By operation and status of the answer."""
for _operation_id, _operation in OPERATIONS.items():
    for _status, _one in _links_of(_operation):
        LINKS.setdefault((_operation_id, _status), []).append(_one)

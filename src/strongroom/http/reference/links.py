"""How one answer leads to further requests: the links of the OpenAPI document.

An answer says where its ids stand; which operations take such an id follows from the table.
"""

from collections.abc import Iterable
from typing import Any, Final

from strongroom.http.reference.operation import Answer, Operation

Json = dict[str, Any]

CURSOR: Final = "cursor"


def links(operation: Operation, answer: Answer, operations: Iterable[Operation]) -> dict[str, Json]:
    """By the operation that it leads to, how the parts of its request stand in this answer."""
    found: dict[str, Json] = {}
    for name, pointer in answer.links.items():
        expression = f"$response.body#{pointer}"
        for other in operations:
            if name == CURSOR and other is not operation:
                continue
            taken = _taken(name, expression, other)
            if taken:
                link = found.setdefault(other.id, {"operationId": other.id})
                link["description"] = other.summary
                for part, values in taken.items():
                    link.setdefault(part, {}).update(values)
    return found


def _taken(name: str, expression: str, other: Operation) -> Json:
    """Where a request takes what `name` is: in its path, its query, its body, its items."""
    field = name.removesuffix("_id")
    taken: Json = {}
    if f"{{{name}}}" in other.path:
        taken["parameters"] = {name: expression}
    elif other.query is not None and field in other.query.__struct_fields__:
        taken["parameters"] = {field: expression}
    elif other.item is not None and field in other.item.__struct_fields__:
        [items] = other.body.__struct_fields__
        taken["requestBody"] = {items: [{field: expression}]}
    elif other.body is not None and field in other.body.__struct_fields__:
        taken["requestBody"] = {field: expression}
    return taken

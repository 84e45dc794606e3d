"""Braintree's XML: typed elements with dashes out, dictionaries with underscores in.

The types are those of the SDK's own reader (`braintree.util.parser`). What comes in is read by
expat without any declaration, so nothing in it can be expanded or fetched.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

DEPTH_MAX = 12
ELEMENTS_MAX = 5_000

Tree = dict[str, Any]


class Unreadable(ValueError):
    """A body that is no XML of Braintree's kind."""


@dataclass(frozen=True, slots=True)
class Items:
    """An array whose elements have a name of their own."""

    tag: str
    items: list[Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Elements of which several may have the same name."""

    pairs: list[tuple[str, Any]]


def page(tag: str, items: list[Any], size: int, total: int | None = None, number: int = 1) -> Group:
    """A page of objects with its counts, as the SDK's collections read it."""
    counts: list[tuple[str, Any]] = [
        ("current_page_number", number),
        ("page_size", size),
        ("total_items", len(items) if total is None else total),
    ]
    return Group([*counts, *((tag, item) for item in items)])


def moment(seconds: int) -> datetime:
    """Unix seconds as a time that is written as Braintree does."""
    return datetime.fromtimestamp(seconds, UTC)


def day(seconds: int) -> date:
    """The day of Unix seconds, in UTC."""
    return moment(seconds).date()


def render(tag: str, value: object) -> str:
    """One element. Raises TypeError for what has no form."""
    name = tag.replace("_", "-")
    match value:
        case None:
            return f'<{name} nil="true"/>'
        case bool():
            return f'<{name} type="boolean">{"true" if value else "false"}</{name}>'
        case int():
            return f'<{name} type="integer">{value}</{name}>'
        case str():
            return f"<{name}>{escape(value)}</{name}>"
        case datetime():
            return f'<{name} type="datetime">{value:%Y-%m-%dT%H:%M:%SZ}</{name}>'
        case date():
            return f'<{name} type="date">{value:%Y-%m-%d}</{name}>'
        case list():
            return _array(name, Items("item", value))
        case Items():
            return _array(name, value)
        case Mapping():
            return render(tag, Group(list(value.items())))
        case Group():
            inner = "".join(render(key, held) for key, held in value.pairs)
            return f"<{name}>{inner}</{name}>"
        case _:
            raise TypeError(type(value).__name__)


def _array(name: str, items: Items) -> str:
    inner = "".join(render(items.tag, item) for item in items.items)
    return f'<{name} type="array">{inner}</{name}>'


def document(tag: str, value: object) -> bytes:
    """A whole answer."""
    return ('<?xml version="1.0" encoding="UTF-8"?>\n' + render(tag, value)).encode()


@dataclass(slots=True)
class _Element:
    name: str
    kind: str | None
    text: list[str] = field(default_factory=list)
    children: list[tuple[str, Any]] = field(default_factory=list)

    def value(self) -> Any:
        """A list, a dictionary, or text; None for what is empty."""
        if self.kind == "array":
            return [held for _, held in self.children]
        if self.children:
            found: Tree = {}
            for name, held in self.children:
                if name in found:
                    raise Unreadable(f"{name} stands twice")
                found[name] = held
            return found
        return "".join(self.text) or None


def read(body: bytes) -> tuple[str, Any]:
    """The name of the root and what is in it. Raises Unreadable."""
    open_elements: list[_Element] = [_Element("", None)]
    count = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > ELEMENTS_MAX or len(open_elements) > DEPTH_MAX:
            raise Unreadable("too many elements")
        open_elements.append(_Element(name.replace("-", "_"), attributes.get("type")))

    def end(_: str) -> None:
        element = open_elements.pop()
        open_elements[-1].children.append((element.name, element.value()))

    def text(data: str) -> None:
        open_elements[-1].text.append(data)

    def declared(*_: object) -> None:
        raise Unreadable("no declarations")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = declared
    parser.EntityDeclHandler = declared
    try:
        parser.Parse(body, True)
    except expat.ExpatError:
        raise Unreadable("this is no XML") from None
    return open_elements[0].children[0]

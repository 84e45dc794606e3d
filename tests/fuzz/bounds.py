"""Values at the bounds of a schema and just beyond them, made from the schema alone."""

import re
from collections.abc import Iterator
from itertools import cycle, islice
from re import _constants as opcodes
from re import _parser as patterns
from typing import Any, Final

from msgspec import Struct

from strongroom.http.reference.openapi import Json
from tests.acceptance.client import fresh
from tests.fuzz.oracle import resolved

WIDE: Final = 0x1F600
"""The first of the characters that are one, of four bytes in UTF-8 and two units in UTF-16."""
OUTSIDE: Final = ("\x00", "\x7f", "\x9b", "é", " ", "!", "x")
"""Characters of which one does not fit, wherever there is a pattern."""
MOMENTS: Final = {
    "with an offset": ("2026-11-21T12:00:00+05:30", True),
    "with nanoseconds": ("2026-11-21T12:00:00.123456789Z", True),
    "in small letters": ("2026-11-21t12:00:00z", True),
    "of a leap day": ("2028-02-29T00:00:00Z", True),
    "of no day": ("2027-02-29T00:00:00Z", False),
    "without an offset": ("2026-11-21T12:00:00", False),
    "a date alone": ("2026-11-21", False),
    "of hour 24": ("2026-11-21T24:00:00Z", False),
}
NAMES_THAT_ARE_NEW: Final = ("merchant_reference", "idempotency_key", "Idempotency-Key")
"""Fields whose values may be used once only."""


class Value(Struct, frozen=True):
    """A value for a place, whether it fits there, and which keyword of the schema says so."""

    label: str
    keyword: str
    value: Any
    fits: bool
    field: tuple[str, ...] = ()

    def inside(self, name: str, value: Any) -> "Value":
        """The same as the field `name` of something larger."""
        return Value(f"{name}: {self.label}", self.keyword, value, self.fits, (name, *self.field))


def plain(schema: Json, name: str = "") -> Any:
    """A value that fits, as the schema's example shows it; objects hold what they must."""
    schema = resolved(schema)
    if name in NAMES_THAT_ARE_NEW:
        return fresh()
    if "examples" in schema:
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return plain(schema["anyOf"][0], name)
    match schema.get("type"):
        case "object":
            required = schema.get("required", [])
            return {field: plain(schema["properties"][field], field) for field in required}
        case "array":
            return [plain(schema["items"])]
        case "boolean":
            return False
        case "integer":
            return schema.get("minimum", 0)
        case "boolean":
            return True
        case _:
            return longest(schema, 1)


def values(schema: Json, name: str = "") -> Iterator[Value]:
    """At each bound and beyond each."""
    schema = resolved(schema)
    if "anyOf" in schema:
        other, null = schema["anyOf"]
        assert null == {"type": "null"}
        yield Value("null", "type", None, fits=True)
        yield from (value for value in values(other, name) if value.label != "null")
        return
    yield Value("null", "type", None, fits=False)
    if "enum" in schema:
        yield Value("the first of them", "enum", schema["enum"][0], fits=True)
        yield Value("the last of them", "enum", schema["enum"][-1], fits=True)
        yield Value("none of them", "enum", "EUX", fits=False)
        return
    match schema["type"]:
        case "string":
            yield from _texts(schema)
        case "integer":
            yield from _numbers(schema)
        case "boolean":
            yield Value("true", "type", True, fits=True)
            yield Value("a text", "type", "true", fits=False)
        case "array":
            yield from _lists(schema)
        case "boolean":
            yield Value("a text", "type", "true", fits=False)
            yield Value("a number", "type", 1, fits=False)
            yield Value("true", "type", True, fits=True)
        case "object" if "additionalProperties" in schema and "properties" not in schema:
            yield from _maps(schema)
        case "object":
            yield from _objects(schema)
        case kind:
            raise AssertionError(f"{kind} is a type without bounds here")


def _texts(schema: Json) -> Iterator[Value]:
    yield Value("a number", "type", 7, fits=False)
    if schema.get("format") == "date-time":
        for label, (text, fits) in MOMENTS.items():
            yield Value(label, "format", text, fits)
        return
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    pattern = schema.get("pattern", "^.*$")
    if least:
        yield Value("as short as may be", "minLength", longest(schema, least), fits=True)
        yield Value("too short", "minLength", longest(schema, least - 1), fits=False)
    if most is None:
        most = widest(pattern)
    if most is not None:
        text = longest(schema, most)
        yield Value("as long as may be", "maxLength", text, fits=True)
        yield Value("too long", "maxLength", text + text[-1], fits=False)
        wide = "".join(chr(WIDE + int(digit, 16)) for digit in islice(cycle(fresh("")[1:]), most))
        if re.search(pattern, wide):
            yield Value("wide and as long as may be", "maxLength", wide, fits=True)
    text = longest(schema, min(most or 30, 30)) if widest(pattern) is None else longest(schema)
    for character in OUTSIDE:
        changed = text[:-1] + character
        if not re.search(pattern, changed):
            yield Value(f"with {character!r}", "pattern", changed, fits=False)


def _numbers(schema: Json) -> Iterator[Value]:
    yield Value("in a text", "type", "7", fits=False)
    yield Value("with a fraction", "type", 7.5, fits=False)
    yield Value("truth", "type", True, fits=False)
    for keyword, step in (("minimum", -1), ("maximum", 1)):
        if keyword in schema:
            yield Value("at its bound", keyword, schema[keyword], fits=True)
            yield Value("beyond its bound", keyword, schema[keyword] + step, fits=False)


def _lists(schema: Json) -> Iterator[Value]:
    yield Value("an object", "type", {}, fits=False)
    items = schema["items"]
    for keyword, step in (("minItems", -1), ("maxItems", 1)):
        if keyword in schema:
            counts = {True: schema[keyword], False: schema[keyword] + step}
            for fits, count in counts.items():
                label = f"{count} items"
                yield Value(label, keyword, [plain(items) for _ in range(count)], fits)
    for value in values(items):
        label = f"an item, {value.label}"
        yield Value(label, value.keyword, [value.value], value.fits, value.field)


def _maps(schema: Json) -> Iterator[Value]:
    yield Value("a list", "type", [], fits=False)
    names = {"type": "string", **schema.get("propertyNames", {})}
    inner = schema["additionalProperties"]
    if "maxProperties" in schema:
        for fits, count in ((True, schema["maxProperties"]), (False, schema["maxProperties"] + 1)):
            made = {f"name {number}": plain(inner) for number in range(count)}
            yield Value(f"{count} names", "maxProperties", made, fits)
    for value in values(names):
        if isinstance(value.value, str):
            made = {value.value: plain(inner)}
            yield Value(f"a name {value.label}", value.keyword, made, value.fits)
    for value in values(inner):
        made = {"name": value.value}
        yield Value(f"a value {value.label}", value.keyword, made, value.fits)


def _objects(schema: Json) -> Iterator[Value]:
    yield Value("a list", "type", [], fits=False)
    yield Value("a text", "type", "text", fits=False)
    base, properties = plain(schema), schema["properties"]
    yield Value("with no more than it must", "required", base, fits=True)
    for name in schema.get("required", []):
        less = {field: value for field, value in plain(schema).items() if field != name}
        yield Value(f"{name}: missing", "required", less, fits=False, field=(name,))
    if schema.get("additionalProperties") is False:
        more = {**plain(schema), "nobody_knows_it": 1}
        yield Value("with another field", "additionalProperties", more, fits=False)
    for name, inner in properties.items():
        for value in values(inner, name):
            yield value.inside(name, {**plain(schema), name: value.value})
    largest = {name: _largest(inner, name) for name, inner in properties.items()}
    yield Value("with all at their largest", "maxLength", largest, fits=True)


def _largest(schema: Json, name: str) -> Any:
    """The longest text, or else what is plain: what is larger than one request may be is not it."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return _largest(schema["anyOf"][0], name)
    if "maxLength" in schema:
        return longest(schema, schema["maxLength"])
    if "maxProperties" in schema:
        count, names = schema["maxProperties"], schema["propertyNames"]
        texts = {longest(names, names["maxLength"]) for _ in range(count)}
        value = _largest(schema["additionalProperties"], "")
        return dict.fromkeys(texts, value)
    return plain(schema, name)


def widest(pattern: str) -> int | None:
    """How many characters the pattern lets pass at most; None where it does not say."""
    _, most = patterns.parse(pattern).getwidth()
    return None if most >= opcodes.MAXREPEAT or most > 10_000 else int(most)


def longest(schema: Json, most: int | None = None) -> str:
    """A text that fits the pattern, of so many characters or as many as the pattern lets pass."""
    pattern = schema.get("pattern", "^.*$")
    noise = fresh("")[1:]  # new each time, and with letters between: a token holds no long number
    filler = cycle("".join(f"{noise[at : at + 5]}z" for at in range(0, len(noise), 5)))
    text = "".join(_written(patterns.parse(pattern), filler, most))
    text = text if most is None else text[:most]
    return text if not text or re.search(pattern, text) else text[:-1] + "z"


def _written(tree: Any, filler: Iterator[str], most: int | None) -> Iterator[str]:
    """The characters of a match of a parsed pattern, repeats as long as may be."""
    for opcode, argument in tree:
        match opcode:
            case opcodes.LITERAL:
                yield chr(argument)
            case opcodes.IN | opcodes.ANY | opcodes.NOT_LITERAL:
                yield _fitting(argument if opcode is opcodes.IN else None, filler)
            case opcodes.MAX_REPEAT:
                _, highest, inner = argument
                count = most or 1 if highest is opcodes.MAXREPEAT else highest
                for _ in range(count):
                    yield from _written(inner, filler, most)
            case opcodes.SUBPATTERN:
                yield from _written(argument[-1], filler, most)
            case opcodes.BRANCH:
                yield from _written(argument[1][0], filler, most)
            case opcodes.AT | opcodes.ASSERT | opcodes.ASSERT_NOT:
                pass
            case _:
                raise AssertionError(f"{opcode} stands in no pattern of ours")


def _fitting(allowed: Any, filler: Iterator[str]) -> str:
    """A character of a set; of the filler where it has one."""
    if allowed is None:
        return next(filler)
    negated = allowed[0][0] is opcodes.NEGATE
    for character in (*islice(filler, 40), "7", "Q"):
        if _is_in(allowed, ord(character)) is not negated:
            return character
    raise AssertionError("no plain character fits")


def _is_in(allowed: Any, code: int) -> bool:
    for opcode, argument in allowed:
        if opcode is opcodes.LITERAL and argument == code:
            return True
        if opcode is opcodes.RANGE and argument[0] <= code <= argument[1]:
            return True
    return False

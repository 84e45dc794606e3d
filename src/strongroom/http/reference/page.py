"""The page for readers: the table of operations as HTML that loads nothing and runs nothing."""

import hashlib
import json
import re
from base64 import b64encode
from importlib.resources import files
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape
from msgspec import Struct

from strongroom import __version__
from strongroom.http.exchange import BODY_BYTES_MAX
from strongroom.http.fields import NOT_AFTER_DEFAULT, WAIT_SECONDS_MAX
from strongroom.http.listing import LIMIT_DEFAULT, LIMIT_MAX
from strongroom.http.reference.curl import KEY_VARIABLE, URL_VARIABLE, curl
from strongroom.http.reference.openapi import (
    ABOUT,
    PURPOSE,
    TAGS,
    Json,
    problems_by_status,
    public_name,
    query_parameters,
    schema_of,
    schemas,
    without_null,
)
from strongroom.http.reference.operation import Operation
from strongroom.http.reference.probes import OPENAPI_PATH
from strongroom.http.reference.problem_examples import problem_example, words_of
from strongroom.http.reference.table import OPERATIONS
from strongroom.problems import CATALOGUE, TITLES

CHOICES_SHOWN_MAX: Final = 20
_TOKENS: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>\b(?:true|false|null|'
    r"-?\d+(?:\.\d+)?)\b)"
)
STATUSES: Final = {
    "requires_payment_method": "No instrument yet: a confirm brings one.",
    "processing": "On its way.",
    "requires_action": "The customer has to do what `next_action` says, e.g. 3-D Secure.",
    "authorized": "The gateway holds the amount; it is not taken yet.",
    "succeeded": "Taken. The end.",
    "failed": "Not taken, and never will be. The end; `status_reason` says why.",
    "canceled": "Not taken, and never will be. The end; `status_reason` says why.",
    "outcome_unknown": "The gateway did not answer. It is asked until it does; nothing else is "
    "sent meanwhile. Never treat it as failed.",
}


class Row(Struct, frozen=True):
    """One field, parameter or header, as a reader sees it."""

    name: str
    kind: str
    limits: str
    required: bool
    description: str


def make_page() -> tuple[str, str]:
    """The page, and the Content-Security-Policy that goes with it."""
    style = _text("page.css")
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=DictLoader({"page.html": _text("page.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": prose, "json": highlighted}
    found = schemas()
    page = environment.get_template("page.html").render(
        style=Markup(style),  # noqa: S704 - our own file, in an element whose hash the policy names
        version=__version__,
        purpose=PURPOSE,
        about=ABOUT,
        openapi_path=OPENAPI_PATH,
        url_variable=URL_VARIABLE.removeprefix("$"),
        key_variable=KEY_VARIABLE.removeprefix("$"),
        tags={name: [_shown(op, found) for op in OPERATIONS if op.tag == name] for name in TAGS},
        about_tags=TAGS,
        statuses=STATUSES,
        schemas={
            name: (schema["description"], rows_of(schema, found))
            for name, schema in sorted(found.items())
        },
        problems=_problems(),
        problem=problem_example("merchant_reference_taken"),
        limits={
            "body": BODY_BYTES_MAX,
            "wait": WAIT_SECONDS_MAX,
            "list": LIMIT_MAX,
            "list_default": LIMIT_DEFAULT,
            "minutes": NOT_AFTER_DEFAULT.seconds // 60,
        },
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def prose(text: str) -> Markup:
    """Plain text with `code` in back quotes."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def highlighted(value: Any) -> Markup:
    """JSON with its names, texts and words marked."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    out, last = Markup(""), 0
    for found in _TOKENS.finditer(text):
        out += escape(text[last : found.start()])
        out += Markup('<span class="{}">{}</span>').format(found.lastgroup, found[0])
        last = found.end()
    return out + escape(text[last:])


def rows_of(schema: Json, known: dict[str, Json], prefix: str = "") -> list[Row]:
    """The fields of an object, those of objects inside it with their path."""
    rows: list[Row] = []
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        plain = without_null(field)
        row = _row(prefix + name, field, required=name in required)
        rows.append(row)
        item = plain.get("items", {}) if plain.get("type") == "array" else plain
        inner = known.get(item.get("$ref", "").rpartition("/")[2], item)
        mark = "[]." if plain.get("type") == "array" else "."
        if inner.get("properties") and not _is_shown_elsewhere(item):
            rows += rows_of(inner, known, prefix + name + mark)
    return rows


def _is_shown_elsewhere(item: Json) -> bool:
    """A payment inside a list has a table of its own."""
    return str(item.get("$ref", "")).endswith("/Payment")


def _row(name: str, schema: Json, *, required: bool) -> Row:
    plain = without_null(schema)
    nullable = plain is not schema
    kind = _kind(plain) + (" or null" if nullable else "")
    return Row(name, kind, _limits(plain), required, plain.get("description", ""))


def _kind(schema: Json) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("format") == "date-time":
        return "time"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if "enum" in schema:
        return "one of"
    kind = str(schema.get("type", ""))
    return {"string": "text", "boolean": "true or false"}.get(kind, kind)


def _limits(schema: Json) -> str:
    said: list[str] = []
    if "enum" in schema:
        choices = schema["enum"]
        if len(choices) > CHOICES_SHOWN_MAX:
            return f"{choices[0]}, {choices[1]}, {choices[2]}, … ({len(choices)} values)"
        return ", ".join(map(str, choices))
    if "minimum" in schema and "maximum" in schema:
        said.append(f"{schema['minimum']} to {schema['maximum']}")
    elif "minimum" in schema:
        said.append(f"at least {schema['minimum']}")
    if "maxLength" in schema:
        least = schema.get("minLength", 0)
        said.append(f"{least} to {schema['maxLength']} characters")
    if "maxProperties" in schema:
        said.append(f"at most {schema['maxProperties']} keys")
    if schema.get("default") not in (None, {}):
        said.append(f"default {schema['default']}")
    return "; ".join(said)


def _shown(operation: Operation, found: dict[str, Json]) -> dict[str, Any]:
    """An operation as the template wants it."""
    parameters: dict[str, list[Row]] = {"Path": [], "Headers": [], "Query": [], "Body": []}
    for parameter in operation.accepted:
        place = "Path" if parameter.place == "path" else "Headers"
        parameters[place].append(
            _row(parameter.name, schema_of(parameter.type), required=parameter.required)
        )
    if operation.query is not None:
        parameters["Query"] = [
            _row(name, schema, required=False) for name, schema in query_parameters(operation.query)
        ]
    if operation.body is not None:
        parameters["Body"] = rows_of(found[public_name(operation.body.__name__)], found)
    return {
        "operation": operation,
        "answers": [
            (answer, public_name(answer.type.__name__) if answer.type else None)
            for answer in sorted(operation.answers, key=lambda answer: answer.status)
        ],
        "parameters": {place: rows for place, rows in parameters.items() if rows},
        "problems": {
            status: [(code, CATALOGUE[code]) for code in codes]
            for status, codes in problems_by_status(operation).items()
        },
        "examples": [(example, curl(operation, example)) for example in operation.examples],
    }


def _problems() -> dict[int, tuple[str, list[dict[str, Any]]]]:
    """All problems by status: the title that they share, and for each what a reader wants."""
    where: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        for code in operation.codes:
            where.setdefault(code, []).append(operation)
    return {
        status: (
            title,
            [
                {
                    "code": code,
                    "detail": known.detail.format_map(words_of(known)),
                    "what_to_do": known.what_to_do.format_map(words_of(known)),
                    "retry_safe": known.retry_safe,
                    "where": where.get(code, []),
                }
                for code, known in CATALOGUE.items()
                if known.status == status
            ],
        )
        for status, title in TITLES.items()
    }


def _text(name: str) -> str:
    return (files("strongroom.http.reference") / name).read_text("utf-8")

"""The OpenAPI document and the page: whole, valid, and of one mind with the routes."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any, cast

import jsonschema_rs
import pytest
import schemathesis
from litestar.routes import HTTPRoute

from strongroom.access.api_keys import SCOPES
from strongroom.errors import ProblemDocument
from strongroom.http.reference.openapi import Json, make_openapi
from strongroom.http.reference.operation import Example, Operation, Rooms
from strongroom.http.reference.page import make_page
from strongroom.http.reference.problem_examples import problem_example
from strongroom.http.reference.table import OPERATIONS
from strongroom.http.routes import make_application
from strongroom.problems import CATALOGUE
from strongroom.problems.webhooks import WEBHOOKS

OPENAPI = make_openapi()
PAGE, POLICY = make_page()
BY_ID = {operation.id: operation for operation in OPERATIONS}
PUBLIC = {"get_openapi", "get_docs", "get_healthz", "get_readyz", "get_returned"}
WITHOUT_A_PLACE = {"route_not_found", "method_not_allowed"} | set(WEBHOOKS)
"""Problems of requests that meet no operation, and what gateways are answered."""

by_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: op.id)
EXAMPLES = [(op, example) for op in OPERATIONS for example in op.examples]
by_example = pytest.mark.parametrize(
    ("operation", "example"), EXAMPLES, ids=[f"{op.id}-{e.name}" for op, e in EXAMPLES]
)


def described(operation: Operation) -> Json:
    found: Json = OPENAPI["paths"][operation.path][operation.method.lower()]
    return found


def validator(schema: Json) -> Any:
    whole = {**schema, "components": OPENAPI["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def test_the_document_is_valid_openapi_3_1() -> None:
    assert OPENAPI["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(OPENAPI).validate()


def test_every_route_is_in_the_document_and_every_operation_is_routed() -> None:
    application = make_application(cast(Rooms, None))
    routed = {
        (method, re.sub(r":(str|path)}", "}", route.path))
        for route in application.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods - {"OPTIONS"}
    }
    documented = {
        (method.upper(), path) for path, item in OPENAPI["paths"].items() for method in item
    }
    assert routed == documented == {(op.method, op.path) for op in OPERATIONS}
    assert len(BY_ID) == len(OPERATIONS), "each operation has an id of its own"


@by_operation
def test_nobody_gets_in_without_a_scope_but_where_it_is_meant(operation: Operation) -> None:
    if operation.id in PUBLIC:
        assert operation.scope is None
        assert described(operation)["security"] == []
    else:
        assert operation.scope in SCOPES
        assert described(operation)["security"] == [{"api_key": [operation.scope]}]
        assert {"api_key_invalid", "scope_missing", "key_not_checked"} <= set(operation.codes)


MOVES_NO_MONEY = {"make_checkout_link", "revoke_checkout_link", "search_customers"}
"""A link that is made again takes the place of the one before, and nothing else changes; a search
changes nothing at all."""


@by_operation
def test_what_changes_something_wants_an_idempotency_key(operation: Operation) -> None:
    names = {parameter.name for parameter in operation.parameters if parameter.required}
    if operation.item is not None:  # each item of a bulk has its own
        assert "idempotency_key" in operation.item.__struct_fields__
    else:
        moves = operation.method == "POST" and operation.id not in MOVES_NO_MONEY
        assert ("Idempotency-Key" in names) is moves


def test_every_link_leads_from_what_is_answered_to_what_is_taken() -> None:
    reached = set()
    for operation in OPERATIONS:
        for answer in described(operation)["responses"].values():
            for link in answer.get("links", {}).values():
                target = BY_ID[link["operationId"]]
                names = {parameter["name"] for parameter in described(target)["parameters"]}
                assert set(link.get("parameters", {})) <= names
                if "requestBody" in link:
                    assert set(link["requestBody"]) <= set(target.body.__struct_fields__)
                schema = answer["content"]["application/json"]["schema"]
                texts = re.findall(r"\$response\.body#(/[a-z0-9_/]+)", str(link))
                for text in texts:
                    assert stands_in(schema, text.split("/")[1:]), (operation.id, text)
                assert texts
                reached.add(target.id)
    taking = {op.id for op in OPERATIONS if re.search(r"{\w+_id}", op.path)}
    assert taking <= reached


def stands_in(schema: Json, steps: list[str]) -> bool:
    """Whether an answer of this schema can hold something at this JSON pointer."""
    if "$ref" in schema:
        schema = OPENAPI["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if not steps:
        return True
    for kind in (schema, *schema.get("anyOf", [])):
        if "$ref" in kind and kind is not schema:
            return stands_in(kind, steps)
        inner = (
            kind.get("items") if steps[0].isdigit() else kind.get("properties", {}).get(steps[0])
        )
        if inner is not None:
            return stands_in(inner, steps[1:])
    return False


@by_operation
def test_an_operation_says_everything_of_itself(operation: Operation) -> None:
    assert operation.summary
    assert operation.description.endswith(".")
    in_path = set(re.findall(r"{(\w+)}", operation.path))
    assert {p.name for p in operation.parameters if p.place == "path"} == in_path
    assert len(operation.codes) == len(set(operation.codes)), "each code once"
    for parameter in described(operation)["parameters"]:
        assert parameter["description"]
    for status, answer in described(operation)["responses"].items():
        if status == "503":
            assert answer["headers"]["Retry-After"]["required"] is True


def test_every_problem_has_a_place() -> None:
    said = {code for operation in OPERATIONS for code in operation.codes}
    assert said | WITHOUT_A_PLACE == set(CATALOGUE)


@pytest.mark.parametrize("name", OPENAPI["components"]["schemas"])
def test_every_field_that_needs_words_has_them(name: str) -> None:
    schema = OPENAPI["components"]["schemas"][name]
    assert schema["description"]
    for field, about in schema["properties"].items():
        plain = [about, *about.get("anyOf", [])]
        obvious = {
            "data", "created_at", "updated_at", "gateway", "status", "instrument", "results",
            "payment", "refund", "problem",
        }  # fmt: skip
        assert field in obvious or any("description" in kind for kind in plain), f"{name}.{field}"


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_problem_example_is_a_problem(code: str) -> None:
    schema = {"$ref": "#/components/schemas/Problem"}
    validator(schema).validate(problem_example(code))
    fields = OPENAPI["components"]["schemas"]["Problem"]["properties"]
    assert set(fields) == set(ProblemDocument.__struct_fields__)


@by_example
def test_every_example_keeps_to_its_schemas(operation: Operation, example: Example) -> None:
    if operation.body is not None:
        content = described(operation)["requestBody"]["content"]["application/json"]
        validator(content["schema"]).validate(example.body)
    answer = described(operation)["responses"][str(example.status)]
    media = "application/json" if example.status < 400 else "application/problem+json"
    validator(answer["content"][media]["schema"]).validate(example.answer)
    names = {other.name for op in OPERATIONS for other in op.examples}
    assert example.after is None or example.after in names


class Reading(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(PAGE)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            self.attributes.append((name, value or ""))


READ = Reading()


def test_the_page_loads_and_runs_nothing() -> None:
    assert not READ.tags & {"script", "img", "iframe", "object", "embed", "form", "base"}
    names = {name for name, _ in READ.attributes}
    assert not any(name.startswith("on") for name in names)
    assert not names & {"src", "srcset", "style"}
    linked = {value.partition("#")[0] for name, value in READ.attributes if name == "href"}
    assert {link for link in linked if not link.startswith("data:")} == {"", "/v1/openapi.json"}
    assert "url(" not in PAGE
    assert "@import" not in PAGE


def test_the_policy_lets_in_the_page_s_own_style_and_nothing_else() -> None:
    style = PAGE.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert POLICY.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}';" in POLICY
    assert "script-src" not in POLICY
    assert "unsafe" not in POLICY


def test_every_link_of_the_page_leads_somewhere() -> None:
    assert len(READ.ids) == len(set(READ.ids))
    for name, value in READ.attributes:
        if name == "href" and value.startswith("#"):
            assert value[1:] in READ.ids, value


def test_the_page_shows_every_operation_every_problem_and_every_object() -> None:
    wanted = set(BY_ID)
    wanted |= {f"problem-{code}" for code in CATALOGUE}
    wanted |= {f"object-{name}" for name in OPENAPI["components"]["schemas"]}
    assert wanted <= set(READ.ids)


def test_the_page_works_on_a_phone_and_in_the_dark() -> None:
    assert ("name", "viewport") in READ.attributes
    assert "prefers-color-scheme: dark" in PAGE
    assert "max-width: 56rem" in PAGE

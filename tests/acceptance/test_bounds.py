"""At each bound that the OpenAPI document sets a request is accepted, and beyond it refused.

All of it is made from the document: a new field, parameter or operation is covered by being there.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
from msgspec import Struct

from strongroom.http.reference.openapi import Json
from strongroom.http.reference.shared import (
    EXAMPLE_CUSTOMER,
    EXAMPLE_PAYMENT,
    EXAMPLE_PAYMENT_METHOD,
    EXAMPLE_REFUND,
)
from tests.acceptance import contract
from tests.acceptance.client import Answer, Api, order
from tests.acceptance.raw import send_raw
from tests.fuzz import oracle
from tests.fuzz.bounds import Value, plain, values
from tests.fuzz.links import OPERATIONS

FREE: Final = frozenset(
    """
    merchant_reference_length merchant_reference_characters description_length
    description_characters metadata_length metadata_characters instrument_token_malformed
    return_url_invalid idempotency_key_malformed payment_not_found refund_not_found
    dispute_not_found payout_not_found evidence_length evidence_characters
    parameter_invalid header_not_ascii request_malformed customer_not_found
    customer_field_invalid payment_method_not_found gateway_account_unknown country_invalid
    checkout_link_not_found gateway_customer_malformed tax_field_invalid
    tax_calculation_unknown tax_calculation_not_found tile_not_found log_epoch_not_found
    """.split()
)
"""What a text out of rule is refused with."""
OF_A_CREATE: Final = frozenset(
    {
        "not_after_invalid", "gateway_account_unknown", "customer_not_found",
        "customer_field_invalid", "tax_calculation_unknown",
    }
)  # fmt: skip
"""What a payment that keeps to its schema can be refused for: a moment, an account, a customer."""
CODES: Final[dict[str, frozenset[str]]] = {
    "type": frozenset({"field_type_wrong", "parameter_invalid"}),
    "required": frozenset({"field_missing", "idempotency_key_missing"}),
    "additionalProperties": frozenset({"field_unknown"}),
    "enum": frozenset({"field_type_wrong", "currency_unknown", "parameter_invalid"}),
    "format": frozenset({"field_type_wrong", "parameter_invalid"}),
    "minimum": frozenset({"amount_invalid", "parameter_invalid", "customer_field_invalid"}),
    "maximum": frozenset({"amount_invalid", "parameter_invalid", "customer_field_invalid"}),
    "minItems": frozenset({"bulk_size", "tax_field_invalid"}),
    "maxItems": frozenset({"bulk_size", "instrument_alternatives_too_many", "tax_field_invalid"}),
    "maxProperties": frozenset({"metadata_too_large"}),
    "minLength": FREE,
    "maxLength": FREE,
    "pattern": FREE,
}
"""By keyword of the schema, what a value that breaks it is refused with."""
NAMELESS: Final = re.compile(
    "field_unknown|header_not_ascii|request_malformed|idempotency_key_.*|.*_not_found|bulk_size"
)
"""Codes that say all by themselves; any other names the field."""


class Probe(Struct, frozen=True):
    """A value in its place of a request to an operation."""

    operation: Json
    method: str
    path: str
    place: str
    name: str
    value: Value

    def __str__(self) -> str:
        place = self.place if not self.name else f"{self.place} {self.name}"
        return f"{self.operation['operationId']}, {place}: {self.value.label}"


def probes() -> Iterator[Probe]:
    """All that the document gives rise to."""
    for path, item in contract.OPENAPI["paths"].items():
        for method, operation in item.items():
            if not operation["security"]:
                continue
            for parameter in operation["parameters"]:
                place, name = parameter["in"], parameter["name"]
                for value in parameter_values(parameter):
                    yield Probe(operation, method.upper(), path, place, name, value)
            if "requestBody" in operation:
                for value in values(body_schema(operation)):
                    yield Probe(operation, method.upper(), path, "body", "", value)


def parameter_values(parameter: Json) -> Iterator[Value]:
    """Values that can stand in a URL or a header, where everything is a text."""
    for value in values(parameter["schema"], parameter["name"]):
        if value.keyword != "type":
            yield value
    if parameter["schema"].get("type") == "integer":
        for text in ("", "7.5", "x", "true", "1e1", "７"):
            yield Value(f"as {text!r}", "type", text, fits=False)
    if parameter.get("required") and parameter["in"] == "header":
        yield Value("missing", "required", None, fits=False)


def body_schema(operation: Json) -> Json:
    schema: Json = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema


PROBES: Final = list(probes())


@pytest.fixture(scope="module")
def ids() -> dict[str, str]:
    """What there is by its id in the examples, made by the first who needs it."""
    return {}


async def made(api: Api, ids: dict[str, str]) -> dict[str, str]:
    if not ids:
        paid = await api.pay(order(), wait=20)
        refund = await api.post("/v1/refunds", {"payment": paid.id, "amount": 1}, wait=20)
        customer = await api.post("/v1/customers", {})
        path = f"/v1/customers/{customer.id}/payment_methods"
        card = {"instrument": {"gateway": "stripe", "token": "pm_card_visa"}}
        saved = await api.post(path, card, wait=20)
        ids |= {
            EXAMPLE_PAYMENT_METHOD: saved.id,
            EXAMPLE_PAYMENT: paid.id,
            EXAMPLE_REFUND: refund.id,
            EXAMPLE_CUSTOMER: customer.id,
        }
    return ids


def pieces(probe: Probe, api_key: str) -> tuple[str, dict[str, str], dict[str, str], Any]:
    """Path, query, headers and body: the value in its place, and else what must be there."""
    given: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
    for parameter in probe.operation["parameters"]:
        if parameter.get("required") or parameter["in"] == "path":
            name = parameter["name"]
            given[parameter["in"]][name] = plain(parameter["schema"], name)
    body = plain(body_schema(probe.operation)) if "requestBody" in probe.operation else None
    if probe.place == "body":
        body = probe.value.value
    else:
        given[probe.place][probe.name] = probe.value.value
    path = probe.path.format(**{k: quote(str(v), safe="") for k, v in given["path"].items()})
    headers = {k: v for k, v in given["header"].items() if v is not None}
    return path, given["query"], {"Authorization": f"Bearer {api_key}", **headers}, body


@pytest.mark.sampled(5)
@pytest.mark.parametrize("probe", PROBES, ids=str)
async def test_a_bound_is_where_the_document_says(
    probe: Probe, api: Api, ids: dict[str, str]
) -> None:
    path, query, headers, body = pieces(probe, api.api_key)
    text = "" if body is None and probe.place != "body" else json.dumps(body)
    known = await made(api, ids)
    for example, real in known.items():
        path, text = path.replace(example, real), text.replace(example, real)
    headers |= {"Content-Type": "application/json"} if text else {}
    target = f"{path}?{urlencode(query)}" if query else path
    answer = await send_raw(
        api.url, target, list(headers.items()), text.encode(), method=probe.method
    )
    sent = oracle.Sent(
        probe.method,
        path,
        urlencode(query),
        {k.lower(): v for k, v in headers.items()},
        text.encode(),
    )
    verdict = oracle.judge(sent, of_the_oracle(answer), authorised=True)
    faults, problem = verdict.faults, answer.json if answer.status >= 400 else None
    if verdict.items:
        item_faults, result = verdict.items[0]
        faults, problem = faults + item_faults, result.get("problem")
    assert (faults == []) is probe.value.fits, faults
    if probe.value.fits:
        creates = probe.operation["operationId"].startswith("create_payment")
        semantic = OF_A_CREATE if creates else oracle.SEMANTIC
        if probe.value.keyword == "minLength":  # so short that another payment may hold it
            semantic = semantic | {"merchant_reference_taken"}
        assert problem is None or problem["code"] in semantic
        assert_kept(body, answer)
    else:
        assert problem is not None, answer
        assert problem["code"] in CODES[probe.value.keyword], problem
        assert_named(probe, problem)


def of_the_oracle(answer: Answer) -> oracle.Answer:
    return oracle.Answer(answer.status, answer.headers, answer.body, answer.json)


def assert_named(probe: Probe, problem: Json) -> None:
    """The refusal says which field it is."""
    if NAMELESS.fullmatch(problem["code"]):
        return
    field = probe.name or ".".join(probe.value.field)
    if probe.operation["operationId"] in oracle.SINGLE:
        field = field.partition(".")[2]  # an item knows its own fields
    named = problem.get("field") or ""
    assert field == named or field.startswith(f"{named}.") or not field, problem


def assert_kept(body: Any, answer: Answer) -> None:
    """What is shown of a text is what was sent, to the letter."""
    if not isinstance(body, dict) or answer.status >= 300:
        return
    view = answer.json
    for name in (
        "merchant_reference", "description", "metadata", "amount", "reason", "name", "email",
        "phone",
    ):  # fmt: skip
        if body.get(name) is not None and name in view:
            assert view[name] == body[name]


def test_every_keyword_of_the_document_is_tried() -> None:
    """No schema of a request says anything that the values here do not know."""
    tried = {probe.value.keyword for probe in PROBES} | {
        "properties", "items", "anyOf", "propertyNames", "default", "description", "title",
        "examples", "$ref",
    }  # fmt: skip
    for operation in OPERATIONS.values():
        if operation["security"]:
            schemas = [parameter["schema"] for parameter in operation["parameters"]]
            schemas += [body_schema(operation)] if "requestBody" in operation else []
            for schema in schemas:
                assert keywords(schema) <= tried


def keywords(schema: Any) -> set[str]:
    """The keywords of a schema and of what it is made of."""
    if not isinstance(schema, dict):
        return set()
    schema = oracle.resolved(schema)
    found = set(schema)
    parts = [
        *schema.get("properties", {}).values(), *schema.get("anyOf", []), schema.get("items"),
        schema.get("propertyNames"), schema.get("additionalProperties"),
    ]  # fmt: skip
    return found.union(*map(keywords, parts))

"""What the OpenAPI document alone says of a request, and whether its answer was right.

Independent of how the request was made: it looks at what went over the wire.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import jsonschema_rs
from msgspec import Struct

from strongroom.http.reference.openapi import Json
from tests.acceptance import contract

SEMANTIC: Final = frozenset(
    """
    idempotency_key_reused amount_not_representable not_after_invalid body_too_large
    merchant_reference_taken payment_not_found refund_not_found dispute_not_found
    payout_not_found dispute_is_over dispute_answer_under_way
    payment_has_an_instrument
    not_after_passed instrument_missing payment_is_over payment_is_closing payment_under_review
    payment_not_authorized capture_under_way capture_exceeds_authorized outcome_not_known
    payment_not_refundable refund_exceeds_captured card_number_refused customer_not_found
    customer_erased payment_method_not_found payment_method_not_ready gateway_account_retired
    consent_missing customer_field_invalid gateway_customer_malformed
    instrument_ambiguous tax_calculation_not_found tax_calculation_unknown tax_field_invalid
    gateway_account_unknown checkout_link_not_found checkout_not_set_up instrument_token_malformed
    log_not_signed log_not_cosigned tile_not_found
    """.split()
)
"""What a request can be refused for that keeps to its schema: what no schema can say."""
SINGLE: Final = {"create_payments": "create_payment", "create_refunds": "create_refund"}
"""A bulk, and the operation that each of its items would have been alone."""
JSON_TYPE: Final = "application/json"
ID: Final = re.compile(r"(pay|ref|cus|pm|txc)_[0-9a-z]{26}")


class Wrong(AssertionError):
    """An answer that the document does not allow for this request."""


class Sent(Struct, frozen=True):
    """A request as it went over the wire; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Answer(Struct, frozen=True):
    """What came back; `json` is None where the body is none."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def code(self) -> str | None:
        """The problem's code."""
        return self.json["code"] if self.status >= 400 else None


class Verdict(Struct, frozen=True):
    """Of one exchange: which operation it met, and what of the request breaks the document."""

    operation: Json | None
    faults: list[str]
    items: list[tuple[list[str], Json]] = []
    """Of a bulk that was taken apart: the faults of each item, and its result."""


def judge(sent: Sent, answer: Answer, *, authorised: bool) -> Verdict:
    """Raises Wrong unless the answer is documented, and right for what was asked."""
    if answer.status == 500:
        raise Wrong(f"500: {answer.body[:300]!r}")
    try:
        contract.check(
            sent.method, sent.path, answer.status, answer.headers, answer.body, answer.json
        )
    except (AssertionError, jsonschema_rs.ValidationError) as undocumented:
        raise Wrong(f"not as documented: {undocumented}") from None
    operation = contract.operation_of(sent.method, sent.path)
    if operation is None:
        return Verdict(None, ["no operation"])
    verdict = Verdict(operation, list(faults_of(operation, sent)))
    if not authorised and operation["security"]:
        _without_rights(verdict, answer)
    elif answer.status == 200 and operation["operationId"] in SINGLE:
        verdict = Verdict(operation, verdict.faults, list(_items(operation, sent, answer)))
    elif answer.status < 400 and verdict.faults:
        raise Wrong(f"accepted, although {verdict.faults}")
    elif 400 <= answer.status < 500:
        _refused(verdict.faults, answer.json["code"])
    return verdict


def faults_of(operation: Json, sent: Sent) -> Iterator[str]:
    """What of the request breaks the document, for people."""
    yield from _parameter_faults(operation, sent)
    if "requestBody" not in operation:
        return
    media = sent.headers.get("content-type", JSON_TYPE).partition(";")[0].strip().lower()
    if media != JSON_TYPE:
        yield f"the body is {media}"
        return
    schema = operation["requestBody"]["content"][JSON_TYPE]["schema"]
    try:
        body = read_json(sent.body)
    except (ValueError, RecursionError) as unreadable:
        yield f"the body is no JSON: {unreadable}"
        return
    yield from _schema_faults("body", _apart(operation, schema), body)


def _apart(operation: Json, schema: Json) -> Json:
    """The schema of a bulk without that of its items: those are judged one by one."""
    if operation["operationId"] not in SINGLE:
        return schema
    whole = resolved(schema)
    properties = {name: {**kind, "items": {}} for name, kind in whole["properties"].items()}
    return {**whole, "properties": properties}


def resolved(schema: Json) -> Json:
    """The schema that a reference stands for."""
    found: Json = schema
    if "$ref" in schema:
        found = contract.OPENAPI["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def read_json(body: bytes) -> Any:
    """The body read as the API reads it. Raises ValueError.

    Stricter than JSON Schema in one thing that no schema can say: 1.0 is no integer. The API has no
    other numbers, so one with a fraction or an exponent is read as an object that fits nowhere.
    """
    value = json.loads(
        body.decode("utf-8"),
        object_pairs_hook=_each_name_once,
        parse_float=lambda _: {"a number that is no integer": None},
        parse_constant=_no_constant,
    )
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    return value


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _parameter_faults(operation: Json, sent: Sent) -> Iterator[str]:
    given = {
        "header": dict(sent.headers),
        "path": _path_values(operation, sent.path),
        "query": {},
    }
    pairs = parse_qsl(sent.query, keep_blank_values=True)
    known = {p["name"] for p in operation["parameters"] if p["in"] == "query"}
    for name, text in pairs:
        if name in given["query"]:
            yield f"{name} stands twice in the query"
        if name not in known and operation["security"]:
            yield f"{name} is no parameter"
        given["query"][name] = text
    for parameter in operation["parameters"]:
        place, name = parameter["in"], parameter["name"]
        value: str | None = given[place].get(name.lower() if place == "header" else name)
        if value is None:
            if parameter.get("required"):
                yield f"{name} is missing"
            continue
        yield from _schema_faults(name, parameter["schema"], _typed(parameter["schema"], value))


def _typed(schema: Json, text: str) -> Any:
    """A parameter in the type that its schema wants, or as the text that it is."""
    if schema.get("type") == "integer" and re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    return text


def _path_values(operation: Json, path: str) -> dict[str, str]:
    for template, item in contract.OPENAPI["paths"].items():
        if operation in item.values():
            names = re.findall(r"{(\w+)}", template)
            found = re.fullmatch(contract.pattern_of(template), path)
            assert found is not None
            return dict(zip(names, map(unquote, found.groups()), strict=True))
    raise AssertionError(operation["operationId"])


_validators: dict[str, Any] = {}


def _schema_faults(what: str, schema: Json, value: Any) -> Iterator[str]:
    key = json.dumps(schema, sort_keys=True)
    if key not in _validators:
        whole = {**schema, "components": contract.OPENAPI["components"]}
        _validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    for error in _validators[key].iter_errors(value):
        path = "/".join(map(str, error.instance_path))
        yield f"{what}{path and ' at ' + path}: {str(error).splitlines()[0][:200]}"


def _refused(faults: list[str], code: str) -> None:
    if not faults and code not in SEMANTIC:
        raise Wrong(f"refused with {code}, although it keeps to the schema")


def _without_rights(verdict: Verdict, answer: Answer) -> None:
    if answer.status >= 400 and answer.json["code"] == "card_number_refused":
        return  # it is looked for before it is known who asks
    if answer.status < 400 or (not verdict.faults and answer.status not in (401, 413, 503)):
        raise Wrong(f"answered {answer.status} to a request without a key")


def _items(operation: Json, sent: Sent, answer: Answer) -> Iterator[tuple[list[str], Json]]:
    """The results of a bulk, each judged as the answer to a request of its own."""
    single, [items] = SINGLE[operation["operationId"]], read_json(sent.body).values()
    results = answer.json["results"]
    if [result["index"] for result in results] != list(range(len(items))):
        raise Wrong("the results are not one an item, in their order")
    body = resolved(operation["requestBody"]["content"][JSON_TYPE]["schema"])
    [field] = body["properties"].values()
    for item, result in zip(items, results, strict=True):
        faults = list(_schema_faults("item", field["items"], item))
        _judge_item(single, faults, result)
        yield faults, result


def _judge_item(single: str, faults: list[str], result: Json) -> None:
    said = f"item {result['index']}"
    if result["status"] < 400:
        if faults:
            raise Wrong(f"{said} was accepted, although {faults}")
        if "problem" in result or not ({"payment", "refund"} & set(result)):
            raise Wrong(f"{said} is accepted, and shows no payment or refund")
        return
    problem = result["problem"]
    if problem["status"] != result["status"] or problem["code"] not in CODES[single]:
        raise Wrong(f"{said}: {problem['code']} is not documented for {single}")
    if result["status"] == 503:
        if problem["retry_after_seconds"] is None or not problem["retry_safe"]:
            raise Wrong(f"{said}: 503 without a word of when to come back")
    elif result["status"] >= 500:
        raise Wrong(f"{said}: {problem}")
    else:
        _refused(faults, problem["code"])


CODES: Final[dict[str, set[str]]] = {
    operation["operationId"]: {
        code
        for status, answer in operation["responses"].items()
        if int(status) >= 400
        for content in answer["content"].values()
        for code in content["schema"]["allOf"][1]["properties"]["code"]["enum"]
    }
    for item in contract.OPENAPI["paths"].values()
    for operation in item.values()
}
"""By operation, the codes of the problems that are documented for it."""


def check_sums(view: Json) -> None:
    """Raises Wrong for a payment whose amounts cannot be."""
    captured, back = view["captured_amount"], view["refunded_amount"] + view["refunding_amount"]
    if not 0 <= back <= captured <= view["amount"]:
        raise Wrong(f"the sums of {view['id']} are {captured}, {back} of {view['amount']}")
    if view["refundable_amount"] > captured - back:
        raise Wrong(f"more can be refunded of {view['id']} than is left")

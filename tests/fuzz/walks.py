"""Walks: a plan is carried out, and every answer is judged."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import jsonschema_rs
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky
from msgspec import Struct
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from strongroom.clock import monotonic_seconds
from strongroom.http.reference.curl import KEY_VARIABLE, URL_VARIABLE
from strongroom.http.reference.openapi import Json
from tests.acceptance import contract
from tests.acceptance.client import fresh
from tests.fuzz.links import LINKS, OPERATIONS, filled_by_links, put, value_at
from tests.fuzz.oracle import ID, Answer, Sent, Verdict, Wrong, check_sums, judge
from tests.fuzz.plans import AnyCase, Catalogue, Step
from tests.fuzz.tally import Tally, count, count_pair

CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""What Schemathesis holds an answer to; what a request may be refused for is the oracle's."""
SHOWING: Final = ("/v1/payments", "/v1/refunds")
WAIT: Final = "wait=3"
ANSWER_SECONDS_MAX: Final = 30
SHRINK_SECONDS_MAX: Final = 45
"""How long a shorter walk is looked for that goes wrong too."""
REFERENCE_CHARACTERS_KEPT: Final = 120
KEY_CHARACTERS_KEPT: Final = 120

GONE: Final = {
    "payment_not_found": "pay_",
    "refund_not_found": "ref_",
    "customer_not_found": "cus_",
    "payment_method_not_found": "pm_",
}
"""By code, whose ids are said not to be there; a payment's path may name other things as well."""


class Target(Struct, frozen=True):
    """Where the walks go: an API, and the keys of two merchants."""

    url: str
    api_key: str
    other_key: str


class Round(Struct):
    """What some walks have seen, and what went wrong, if anything did."""

    seed: int
    tally: Tally
    failure: str | None = None


def run_round(catalogue: Catalogue, target: Target, number: int, walks: int) -> Round:
    """So many walks, drawn from this seed; one that goes wrong is made as short as may be."""
    found = Round(number, Tally())
    failed: list[str] = []
    give_up_at: list[float] = []

    @seed(number)
    @settings(
        max_examples=walks,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(catalogue.plans())
    def walk(plan: list[Step]) -> None:
        if failed and monotonic_seconds() > give_up_at[0]:
            raise _ShortEnough
        found.tally.walks += 1
        with requests.Session() as session:
            one = Walk(target, session, found.tally)
            try:
                one.carry_out(plan)
            except Wrong as wrong:
                failed.append(f"{wrong}\n\n{one.told()}")
                give_up_at.append(monotonic_seconds() + SHRINK_SECONDS_MAX)
                raise Wrong(failed[-1]) from None

    try:
        walk()
    except (Wrong, Flaky, _ShortEnough):
        found.failure = min(failed, key=len)
    return found


class _ShortEnough(BaseException):
    """Ends the search for a shorter walk; nothing that Hypothesis would take for a failure."""


class Walk:
    """One merchant's way through the API, step by step."""

    def __init__(self, target: Target, session: requests.Session, tally: Tally) -> None:
        self._target, self._session, self._tally = target, session, tally
        self._authorizations = {
            "own": {"Authorization": f"Bearer {target.api_key}"},
            "other": {"Authorization": f"Bearer {target.other_key}"},
            "nobody": {},
        }
        self._nonce = fresh("w")[:14]
        self._values: dict[tuple[str, str, str], list[str]] = {}
        self._own: set[str] = set()
        self._versions: dict[str, int] = {}
        self._sent: list[tuple[AnyCase, dict[str, str], str]] = []

    def carry_out(self, plan: list[Step]) -> None:
        """Raises Wrong at the first answer that is not right."""
        for number, step in enumerate(plan):
            self._prepare(step, number)
            headers = self._authorizations[step.caller]
            try:
                response = step.case.call(
                    base_url=self._target.url,
                    session=self._session,
                    headers=headers,
                    timeout=ANSWER_SECONDS_MAX,
                )
            except requests.RequestException as failed:
                self._sent.append((step.case, headers, "no answer"))
                raise Wrong(f"no answer: {type(failed).__name__}") from failed
            sent, answer = sent_of(response), answer_of(response)
            self._sent.append((step.case, headers, f"{answer.status} {answer.body[:200]!r}"))
            self._judge(step, sent, answer)
            self._judge_by_schemathesis(step, response)
            if step.again:
                self._repeat(step, response, answer)

    def told(self) -> str:
        """The walk as lines of a shell, the last one that which went wrong."""
        lines = []
        for case, headers, said in self._sent:
            line = case.as_curl_command(headers=headers, base_url=self._target.url)
            for key in (self._target.api_key, self._target.other_key):
                line = line.replace(key, KEY_VARIABLE)
            lines.append(f"{line.replace(self._target.url, URL_VARIABLE)}\n# {said}")
        return "\n".join(lines)

    def _prepare(self, step: Step, number: int) -> None:
        """Ids of earlier answers, keys and references of this walk, and how long to wait."""
        case = step.case
        nonce = f"{self._nonce}.{number}" if step.fresh else self._nonce
        if not step.alone:
            for pick, (place, name) in zip(
                step.picks, filled_by_links(step.operation_id), strict=False
            ):
                known = self._values.get((step.operation_id, place, name))
                if known:
                    put(case, place, name, known, pick)
        key = case.headers.get("Idempotency-Key")
        if key is not None and fits("Idempotency-Key", key):
            case.headers["Idempotency-Key"] = f"{key[:KEY_CHARACTERS_KEPT]}-{nonce}"
        if step.waits and "Prefer" in _headers_of(step.operation_id):
            case.headers["Prefer"] = WAIT
        case.body = _renamed(case.body, nonce)

    def _judge(self, step: Step, sent: Sent, answer: Answer) -> None:
        verdict = judge(sent, answer, authorised=step.caller != "nobody")
        self._count(verdict, answer)
        if step.caller == "own":
            self._learn(step.operation_id, answer)
            for view in _views(answer.json) if sent.path.startswith(SHOWING) else ():
                self._check(view)
        elif any(identifier.encode() in answer.body for identifier in self._own):
            raise Wrong(f"{step.caller} was shown an id of another")
        if answer.status == 404 and step.caller == "own" and verdict.operation is not None:
            gone = GONE.get(answer.json["code"], "none")
            found = {one.group(0) for one in ID.finditer(sent.path)} & self._own
            named = {one for one in found if one.startswith(gone)}
            if named:
                raise Wrong(f"{named} was there, and is gone")

    def _judge_by_schemathesis(self, step: Step, response: Response) -> None:
        try:
            step.case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            raise Wrong("; ".join(str(failure) for failure in group.exceptions)) from None

    def _repeat(self, step: Step, response: Response, first: Answer) -> None:
        """The very same once more: nothing new may come of it."""
        second = answer_of(
            Response.from_any(self._session.send(response.request, timeout=ANSWER_SECONDS_MAX))
        )
        self._judge(step, sent_of(response), second)
        if first.status >= 300 or second.status == 503 or step.caller == "nobody":
            return
        if first.status < 300 <= second.status:
            raise Wrong(f"answered {first.status}, and when asked again {second.status}")
        if response.request.method == "POST" and "data" not in (first.json or {}):  # no search
            made = [(view["id"], True) for view in _views(first.json)]
            again = list(_replays(second))
            if again[: len(made)] != made:
                raise Wrong(f"made {made}, and when asked again {again}")

    def _count(self, verdict: Verdict, answer: Answer) -> None:
        name = "nothing" if verdict.operation is None else verdict.operation["operationId"]
        count_pair(self._tally.answers, name, answer.status)
        kept = "broke" if verdict.faults else "kept to"
        taken = "was taken" if answer.status < 400 else "was refused"
        count(self._tally.kinds, f"{kept} the document, and {taken}")
        if answer.code is not None:
            count(self._tally.codes, answer.code)
        for _, result in verdict.items:
            count_pair(self._tally.items, name, result["status"])
            if "problem" in result:
                count(self._tally.codes, result["problem"]["code"])

    def _learn(self, operation_id: str, answer: Answer) -> None:
        """What the links of this answer give to later steps."""
        for link in LINKS.get((operation_id, answer.status), ()):
            value = value_at(answer.json, link.pointer)
            if isinstance(value, str):
                self._values.setdefault((link.target, link.place, link.name), []).append(value)
                self._own.add(value)

    def _check(self, view: Json) -> None:
        """What holds of each payment and each refund, whenever it is looked at."""
        if "version" not in view:
            return
        check_sums(view)
        known = self._versions.get(view["id"], 0)
        if view["version"] < known:
            raise Wrong(f"{view['id']} was at version {known}, and is at {view['version']}")
        self._versions[view["id"]] = view["version"]
        if datetime.fromisoformat(view["created_at"]) > datetime.now(UTC):
            raise Wrong(f"{view['id']} is of the future")


def sent_of(response: Response) -> Sent:
    """The request as it went over the wire."""
    request = response.request
    parts = urlsplit(request.url or "")
    body = request.body or b""
    headers = {
        name.lower(): value.decode("latin-1") if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    return Sent(
        method=request.method or "",
        path=parts.path,
        query=parts.query,
        headers=headers,
        body=body if isinstance(body, bytes) else str(body).encode(),
    )


def answer_of(response: Response) -> Answer:
    """What came back."""
    headers = requests.structures.CaseInsensitiveDict(
        {name: ", ".join(values) for name, values in response.headers.items()}
    )
    body = response.content
    is_json = body and "json" in headers.get("Content-Type", "")
    return Answer(response.status_code, headers, body, json.loads(body) if is_json else None)


def _renamed(body: Any, nonce: str) -> Any:
    """The body with references and keys that no other walk has; what is out of rule stays."""
    if isinstance(body, list):
        return [_renamed(item, f"{nonce}.{number}") for number, item in enumerate(body)]
    if not isinstance(body, dict):
        return body
    made = {}
    for name, value in body.items():
        if name in ("merchant_reference", "idempotency_key") and fits(name, value):
            made[name] = f"{value[:REFERENCE_CHARACTERS_KEPT]}-{nonce}"
        elif name in ("payments", "refunds"):
            made[name] = _renamed(value, nonce)
        else:
            made[name] = value
    return made


def fits(name: str, value: object) -> bool:
    """Whether a key or a reference keeps to its schema."""
    schema = _SCHEMAS["idempotency_key" if name == "Idempotency-Key" else name]
    return bool(jsonschema_rs.is_valid(schema, value))


_SCHEMAS: Final = contract.OPENAPI["components"]["schemas"]["BulkPayment"]["properties"]


def _headers_of(operation_id: str) -> set[str]:
    parameters = OPERATIONS[operation_id]["parameters"]
    return {parameter["name"] for parameter in parameters if parameter["in"] == "header"}


def _views(body: Any) -> Iterator[Json]:
    """Every payment and every refund that an answer shows."""
    if isinstance(body, list):
        for inner in body:
            yield from _views(inner)
    elif isinstance(body, dict):
        if re.fullmatch(ID, str(body.get("id"))):
            yield body
        else:
            for inner in body.values():
                yield from _views(inner)


def _replays(answer: Answer) -> Iterator[tuple[str, bool]]:
    """What an answer shows, and whether it says that it was made before."""
    for result in (answer.json or {}).get("results", ()):
        for view in _views(result):
            yield view["id"], result["replayed"]
    if "id" in (answer.json or {}):
        yield answer.json["id"], answer.headers.get("Idempotent-Replayed") == "true"

"""Every example of the OpenAPI document and of the page is sent, as shown, and answered as shown.

Ids, times and what the gateway makes up differ each time; all else is equal to the letter.
"""

import asyncio
import json
import os
import re
import subprocess
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest

from strongroom.http.reference.curl import KEY_VARIABLE, URL_VARIABLE, curl
from strongroom.http.reference.openapi import make_openapi
from strongroom.http.reference.operation import Example, Operation
from strongroom.http.reference.page import make_page
from strongroom.http.reference.shared import EXAMPLE_IDS
from strongroom.http.reference.table import OPERATIONS
from tests.acceptance.client import Answer
from tests.acceptance.running import Running

COMMAND_SECONDS_MAX = 30
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
ID = re.compile(r"(pay|ref|cus|pm|txc)_[0-7][0-9a-hjkmnp-tv-z]{25}")
EXAMPLES = {example.name: (op, example) for op in OPERATIONS for example in op.examples}


def new_merchant(running: Running) -> str:
    """The API key of a legal entity that has no payments yet, with an account at the stand-in."""
    entity = running.command("entities", "create", "Examples Ltd")
    account = running.command(
        "gateway-accounts", "add", "--entity", entity, "--gateway", "stripe",
        "--environment", "stand_in", "--secret-file", str(running.home / "secrets/stripe_key"),
        "--base-url", running.stripe_url,
    )  # fmt: skip
    public = (running.home / "secrets/stripe_publishable_key").read_text().strip()
    running.command("gateway-accounts", "publish", account, public)
    return running.command("keys", "create", "--entity", entity, "--name", "examples")


def masked(value: Any) -> Any:
    """A value without what is new each time, but with its form."""
    if isinstance(value, dict):
        return {
            name: "a URL" if name == "url" and urlsplit(item).netloc else masked(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item) for item in value]
    if isinstance(value, str):
        if value.startswith("taxcalc_"):
            return "what Stripe calls it"
        if TIME.fullmatch(value):
            return "a time"
        if found := ID.fullmatch(value):
            return f"an id of {found[1]}"
    return value


class Ids:
    """The ids that were really given, in the place of those that the examples show."""

    def __init__(self) -> None:
        self._given: dict[str | None, dict[str, str]] = {None: {}}

    def put_into(self, text: str, example: Example) -> str:
        """The text with the ids of what the example goes on with."""
        for shown, real in self._given[example.after].items():
            text = text.replace(shown, real)
        return text

    def learn(self, example: Example, answer: Any) -> None:
        """What the example was answered with, for those that go on with it."""
        self._given[example.name] = dict(self._given[example.after])
        if "id" in answer:
            [shown] = (one for one in EXAMPLE_IDS.values() if one[:4] == answer["id"][:4])
            self._given[example.name][shown] = answer["id"]


def in_order() -> list[tuple[Operation, Example]]:
    """Each example after the one that it goes on with."""
    left = list(EXAMPLES.values())
    done: list[tuple[Operation, Example]] = []
    while left:
        ready = [pair for pair in left if pair[1].after in {None, *(one.name for _, one in done)}]
        assert ready, f"examples that go on with none: {[example.name for _, example in left]}"
        done += ready
        left = [pair for pair in left if pair not in ready]
    return done


def assert_as_shown(example: Example, answer: Answer) -> None:
    said = (example.name, answer.status, answer.body)
    assert answer.status == example.status, said
    assert masked(answer.json) == masked(example.answer), said
    for name, value in example.headers.items():
        assert answer.headers.get(name) == value, said


def test_examples_have_names_of_their_own() -> None:
    assert len(EXAMPLES) == sum(len(operation.examples) for operation in OPERATIONS)
    assert all(operation.examples for operation in OPERATIONS if operation.scope is not None)


async def test_every_example_is_answered_as_shown(
    running: Running, session: aiohttp.ClientSession
) -> None:
    key = await asyncio.to_thread(new_merchant, running)
    ids = Ids()
    for operation, example in in_order():
        path = operation.path.format(**EXAMPLE_IDS)
        query = f"?{urlencode(example.query)}" if example.query else ""
        path = ids.put_into(path + query, example)
        body = None if example.body is None else ids.put_into(json.dumps(example.body), example)
        headers = {}
        if operation.scope is not None:
            headers["Authorization"] = f"Bearer {key}"
        if example.key is not None:
            headers["Idempotency-Key"] = example.key
        if example.body is not None:
            headers["Content-Type"] = "application/json"
        if example.wait is not None:
            headers["Prefer"] = f"wait={example.wait}"
        async with session.request(
            operation.method,
            running.api_url + path,
            headers=headers,
            data=body,
        ) as response:
            answer = Answer(response.status, response.headers, await response.read())
        assert_as_shown(example, answer.as_documented(operation.method, path))
        ids.learn(example, answer.json)


@pytest.mark.needs("curl")
def test_every_command_of_the_page_works_in_a_shell(running: Running) -> None:
    environment = os.environ | {
        URL_VARIABLE.removeprefix("$"): running.api_url,
        KEY_VARIABLE.removeprefix("$"): new_merchant(running),
    }
    ids = Ids()
    for operation, example in in_order():
        shown = curl(operation, example)
        typed = ids.put_into(shown, example)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", typed],
            env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX,
            check=True,
        )  # fmt: skip
        said = json.loads(done.stdout)
        assert masked(said) == masked(example.answer), shown
        ids.learn(example, said)


def test_the_page_shows_the_commands_and_answers_that_are_tested() -> None:
    text = re.sub(r"<[^>]+>", "", make_page()[0])
    for old, new in (("&#34;", '"'), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(old, new)
    for operation, example in EXAMPLES.values():
        assert curl(operation, example) in text, example.name
        assert json.dumps(example.answer, indent=2, ensure_ascii=False) in text, example.name


def test_the_document_shows_no_example_but_these() -> None:
    """Problems are shown as the catalogue has them; another test meets each of them."""
    bodies = [example.body for _, example in EXAMPLES.values()]
    answers = [example.answer for _, example in EXAMPLES.values()]
    for item in make_openapi()["paths"].values():
        for operation in item.values():
            content = operation.get("requestBody", {}).get("content", {})
            for media in content.values():
                assert all(shown["value"] in bodies for shown in media["examples"].values())
            for answer in operation["responses"].values():
                for media in answer.get("content", {}).values():
                    for name, shown in media.get("examples", {}).items():
                        if "$ref" in shown:
                            assert shown["$ref"] == f"#/components/examples/problem.{name}"
                        else:
                            assert shown["value"] in answers

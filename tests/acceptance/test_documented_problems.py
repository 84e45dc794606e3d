"""Every problem that the document names for an operation is met there, over HTTP.

Two tables tell more than they can hold: a code that nobody can meet teaches callers to handle what
never comes, and one that is met and not named breaks them. The other half, that no answer goes
beyond the document, is held by contract.py for every answer of all acceptance tests.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from strongroom.http.reference.table import OPERATIONS
from strongroom.problems import CATALOGUE
from strongroom.problems.webhooks import WEBHOOKS
from tests.acceptance.client import StandIn
from tests.acceptance.conftest import assert_no_errors
from tests.acceptance.contract import OPENAPI
from tests.acceptance.good_requests import OPERATION, World
from tests.acceptance.provocations import LEFT_OUT, PROVOKED
from tests.acceptance.running import Running, up

PAIRS = {(operation.id, code) for operation in OPERATIONS for code in operation.codes}
OF_ROUTING = {"route_not_found", "method_not_allowed"}
"""Where there is no operation."""
OF_WEBHOOKS = set(WEBHOOKS)
"""What gateways are answered, which test_webhooks.py meets."""


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A deployment of its own: rules are added to its tables, and its gateway goes away."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-documented-"))
    try:
        with up(folder / "home") as started:
            yield started
            assert_no_errors(started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def whole(running: Running) -> World:
    return World(running)


@pytest.fixture
def world(
    whole: World, session: aiohttp.ClientSession, stripe: StandIn, owner: asyncpg.Connection
) -> World:
    return whole.enter(session, stripe, owner)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("operation_id", OPERATION)
async def test_a_good_request_is_answered_well(operation_id: str, world: World) -> None:
    """So that what is refused below is refused for what was changed."""
    answer = await world.send(await world.good(operation_id))
    assert answer.status < 300, answer
    if answer.headers["Content-Type"] == "application/json":
        assert all(one["status"] < 300 for one in answer.json.get("results", ())), answer


@pytest.mark.sampled(3)
@pytest.mark.parametrize("code", sorted(PROVOKED))
async def test_it_is_met_wherever_it_is_documented(code: str, world: World) -> None:
    met = {}
    for operation_id in sorted(one for one, named in PAIRS if named == code):
        if (operation_id, code) not in LEFT_OUT:
            answer = await PROVOKED[code](world, operation_id)
            await world.stripe.clear()
            met[operation_id] = (answer.status, answer.code)
    assert met, "documented nowhere: it has to leave the table"
    assert met == dict.fromkeys(met, (CATALOGUE[code].status, code))


def test_every_documented_code_has_its_way() -> None:
    assert {code for _, code in PAIRS} == set(PROVOKED) == set(CATALOGUE) - OF_ROUTING - OF_WEBHOOKS


def test_what_is_left_out_is_documented_and_has_a_reason() -> None:
    assert set(LEFT_OUT) <= PAIRS
    assert all(LEFT_OUT.values())
    assert len(LEFT_OUT) <= 3, "each one more wants a look whether it should be documented"


def test_the_document_names_what_the_table_names() -> None:
    """The pairs above are those of the OpenAPI document."""
    named = set()
    for path in OPENAPI["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                shown = answer.get("content", {}).get("application/problem+json", {})
                named |= {(operation["operationId"], code) for code in shown.get("examples", {})}
    assert named == PAIRS

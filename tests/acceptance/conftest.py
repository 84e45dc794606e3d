"""One deployment for all acceptance tests: API, worker, PostgreSQL and the Stripe stand-in."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import stripe as sdk
from msgspec import Struct

from strongroom.config import Home, Settings
from strongroom.gateways.accounts import KEPT_SECONDS
from strongroom.ids import from_text
from strongroom.local.children import MERCHANT_ACCOUNTS
from tests.acceptance.client import Api, StandIn
from tests.acceptance.hooks import Account
from tests.acceptance.running import Running, up
from tests.acceptance.tills import ACCOUNT, BraintreeTill, StripeTill, Till, account_at

CLIENT_SECONDS_MAX = 120


class Merchant(Struct, frozen=True):
    """A legal entity and a key of it with all scopes."""

    legal_entity: str
    api_key: str


def assert_no_errors(running: Running) -> None:
    """Whatever the tests did: no process met anything that it had no name for, and none died."""
    for name in ("api.log", "worker.log"):
        lines = [json.loads(line) for line in running.log_texts()[name].splitlines()]
        assert [line for line in lines if line["level"] == "error"] == [], name
        assert [line["event"] for line in lines].count(name.replace(".log", "_ready")) == 1


@pytest.fixture(scope="package")
def running() -> Iterator[Running]:
    """`strongroom up` with data of its own."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-acceptance-"))
    try:
        Home(folder / "home").write_settings(Settings(mode="dev", webhooks_to_loopback=True))
        with up(folder / "home") as started:
            yield started
            assert_no_errors(started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_merchant(running: Running, name: str) -> Merchant:
    """Another legal entity with a gateway account, made by the command line."""
    entity = running.command("entities", "create", name)
    running.command(
        "gateway-accounts", "add", "--entity", entity, "--gateway", "stripe",
        "--environment", "stand_in", "--secret-file", str(running.home / "secrets/stripe_key"),
        "--base-url", running.stripe_url,
    )  # fmt: skip
    key = running.command("keys", "create", "--entity", entity, "--name", "all")
    return Merchant(entity, key)


@pytest.fixture(scope="package")
def other_merchant(running: Running) -> Merchant:
    """A second legal entity."""
    return new_merchant(running, "Other Ltd")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client with as many connections as requests."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=CLIENT_SECONDS_MAX),
    ) as client:
        yield client


@pytest.fixture
def api(running: Running, session: aiohttp.ClientSession) -> Api:
    """The first merchant."""
    return Api(session, running.api_url, running.api_key)


@pytest.fixture
def other_api(api: Api, other_merchant: Merchant) -> Api:
    """The second merchant."""
    return api.with_key(other_merchant.api_key)


@pytest.fixture
async def stripe(running: Running, session: aiohttp.ClientSession) -> AsyncIterator[StandIn]:
    """The stand-in, without faults before and after the test."""
    secret = (running.home / "secrets" / "stripe_key").read_text().strip()
    stand_in = StandIn(session, running.stripe_url, running.knob_token, secret)
    await stand_in.clear()
    yield stand_in
    await stand_in.clear()


@pytest.fixture
async def owner(running: Running) -> AsyncIterator[asyncpg.Connection]:
    """The database as its superuser sees it: every row of everyone."""
    connection = await asyncpg.connect(
        running.owner_url, server_settings={"search_path": "strongroom, directory"}
    )
    yield connection
    await connection.close()


@pytest.fixture
def client(running: Running) -> sdk.StripeClient:
    """The gateway, as its merchant sees it."""
    secret = (running.home / "secrets" / "stripe_key").read_text().strip()
    return sdk.StripeClient(secret, base_addresses={"api": running.stripe_url})


async def till_at(
    gateway: str, running: Running, session: aiohttp.ClientSession, owner: asyncpg.Connection
) -> Till:
    """The first merchant's gateway."""
    name = await account_at(owner, running.legal_entity, gateway)
    if gateway == "braintree":
        return BraintreeTill(running, session, name)
    key = (running.home / "secrets" / "stripe_key").read_text().strip()
    secret = (running.home / "secrets" / "stripe_webhook_secret").read_text().strip()
    stand_in = StandIn(session, running.stripe_url, running.knob_token, key)
    account = Account(session, f"{running.api_url}/webhooks/stripe/{name}", secret, owner)
    return StripeTill(running, stand_in, account)


@pytest.fixture(params=["stripe", "braintree"])
async def till(
    request: pytest.FixtureRequest,
    running: Running,
    session: aiohttp.ClientSession,
    owner: asyncpg.Connection,
) -> AsyncIterator[Till]:
    """Each gateway in turn, without faults before and after the test."""
    made = await till_at(request.param, running, session, owner)
    await made.calm()
    yield made
    await made.calm()


@pytest.fixture
async def other_merchants_till(
    till: Till, running: Running, other_merchant: Merchant, owner: asyncpg.Connection
) -> Till:
    """The same gateway; the second merchant has an account there as well, with the same keys."""
    if till.name == "braintree":
        entity = from_text("ent", other_merchant.legal_entity)
        if await owner.fetchval(ACCOUNT, entity, "braintree") is None:
            account = running.command(
                "gateway-accounts", "add", "--entity", other_merchant.legal_entity,
                "--gateway", "braintree", "--environment", "stand_in",
                "--secret-file", str(running.home / "secrets/braintree_keys"),
                "--base-url", running.braintree_url,
            )  # fmt: skip
            for currency, name in MERCHANT_ACCOUNTS.items():
                running.command("gateway-accounts", "pay-to", account, currency, name)
            await asyncio.sleep(KEPT_SECONDS)  # until no process goes by what it knew before
    return till


@pytest.fixture
async def at_braintree(
    running: Running, session: aiohttp.ClientSession, owner: asyncpg.Connection
) -> AsyncIterator[BraintreeTill]:
    """Braintree alone."""
    made = await till_at("braintree", running, session, owner)
    assert isinstance(made, BraintreeTill)
    await made.calm()
    yield made
    await made.calm()

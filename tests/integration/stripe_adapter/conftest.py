"""The adapter, an account, the stand-in that both meet, and a server that answers anything."""

from collections.abc import AsyncIterator, Iterator

import pytest

from strongroom.clock import SystemClock
from strongroom.gateways.port import Account
from strongroom.gateways.stripe.client import StripeGateway
from tests.integration.stripe_adapter.asking import RETURN_URL, Answering
from tests.sandbox.conftest import RunningStripe
from tests.unit.examples import ACCOUNT, ENTITY


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStripe]:
    running = RunningStripe(tmp_path_factory.mktemp("stripe"))
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.fixture
def knobs(server: RunningStripe) -> Iterator[RunningStripe]:
    yield server
    server.control("DELETE", "/_knobs")


@pytest.fixture
async def gateway() -> AsyncIterator[StripeGateway]:
    adapter = StripeGateway(SystemClock(), RETURN_URL)
    yield adapter
    await adapter.close()


@pytest.fixture
def account(server: RunningStripe) -> Account:
    return Account(
        legal_entity_id=ENTITY,
        gateway_account_id=ACCOUNT,
        gateway="stripe",
        environment="stand_in",
        secret_file=str(server.key_file),
        base_url=server.url,
    )


@pytest.fixture
async def answering(tmp_path) -> AsyncIterator[Answering]:
    running = Answering(tmp_path / "key")
    await running.start()
    yield running
    await running.stop()

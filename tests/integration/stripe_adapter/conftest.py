"""The adapter, an account, the stand-in that both meet, and a server that answers anything."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from strongroom.clock import SystemClock
from strongroom.gateways.port import Account
from strongroom.gateways.stripe.client import StripeGateway
from tests.integration.stripe_adapter.asking import RETURN_URL, Answering, Keys, account_at
from tests.sandbox.conftest import SECRET_KEY, RunningStripe


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
    adapter = StripeGateway(SystemClock(), Keys(SECRET_KEY), RETURN_URL, mode="dev")
    yield adapter
    await adapter.close()


@pytest.fixture
async def gateway_with() -> AsyncIterator[Callable[[Keys], StripeGateway]]:
    """Makes adapters that have other keys."""
    made: list[StripeGateway] = []

    def make(keys: Keys) -> StripeGateway:
        made.append(StripeGateway(SystemClock(), keys, RETURN_URL, mode="dev"))
        return made[-1]

    yield make
    for adapter in made:
        await adapter.close()


@pytest.fixture
def account(server: RunningStripe) -> Account:
    return account_at(server.url)


@pytest.fixture
async def answering() -> AsyncIterator[Answering]:
    running = Answering()
    await running.start()
    yield running
    await running.stop()

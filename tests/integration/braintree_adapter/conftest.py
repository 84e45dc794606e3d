"""The adapter, an account, and the stand-in that both meet."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from strongroom.clock import SystemClock
from strongroom.gateways.braintree.client import BraintreeAdapter
from strongroom.gateways.port import Account
from tests.integration.braintree_adapter.selling import KEYS, Keys, account_at
from tests.sandbox.braintree_server import RunningBraintree


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBraintree]:
    running = RunningBraintree(tmp_path_factory.mktemp("braintree"))
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture
def knobs(server: RunningBraintree) -> Iterator[RunningBraintree]:
    yield server
    server.control("DELETE", "/_knobs")


@pytest.fixture
async def gateway_with() -> AsyncIterator[Callable[[Keys], BraintreeAdapter]]:
    """Makes adapters that have other keys."""
    made: list[BraintreeAdapter] = []

    def make(keys: Keys) -> BraintreeAdapter:
        made.append(BraintreeAdapter(SystemClock(), keys, mode="dev"))
        return made[-1]

    yield make
    for adapter in made:
        await adapter.close()


@pytest.fixture
def gateway(gateway_with: Callable[[Keys], BraintreeAdapter]) -> BraintreeAdapter:
    return gateway_with(Keys(KEYS))


@pytest.fixture
def account(server: RunningBraintree) -> Account:
    return account_at(server.url)

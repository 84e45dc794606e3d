"""One stand-in for each gateway, for as long as there are cells to try."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest

from tests.conformance.braintree import BraintreeRig
from tests.conformance.rig import Rig
from tests.conformance.stripe import StripeRig
from tests.sandbox.braintree_server import RunningBraintree
from tests.sandbox.conftest import RunningStripe

RIGS: Final[dict[str, tuple[type[RunningStripe], Callable[[Any], Any]]]] = {
    "stripe": (RunningStripe, StripeRig),
    "braintree": (RunningBraintree, BraintreeRig),
}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """Starts the one of a gateway when it is first asked for."""
    started: dict[str, RunningStripe] = {}

    def stand_in(gateway: str) -> RunningStripe:
        if gateway not in started:
            started[gateway] = RIGS[gateway][0](tmp_path_factory.mktemp(gateway)).start()
        return started[gateway]

    try:
        yield stand_in
    finally:
        for server in started.values():
            server.kill()


@pytest.fixture
async def rig(request: pytest.FixtureRequest, stand_ins) -> AsyncIterator[Rig]:
    """The adapter of the gateway that the cell names, before its stand-in."""
    made = RIGS[request.param][1](stand_ins(request.param))
    try:
        yield made
    finally:
        await made.close()

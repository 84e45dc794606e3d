"""A courier of development, on each event loop: our processes run on uvloop, tools on asyncio's.

Their sockets are opened and closed by different code.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from strongroom.webhooks.courier import Courier
from tests.integration.courier.receivers import LOOPBACK, Authority


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def courier(authority: Authority) -> AsyncIterator[Courier]:
    """It finds each name on loopback, and believes the CA of the tests."""
    made = Courier(loopback_allowed=True, lookup=found_on_loopback, tls=authority.trusted())
    yield made
    await made.close()


async def found_on_loopback(_name: str) -> list[str]:
    return [LOOPBACK]

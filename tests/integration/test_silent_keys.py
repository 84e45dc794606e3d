"""A database of keys that swallows packets: who needs a key hears so in time, and it heals."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from strongroom.database import UNREACHABLE, connect_pool
from strongroom.vault.envelope import header_of
from strongroom.vault.keys import WAIT_SECONDS, add_version
from strongroom.vault.opening import Vault
from strongroom.vault.rotation import entity_keys
from strongroom.vault.tombstones import Tombstones
from tests.integration.conftest import NOW, Deployment
from tests.integration.vaults import PLACE, Ours, our_vault

ANSWER_SECONDS_MAX = 3.0


class Swallowing:
    """Passes everything on, until told to let nothing through and to say nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._address, self._tasks = (host, port), set[asyncio.Task[None]]()
        self._passes = asyncio.Event()
        self._passes.set()
        self.port = 0

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        """For a while nothing comes through."""
        self._passes.clear()
        yield
        self._passes.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Swallowing"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
        for task in self._tasks:
            task.cancel()

    async def _connected(self, client, reply) -> None:
        server, forward = await asyncio.open_connection(*self._address)
        for source, sink in ((client, forward), (server, reply)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)

    async def _pass_on(self, source, sink) -> None:
        try:
            while some := await source.read(65536):
                await self._passes.wait()
                sink.write(some)
        except ConnectionError:
            pass
        finally:
            sink.close()


@pytest.fixture
async def ours(deployment: Deployment) -> AsyncIterator[Ours]:
    async with our_vault(deployment) as made:
        yield made


@pytest.fixture
async def between(ours: Ours) -> AsyncIterator[Swallowing]:
    parts = urlsplit(ours.deployment.home.secret("keys_api_url"))
    async with Swallowing(parts.hostname or "", parts.port or 0).serving() as proxy:
        yield proxy


@pytest.fixture
async def far(ours: Ours, between: Swallowing) -> AsyncIterator[Vault]:
    """A vault whose way to the keys the test can close."""
    parts = urlsplit(ours.deployment.home.secret("keys_api_url"))
    login = parts.netloc.rpartition("@")[0]
    url = parts._replace(netloc=f"{login}@127.0.0.1:{between.port}").geturl()
    pool = await connect_pool(url, size_max=2, application="test")
    vault = Vault(pool, ours.kms, Tombstones(ours.deployment.home.tombstones()))
    yield vault
    await vault.close()


async def test_who_has_no_keys_hears_so_in_time(ours, far, between):
    await far.keyring.entity(ours.entity)
    far.keyring.forget(ours.entity)
    async with between.silent():
        began = time.monotonic()
        with pytest.raises(UNREACHABLE):
            await far.keyring.entity(ours.entity)
        assert WAIT_SECONDS <= time.monotonic() - began < ANSWER_SECONDS_MAX
    # What was asked for then arrives, or is asked for again.
    async with asyncio.timeout(20):
        while far.keyring.at_hand(ours.entity) is None:
            try:
                await far.keyring.entity(ours.entity)
            except UNREACHABLE:
                continue


async def test_who_meets_a_newer_version_hears_so_in_time(ours, far, between):
    """Looking for it is no longer a wait than reading the keys would be."""
    keys = await far.keyring.entity(ours.entity)
    await add_version(ours.owner, ours.kms, ours.entity, NOW, only_first=False)
    newer = (await entity_keys(ours.owner, ours.kms, ours.entity)).seal(*PLACE, b"text")
    assert header_of(newer).version == keys.newest + 1
    async with between.silent():
        began = time.monotonic()
        with pytest.raises(UNREACHABLE):
            await far.keyring.opening(ours.entity, [newer])
        assert WAIT_SECONDS <= time.monotonic() - began < ANSWER_SECONDS_MAX
        assert await far.keyring.opening(ours.entity, []) is keys, (
            "what is at hand is not waited for"
        )

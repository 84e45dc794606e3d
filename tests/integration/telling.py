"""A deployment whose endpoints a test tells, by a deliverer and a clock of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from strongroom.clock import ShiftedClock, microseconds_since_epoch
from strongroom.config import Settings
from strongroom.database import connect_pool
from strongroom.ids import BUCKETS, new_id
from strongroom.log.sequencing import Sequencer
from strongroom.vault.entering import set_secret
from strongroom.vault.kinds import WEBHOOK_SIGNING_SECRET, WEBHOOK_URL
from strongroom.vault.opening import open_vault
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Secrets, Slot
from strongroom.webhooks.courier import Courier
from strongroom.webhooks.deliverer import Deliverer
from strongroom.webhooks.endpoint_rows import add_endpoint
from strongroom.webhooks.endpoints import Endpoint
from strongroom.webhooks.signatures import new_secret
from tests.integration.conftest import Deployment
from tests.integration.entering import owner_of
from tests.integration.receivers import Receiver

ROUNDS_MAX = 2000
NEW_EVENT = """
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
VALUES ($1, $2, $3, $4, 'test', $5, $6, $7)
"""
DELIVERIES = "SELECT * FROM webhook_deliveries ORDER BY index"
ENDPOINTS = "SELECT * FROM webhook_endpoints ORDER BY endpoint_id"


class Shop:
    """A deployment with a sequencer, a deliverer under the worker's login, and a clock to move."""

    def __init__(self, deployment: Deployment, owner: asyncpg.Pool, deliverer: Deliverer,
                 sequencer: Sequencer, places: asyncpg.Pool, clock: ShiftedClock,
                 secrets: Secrets) -> None:  # fmt: skip
        self.deployment, self.owner, self.deliverer = deployment, owner, deliverer
        self.sequencer, self.places, self.clock = sequencer, places, clock
        self.secrets = secrets
        self.entity = deployment.ours.legal_entity_id

    async def happens(self, subject: UUID, version: int, kind: str = "payment.changed",
                      entity: UUID | None = None, **payload: Any) -> None:  # fmt: skip
        """An event is committed, and gets its place."""
        await self.owner.execute(
            NEW_EVENT, entity or self.entity, subject, version, kind, self.clock.now(), b"d" * 32,
            msgspec.json.encode(payload),
        )  # fmt: skip

    async def placed(self) -> None:
        await self.sequencer.step(self.places)

    async def endpoint(self, receiver: Receiver, *kinds: str, first: int | None = None,
                       url: str | None = None, entity: UUID | None = None) -> Endpoint:  # fmt: skip
        await self.placed()  # what was there before is not told
        owner, now, secret = entity or self.entity, self.clock.now(), new_secret()
        endpoint = Endpoint(
            legal_entity_id=owner, endpoint_id=new_id(microseconds_since_epoch(now), owner),
            version=1, host="127.0.0.1", kinds=kinds, state="enabled", state_reason=None,
            created_at=now,
        )  # fmt: skip
        receiver.secret, where = secret.reveal_text(), Secret(url or receiver.url)
        async with owner_of(self.deployment.home, self.slot(endpoint)) as (connection, keys):
            await add_endpoint(connection, endpoint, first, "test")
            await set_secret(connection, keys, self.slot(endpoint), secret, now)
            place = self.slot(endpoint)._replace(kind=WEBHOOK_URL)
            await set_secret(connection, keys, place, where, now)
        return endpoint

    def slot(self, endpoint: Endpoint) -> Slot:
        return Slot(endpoint.legal_entity_id, endpoint.endpoint_id, WEBHOOK_SIGNING_SECRET)

    async def step(self) -> int:
        """A round for each endpoint; returns how much was read and sent."""
        return sum(await asyncio.gather(*await self.deliverer.begin()))

    async def rounds(self) -> None:
        """The deliverer works until there is nothing to do at this moment."""
        await self.placed()
        for _ in range(ROUNDS_MAX):
            if await self.step() == 0:
                return
        raise AssertionError("it does not come to an end")

    async def rows(self, statement: str) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.owner.fetch(statement)
        return rows

    async def state(self) -> tuple[str, str | None]:
        [row] = await self.rows(ENDPOINTS)
        return row["state"], row["state_reason"]


@asynccontextmanager
async def telling(deployment: Deployment) -> AsyncIterator[Shop]:
    """Its clock stands four days back."""
    deployment.home.write_settings(Settings(mode="dev"))
    owner = await connect_pool(deployment.owner_url, size_max=5, application="test")
    pool = await connect_pool(deployment.url("worker"), size_max=10, application="test")
    places = await connect_pool(deployment.url("sequencer"), size_max=1, application="test")
    clock = ShiftedClock(-timedelta(days=4))
    vault = await open_vault(deployment.home, deployment.home.settings(), "worker")
    secrets, courier = Secrets(pool, vault.keyring), Courier(loopback_allowed=True, seconds=30.0)
    deliverer = Deliverer(pool, clock, secrets, courier, range(BUCKETS))
    sequencer = Sequencer(deployment.url("sequencer"), clock)
    yield Shop(deployment, owner, deliverer, sequencer, places, clock, secrets)
    await courier.close()
    secrets.close()
    await vault.close()
    for one in (owner, pool, places):
        await one.close()


@pytest.fixture
async def shop(deployment: Deployment) -> AsyncIterator[Shop]:
    async with telling(deployment) as one:
        yield one

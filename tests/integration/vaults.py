"""A vault over a prepared deployment, beside the owner of its keys."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

import asyncpg

from strongroom.clock import microseconds_since_epoch
from strongroom.config import Settings
from strongroom.database import connect_pool
from strongroom.ids import new_id
from strongroom.setup import ensure_entity_keys, keys_owner
from strongroom.vault.envelope import Column
from strongroom.vault.kms import Kms
from strongroom.vault.opening import Vault, open_kms
from strongroom.vault.secret import Secret
from strongroom.vault.subjects import Subjects
from strongroom.vault.tombstones import Tombstones
from tests.integration.conftest import NOW, Deployment

PLACE = (Column("people", "name").label, b"row")
MOMENT = microseconds_since_epoch(NOW)


class CountingKms:
    """A KMS that counts what is asked of it."""

    def __init__(self, inner: Kms) -> None:
        self._inner, self.calls = inner, 0

    @property
    def root_key(self) -> str:
        return self._inner.root_key

    async def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        self.calls += 1
        return await self._inner.wrap(key, context)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        self.calls += 1
        return await self._inner.unwrap(wrapped, context)

    async def close(self) -> None:
        await self._inner.close()


class Ours:
    """A vault over a deployment, the owner of its keys, and its KMS, which counts."""

    def __init__(
        self, deployment: Deployment, vault: Vault, owner: asyncpg.Connection, kms: CountingKms
    ) -> None:
        self.deployment, self.vault, self.owner, self.kms = deployment, vault, owner, kms
        self.entity = deployment.ours.legal_entity_id
        self.tombstones = Tombstones(deployment.home.tombstones())

    @property
    def subjects(self) -> Subjects:
        return self.vault.subjects

    def new_subject(self) -> UUID:
        return new_id(MOMENT, self.entity)

    async def made(self, count: int) -> list[UUID]:
        subjects = [new_id(MOMENT + number, self.entity) for number in range(count)]
        for start in range(0, count, 512):
            found = await self.subjects.create_all(self.entity, subjects[start : start + 512], NOW)
            assert found.refused == {}
        return subjects

    async def another_vault(self) -> Vault:
        return await vault_of(self.deployment, self.kms)

    def looking(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """Another connection of the owner of the keys."""
        return keys_owner(self.deployment.home)

    async def execute(self, sql: str, *values: object, entity: UUID | None = None) -> str:
        async with self.owner.transaction():
            seen = f"{entity or self.entity}"
            await self.owner.execute(f"SET LOCAL strongroom.legal_entities = '{seen}'")
            return str(await self.owner.execute(sql, *values))


async def vault_of(deployment: Deployment, kms: Kms) -> Vault:
    url = deployment.home.secret("keys_api_url")
    pool = await connect_pool(url, size_max=2, application="test")
    return Vault(pool, kms, Tombstones(deployment.home.tombstones()))


@asynccontextmanager
async def our_vault(deployment: Deployment) -> AsyncIterator[Ours]:
    """Keys for both entities of the deployment, and a vault with the API's login."""
    deployment.home.write_settings(Settings())
    await ensure_entity_keys(deployment.home)
    kms = CountingKms(open_kms(deployment.home, Settings()))
    vault = await vault_of(deployment, kms)
    async with keys_owner(deployment.home) as owner:
        yield Ours(deployment, vault, owner, kms)
    await vault.close()

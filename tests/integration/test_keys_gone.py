"""Where keys are lost, nothing makes new ones in their place."""

import asyncpg
import pytest

from strongroom.config import ConfigurationError, Settings
from strongroom.setup import KEYS_SUFFIX, ensure_entity_keys, upgrade
from strongroom.vault.opening import KEY_FILE_NAME
from tests.integration.conftest import Deployment

SEAL = "INSERT INTO strongroom.texts VALUES ($1, $2, 'x')"


@pytest.fixture
async def sealed(deployment: Deployment) -> Deployment:
    """A deployment in which something of one entity is sealed."""
    deployment.home.write_settings(Settings())
    await ensure_entity_keys(deployment.home)
    owner = await asyncpg.connect(deployment.owner_url)
    await owner.execute(SEAL, deployment.ours.legal_entity_id, deployment.ours.payment_id)
    await owner.close()
    return deployment


async def _upgrade(deployment: Deployment) -> None:
    await upgrade(deployment.home, finish=False, tell=lambda _: None)


async def _versions(deployment: Deployment) -> int:
    """How many versions our entity's keys have."""
    keys = await asyncpg.connect(deployment.home.secret("keys_owner_url"))
    try:
        count: int = await keys.fetchval(
            "SELECT count(*) FROM strongroom.entity_keys WHERE legal_entity_id = $1",
            deployment.ours.legal_entity_id,
        )
        return count
    finally:
        await keys.close()


async def test_the_database_of_the_keys_is_not_made_anew(sealed: Deployment) -> None:
    owner = await asyncpg.connect(sealed.owner_url)
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f'ALTER DATABASE "{name}{KEYS_SUFFIX}" RENAME TO "{name}_away"')
    try:
        with pytest.raises(ConfigurationError, match="restore the database of the keys"):
            await _upgrade(sealed)
    finally:
        await owner.execute(f'ALTER DATABASE "{name}_away" RENAME TO "{name}{KEYS_SUFFIX}"')
        await owner.close()
    await _upgrade(sealed)
    assert await _versions(sealed) == 1


async def test_an_entity_whose_keys_an_older_backup_lacks_gets_no_new_ones(
    sealed: Deployment,
) -> None:
    keys = await asyncpg.connect(sealed.home.secret("keys_owner_url"))
    await keys.execute("DELETE FROM strongroom.entity_keys")
    await keys.close()
    with pytest.raises(ConfigurationError, match="No new keys were made"):
        await _upgrade(sealed)
    assert await _versions(sealed) == 0


async def test_a_root_key_that_is_lost_is_not_made_anew(sealed: Deployment) -> None:
    (sealed.home.secrets / KEY_FILE_NAME).unlink()
    with pytest.raises(ConfigurationError, match=KEY_FILE_NAME):
        await _upgrade(sealed)
    assert not (sealed.home.secrets / KEY_FILE_NAME).exists()

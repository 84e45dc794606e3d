"""What accounts had in files goes into the vault before the names of the files go."""

from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from strongroom.config import Home, Settings
from strongroom.database import SEARCH_PATH
from strongroom.directory import create_entity
from strongroom.ids import new_id
from strongroom.migrations import MigrationStopped
from strongroom.setup import owners_vault, upgrade
from strongroom.vault.kinds import STRIPE_API_KEY
from strongroom.vault.secrets import SQL, Slot, open_secret
from tests.contract.first_version import make_first_version
from tests.integration.conftest import NOW
from tests.integration.entering import enter

ACCOUNT = "INSERT INTO gateway_accounts VALUES ($1, $2, 'stripe', 'sandbox', $3, NULL, $4, $5)"
SECRETS = [f"sk_test_{name}0123456789" for name in ("there", "entered")]


async def in_use(home: Home, slot: Slot) -> list[str]:
    """What the vault holds of an account."""
    async with owners_vault(home) as (connection, keyring):
        keys = await keyring.entity(slot.legal_entity_id)
        await connection.execute(
            f"BEGIN; SET LOCAL strongroom.legal_entities = '{slot.legal_entity_id}'"
        )
        rows = await connection.fetch(SQL["secrets_of"], *slot)
        return [
            open_secret(keys, slot, row["version"], row["sealed"]).reveal_text() for row in rows
        ]


async def test_files_are_moved_once_and_none_is_forgotten(
    database_url: str, tmp_path: Path
) -> None:
    owner = await asyncpg.connect(database_url)
    await make_first_version(owner, datetime.now(UTC))
    await owner.execute(f"SET search_path = {SEARCH_PATH}")
    entity = await create_entity(owner, "Upgraded Ltd", NOW)
    home = Home(tmp_path / "home")
    home.write_settings(Settings(mode="dev"))
    home.write_secret("database_owner_url", database_url)
    names = ("there", "missing", "retired, and missing")
    slots = [Slot(entity, new_id(number, entity), STRIPE_API_KEY) for number in range(3)]
    for slot, name in zip(slots, names, strict=True):
        retired = NOW if "retired" in name else None
        await owner.execute(ACCOUNT, entity, slot.owner_id, str(tmp_path / name), NOW, retired)
    (tmp_path / "there").write_text(SECRETS[0] + "\n")

    told: list[str] = []
    with pytest.raises(MigrationStopped, match=rf"not in the vault yet.*: {tmp_path}/missing \("):
        await upgrade(home, finish=True, tell=told.append)
    assert sum("its secret is in the vault" in line for line in told) == 1
    assert sum("cannot be read" in line for line in told) == 2
    assert await in_use(home, slots[0]) == [SECRETS[0]]

    (tmp_path / "there").write_text("another")  # it was moved, and is not looked at again
    await enter(home, slots[1], SECRETS[1])
    await upgrade(home, finish=True, tell=told.append)
    assert [await in_use(home, slot) for slot in slots] == [[SECRETS[0]], [SECRETS[1]], []]
    assert not any(secret in line for secret in SECRETS for line in told)
    await owner.close()

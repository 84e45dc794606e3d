"""Secrets of a deployment under test, entered as an operator's command does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from strongroom.clock import SystemClock
from strongroom.config import Home, Settings
from strongroom.database import begin
from strongroom.setup import ensure_entity_keys, owners_vault
from strongroom.vault.entering import Enter, set_secret
from strongroom.vault.keys import EntityKeys
from strongroom.vault.kinds import STRIPE_API_KEY
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Slot


async def slot_of(owner: asyncpg.Connection, legal_entity_id: UUID) -> Slot:
    """Where the key of an entity's one account lies."""
    account = await owner.fetchval(
        "SELECT gateway_account_id FROM gateway_accounts WHERE legal_entity_id = $1",
        legal_entity_id,
    )
    return Slot(legal_entity_id, account, STRIPE_API_KEY)


async def enter(home: Home, slot: Slot, text: str, how: Enter = set_secret) -> int:
    """Enters a secret; returns its version."""
    async with owner_of(home, slot) as (connection, keys):
        return await how(connection, keys, slot, Secret(text), SystemClock().now())


@asynccontextmanager
async def owner_of(home: Home, slot: Slot) -> AsyncIterator[tuple[asyncpg.Connection, EntityKeys]]:
    """A transaction of the owner, and the keys of the entity; commits at the end."""
    if not (home.path / "strongroom.json").exists():
        home.write_settings(Settings(mode="dev"))
    await ensure_entity_keys(home)
    async with owners_vault(home) as (connection, keyring):
        keys = await keyring.entity(slot.legal_entity_id)
        await begin(connection, [slot.legal_entity_id])
        yield connection, keys
        await connection.execute("COMMIT")

"""What `strongroom up` needs before the first payment: a legal entity, its account, an API key."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from strongroom.access.api_keys import SCOPES, add_key
from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.config import ConfigurationError, Home, Settings
from strongroom.database import SEARCH_PATH, Connection, begin, see
from strongroom.directory import create_entity
from strongroom.gateways.accounts import SQL as ACCOUNTS_SQL
from strongroom.gateways.secret_files import move_secret_files
from strongroom.ids import from_text, new_id, to_text
from strongroom.local.children import MERCHANT_ACCOUNTS
from strongroom.log.noting import note
from strongroom.migrations import migrate
from strongroom.setup import CONNECT_SECONDS, ensure_entity_keys, initialise, owners_vault
from strongroom.vault.entering import replace_secret
from strongroom.vault.kinds import BRAINTREE_KEYS, STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Slot

DEV_ENTITY_NAME: Final = "Example Ltd"


class DevDeployment(Struct, frozen=True):
    """What a newcomer needs to send the first payment."""

    api_key: str
    api_key_file: Path
    legal_entity: str
    gateway_account: str
    braintree_account: str | None = None


async def prepare_dev(
    home_path: Path,
    owner_url: str,
    stripe_url: str,
    api_url: str,
    *,
    braintree_url: str | None = None,
    checkout_url: str = Settings().checkout_url,
    publishable_key: str | None = None,
) -> DevDeployment:
    """Everything that `strongroom up` needs before the first payment; safe to run again.

    Expects HOME/secrets/stripe_key; takes stripe_webhook_secret beside it, where there is one.
    Raises ConfigurationError and asyncpg's errors.
    """
    home = Home(home_path)
    origin = "strongroom.dev/" + secrets.token_hex(8)
    await initialise(home, owner_url, "dev", origin)
    try:
        settings = msgspec.structs.replace(
            home.settings(), api_url=api_url, checkout_url=checkout_url
        )
    except ConfigurationError:
        if (home_path / "strongroom.json").exists():
            raise
        settings = Settings(mode="dev", api_url=api_url, checkout_url=checkout_url)
    home.write_settings(settings)
    connection = await asyncpg.connect(
        owner_url, timeout=CONNECT_SECONDS, server_settings={"search_path": SEARCH_PATH}
    )
    try:
        now = SystemClock().now()
        entity = await _begin_with_entity(connection, now)
        account = await _ensure_stand_in_account(connection, entity, "stripe", stripe_url, now)
        slots = {
            Slot(entity, account, STRIPE_API_KEY): "stripe_key",
            Slot(entity, account, STRIPE_WEBHOOK_SECRET): "stripe_webhook_secret",
        }
        braintree: UUID | None = None
        if braintree_url is not None:
            braintree = await _braintree(connection, entity, braintree_url, now)
            slots[Slot(entity, braintree, BRAINTREE_KEYS)] = "braintree_keys"
        if publishable_key is not None:
            await connection.execute(
                ACCOUNTS_SQL["name_publishable_key"], entity, account, publishable_key
            )
        api_key = await _ensure_dev_key(connection, home, entity, now)
        await connection.execute("COMMIT")
    finally:
        await connection.close()
    await ensure_entity_keys(home)
    await _follow_stand_in(home, slots)
    file = home.write_secret("dev_api_key", api_key)
    return DevDeployment(
        api_key,
        file,
        to_text("ent", entity),
        to_text("gwa", account),
        None if braintree is None else to_text("gwa", braintree),
    )


async def _begin_with_entity(connection: Connection, now: datetime) -> UUID:
    """Begins a transaction for the oldest legal entity, which is made where there is none."""
    entities = await connection.fetch(ACCESS_SQL["entities"])
    if entities:
        oldest: UUID = entities[0]["legal_entity_id"]
        await begin(connection, [oldest])
        return oldest
    await begin(connection, [])
    entity = await create_entity(connection, DEV_ENTITY_NAME, now)
    await see(connection, [entity])
    await note(connection, entity, entity, "legal_entity.created", now)
    return entity


async def _braintree(connection: Connection, entity: UUID, url: str, now: datetime) -> UUID:
    """The account at Braintree's stand-in, with its merchant accounts."""
    # A moment later: accounts are listed by their age, and Stripe's is the first.
    later = now + timedelta(milliseconds=1)
    account = await _ensure_stand_in_account(connection, entity, "braintree", url, later)
    for currency, name in MERCHANT_ACCOUNTS.items():
        await connection.execute(
            ACCOUNTS_SQL["set_merchant_account"], entity, account, currency, name, False, now
        )
    return account


async def _ensure_stand_in_account(
    connection: Connection, entity: UUID, gateway: str, url: str, now: datetime
) -> UUID:
    for row in await connection.fetch(ACCOUNTS_SQL["accounts_of"], entity):
        if row["environment"] == "stand_in" and row["gateway"] == gateway:
            known: UUID = row["gateway_account_id"]
            await connection.execute(ACCOUNTS_SQL["move_account"], entity, known, url)
            return known
    account = new_id(microseconds_since_epoch(now), entity)
    await connection.execute(
        ACCOUNTS_SQL["add_account"], entity, account, gateway, "stand_in", url, now
    )
    kind = "gateway_account.added"
    await note(connection, entity, account, kind, now, gateway=gateway, environment="stand_in")
    return account


async def _follow_stand_in(home: Home, files: Mapping[Slot, str]) -> None:
    """The vault holds what the stand-in has in its files; then nothing needs older versions' files.

    Of several keys in its file, one a line, the first is the newest.
    """
    now = SystemClock().now()
    async with owners_vault(home) as (connection, keyring):
        for slot, file in files.items():
            if slot.kind == STRIPE_WEBHOOK_SECRET and not home.has_secret(file):
                continue
            keys = await keyring.entity(slot.legal_entity_id)
            await begin(connection, [slot.legal_entity_id])
            secret = Secret(home.secret(file).split()[0])
            version = await replace_secret(connection, keys, slot, secret, now)
            if version is not None:
                await note(
                    connection,
                    slot.legal_entity_id,
                    slot.owner_id,
                    "gateway_account.secret_set",
                    now,
                    secret=slot.kind,
                    secret_version=version,
                )
            await connection.execute("COMMIT")
        await move_secret_files(connection, keyring, now, tell=lambda _: None)
        await migrate(connection, now, finish=True)


async def _ensure_dev_key(connection: Connection, home: Home, entity: UUID, now: datetime) -> str:
    """The key in its file where it is still good, else a new one."""
    if home.has_secret("dev_api_key"):
        token = home.secret("dev_api_key")
        key_id = from_text("key", token.removeprefix("sr_dev_")[:30])
        rows = await connection.fetch(ACCESS_SQL["keys_by_id"], [entity], [key_id])
        if rows and rows[0]["revoked_at"] is None:
            return token
    new = new_id(microseconds_since_epoch(now), entity)
    token = await add_key(
        connection,
        mode="dev",
        legal_entity_id=entity,
        api_key_id=new,
        name="dev",
        scopes=sorted(SCOPES),
        at=now,
    )
    await note(connection, entity, new, "api_key.created", now, scopes=sorted(SCOPES))
    return token

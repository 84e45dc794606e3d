"""Setting a deployment up: database, roles, migrations, mode; and in dev the first entity."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from strongroom.access.api_keys import SCOPES, add_key
from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.config import ConfigurationError, Home, Mode, Settings
from strongroom.database import SEARCH_PATH, Connection, begin
from strongroom.directory import create_entity
from strongroom.gateways.accounts import SQL as ACCOUNTS_SQL
from strongroom.ids import from_text, new_id, to_text
from strongroom.migrations import GROUP_ROLES, Tell, migrate, pending
from strongroom.migrations.partitions import extend_events

DEV_ENTITY_NAME: Final = "Example Ltd"
ROLE_CHARACTERS_MAX: Final = 63
CONNECT_SECONDS: Final = 20.0


class DevDeployment(Struct, frozen=True):
    """What a newcomer needs to send the first payment."""

    api_key: str
    api_key_file: Path
    legal_entity: str


async def initialise(
    home: Home, owner_url: str, mode: Mode, log_origin: str, *, finish: bool = False
) -> list[str]:
    """Creates the database where it is missing, migrates it, makes the processes' logins.

    Safe to run again. Returns the migrations applied now. Raises ConfigurationError when the
    database was made for another mode or cannot be migrated, and asyncpg's errors.
    """
    await _create_database(owner_url)
    connection = await asyncpg.connect(owner_url, timeout=CONNECT_SECONDS)
    try:
        now = SystemClock().now()
        applied = await migrate(connection, now, finish=finish)
        await extend_events(connection, now)
        await connection.execute(ACCESS_SQL["add_deployment"], mode, log_origin, now)
        row = await connection.fetchrow(ACCESS_SQL["deployment"])
        if row is None or row["mode"] != mode:
            raise ConfigurationError(
                "this database was initialised for another mode, and stays in it."
            )
        for role in GROUP_ROLES:
            name = role.removeprefix("strongroom_")
            await _make_login(connection, home, owner_url, role, f"database_{name}_url")
    finally:
        await connection.close()
    home.write_secret("database_owner_url", owner_url)
    return applied


async def upgrade(home: Home, *, finish: bool, tell: Tell) -> list[str]:
    """Brings the database up to date while an older version serves; returns what was applied now.

    `finish`: takes away what older versions use, too. Raises ConfigurationError, also where
    it had to stop.
    """
    async with _owner(home) as connection:
        now = SystemClock().now()
        applied = await migrate(connection, now, finish=finish, tell=tell)
        tell(f"partitions of the events reach to {await extend_events(connection, now, tell)}")
    return applied


async def outstanding(home: Home) -> list[str]:
    """The migrations that the database has not seen. Raises ConfigurationError."""
    async with _owner(home) as connection:
        return [migration.name for migration in await pending(connection)]


@asynccontextmanager
async def _owner(home: Home) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the database's owner. Raises ConfigurationError when there is none."""
    try:
        connection = await asyncpg.connect(
            home.secret("database_owner_url"), timeout=CONNECT_SECONDS
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ConfigurationError(
            f"the database of {home.path} cannot be used as its owner: {type(error).__name__}."
        ) from error
    try:
        yield connection
    finally:
        await connection.close()


async def _create_database(owner_url: str) -> None:
    """Creates the database that the URL names, where the server has not got it."""
    try:
        there = await asyncpg.connect(owner_url, timeout=CONNECT_SECONDS)
    except asyncpg.InvalidCatalogNameError:
        parts = urlsplit(owner_url)
    else:
        await there.close()
        return
    name = parts.path.lstrip("/")
    connection = await asyncpg.connect(
        urlunsplit(parts._replace(path="/postgres")), timeout=CONNECT_SECONDS
    )
    try:
        await connection.execute(
            f"CREATE DATABASE {_quoted(name)} TEMPLATE template0 ENCODING 'UTF8'"
        )
    finally:
        await connection.close()


async def _make_login(
    connection: Connection, home: Home, owner_url: str, group: str, secret_name: str
) -> None:
    """A login of this database that inherits the group's grants; its URL becomes a secret."""
    database = await connection.fetchval("SELECT current_database()")
    login = f"{group}_{database}"[:ROLE_CHARACTERS_MAX]
    there = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", login)
    if there and home.has_secret(secret_name):
        url = _url_for(owner_url, login, _password_in(home.secret(secret_name)))
        if home.secret(secret_name) != url:  # the server moved to another port
            home.write_secret(secret_name, url)
        return
    password = secrets.token_urlsafe(32)
    verb = "ALTER" if there else "CREATE"
    await connection.execute(
        f"{verb} ROLE {_quoted(login)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS "
        f"PASSWORD '{password}'"
    )
    await connection.execute(f"GRANT {group} TO {_quoted(login)}")
    await connection.execute(f"REVOKE ALL ON DATABASE {_quoted(database)} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT ON DATABASE {_quoted(database)} TO {_quoted(login)}")
    home.write_secret(secret_name, _url_for(owner_url, login, password))


def _url_for(owner_url: str, login: str, password: str) -> str:
    parts = urlsplit(owner_url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(login)}:{quote(password)}@{address}"))


def _password_in(url: str) -> str:
    return urlsplit(url).password or ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def prepare_dev(
    home_path: Path, owner_url: str, stripe_url: str, api_url: str
) -> DevDeployment:
    """Everything that `strongroom up` needs before the first payment; safe to run again.

    Expects HOME/secrets/stripe_key. Raises ConfigurationError and asyncpg's errors.
    """
    home = Home(home_path)
    origin = "strongroom.dev/" + secrets.token_hex(8)
    await initialise(home, owner_url, "dev", origin, finish=True)
    try:
        settings = msgspec.structs.replace(home.settings(), api_url=api_url)
    except ConfigurationError:
        if (home_path / "strongroom.json").exists():
            raise
        settings = Settings(mode="dev", api_url=api_url)
    home.write_settings(settings)
    connection = await asyncpg.connect(
        owner_url, timeout=CONNECT_SECONDS, server_settings={"search_path": SEARCH_PATH}
    )
    try:
        now = SystemClock().now()
        entities = await connection.fetch(ACCESS_SQL["entities"])
        entity = (
            entities[0]["legal_entity_id"]
            if entities
            else await create_entity(connection, DEV_ENTITY_NAME, now)
        )
        await begin(connection, [entity])
        await _ensure_stand_in_account(connection, home, entity, stripe_url, now)
        api_key = await _ensure_dev_key(connection, home, entity, now)
        await connection.execute("COMMIT")
    finally:
        await connection.close()
    file = home.write_secret("dev_api_key", api_key)
    return DevDeployment(api_key, file, to_text("ent", entity))


async def _ensure_stand_in_account(
    connection: Connection, home: Home, entity: UUID, stripe_url: str, now: datetime
) -> None:
    secret_file = os.fspath((home.secrets / "stripe_key").resolve())
    for row in await connection.fetch(ACCOUNTS_SQL["accounts_of"], entity):
        if row["environment"] == "stand_in" and row["gateway"] == "stripe":
            await connection.execute(
                ACCOUNTS_SQL["move_account"],
                entity,
                row["gateway_account_id"],
                stripe_url,
                secret_file,
            )
            return
    await connection.execute(
        ACCOUNTS_SQL["add_account"],
        entity,
        new_id(microseconds_since_epoch(now), entity),
        "stripe",
        "stand_in",
        secret_file,
        stripe_url,
        now,
    )


async def _ensure_dev_key(connection: Connection, home: Home, entity: UUID, now: datetime) -> str:
    """The key in its file where it is still good, else a new one."""
    if home.has_secret("dev_api_key"):
        token = home.secret("dev_api_key")
        key_id = from_text("key", token.removeprefix("sr_dev_")[:30])
        rows = await connection.fetch(ACCESS_SQL["keys_by_id"], [entity], [key_id])
        if rows and rows[0]["revoked_at"] is None:
            return token
    return await add_key(
        connection,
        mode="dev",
        legal_entity_id=entity,
        api_key_id=new_id(microseconds_since_epoch(now), entity),
        name="dev",
        scopes=sorted(SCOPES),
        at=now,
    )

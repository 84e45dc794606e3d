"""Setting a deployment up: database, roles, migrations, mode; and in dev the first entity."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID

import asyncpg

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.checkout import resealing as client_token_resealing
from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Home, Mode
from strongroom.database import SEARCH_PATH, Connection, begin
from strongroom.gateways.secret_files import move_secret_files
from strongroom.ids import to_text
from strongroom.log.indexing import index_events
from strongroom.migrations import GROUP_ROLES, KEYS, LOG_ROLES, Tell, migrate, pending
from strongroom.migrations.partitions import extend_events
from strongroom.payments import resealing
from strongroom.payments.texts import SQL as TEXTS_SQL
from strongroom.settlement.resealing import EVIDENCE
from strongroom.tax.resealing import QUESTIONS
from strongroom.vault import secret_resealing
from strongroom.vault.destruction import Replayed, journal_of, replay
from strongroom.vault.keys import Keyring
from strongroom.vault.opening import KEY_FILE_NAME, open_kms, open_vault

NAME_CHARACTERS_MAX: Final = 63
SEALED_KINDS: Final = (
    resealing,
    secret_resealing,
    EVIDENCE,
    QUESTIONS,
    client_token_resealing,
)
"""By noun, what seals its values anew."""
CONNECT_SECONDS: Final = 20.0
KEYS_SUFFIX: Final = "_keys"


async def initialise(
    home: Home,
    owner_url: str,
    mode: Mode,
    log_origin: str,
    *,
    keys_owner_url: str | None = None,
) -> list[str]:
    """Creates both databases where they are missing, migrates them, makes the processes' logins.

    `keys_owner_url` is the owner's login to the database of the keys; in dev it may be left to us,
    on the same server. Safe to run again. Returns the migrations applied now. Raises
    ConfigurationError when a database was made for another mode, cannot be migrated, or lies where
    it must not, and asyncpg's errors.
    """
    await _create_database(owner_url)
    connection = await asyncpg.connect(owner_url, timeout=CONNECT_SECONDS)
    try:
        now = SystemClock().now()
        applied = await migrate(connection, now)
        await extend_events(connection, now)
        await index_events(connection)
        await connection.execute(ACCESS_SQL["add_deployment"], mode, log_origin, now)
        row = await connection.fetchrow(ACCESS_SQL["deployment"])
        if row is None or row["mode"] != mode:
            raise ConfigurationError(
                "this database was initialised for another mode, and stays in it."
            )
        await _make_logins(connection, home, owner_url, (*GROUP_ROLES, *LOG_ROLES))
    finally:
        await connection.close()
    home.write_secret("database_owner_url", owner_url)
    return applied + await _initialise_keys(home, owner_url, keys_owner_url, mode)


async def _initialise_keys(
    home: Home,
    owner_url: str,
    keys_owner_url: str | None,
    mode: Mode,
    tell: Tell = lambda _: None,
) -> list[str]:
    """The database of the keys, its logins, and in dev the file with a root key."""
    if keys_owner_url is None:
        if mode == "live":
            raise ConfigurationError(
                "in live mode the keys lie on a server of their own: give the owner's login there "
                "by --keys-database-url-file."
            )
        keys_owner_url = keys_url_beside(owner_url)
    if not await _is_there(keys_owner_url):
        async with _connected(owner_url) as payments:
            if sealed := await _with_sealed_values(payments):
                raise _keys_are_gone(sealed)
        await _create_database(keys_owner_url)
    async with (
        _connected(owner_url) as payments,
        _connected(keys_owner_url) as keys,
    ):
        if mode == "live" and await _server_of(payments) == await _server_of(keys):
            raise ConfigurationError(
                "the keys lie on the server of the payments: one backup of it would hold both. "
                "Use another server."
            )
        applied = await migrate(keys, SystemClock().now(), tell=tell, package=KEYS)
        for role in GROUP_ROLES:
            name = role.removeprefix("strongroom_")
            await _make_login(keys, home, keys_owner_url, role, f"keys_{name}_url")
        await _replay(home, payments, keys)
    home.write_secret("keys_owner_url", keys_owner_url)
    if mode == "dev" and not home.has_secret(KEY_FILE_NAME):
        from strongroom.vault.key_file import make_key_file

        async with _connected(owner_url) as payments:
            if sealed := await _with_sealed_values(payments):
                raise _keys_are_gone(sealed, f"the file {home.secrets / KEY_FILE_NAME}")
        make_key_file(home.secrets / KEY_FILE_NAME)
    return applied


async def _with_sealed_values(payments: Connection) -> list[UUID]:
    """The legal entities of which something is sealed, which their keys alone can open."""
    found = []
    for entity in await _entities(payments):
        await begin(payments, [entity], read_only=True)
        try:
            if await payments.fetchval(TEXTS_SQL["has_sealed"], entity):
                found.append(entity)
        finally:
            await payments.execute("ROLLBACK")
    return found


def _keys_are_gone(
    entities: list[UUID], what: str = "the database of the keys"
) -> ConfigurationError:
    """New keys would open nothing, and the old ones nothing that is sealed meanwhile."""
    return ConfigurationError(
        f"values of {to_text('ent', entities[0])} are sealed and its keys are not there: restore "
        f"{what} from its backup. No new keys were made."
    )


def keys_url_beside(owner_url: str) -> str:
    """Where the keys lie in dev: on the server of the payments, in a database of their own."""
    parts = urlsplit(owner_url)
    return urlunsplit(parts._replace(path="/" + _short(parts.path.lstrip("/") + KEYS_SUFFIX)))


def _short(name: str) -> str:
    """A name that PostgreSQL does not cut: of a long one, its beginning and a digest of it all."""
    if len(name) <= NAME_CHARACTERS_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: NAME_CHARACTERS_MAX - 9]}_{digest}"


async def _server_of(connection: Connection) -> int:
    """The number that a PostgreSQL server, and every copy of its files, bears."""
    number: int = await connection.fetchval("SELECT system_identifier FROM pg_control_system()")
    return number


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        url, timeout=CONNECT_SECONDS, server_settings={"search_path": SEARCH_PATH}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def ensure_entity_keys(home: Home) -> int:
    """Makes keys for each legal entity that has none; returns for how many.

    Raises ConfigurationError, what the KMS raises, and asyncpg's errors.
    """
    from strongroom.vault.keys import add_version, has_keys

    kms, at, made = open_kms(home, home.settings()), SystemClock().now(), 0
    try:
        async with (
            _connected(home.secret("database_owner_url")) as payments,
            _connected(home.secret("keys_owner_url")) as keys,
        ):
            sealed = set(await _with_sealed_values(payments))
            for entity in await _entities(payments):
                if entity in sealed and not await has_keys(keys, entity):
                    raise _keys_are_gone([entity])
                if await add_version(keys, kms, entity, at, only_first=True) is not None:
                    made += 1
    finally:
        await kms.close()
    return made


async def replay_tombstones(home: Home) -> Replayed:
    """Destroys again what a restore brought back; see vault.destruction.

    Raises ConfigurationError and asyncpg's errors.
    """
    async with keys_owner(home) as keys, _connected(home.secret("database_owner_url")) as payments:
        return await _replay(home, payments, keys)


async def _replay(home: Home, payments: Connection, keys: Connection) -> Replayed:
    at = SystemClock().now()
    tombstones = await journal_of(keys, home.tombstones(), at)
    return await replay(keys, tombstones, await _entities(payments), at)


async def legal_entities(home: Home) -> list[UUID]:
    """All legal entities of the deployment. Raises ConfigurationError and asyncpg's errors."""
    async with _connected(home.secret("database_owner_url")) as payments:
        return await _entities(payments)


async def _entities(payments: Connection) -> list[UUID]:
    return [row["legal_entity_id"] for row in await payments.fetch(ACCESS_SQL["entities"])]


def payments_owner(home: Home) -> AbstractAsyncContextManager[asyncpg.Connection]:
    """A connection of the owner of the payments. Raises as `keys_owner` does."""
    return _connected(home.secret("database_owner_url"))


async def is_finished(home: Home) -> bool:
    """Whether no process of an older version will use the database any more."""
    return not await outstanding(home)


def keys_owner(home: Home) -> AbstractAsyncContextManager[asyncpg.Connection]:
    """A connection of the owner of the keys. Raises ConfigurationError and asyncpg's errors."""
    return _connected(home.secret("keys_owner_url"))


async def upgrade(home: Home, *, finish: bool, tell: Tell) -> list[str]:
    """Brings the database up to date while an older version serves; returns what was applied now.

    `finish`: takes away what older versions use, too. Raises ConfigurationError, also where
    it had to stop.
    """
    of_keys: list[str] = []

    async def fill_vault() -> None:
        mode, owner_url = home.settings().mode, home.secret("database_owner_url")
        known = home.secret("keys_owner_url") if home.has_secret("keys_owner_url") else None
        of_keys.extend(await _initialise_keys(home, owner_url, known, mode, tell))
        if made := await ensure_entity_keys(home):
            tell(f"keys made for legal entities: {made}")
        await _move_secret_files(home, tell)

    async with _migrating(home) as connection:
        now = SystemClock().now()
        applied = await migrate(
            connection, now, finish=finish, tell=tell, before_finishing=fill_vault
        )
        tell(f"partitions of the events reach to {await extend_events(connection, now, tell)}")
        url = home.secret("database_owner_url")
        await _make_logins(connection, home, url, LOG_ROLES, keep=True)
        await index_events(connection, tell)
    return applied + of_keys


async def _move_secret_files(home: Home, tell: Tell) -> None:
    """What accounts had in files before there was a vault."""
    async with owners_vault(home) as (connection, keyring):
        await move_secret_files(connection, keyring, SystemClock().now(), tell)


@asynccontextmanager
async def owners_vault(home: Home) -> AsyncIterator[tuple[asyncpg.Connection, Keyring]]:
    """A connection of the database's owner, and the keys of all legal entities."""
    vault = await open_vault(home, home.settings(), "owner")
    try:
        async with _connected(home.secret("database_owner_url")) as connection:
            yield connection, vault.keyring
    finally:
        await vault.close()


async def outstanding(home: Home) -> list[str]:
    """The migrations that the database has not seen. Raises ConfigurationError."""
    async with _migrating(home) as connection:
        return [migration.name for migration in await pending(connection)]


@asynccontextmanager
async def _migrating(home: Home) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the database's owner. Raises ConfigurationError when there is none.

    Without a search path: a file that migrates names its schemas, as the first ones make them.
    """
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


async def _is_there(url: str) -> bool:
    """Whether the server has the database."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    except asyncpg.InvalidCatalogNameError:
        return False
    await connection.close()
    return True


async def _make_logins(
    connection: Connection,
    home: Home,
    owner_url: str,
    groups: Iterable[str],
    *,
    keep: bool = False,
) -> None:
    """To the payments, one of each group. `keep`: one that is there may be another home's."""
    for group in groups:
        name = f"database_{group.removeprefix('strongroom_')}_url"
        await _make_login(connection, home, owner_url, group, name, keep=keep)


async def _make_login(
    connection: Connection, home: Home, owner_url: str, group: str, name: str, *, keep: bool = False
) -> None:
    """A login of this database that inherits the group's grants; its URL becomes a secret."""
    database = await connection.fetchval("SELECT current_database()")
    login = _short(f"{group}_{database}")
    there = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", login)
    if there and keep and not home.has_secret(name):
        return
    if there and home.has_secret(name):
        url = _url_for(owner_url, login, _password_in(home.secret(name)))
        if home.secret(name) != url:  # the server moved to another port
            home.write_secret(name, url)
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
    home.write_secret(name, _url_for(owner_url, login, password))


def _url_for(owner_url: str, login: str, password: str) -> str:
    parts = urlsplit(owner_url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(login)}:{quote(password)}@{address}"))


def _password_in(url: str) -> str:
    return urlsplit(url).password or ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

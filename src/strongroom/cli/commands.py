"""What the command line does for operators: entities, accounts, keys, payments, explain."""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from strongroom.access.api_keys import SCOPES, add_key
from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.clock import SystemClock, microseconds_since_epoch, rfc3339
from strongroom.config import ConfigurationError, Home
from strongroom.database import SEARCH_PATH, Connection, begin, connect_pool
from strongroom.directory import create_entity
from strongroom.gateways.accounts import SQL as ACCOUNTS_SQL
from strongroom.ids import MalformedId, Prefix, from_text, new_id, tag_of, to_text
from strongroom.money import as_decimal_text
from strongroom.payments.explain import explain_lines
from strongroom.payments.reads import Filters, list_payments, read_history
from strongroom.payments.states import Payment


@asynccontextmanager
async def _owner(home: Home) -> AsyncIterator[Connection]:
    """A connection of the database's owner, who may change the directory."""
    connection = await asyncpg.connect(
        home.secret("database_owner_url"),
        timeout=10,
        server_settings={"search_path": SEARCH_PATH},
    )
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _reader(home: Home) -> AsyncIterator[asyncpg.Pool]:
    """A pool with the rights of the API, for reading payments."""
    pool = await connect_pool(
        home.secret("database_api_url"), size_max=1, application="strongroom-cli"
    )
    try:
        yield pool
    finally:
        await pool.close()


def _id(prefix: Prefix, text: str) -> UUID:
    try:
        return from_text(prefix, text)
    except MalformedId as error:
        raise ConfigurationError(f"this is {error}.") from None


async def _entity_of(connection: Connection, identifier: UUID) -> UUID:
    """The legal entity that an id carries."""
    entity: UUID | None = await connection.fetchval(ACCESS_SQL["entity_by_tag"], tag_of(identifier))
    if entity is None:
        raise ConfigurationError("no legal entity of this deployment has such an id.")
    return entity


def entities_create(options: argparse.Namespace) -> int:
    """Creates a legal entity and prints its id."""

    async def run() -> UUID:
        async with _owner(Home(options.home)) as connection:
            return await create_entity(connection, options.name, SystemClock().now())

    print(to_text("ent", asyncio.run(run())))
    return 0


def entities_list(options: argparse.Namespace) -> int:
    """Prints all legal entities."""

    async def run() -> list[asyncpg.Record]:
        async with _owner(Home(options.home)) as connection:
            return await connection.fetch(ACCESS_SQL["entities"])

    for row in asyncio.run(run()):
        print(f"{to_text('ent', row['legal_entity_id'])}  {row['name']}")
    return 0


def gateway_accounts_add(options: argparse.Namespace) -> int:
    """Adds a gateway account whose secret stays in its 0600 file; prints its id."""
    file = options.secret_file.resolve()
    if file.stat().st_mode & 0o077:
        raise ConfigurationError(f"{file} can be read by others: run `chmod 600 {file}`.")
    if (options.environment == "stand_in") != (options.base_url is not None):
        raise ConfigurationError("a stand-in needs --base-url, and nothing else may have one.")
    entity = _id("ent", options.entity)

    async def run() -> UUID:
        now = SystemClock().now()
        account = new_id(microseconds_since_epoch(now), entity)
        async with _owner(Home(options.home)) as connection:
            await _entity_of(connection, entity)
            await begin(connection, [entity])
            await connection.execute(
                ACCOUNTS_SQL["add_account"],
                entity,
                account,
                options.gateway,
                options.environment,
                os.fspath(file),
                options.base_url,
                now,
            )
            await connection.execute("COMMIT")
        return account

    print(to_text("gwa", asyncio.run(run())))
    return 0


def keys_create(options: argparse.Namespace) -> int:
    """Creates an API key and prints it: it is stored as a digest only."""
    scopes = sorted(options.scope or SCOPES)
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise ConfigurationError("scopes are: " + ", ".join(sorted(SCOPES)))
    home = Home(options.home)
    entity = _id("ent", options.entity)

    async def run() -> str:
        now = SystemClock().now()
        async with _owner(home) as connection:
            await _entity_of(connection, entity)
            await begin(connection, [entity])
            token = await add_key(
                connection,
                mode=home.settings().mode,
                legal_entity_id=entity,
                api_key_id=new_id(microseconds_since_epoch(now), entity),
                name=options.name,
                scopes=scopes,
                at=now,
            )
            await connection.execute("COMMIT")
        return token

    print(asyncio.run(run()))
    return 0


def keys_list(options: argparse.Namespace) -> int:
    """Prints the keys of a legal entity, without their secrets."""
    entity = _id("ent", options.entity)

    async def run() -> list[asyncpg.Record]:
        async with _owner(Home(options.home)) as connection:
            await begin(connection, [entity])
            return await connection.fetch(ACCESS_SQL["list_keys"], entity)

    for row in asyncio.run(run()):
        state = f"revoked {rfc3339(row['revoked_at'])}" if row["revoked_at"] else "in use"
        scopes = ",".join(row["scopes"])
        print(f"{to_text('key', row['api_key_id'])}  {row['name']}  {scopes}  {state}")
    return 0


def keys_revoke(options: argparse.Namespace) -> int:
    """Revokes a key; every process refuses it within 5 seconds."""
    key = _id("key", options.id)

    async def run() -> bool:
        async with _owner(Home(options.home)) as connection:
            entity = await _entity_of(connection, key)
            await begin(connection, [entity])
            done = await connection.fetchval(
                ACCESS_SQL["revoke_key"], entity, key, SystemClock().now()
            )
            await connection.execute("COMMIT")
        return done is not None

    if not asyncio.run(run()):
        raise ConfigurationError("there is no such key.")
    print("revoked")
    return 0


def payments_show(options: argparse.Namespace) -> int:
    """Prints one payment."""
    return _with_history(options, short=True)


def explain(options: argparse.Namespace) -> int:
    """Prints everything known about a payment, in order."""
    return _with_history(options, short=False)


def _with_history(options: argparse.Namespace, *, short: bool) -> int:
    home = Home(options.home)
    payment_id = _id("pay", options.id)

    async def run() -> list[str]:
        async with _reader(home) as pool:
            async with pool.acquire() as connection:
                entity = await _entity_of(connection, payment_id)
            history = await read_history(pool, entity, payment_id)
        if history is None:
            raise ConfigurationError("there is no such payment.")
        return explain_lines(history, short=short)

    print("\n".join(asyncio.run(run())))
    return 0


def payments_list(options: argparse.Namespace) -> int:
    """Prints payments of a legal entity, newest first."""
    home = Home(options.home)

    async def run() -> list[Payment]:
        async with _reader(home) as pool:
            async with pool.acquire() as connection:
                entities = await connection.fetch(ACCESS_SQL["entities"])
            if options.entity is not None:
                entity = _id("ent", options.entity)
            elif len(entities) == 1:
                entity = entities[0]["legal_entity_id"]
            else:
                raise ConfigurationError("say --entity; `strongroom entities list` shows them.")
            filters = Filters(status=options.status)
            return (await list_payments(pool, entity, filters, None, options.limit)).payments

    for payment in asyncio.run(run()):
        print(
            f"{to_text('pay', payment.payment_id)}  {rfc3339(payment.created_at)}  "
            f"{as_decimal_text(payment.amount_minor, payment.currency):>16}  "
            f"{payment.status:<24}{payment.merchant_reference}"
        )
    return 0

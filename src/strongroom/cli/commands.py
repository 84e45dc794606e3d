"""What the command line does for operators: entities, accounts, keys, payments, explain."""

import argparse
import asyncio
import re
import sys
from uuid import UUID

import asyncpg

from strongroom.access.api_keys import SCOPES, add_key
from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.cli.named import account_of, entity_named, entity_of, id_of
from strongroom.cli.plain import plain
from strongroom.cli.reading import reader
from strongroom.cli.secrets import entered, vault_at_hand
from strongroom.clock import SystemClock, microseconds_since_epoch, rfc3339
from strongroom.config import ConfigurationError, Home
from strongroom.database import begin, see
from strongroom.directory import create_entity
from strongroom.gateways.accounts import PER_CURRENCY
from strongroom.gateways.accounts import SQL as ACCOUNTS_SQL
from strongroom.ids import new_id, to_text
from strongroom.log.noting import note
from strongroom.money import as_decimal_text
from strongroom.payments.explain import explain_lines
from strongroom.payments.reads import Filters, list_payments, read_history
from strongroom.payments.states import Payment
from strongroom.setup import ensure_entity_keys, is_finished, owners_vault, payments_owner
from strongroom.vault.entering import enter_with_derived, set_secret
from strongroom.vault.kinds import BRAINTREE_KEYS, STRIPE_API_KEY, kind_of
from strongroom.vault.secrets import Slot

SECRET_KINDS = {"stripe": STRIPE_API_KEY, "braintree": BRAINTREE_KEYS}
"""By gateway, what an account signs in with."""


def entities_create(options: argparse.Namespace) -> int:
    """Creates a legal entity with its keys, and prints its id."""
    home = Home(options.home)

    async def run() -> UUID:
        async with payments_owner(home) as connection:
            now = SystemClock().now()
            await begin(connection, [])
            entity = await create_entity(connection, options.name, now)
            await see(connection, [entity])
            await note(connection, entity, entity, "legal_entity.created", now)
            await connection.execute("COMMIT")
        await ensure_entity_keys(home)
        return entity

    print(to_text("ent", asyncio.run(run())))
    return 0


def entities_list(options: argparse.Namespace) -> int:
    """Prints all legal entities."""

    async def run() -> list[asyncpg.Record]:
        async with payments_owner(Home(options.home)) as connection:
            return await connection.fetch(ACCESS_SQL["entities"])

    for row in asyncio.run(run()):
        print(f"{to_text('ent', row['legal_entity_id'])}  {row['name']}")
    return 0


def gateway_accounts_add(options: argparse.Namespace) -> int:
    """Adds a gateway account, puts its secret from a 0600 file into the vault; prints its id."""
    if (options.environment == "stand_in") != (options.base_url is not None):
        raise ConfigurationError("a stand-in needs --base-url, and nothing else may have one.")
    kind = kind_of(SECRET_KINDS[options.gateway])
    secret = entered(kind, options.environment, options.secret_file)
    entity, home = id_of("ent", options.entity), Home(options.home)
    if options.gateway in PER_CURRENCY and not asyncio.run(is_finished(home)):
        raise ConfigurationError(
            "processes of an older version do not know this gateway: finish the upgrade first, by "
            "`strongroom upgrade --finish`."
        )

    async def run() -> UUID:
        now = SystemClock().now()
        account = new_id(microseconds_since_epoch(now), entity)
        async with owners_vault(home) as (connection, keyring):
            await entity_of(connection, entity)
            keys = await keyring.entity(entity)
            await begin(connection, [entity])
            await connection.execute(
                ACCOUNTS_SQL["add_account"],
                entity,
                account,
                options.gateway,
                options.environment,
                options.base_url,
                now,
            )
            slot = Slot(entity, account, kind.name)
            version = await enter_with_derived(set_secret, connection, keys, slot, secret, now)
            await note(
                connection,
                entity,
                account,
                "gateway_account.added",
                now,
                gateway=options.gateway,
                environment=options.environment,
                secret=kind.name,
                secret_version=version,
            )
            await connection.execute("COMMIT")
        return account

    with vault_at_hand():
        account = asyncio.run(run())
    print(to_text("gwa", account))
    print(f"its secret is in the vault: delete {options.secret_file}", file=sys.stderr)
    return 0


def gateway_accounts_publish(options: argparse.Namespace) -> int:
    """Names the publishable key of an account; with it, its entity's payments have a page."""
    account = id_of("gwa", options.account)
    if not re.fullmatch(r"pk_(test|live)_[A-Za-z0-9]{8,200}", options.key):
        raise ConfigurationError("a publishable key has to look like pk_test_… or pk_live_…")

    async def run() -> None:
        async with payments_owner(Home(options.home)) as connection:
            found = await account_of(connection, account)
            if (found["environment"] == "live") != options.key.startswith("pk_live_"):
                raise ConfigurationError("the key is of another mode than the account.")
            entity = found["legal_entity_id"]
            await begin(connection, [entity])
            await connection.execute(
                ACCOUNTS_SQL["name_publishable_key"], entity, account, options.key
            )
            named, now = "gateway_account.key_published", SystemClock().now()
            await note(connection, entity, account, named, now, publishable_key=options.key)
            await connection.execute("COMMIT")

    asyncio.run(run())
    print("named")
    return 0


def keys_create(options: argparse.Namespace) -> int:
    """Creates an API key and prints it: it is stored as a digest only."""
    scopes = sorted(options.scope or SCOPES)
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise ConfigurationError("scopes are: " + ", ".join(sorted(SCOPES)))
    home = Home(options.home)
    entity = id_of("ent", options.entity)

    async def run() -> str:
        now = SystemClock().now()
        key = new_id(microseconds_since_epoch(now), entity)
        async with payments_owner(home) as connection:
            await entity_of(connection, entity)
            await begin(connection, [entity])
            token = await add_key(
                connection,
                mode=home.settings().mode,
                legal_entity_id=entity,
                api_key_id=key,
                name=options.name,
                scopes=scopes,
                at=now,
            )
            await note(connection, entity, key, "api_key.created", now, scopes=scopes)
            await connection.execute("COMMIT")
        return token

    print(asyncio.run(run()))
    return 0


def keys_list(options: argparse.Namespace) -> int:
    """Prints the keys of a legal entity, without their secrets."""
    entity = id_of("ent", options.entity)

    async def run() -> list[asyncpg.Record]:
        async with payments_owner(Home(options.home)) as connection:
            await begin(connection, [entity])
            return await connection.fetch(ACCESS_SQL["list_keys"], entity)

    for row in asyncio.run(run()):
        state = f"revoked {rfc3339(row['revoked_at'])}" if row["revoked_at"] else "in use"
        scopes = ",".join(row["scopes"])
        print(f"{to_text('key', row['api_key_id'])}  {row['name']}  {scopes}  {state}")
    return 0


def keys_revoke(options: argparse.Namespace) -> int:
    """Revokes a key; every process refuses it within 5 seconds."""
    key = id_of("key", options.id)

    async def run() -> bool:
        async with payments_owner(Home(options.home)) as connection:
            entity = await entity_of(connection, key)
            await begin(connection, [entity])
            now = SystemClock().now()
            is_first = await connection.fetchval(ACCESS_SQL["revoke_key"], entity, key, now)
            if is_first:
                await note(connection, entity, key, "api_key.revoked", now)
            await connection.execute("COMMIT")
        return is_first is not None

    if not asyncio.run(run()):
        raise ConfigurationError("there is no such key.")
    print("revoked")
    return 0


def payments_show(options: argparse.Namespace) -> int:
    """Prints one payment."""
    return _with_history(options, short=True)


def explain(options: argparse.Namespace) -> int:
    """Prints everything known about a payment, in order; or writes it as a bundle."""
    if options.bundle is not None:
        from strongroom.cli.bundling import bundle

        return bundle(options)
    return _with_history(options, short=False)


def _with_history(options: argparse.Namespace, *, short: bool) -> int:
    home = Home(options.home)
    payment_id = id_of("pay", options.id)

    async def run() -> list[str]:
        async with reader(home) as pool:
            async with pool.acquire() as connection:
                entity = await entity_of(connection, payment_id)
            history = await read_history(pool, entity, payment_id)
        if history is None:
            raise ConfigurationError("there is no such payment.")
        return explain_lines(history, short=short)

    print("\n".join(map(plain, asyncio.run(run()))))
    return 0


def payments_list(options: argparse.Namespace) -> int:
    """Prints payments of a legal entity, newest first."""
    home = Home(options.home)

    async def run() -> list[Payment]:
        async with reader(home) as pool:
            async with pool.acquire() as connection:
                entity = await entity_named(connection, options.entity)
            filters = Filters(status=options.status)
            return (await list_payments(pool, entity, filters, None, options.limit)).payments

    for payment in asyncio.run(run()):
        told = (
            f"{to_text('pay', payment.payment_id)}  {rfc3339(payment.created_at)}  "
            f"{as_decimal_text(payment.amount_minor, payment.currency):>16}  "
            f"{payment.status:<24}{payment.merchant_reference}"
        )
        print(plain(told))
    return 0

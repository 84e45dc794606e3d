"""`strongroom gateway-accounts pay-to` and its kin: where currencies are paid to."""

import argparse
import asyncio
import re
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.cli.named import account_of, id_of
from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Home
from strongroom.database import Connection, begin
from strongroom.gateways.accounts import PER_CURRENCY
from strongroom.gateways.accounts import SQL as ACCOUNTS_SQL
from strongroom.ids import to_text
from strongroom.log.noting import note
from strongroom.money import is_currency
from strongroom.setup import payments_owner

_MERCHANT_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WHAT: Final = "account at a gateway with merchant accounts"
HEARD: Final = "processes know it in 5 seconds"


def pay_to(options: argparse.Namespace) -> int:
    """Says where one currency of an account is paid to, from now on."""
    account, currency = id_of("gwa", options.account), _currency(options.currency)
    if not _MERCHANT_ACCOUNT.fullmatch(options.merchant_account):
        raise ConfigurationError("this is no id of a merchant account.")

    async def run() -> None:
        async with payments_owner(Home(options.home)) as connection:
            entity, now = await _entity_of(connection, account), SystemClock().now()
            await begin(connection, [entity])
            await connection.execute(
                ACCOUNTS_SQL["set_merchant_account"],
                entity,
                account,
                currency,
                options.merchant_account,
                options.three_d_secure,
                now,
            )
            await note(
                connection,
                entity,
                account,
                "gateway_account.currency_set",
                now,
                currency=currency,
                merchant_account=options.merchant_account,
                three_d_secure=options.three_d_secure,
            )
            await connection.execute("COMMIT")

    asyncio.run(run())
    print(f"{currency} is paid to {options.merchant_account}; {HEARD}")
    return 0


def refuse(options: argparse.Namespace) -> int:
    """Takes a currency no more at an account; what was sent before is carried to its end."""
    account, currency = id_of("gwa", options.account), _currency(options.currency)

    async def run() -> bool:
        async with payments_owner(Home(options.home)) as connection:
            entity = await _entity_of(connection, account)
            await begin(connection, [entity])
            removed = await connection.fetchval(
                ACCOUNTS_SQL["remove_merchant_account"], entity, account, currency
            )
            if removed is not None:
                kind, now = "gateway_account.currency_refused", SystemClock().now()
                await note(connection, entity, account, kind, now, currency=currency)
            await connection.execute("COMMIT")
        return removed is not None

    if not asyncio.run(run()):
        raise ConfigurationError("this account has no merchant account for the currency.")
    print(f"{currency} is refused; {HEARD}")
    return 0


def currencies(options: argparse.Namespace) -> int:
    """Prints where the currencies of a legal entity's accounts are paid to."""
    entity = id_of("ent", options.entity)

    async def run() -> list[asyncpg.Record]:
        async with payments_owner(Home(options.home)) as connection:
            await begin(connection, [entity], read_only=True)
            return await connection.fetch(ACCOUNTS_SQL["merchant_accounts_of"], entity)

    for row in asyncio.run(run()):
        mark = "  three_d_secure" if row["three_d_secure"] else ""
        account = to_text("gwa", row["gateway_account_id"])
        print(f"{account}  {row['currency']}  {row['paid_to']}{mark}")
    return 0


def _currency(text: str) -> str:
    if not is_currency(text):
        raise ConfigurationError("there is no such currency: say it as EUR.")
    return text


async def _entity_of(connection: Connection, account: UUID) -> UUID:
    """The legal entity of an account at a gateway of this kind. Raises ConfigurationError."""
    row = await account_of(connection, account, _WHAT)
    if row["gateway"] not in PER_CURRENCY:
        raise ConfigurationError(f"there is no such {_WHAT}.")
    entity: UUID = row["legal_entity_id"]
    return entity

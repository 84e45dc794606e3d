"""What an operator names by an id on the command line; each raises ConfigurationError."""

from uuid import UUID

import asyncpg

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.config import ConfigurationError
from strongroom.database import Connection, begin
from strongroom.gateways.accounts import SQL as ACCOUNTS_SQL
from strongroom.ids import MalformedId, Prefix, from_text, tag_of


def id_of(prefix: Prefix, text: str) -> UUID:
    """The id that is written so."""
    try:
        return from_text(prefix, text)
    except MalformedId as error:
        raise ConfigurationError(f"this is {error}.") from None


async def entity_of(connection: Connection, identifier: UUID) -> UUID:
    """The legal entity that an id carries."""
    entity: UUID | None = await connection.fetchval(ACCESS_SQL["entity_by_tag"], tag_of(identifier))
    if entity is None:
        raise ConfigurationError("no legal entity of this deployment has such an id.")
    return entity


async def entity_named(connection: Connection, text: str | None) -> UUID:
    """The legal entity of this id; without one, the only one that there is."""
    entities = await connection.fetch(ACCESS_SQL["entities"])
    known = [row["legal_entity_id"] for row in entities]
    wanted = [id_of("ent", text)] if text is not None else known
    if len(wanted) != 1:
        raise ConfigurationError("say --entity; `strongroom entities list` shows them.")
    if wanted[0] not in known:
        raise ConfigurationError("there is no such legal entity.")
    entity: UUID = wanted[0]
    return entity


async def account_of(
    connection: Connection, account_id: UUID, what: str = "gateway account"
) -> asyncpg.Record:
    """The row of a gateway account, read in a transaction of its own; `what` is it for words."""
    entity: UUID | None = await connection.fetchval(ACCESS_SQL["entity_by_tag"], tag_of(account_id))
    rows: list[asyncpg.Record] = []
    if entity is not None:
        await begin(connection, [entity], read_only=True)
        rows = await connection.fetch(ACCOUNTS_SQL["accounts_of"], entity)
        await connection.execute("ROLLBACK")
    for row in rows:
        if row["gateway_account_id"] == account_id:
            return row
    raise ConfigurationError(f"there is no such {what}.")

"""The files in which accounts had their secrets before there was a vault, moved into it."""

from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from strongroom.access.api_keys import SQL as ACCESS_SQL
from strongroom.config import ConfigurationError
from strongroom.database import Connection, begin
from strongroom.ids import to_text
from strongroom.log.noting import note
from strongroom.migrations import Tell
from strongroom.vault.entering import set_secret
from strongroom.vault.keys import Keyring
from strongroom.vault.kinds import SECRET_BYTES_MAX, STRIPE_API_KEY
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import SQL, Slot

# The column goes when the upgrade is finished, so these are no statements of the schema as it is.
_HAS_FILES: Final = """
SELECT EXISTS (SELECT FROM pg_attribute WHERE attname = 'secret_file' AND NOT attisdropped
  AND attrelid = 'strongroom.gateway_accounts'::regclass)
"""
_FILES: Final = """
SELECT gateway_account_id, secret_file FROM strongroom.gateway_accounts
WHERE legal_entity_id = $1 AND secret_file <> '' ORDER BY gateway_account_id
"""


async def move_secret_files(
    connection: Connection, keyring: Keyring, at: datetime, tell: Tell
) -> None:
    """Puts what stands in the files of accounts into the vault, where an account has nothing there.

    The files stay: processes of the version before read them. One that cannot be read is told, and
    keeps what finishes from being applied. `connection` is the owner's. Raises errors of
    UNAVAILABLE of vault.keys.
    """
    if not await connection.fetchval(_HAS_FILES):
        return
    for entity in await connection.fetch(ACCESS_SQL["entities"]):
        await _move_all_of(connection, keyring, entity["legal_entity_id"], at, tell)


async def _move_all_of(
    connection: Connection, keyring: Keyring, entity: UUID, at: datetime, tell: Tell
) -> None:
    await begin(connection, [entity])
    try:
        rows = await connection.fetch(_FILES, entity)
        keys = await keyring.entity(entity) if rows else None
        for row in rows:
            slot = Slot(entity, row["gateway_account_id"], STRIPE_API_KEY)
            name, file = to_text("gwa", slot.owner_id), Path(row["secret_file"])
            if keys is None or await connection.fetch(SQL["lock_secrets"], *slot):
                continue
            try:
                secret = _content(file)
            except (OSError, ConfigurationError) as error:
                tell(f"{name}: {file} cannot be read, so the vault lacks its secret: {error}")
                continue
            version = await set_secret(connection, keys, slot, secret, at)
            await note(
                connection,
                entity,
                slot.owner_id,
                "gateway_account.secret_set",
                at,
                secret=slot.kind,
                secret_version=version,
            )
            tell(f"{name}: its secret is in the vault; after --finish, delete {file}")
        await connection.execute("COMMIT")
    finally:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")


def _content(file: Path) -> Secret:
    """As the version before read it. Raises OSError and ConfigurationError."""
    with file.open("rb") as stream:
        content = stream.read(SECRET_BYTES_MAX + 1).strip()
    if not 0 < len(content) <= SECRET_BYTES_MAX:
        raise ConfigurationError("it is empty, or too long")
    return Secret(content)

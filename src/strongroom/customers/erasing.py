"""What is left in a customer's row once its key is destroyed, and goes then as well.

The digest of the e-mail address, and the salt of the row's digests: the log keeps those digests,
and with the salt somebody who has the legal entity's keys could try addresses out against them.
So could he against the digests of requests, by which a repeated one is known: none is left.
The sealed value stays; nobody can open it.
"""

import os
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from strongroom.customers.persons import customer_of
from strongroom.customers.register import ERASED_FINGERPRINT, SQL
from strongroom.database import Connection, begin, rollback

ERASED: Final = "customer.erased"
SALT_BYTES: Final = 16


async def erase(
    connection: Connection,
    legal_entity_id: UUID,
    customer_id: UUID,
    at: datetime,
    actor: str,
    told: dict[str, Any],
) -> bool:
    """Takes it away, with an event that says `told`; False where nothing was left, or nobody is.

    `connection` is the owner's, without a transaction. The tombstone is there before: who changes
    the customer looks for one under the lock of the row. Done again, it does nothing.
    """
    of = legal_entity_id, customer_id
    await begin(connection, [legal_entity_id])
    try:
        row = await connection.fetchrow(SQL["lock_customer"], *of)
        if row is None:
            return False
        before = customer_of(row)
        last = await connection.fetchval(SQL["kind_of_customer_event"], *of, before.version)
        if last == ERASED:
            return False
        # After whatever somebody may have made up with the login of a process.
        newest = await connection.fetchval(SQL["last_of_customer"], *of)
        salt, version = os.urandom(SALT_BYTES), 1 + max(before.version, newest or 0)
        after = replace(before, version=version, email_index=None, digest_salt=salt, updated_at=at)
        await connection.execute(SQL["erase_customer"], *of, version, salt, at)
        await connection.execute(SQL["erase_customer_keys"], *of, ERASED_FINGERPRINT)
        payload = msgspec.json.encode(told, order="deterministic")
        await connection.execute(
            SQL["add_customer_event"], *of, version, ERASED, actor, at, after.row_digest(), payload
        )
        await connection.execute("COMMIT")
    finally:
        if connection.is_in_transaction():
            await rollback(connection)
    return True

"""The indexes by which the sequencer finds what is new, built while payments run."""

from typing import Final

import asyncpg

from strongroom.migrations import Tell

_WITHOUT: Final = """
SELECT c.relname, pg_relation_size(c.oid) = 0 AS is_empty FROM pg_class c
WHERE c.relnamespace = 'strongroom'::regnamespace AND c.relkind = 'r'
  AND (c.relname = 'customer_events' OR c.oid IN (
    SELECT inhrelid FROM pg_inherits WHERE inhparent = 'strongroom.events'::regclass))
  AND NOT EXISTS (
    SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
      AND a.attnum = i.indkey[0]
    WHERE i.indrelid = c.oid AND a.attname = 'xid' AND i.indisvalid)
ORDER BY c.relname
"""


async def index_events(connection: asyncpg.Connection, tell: Tell = lambda _: None) -> None:
    """Builds what is missing, table by table, without stopping anybody. Raises asyncpg's errors.

    One that was broken off is dropped and built anew. The sequencer works without, by reading all.
    """
    for row in await connection.fetch(_WITHOUT):
        name, beside = row["relname"], "" if row["is_empty"] else "CONCURRENTLY"
        await connection.execute(f"DROP INDEX {beside} IF EXISTS strongroom.{name}_xid")
        await connection.execute(f"CREATE INDEX {beside} {name}_xid ON strongroom.{name} (xid)")
        if beside:
            tell(f"{name}: indexed for the log")

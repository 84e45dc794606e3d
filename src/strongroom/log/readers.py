"""Reading a log by index: what was sequenced, in its order, from a place that the reader keeps."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from strongroom.database import Connection
from strongroom.log.entries import Entry
from strongroom.log.sequencing import SQL


class Placed(Struct, frozen=True):
    """An entry, and where in its log it stands."""

    index: int
    entry: Entry


async def read_log(
    connection: Connection, legal_entity_id: UUID, first: int, count: int
) -> Sequence[Placed]:
    """At most `count` entries from index `first` on, without a gap; none where the log ends.

    The connection is in a transaction that sees the legal entity. Raises EntryMalformed where a row
    is no entry, as after an edit by hand.
    """
    rows = await connection.fetch(SQL["entries"], legal_entity_id, first, count)
    return [Placed(row["index"], Entry.read(row["entry"])) for row in rows]

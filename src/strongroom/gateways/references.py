"""What gateways call what is ours: all that somebody needs who goes on without us.

Read a page at a time, in short transactions, so that a long export holds up nobody.
"""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from strongroom.database import Connection, begin, statements
from strongroom.ids import Prefix, to_text

SQL: Final = statements("strongroom.gateways", "references.sql")
PAGE: Final = 512
LOWEST: Final = UUID(int=0)


class Reference(Struct, frozen=True, kw_only=True):
    """One object at a gateway, and what of ours it is.

    `belongs_to` is the customer of a payment method, the payment of a refund or dispute;
    `merchant_reference` the order that a payment is for.
    """

    kind: str
    id: str
    belongs_to: str | None
    merchant_reference: str | None
    gateway: str
    gateway_account: str
    gateway_object: str


class _Noun(NamedTuple):
    """A kind of objects: its name, its statement, ids, and where its pages begin."""

    kind: str
    statement: str
    prefix: Prefix
    owner: Prefix | None
    first: tuple[UUID | int, ...]


NOUNS: Final = (
    _Noun("customer", "references_of_customers", "cus", None, (LOWEST, LOWEST)),
    _Noun("payment_method", "references_of_methods", "pm", "cus", (LOWEST, LOWEST)),
    _Noun("payment", "references_of_payments", "pay", None, (LOWEST, 0)),
    _Noun("refund", "references_of_refunds", "ref", "pay", (LOWEST,)),
    _Noun("dispute", "references_of_disputes", "dsp", "pay", (LOWEST,)),
    _Noun("payout", "references_of_payouts", "pyt", None, (LOWEST,)),
)


async def number_of_references(connection: Connection, legal_entity_id: UUID) -> int:
    """How many there are now."""
    await begin(connection, [legal_entity_id], read_only=True)
    number: int = await connection.fetchval(SQL["references_number"], legal_entity_id)
    await connection.execute("ROLLBACK")
    return number


async def references(
    connection: Connection, legal_entity_id: UUID, gateways: dict[UUID, str]
) -> AsyncIterator[list[Reference]]:
    """All of a legal entity, in pages; `gateways` are the names of those of its accounts."""
    for noun in NOUNS:
        cursor = noun.first
        while True:
            await begin(connection, [legal_entity_id], read_only=True)
            rows = await connection.fetch(SQL[noun.statement], legal_entity_id, PAGE, *cursor)
            await connection.execute("ROLLBACK")
            if rows:
                yield [
                    Reference(
                        kind=noun.kind,
                        id=to_text(noun.prefix, row["id"]),
                        belongs_to=noun.owner and to_text(noun.owner, row["belongs_to"]),
                        merchant_reference=row["merchant_reference"],
                        gateway=gateways[row["gateway_account_id"]],
                        gateway_account=to_text("gwa", row["gateway_account_id"]),
                        gateway_object=row["gateway_object_id"],
                    )
                    for row in rows
                ]
            if len(rows) < PAGE:
                break
            last = rows[-1]
            cursor = (last["id"], last["place"]) if len(cursor) == 2 else (last["id"],)

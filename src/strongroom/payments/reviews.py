"""What is under review, in a table of its own: few rows, where the payments are many.

Each is written in the transaction that freezes its payment or refund, so that it can be told how
many there are, and since when.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from strongroom.database import Connection, statements
from strongroom.ids import bucket_of
from strongroom.payments.refunds import Refund
from strongroom.payments.states import Payment

SQL: Final = statements("strongroom.payments", "reviews.sql")


class Frozen(NamedTuple):
    """A payment or a refund whose `review` was set, or was taken back (None)."""

    legal_entity_id: UUID
    owner_id: UUID
    lane: Literal["payments", "refunds"]
    review: str | None
    at: datetime


def of_payment(before: Payment, after: Payment) -> list[Frozen]:
    """One, where the change froze the payment."""
    if bool(before.review) == bool(after.review):
        return []
    entity, one = after.legal_entity_id, after.payment_id
    return [Frozen(entity, one, "payments", after.review, after.updated_at)]


def of_refund(before: Refund, after: Refund) -> list[Frozen]:
    """One, where the change froze the refund, or let it go on."""
    if bool(before.review) == bool(after.review):
        return []
    entity, one = after.legal_entity_id, after.refund_id
    return [Frozen(entity, one, "refunds", after.review, after.updated_at)]


async def write_reviews(connection: Connection, frozen: Sequence[Frozen]) -> None:
    """Notes them, in the transaction that changes their rows. Mostly there are none."""
    new = [one for one in frozen if one.review]
    if new:
        await connection.execute(
            SQL["add_reviews"],
            [one.legal_entity_id for one in new],
            [one.owner_id for one in new],
            [one.lane for one in new],
            [bucket_of(one.legal_entity_id) for one in new],
            [one.review for one in new],
            [one.at for one in new],
        )
    over = [one for one in frozen if not one.review]
    if over:
        await connection.execute(
            SQL["remove_reviews"],
            [one.legal_entity_id for one in over],
            [one.owner_id for one in over],
        )

"""What is to be asked of gateways once money was taken: a queue with leases, few rows.

A webhook, or a list that an account is asked for now and then, brings an object in; what is learnt
of it says when it is looked at again. So a webhook that is lost loses nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID

from msgspec import Struct

from strongroom.database import Connection, statements
from strongroom.ids import bucket_of
from strongroom.payments.rows import Row

SQL: Final = statements("strongroom.settlement", "looks.sql")
AT_REST: Final = timedelta(days=400)
"""Nobody looks by himself any more; a webhook still brings a look."""

Noun = Literal["dispute", "disputes", "payout", "payouts"]
LISTS: Final[tuple[Noun, ...]] = ("disputes", "payouts")
OF_OBJECT: Final[dict[str, Noun]] = {"dispute": "dispute", "payout": "payout"}
"""By the type of a gateway's object, what is looked at when a webhook tells of it."""


class Look(Struct, frozen=True, kw_only=True):
    """One thing that this process may ask a gateway for until its lease ends."""

    legal_entity_id: UUID
    gateway_account_id: UUID
    noun: Noun
    gateway_object_id: str
    lease: int
    tries: int
    wanted: int
    gateway_event_id: str | None
    seen_until: datetime | None

    @property
    def key(self) -> tuple[UUID, UUID, str, str, int]:
        """Its primary key and its lease, as the statements take them."""
        return (
            self.legal_entity_id,
            self.gateway_account_id,
            self.noun,
            self.gateway_object_id,
            self.lease,
        )


class Told(NamedTuple):
    """A webhook, or a caller of ours, tells of an object of an account."""

    legal_entity_id: UUID
    gateway_account_id: UUID
    noun: Noun
    gateway_object_id: str
    gateway_event_id: str | None


async def begin_lists(
    connection: Connection, legal_entity_ids: Sequence[UUID], gateways: Sequence[str], now: datetime
) -> None:
    """Each account at these gateways is asked for its lists from now on."""
    pairs = [(gateway, noun) for gateway in gateways for noun in LISTS]
    await connection.execute(
        SQL["begin_lists"],
        list(legal_entity_ids),
        [gateway for gateway, _ in pairs],
        [noun for _, noun in pairs],
        now,
    )


async def claim_looks(
    connection: Connection, buckets: Sequence[int], most: int, now: datetime, lease: timedelta
) -> list[Look]:
    """Takes up to `most` that are due."""
    rows = await connection.fetch(SQL["claim_looks"], list(buckets), now, most, now + lease)
    return [look_of(row) for row in rows]


def look_of(row: Row) -> Look:
    """The look in a row of the table settlement_looks."""
    return Look(**{name: row[name] for name in Look.__struct_fields__})


async def ask_for_looks(connection: Connection, told: Sequence[Told], now: datetime) -> None:
    """These are looked at now, and once more by whoever is just at one of them."""
    if not told:
        return
    await connection.execute(
        SQL["ask_for_looks"],
        [one.legal_entity_id for one in told],
        [one.gateway_account_id for one in told],
        [one.noun for one in told],
        [one.gateway_object_id for one in told],
        [bucket_of(one.legal_entity_id) for one in told],
        [one.gateway_event_id for one in told],
        now,
    )


async def look_at_new(
    connection: Connection, of: Look, noun: str, object_ids: Sequence[str], now: datetime
) -> None:
    """Those of an account's list that nobody has looked at yet are looked at."""
    await connection.execute(
        SQL["look_at_new"],
        of.legal_entity_id,
        of.gateway_account_id,
        noun,
        list(object_ids),
        bucket_of(of.legal_entity_id),
        now,
    )


async def is_ours(connection: Connection, look: Look) -> bool:
    """Whether nobody has claimed it since; then it is kept from others until the commit."""
    return bool(await connection.fetch(SQL["hold_look"], *look.key))


async def end_look(
    connection: Connection,
    look: Look,
    run_at: datetime,
    now: datetime,
    *,
    reason: str | None = None,
    seen_until: datetime | None = None,
    in_vain: bool = False,
) -> None:
    """It is looked at again at `run_at`, or at once where that was wanted since its claim."""
    await connection.execute(
        SQL["end_look"], *look.key, look.wanted, run_at, reason, seen_until, in_vain, now
    )

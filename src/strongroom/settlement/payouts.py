"""A payout: what it is, and what becomes of it by what the gateway shows. Pure, without I/O.

A payout that is `paid` may become `failed` later: the merchant's bank returned it.
"""

from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from strongroom.payments.states import digest_of

PayoutStatus = Literal["pending", "in_transit", "paid", "failed", "canceled"]

OPEN_EVERY: Final = timedelta(hours=6)
PAID_AFTER: Final = tuple(timedelta(days=days) for days in (1, 3, 7, 14))
"""A bank returns a payout within five business days (docs.stripe.com/api/payouts/object)."""
ITEMISED_EVERY: Final = timedelta(hours=1)
"""What a payout is made of comes somewhat later than itself."""
ITEMISED_FOR: Final = timedelta(days=3)
"""After its arrival; a gateway never tells what a payout that was made by hand consists of."""


class Payout(Struct, frozen=True, kw_only=True):
    """One payout of one gateway account, as the gateway last showed it."""

    legal_entity_id: UUID
    payout_id: UUID
    version: int
    status: PayoutStatus
    status_reason: str | None
    amount_minor: int
    currency: str
    arrives_at: datetime
    itemised: bool
    gateway: str
    gateway_account_id: UUID
    gateway_object_id: str
    opened_at: datetime
    digest_salt: bytes
    created_at: datetime
    updated_at: datetime

    def row_digest(self) -> bytes:
        """SHA-256 over the row's canonical JSON, salt included: 32 bytes."""
        return digest_of(self)


class PayoutSeen(Struct, frozen=True, kw_only=True):
    """A payout as the gateway shows it."""

    object_id: str
    status: PayoutStatus
    status_reason: str | None
    amount_minor: int
    currency: str
    arrives_at: datetime
    opened_at: datetime


class ItemSeen(Struct, frozen=True, kw_only=True):
    """One movement of the balance, with what its source says that it is of ours.

    `intent_id` is the gateway's object that our attempt made, where the source names it.
    """

    item_id: str
    kind: str
    amount_minor: int
    fee_minor: int
    currency: str
    source_id: str | None
    intent_id: str | None = None
    payment_id: UUID | None = None
    attempt_no: int | None = None
    refund_id: UUID | None = None


class NewPayout(Struct, frozen=True, kw_only=True):
    """What a new payout's row needs that the gateway does not know."""

    legal_entity_id: UUID
    payout_id: UUID
    digest_salt: bytes
    gateway: str
    gateway_account_id: UUID


def payout_seen(
    known: Payout | None, seen: PayoutSeen, itemised: bool, new: NewPayout, now: datetime
) -> tuple[Payout, str | None]:
    """The payout afterwards, and the name of the event; None where nothing changed."""
    before = known or Payout(
        legal_entity_id=new.legal_entity_id,
        payout_id=new.payout_id,
        version=0,
        status=seen.status,
        status_reason=None,
        amount_minor=seen.amount_minor,
        currency=seen.currency,
        arrives_at=seen.arrives_at,
        itemised=False,
        gateway=new.gateway,
        gateway_account_id=new.gateway_account_id,
        gateway_object_id=seen.object_id,
        opened_at=seen.opened_at,
        digest_salt=new.digest_salt,
        created_at=now,
        updated_at=now,
    )
    after = replace(
        before,
        status=seen.status,
        status_reason=seen.status_reason,
        amount_minor=seen.amount_minor,
        currency=seen.currency,
        arrives_at=seen.arrives_at,
        itemised=before.itemised or itemised,
    )
    if known is not None and after == known:
        return known, None
    same = known is not None and known.status == after.status
    kind = "payout.changed" if same else f"payout.{after.status}"
    return replace(after, version=before.version + 1, updated_at=now), kind


def next_look(payout: Payout, now: datetime) -> datetime | None:
    """When the gateway is asked again, if nobody tells of it before; None: not any more."""
    may_come = now < payout.arrives_at + ITEMISED_FOR
    if not payout.itemised and may_come and payout.status != "canceled":
        return now + ITEMISED_EVERY
    if payout.status in ("pending", "in_transit"):
        return now + OPEN_EVERY
    if payout.status == "paid":
        return next((at for wait in PAID_AFTER if (at := payout.arrives_at + wait) > now), None)
    return None

"""A refund: what it is, what can happen to it, and what becomes of it. Pure, without I/O.

A refund reserves its amount in the payment before anything is sent, and keeps it reserved until
the gateway's truth is known. It has one attempt, under one key at the gateway: what may have been
sent is only sent again under that key, within SAME_KEY_WINDOW of its opening. It may fail after it
succeeded, so it is looked at again for a month; the payment's sums go down then.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal, assert_never
from uuid import UUID

import hashlib
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.payments.states import (
    Call,
    Leave,
    Look,
    Mismatched,
    NotPossible,
    NotSent,
    Open,
    Payment,
    Rest,
    Schedule,
    Send,
    Unknown,
)

RefundStatus = Literal["processing", "pending", "succeeded", "failed", "outcome_unknown"]
RefundReason = Literal["duplicate", "fraudulent", "requested_by_customer"]

SAME_KEY_WINDOW: Final = timedelta(hours=20)
"""Stripe may forget a key after 24 h (docs.stripe.com/api/idempotent_requests)."""
RETRY_SECONDS: Final = (1, 2, 4, 8, 15, 30, 60)
PENDING_SECONDS: Final = (2, 5, 15, 60, 300, 3600)
LOOKS_AFTER_SUCCESS: Final = tuple(
    timedelta(**{unit: number})
    for unit, number in (("hours", 1), ("days", 1), ("days", 5), ("days", 14), ("days", 30))
)
"""A refund can be returned by the bank up to 30 days later (docs.stripe.com/refunds)."""


class Refund(Struct, frozen=True, kw_only=True):
    """An amount that goes back to the customer, and its one attempt at the payment's gateway.

    `opened_at` and `parameters` are committed before anything is sent.
    """

    legal_entity_id: UUID
    refund_id: UUID
    payment_id: UUID
    status: RefundStatus
    status_reason: str | None = None
    review: str | None = None
    amount_minor: int
    currency: str
    reason: RefundReason | None = None
    metadata: dict[str, str] = {}
    gateway: str
    gateway_account_id: UUID
    gateway_key: str
    gateway_object_id: str | None = None
    parameters: dict[str, Any] | None = None
    opened_at: datetime | None = None
    digest_salt: bytes
    created_at: datetime
    updated_at: datetime

    def row_digest(self) -> bytes:
        """SHA-256 over the row's canonical JSON, salt included: 32 bytes."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).digest()


class Refunded(Struct, frozen=True):
    """The gateway has the refund under this id, and says how it stands."""

    object_id: str
    status: Literal["pending", "succeeded", "failed"]
    amount_minor: int
    currency: str
    why: str | None = None


class Refused(Struct, frozen=True):
    """The gateway did not take the refund, and no money went back."""

    why: str


class Absent(Struct, frozen=True):
    """The gateway shows no such refund. That proves nothing while one may be on its way."""


RefundAnswer = Refunded | Refused | Absent | NotSent | Unknown | Mismatched

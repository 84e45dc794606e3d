"""A dispute: what it is, and what becomes of it and of its payment by what the gateway shows.

Pure, without I/O. A bank asks for money back; where it stands is the gateway's to say. What it has
taken, or has taken for good, is no longer there to be refunded, so the payment withholds it.
"""

from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from strongroom.payments.states import Payment, Status, digest_of

DisputeStatus = Literal[
    "needs_response",
    "under_review",
    "won",
    "lost",
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "prevented",
]
"""As Stripe names them (docs.stripe.com/api/disputes/object); `warning_*` are inquiries, for which
no money moves."""

TAKES_MONEY: Final[frozenset[DisputeStatus]] = frozenset({"needs_response", "under_review", "lost"})
"""While it stands there its amount is the bank's."""
AWAITS_US: Final[frozenset[DisputeStatus]] = frozenset({"needs_response", "warning_needs_response"})
"""Evidence can be given, and its deadline runs."""
OPEN: Final[frozenset[DisputeStatus]] = AWAITS_US | {"under_review", "warning_under_review"}
NOT_KNOWN_YET: Final[frozenset[Status]] = frozenset(
    {"processing", "requires_action", "outcome_unknown"}
)
"""Where a payment may stand although its money was taken."""
MISMATCH: Final = "dispute_mismatch"
"""Of a payment under review: a dispute asks for more than was taken, or in another currency."""

OPEN_EVERY: Final = timedelta(hours=6)
ENDED_AFTER: Final = (timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""A bank may still come back on its decision; after the last look only a webhook tells."""


class Dispute(Struct, frozen=True, kw_only=True):
    """One dispute of one payment, as the gateway last showed it.

    `amount_minor` and `currency` are the gateway's. `disputed_minor` is what of it counts against
    the payment now, in the payment's currency. `opened_at` is the gateway's time.
    """

    legal_entity_id: UUID
    dispute_id: UUID
    payment_id: UUID
    status: DisputeStatus
    amount_minor: int
    currency: str
    disputed_minor: int
    reason: str
    evidence_due_by: datetime | None
    has_evidence: bool
    submissions: int
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


class Seen(Struct, frozen=True, kw_only=True):
    """A dispute as the gateway shows it; `payment_id` and `attempt_no` are what its intent says.

    `amount_minor` is None where we could not say it: no whole number of our minor units.
    `kept_minor`: of one that is won, what the bank keeps of it all the same.
    """

    object_id: str
    intent_id: str | None
    payment_id: UUID | None
    attempt_no: int | None
    status: DisputeStatus
    amount_minor: int | None
    currency: str
    reason: str
    evidence_due_by: datetime | None
    has_evidence: bool
    submissions: int
    opened_at: datetime
    kept_minor: int = 0


class NewRow(Struct, frozen=True, kw_only=True):
    """What a new dispute's row needs that the gateway does not know."""

    dispute_id: UUID
    digest_salt: bytes
    gateway: str
    gateway_account_id: UUID


class DisputeDecision(Struct, frozen=True):
    """Payment and dispute afterwards; `kind` names the event, None where nothing changed."""

    payment: Payment
    dispute: Dispute
    kind: str | None


def dispute_seen(
    payment: Payment, known: Dispute | None, seen: Seen, new: NewRow, now: datetime
) -> DisputeDecision:
    """What becomes of a dispute and of its payment's sums by what the gateway shows."""
    after = _as_seen(payment, known, seen, new, now)
    if known is not None and replace(after, updated_at=known.updated_at) == known:
        return DisputeDecision(payment, known, None)
    before = 0 if known is None else known.disputed_minor
    disputed = payment.disputed_minor + after.disputed_minor - before
    review = payment.review
    if review is None and not _fits(payment, seen):
        review = MISMATCH
    changed = payment.changed(now, disputed_minor=disputed, review=review).withholding()
    kind = "dispute.opened" if known is None else "dispute." + after.status
    if known is not None and known.status == after.status:
        kind = "dispute.changed"
    return DisputeDecision(changed, after, kind)


def is_sought(status: Status, review: str | None) -> bool:
    """Whether what was taken of a payment that stands so is not known, and still looked for."""
    return status in NOT_KNOWN_YET and review is None


def waits_for_payment(payment: Payment, seen: Seen) -> bool:
    """Whether it is not known yet what was taken, so that nothing can be held against it.

    The payment's own looks go on until that is known; a review would end them.
    """
    return is_sought(payment.status, payment.review) and not _fits(payment, seen)


def next_look(dispute: Dispute, now: datetime) -> datetime | None:
    """When the gateway is asked again, if nobody tells of it before; None: not any more."""
    if dispute.status in OPEN:
        return now + OPEN_EVERY
    return next((at for wait in ENDED_AFTER if (at := dispute.updated_at + wait) > now), None)


def _as_seen(
    payment: Payment, known: Dispute | None, seen: Seen, new: NewRow, now: datetime
) -> Dispute:
    amount_minor = payment.captured_minor if seen.amount_minor is None else seen.amount_minor
    counts = seen.kept_minor
    if seen.status in TAKES_MONEY:
        counts = amount_minor
    if counts and (seen.currency != payment.currency or seen.amount_minor is None):
        counts = payment.captured_minor
    return Dispute(
        legal_entity_id=payment.legal_entity_id,
        dispute_id=new.dispute_id if known is None else known.dispute_id,
        payment_id=payment.payment_id,
        status=seen.status,
        amount_minor=amount_minor,
        currency=seen.currency,
        disputed_minor=counts,
        reason=seen.reason,
        evidence_due_by=seen.evidence_due_by,
        has_evidence=seen.has_evidence,
        submissions=seen.submissions,
        gateway=new.gateway,
        gateway_account_id=new.gateway_account_id,
        gateway_object_id=seen.object_id,
        opened_at=seen.opened_at,
        digest_salt=new.digest_salt if known is None else known.digest_salt,
        created_at=now if known is None else known.created_at,
        updated_at=now,
    )


def _fits(payment: Payment, seen: Seen) -> bool:
    """Whether it can be about this payment: its currency, and no more than was taken."""
    if seen.amount_minor is None or seen.currency != payment.currency:
        return False
    return seen.amount_minor <= payment.captured_minor

"""What banks do with money that was taken: disputes, and payouts to the merchant.

Amounts are in the currency's minor unit, times in Unix seconds.
"""

import msgspec

DAY_SECONDS = 24 * 3600


class Dispute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A charge that its cardholder's bank asks back, in full or in part.

    ``turns_at`` is when it changes by itself to ``turns_to``: a decision, or the deadline.
    ``withdrawn`` and ``reinstated`` say when its amount left the balance, and came back.
    """

    id: str
    charge: str
    payment_intent: str
    amount: int
    currency: str
    created: int
    due_by: int
    reason: str = "fraudulent"
    status: str = "needs_response"
    evidence: dict[str, str] = {}
    submission_count: int = 0
    past_due: bool = False
    metadata: dict[str, str] = {}
    turns_at: int | None = None
    turns_to: str | None = None
    withdrawn: int | None = None
    reinstated: int | None = None


class Payout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Money on its way to the merchant's bank: the sum of ``items``, ids of transactions.

    ``fails_at`` is when a bank returns what was ``paid`` before; its money is back then.
    """

    id: str
    amount: int
    currency: str
    created: int
    arrival_date: int
    status: str = "pending"
    items: tuple[str, ...] = ()
    fails_at: int | None = None
    failed_at: int | None = None
    failure_code: str | None = None

    @property
    def wakes_at(self) -> int | None:
        """When time next changes it."""
        match self.status:
            case "pending":
                return min(self.created + DAY_SECONDS, self.arrival_date)
            case "in_transit":
                return self.arrival_date
            case "paid":
                return self.fails_at
            case _:
                return None

"""What is on its way between the phases of an attempt, and of a refund."""

import msgspec
from msgspec import Struct

from strongroom.payments.refunds import Refund, RefundAnswered
from strongroom.payments.states import (
    Answered,
    AtGateway,
    Attempt,
    Call,
    Decision,
    Effect,
    Look,
    Payment,
    Send,
)


class Claimed(Struct, frozen=True, kw_only=True):
    """A payment that this process may act for until the lease ends, and what is to be done."""

    payment: Payment
    attempt: Attempt
    effect: AtGateway
    tries: int
    lease: int
    fresh: bool = False
    """Whether this claim opened the attempt: nothing of it can have been sent."""


class Settlement(Struct, kw_only=True, eq=False):
    """An answer on its way through `decide`, against the payment as last seen.

    `tried` remembers what it was decided to become, to know that again when the answer to its
    COMMIT was lost.
    """

    payment: Payment
    answered: Answered
    lease: int
    tried: list[Decision] = msgspec.field(default_factory=list)


class Committed(Struct, frozen=True, kw_only=True):
    """What stands in the database after an answer, and what is to be done at once, if anything."""

    payment: Payment
    effect: Effect


class ObjectId(Struct, frozen=True, kw_only=True):
    """The id of a gateway object that is to be committed before it is confirmed."""

    payment: Payment
    attempt_no: int
    object_id: str
    call: Call


class ClaimedRefund(Struct, frozen=True, kw_only=True):
    """A refund that this process may act for until the lease ends, and what is to be done."""

    refund: Refund
    effect: Send | Look
    first: bool
    tries: int
    lease: int
    is_claimed_by_bank: bool = False
    """Whether what it would give back for the first time is what a bank has taken meanwhile."""


class RefundSettlement(Struct, frozen=True, kw_only=True, eq=False):
    """An answer on its way to the refund that it is of, and its payment's sums."""

    refund: Refund
    answered: RefundAnswered
    lease: int

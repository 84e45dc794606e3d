"""What is on its way between the phases of an attempt."""

import msgspec
from msgspec import Struct

from strongroom.payments.states import (
    Answered,
    AtGateway,
    Attempt,
    Call,
    Decision,
    Effect,
    Payment,
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

"""What is asked of the accept path, and how it can end."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from strongroom.errors import Problem
from strongroom.payments.idempotency import is_same
from strongroom.payments.states import Payment
from strongroom.payments.texts import SealedTexts


class Request(Struct, frozen=True, kw_only=True):
    """A payment that someone wants accepted, with everything that is to be written.

    `refusal`: why it cannot be made now, as too late a moment or no account any more. Its key may
    stand for a payment that was made all the same, so that is looked for before it is refused.
    `other_fingerprint`: in the other form, keyed or not, in which it may be stored; empty where
    that cannot be had.
    """

    payment: Payment
    idempotency_key: str
    fingerprint: bytes
    actor: str
    run_at: datetime
    row_digest: bytes
    payload: bytes
    texts: SealedTexts | None = None
    other_fingerprint: Callable[[], bytes] = bytes
    refusal: Problem | None = None
    calculation_id: UUID | None = None
    """The tax calculation that it names."""

    def is_same_as(self, stored: bytes) -> bool | None:
        """Whether the fingerprint that was stored under its key is that of this request.

        None where that cannot be told, since the key is away that one of its forms needs.
        """
        return is_same(stored, self.fingerprint, self.other_fingerprint())


class Created(Struct, frozen=True):
    """The payment is on disk."""

    payment: Payment


class Replayed(Struct, frozen=True):
    """The key was used before for the same request: what that made, as it now stands."""

    payment: Payment


class KeyReused(Struct, frozen=True):
    """The key was used before for another request."""


class ReferenceTaken(Struct, frozen=True):
    """Another payment that may still charge, or has charged, carries the merchant reference."""

    payment_id: UUID


class CalculationTaken(Struct, frozen=True):
    """Another payment that may still charge, or has charged, has the tax calculation."""

    payment_id: UUID


class CannotTell(Struct, frozen=True):
    """The key was used before; whether for this request, only a key knows that is away."""


class TryAgain(Struct, frozen=True):
    """Two others were in the way and have gone; the same request will be decided next time."""


Outcome = Created | Replayed | KeyReused | ReferenceTaken | CalculationTaken | CannotTell | TryAgain

"""What an operation reads and what it returns: a decision, without any input or output."""

import secrets
import string
from dataclasses import dataclass, field
from typing import Any

from strongroom_sandbox.stripe.books import Books, Change, Intent, Refund
from strongroom_sandbox.stripe.errors import ErrorBody, Refusal

ID_CHARACTERS = 24
_ALPHABET = string.digits + string.ascii_letters
SECRET_BYTES = 24


@dataclass(frozen=True, slots=True)
class Scene:
    """The moment an operation runs in: the state, the time, and the request's idempotency key."""

    books: Books
    now: int
    key: str | None = None
    search_lag_seconds: int = 0
    refund_settle_seconds: int = 0
    stays_processing: bool = False


@dataclass(slots=True)
class Outcome:
    """The answer of an operation and the change that must be durable before it is given.

    The answer shows ``intent`` or ``refund``, or ``error`` with the intent it is about, or else
    ``body``.
    """

    change: Change
    intent: Intent | None = None
    error: ErrorBody | None = None
    status: int = 200
    body: dict[str, Any] | None = None
    expand: tuple[str, ...] = field(default=())
    refund: Refund | None = None


def refused(refusal: Refusal, scene: Scene) -> Outcome:
    """Turn a refusal into an outcome that changes nothing."""
    intent = None if refusal.intent_id is None else scene.books.intents.get(refusal.intent_id)
    return Outcome(Change(time=scene.now), intent, refusal.body, refusal.status)


def new_id(prefix: str) -> str:
    """Return a fresh object id such as ``pi_…``, of digits and letters as Stripe's are.

    In hexadecimal, runs of digits would be common that are as long as a card number.
    """
    return f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARACTERS))


def new_secret() -> str:
    """Return text that cannot be guessed."""
    return secrets.token_hex(SECRET_BYTES)

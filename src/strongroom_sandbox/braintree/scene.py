"""What an operation reads and what it returns: a decision, without any input or output."""

import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from strongroom_sandbox import faults
from strongroom_sandbox.braintree.books import Books, Change, Moment, Transaction

ID_CHARACTERS = 8
NETWORK_ID_DIGITS = 15
LAG_SECONDS_MAX = 30 * 24 * 3600
_ALPHABET = string.ascii_lowercase + string.digits

Seconds = Annotated[int, msgspec.Meta(ge=0, le=LAG_SECONDS_MAX)]


class Knobs(faults.Knobs, forbid_unknown_fields=True):
    """The shared knobs, and Braintree's own.

    ``settling_seconds`` and ``settled_seconds``: how long after it was submitted a transaction is
    settling, and settled. ``duplicate_seconds``: within it a sale of the same amount for the same
    order by the same card is rejected as a duplicate; 0 turns the check off. ``api_request_keys``:
    whether the account may use them.
    """

    settling_seconds: Seconds = 30
    settled_seconds: Seconds = 60
    duplicate_seconds: Seconds = 30
    dispute_decision_seconds: Seconds = 120
    disbursement_seconds: Seconds = 24 * 3600
    api_request_keys: bool = True


class Faults(faults.Faults):
    """The rules in force, with Braintree's own knobs."""

    @property
    def own(self) -> Knobs:
        """Braintree's knobs as they stand."""
        return self.knobs if isinstance(self.knobs, Knobs) else Knobs()


@dataclass(frozen=True, slots=True)
class Scene:
    """The moment an operation runs in. ``accounts``: merchant account to currency, default first.

    ``stays_open``: a knob leaves the outcome of a sale open (``authorizing``).
    """

    books: Books
    now: int
    accounts: Mapping[str, str]
    knobs: Knobs = field(default_factory=Knobs)
    key: str | None = None
    stays_open: bool = False


@dataclass(slots=True)
class Outcome:
    """The answer of an operation and the change that must be durable before it is given.

    The answer shows ``transaction``, which after a failed sale is told of as an error, or what
    ``show`` returns once the change is in the books, in the element ``root``; else nothing.
    """

    change: Change
    transaction: str | None = None
    root: str = ""
    show: Callable[[Books], object] | None = None
    status: int = 200


def new_id() -> str:
    """A fresh id of the kind that Braintree makes."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARACTERS))


def network_id() -> str:
    """What a card network calls a transaction."""
    return "".join(secrets.choice(string.digits) for _ in range(NETWORK_ID_DIGITS))


def moved(one: Transaction, status: str, now: int) -> tuple[Moment, ...]:
    """The history with one status more."""
    return (*one.history, Moment(status=status, at=now, amount=one.amount))

"""The rows and columns: what an adapter is asked for, and what can happen to it meanwhile."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from strongroom.gateways.port import Prepared
from strongroom.payments.refunds import Refunded
from strongroom.payments.states import (
    Approved,
    Authorized,
    Canceled,
    DeclineClass,
)


class Operation(StrEnum):
    """A method of the port; `send` is two, for what it does to money differs."""

    PREPARE = "prepare"
    SALE = "sale"
    AUTHORIZE = "authorize"
    LOOK = "look"
    CANCEL = "cancel"
    CAPTURE = "capture"
    REFUND = "refund"
    LOOK_AT_REFUND = "look at refund"


class Condition(StrEnum):
    """What happens to the call."""

    OK = "ok"
    DECLINED = "refused"
    ACTION = "action required"
    TIMEOUT_BEFORE = "timeout, not done"
    TIMEOUT_AFTER = "timeout, done"
    ERROR_BEFORE = "5xx, not done"
    ERROR_AFTER = "5xx, done"
    RATE_LIMITED = "429"
    MALFORMED = "malformed"
    WRONG_AMOUNT = "wrong amount"
    WRONG_CURRENCY = "wrong currency"
    LOST_BEFORE = "lost, not done"
    LOST_AFTER = "lost, done"
    DUPLICATE = "duplicate"
    IN_FLIGHT = "in flight"


FAULTS: Final[dict[Condition, str]] = {
    Condition.TIMEOUT_BEFORE: "withhold_before",
    Condition.TIMEOUT_AFTER: "withhold_after",
    Condition.ERROR_BEFORE: "error_500_before",
    Condition.ERROR_AFTER: "error_500_after",
    Condition.RATE_LIMITED: "error_429",
    Condition.MALFORMED: "malformed",
    Condition.WRONG_AMOUNT: "wrong_amount",
    Condition.WRONG_CURRENCY: "wrong_currency",
    Condition.LOST_BEFORE: "drop_before",
    Condition.LOST_AFTER: "drop_after",
    Condition.IN_FLIGHT: "delay",
}
"""By condition, the knob of the stand-in that brings it about."""
TIMEOUTS: Final = frozenset({Condition.TIMEOUT_BEFORE, Condition.TIMEOUT_AFTER})
WRONG: Final = frozenset({Condition.WRONG_AMOUNT, Condition.WRONG_CURRENCY})

WELL: Final[dict[Operation, type[object]]] = {
    Operation.PREPARE: Prepared,
    Operation.SALE: Approved,
    Operation.AUTHORIZE: Authorized,
    Operation.LOOK: Approved,
    Operation.CANCEL: Canceled,
    Operation.CAPTURE: Approved,
    Operation.REFUND: Refunded,
    Operation.LOOK_AT_REFUND: Refunded,
}
"""By operation, the answer where nothing goes wrong."""
MOVING: Final = frozenset({Operation.SALE, Operation.AUTHORIZE})
"""What brings an instrument, so that an issuer can decline, and ask its customer."""

CLASSES: Final[tuple[DeclineClass, ...]] = (
    "insufficient_funds", "limit_exceeded", "generic_decline", "try_again",
    "authentication_required", "authentication_failed", "expired_card", "invalid_card",
    "incorrect_cvc", "avs_mismatch", "lost_stolen", "fraud", "not_permitted", "revoked",
    "call_issuer", "duplicate", "config_error", "invalid_instrument",
)  # fmt: skip

GENERAL: Final[dict[tuple[Operation, Condition], str]] = (
    {
        (operation, Condition.ACTION): "nothing is asked of the customer here"
        for operation in Operation
        if operation not in MOVING
    }
    | {
        (
            Operation.LOOK,
            Condition.DECLINED,
        ): "a look is never refused; what it shows may be a decline",
        (Operation.LOOK_AT_REFUND, Condition.DECLINED): "a look is never refused",
    }
    | {
        (operation, condition): "a look does nothing, so it is the same as not done"
        for operation in (Operation.LOOK, Operation.LOOK_AT_REFUND)
        for condition in (Condition.TIMEOUT_AFTER, Condition.ERROR_AFTER, Condition.LOST_AFTER)
    }
)
"""Cells that cannot exist at any gateway, and why."""


class Cell(Struct, frozen=True):
    """One field of the matrix."""

    operation: Operation
    condition: Condition

    def __str__(self) -> str:
        return f"{self.operation}: {self.condition}"


CELLS: Final = tuple(
    Cell(operation, condition) for operation in Operation for condition in Condition
)

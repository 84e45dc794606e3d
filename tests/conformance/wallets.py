"""The same for what saves instruments: what each operation of their port does whatever happens."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from tests.conformance.matrix import Condition


class WalletOperation(StrEnum):
    """A method of the port."""

    CUSTOMER = "make customer"
    PREPARE = "prepare"
    SAVE = "save"
    LOOK = "look"
    CANCEL = "cancel"
    KEEP = "keep"
    LOOK_AT_SAVED = "look at saved"
    DETACH = "detach"


WalletCell = tuple[WalletOperation, Condition]

ASKING: Final = frozenset({WalletOperation.SAVE, WalletOperation.LOOK})
"""What may find that the bank wants to see its customer."""
GENERAL: Final[Mapping[WalletCell, str]] = (
    {
        (operation, Condition.ACTION): "nothing is asked of the customer here"
        for operation in WalletOperation
        if operation not in ASKING
    }
    | {
        (operation, condition): "nothing is charged"
        for operation in WalletOperation
        for condition in (Condition.WRONG_AMOUNT, Condition.WRONG_CURRENCY)
    }
    | {
        (WalletOperation.CUSTOMER, Condition.DECLINED): (
            "an id of ours and nothing else is sent, so there is nothing to refuse"
        ),
        (WalletOperation.LOOK, Condition.DECLINED): (
            "a look is never refused; what it shows may be a decline"
        ),
        (WalletOperation.LOOK_AT_SAVED, Condition.DECLINED): (
            "a look is never refused; that the card is there no more has a test of its own"
        ),
        (WalletOperation.DETACH, Condition.DECLINED): (
            "what the gateway does not know is detached, so nothing is refused"
        ),
    }
)
"""Cells that cannot exist at any gateway, and why."""
READS: Final[Mapping[str, frozenset[WalletOperation]]] = {
    "stripe": frozenset({WalletOperation.LOOK, WalletOperation.LOOK_AT_SAVED}),
    "braintree": frozenset(
        {
            WalletOperation.LOOK,
            WalletOperation.CANCEL,
            WalletOperation.KEEP,
            WalletOperation.LOOK_AT_SAVED,
        }
    ),
}
"""By gateway, what changes nothing there; the client itself asks it again when it was cut off."""


CHOSEN: Final = (
    "nothing is asked: the card is saved under a token that we choose (`payment_method.create`)"
)
IN_THE_BROWSER: Final = (
    "the customer authenticates in the browser before the nonce reaches us; saving verifies the "
    "card and asks for nothing"
)
_SAME: Final = {
    gateway: {
        (operation, condition): "a look does nothing, so it is the same as not done"
        for operation in reads
        for condition in (Condition.TIMEOUT_AFTER, Condition.ERROR_AFTER, Condition.LOST_AFTER)
    }
    for gateway, reads in READS.items()
}
CANNOT: Final[Mapping[str, Mapping[WalletCell, str]]] = {
    "stripe": _SAME["stripe"],
    "braintree": {
        **_SAME["braintree"],
        **{(WalletOperation.PREPARE, condition): CHOSEN for condition in Condition},
        **{(operation, Condition.ACTION): IN_THE_BROWSER for operation in ASKING},
        (WalletOperation.CANCEL, Condition.MALFORMED): (
            "that no card is there is told by the status alone (404), and nothing is read beside it"
        ),
    },
}
"""By gateway, cells that cannot exist there, and why."""
NAMES: Final[Mapping[str, Mapping[WalletOperation, str]]] = {
    "stripe": {
        WalletOperation.CUSTOMER: "customers.create",
        WalletOperation.PREPARE: "setup_intents.create",
        WalletOperation.SAVE: "setup_intents.confirm",
        WalletOperation.LOOK: "setup_intents.retrieve",
        WalletOperation.CANCEL: "setup_intents.cancel",
        WalletOperation.KEEP: "payment_methods.attach",
        WalletOperation.LOOK_AT_SAVED: "payment_methods.retrieve",
        WalletOperation.DETACH: "payment_methods.detach",
    },
    "braintree": {
        WalletOperation.CUSTOMER: "customers.create",
        WalletOperation.SAVE: "payment_methods.create",
        WalletOperation.LOOK: "payment_methods.find",
        WalletOperation.CANCEL: "payment_methods.find",
        WalletOperation.KEEP: "transactions.find",
        WalletOperation.LOOK_AT_SAVED: "payment_methods.find",
        WalletOperation.DETACH: "payment_methods.delete",
    },
}
"""What the stand-ins call them."""


def reason(gateway: str, cell: WalletCell) -> str | None:
    """Why a cell cannot exist; None for one that is run."""
    return CANNOT[gateway].get(cell) or GENERAL.get(cell)


WALLET_CELLS: Final = [
    (gateway, operation, condition)
    for gateway in CANNOT
    for operation in WalletOperation
    for condition in Condition
    if reason(gateway, (operation, condition)) is None
]

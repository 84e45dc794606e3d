"""What a gateway is asked for once money was taken, and what can happen to that."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Protocol

from strongroom.gateways.history import Charges, History
from strongroom.gateways.port import Account
from strongroom.settlement.port import SettlementGateway
from tests.conformance.matrix import Condition


class Task(StrEnum):
    """A method of the ports; evidence is staged or submitted by one."""

    DISPUTE = "look at dispute"
    DISPUTES = "list disputes"
    STAGE = "stage evidence"
    SUBMIT = "submit evidence"
    GIVE_IN = "give in"
    PAYOUT = "look at payout"
    PAYOUTS = "list payouts"
    CHARGES = "list charges"
    EVENTS = "list events"


ABSENT: Final = "not there"
CASES: Final = (
    str(Condition.OK), ABSENT,
    *(str(one) for one in (
        Condition.DECLINED, Condition.TIMEOUT_BEFORE, Condition.TIMEOUT_AFTER,
        Condition.ERROR_BEFORE, Condition.ERROR_AFTER, Condition.RATE_LIMITED,
        Condition.MALFORMED, Condition.LOST_BEFORE, Condition.LOST_AFTER, Condition.DUPLICATE,
    )),
)  # fmt: skip
LISTS: Final = frozenset({Task.DISPUTES, Task.PAYOUTS, Task.CHARGES, Task.EVENTS})
LOOKS: Final = frozenset({Task.DISPUTE, Task.PAYOUT})
TELLS: Final = frozenset({Task.STAGE, Task.SUBMIT, Task.GIVE_IN})

CANNOT_BE: Final[dict[tuple[Task, str], str]] = (
    {(task, ABSENT): "a list names what there is" for task in LISTS}
    | {(task, str(Condition.DECLINED)): "reading is never refused" for task in LISTS | LOOKS}
    | {
        (task, str(condition)): "reading does nothing, so it is the same as not done"
        for task in LISTS | LOOKS
        for condition in (Condition.TIMEOUT_AFTER, Condition.ERROR_AFTER, Condition.LOST_AFTER)
    }
)
"""Cells that cannot exist at any gateway, and why."""


class Aftermath(Protocol):
    """The adapters of one gateway before its stand-in."""

    account: Account
    tasks: Mapping[Task, str]
    """By what is asked for, the operation of the stand-in that a fault strikes."""

    @property
    def gateway(self) -> SettlementGateway:
        """The adapter for disputes and payouts."""
        ...

    @property
    def charges(self) -> Charges:
        """What lists charges."""
        ...

    @property
    def history(self) -> History | None:
        """What lists events, if it does."""
        ...

    def dispute(self) -> str:
        """A bank asks back 10.00 that was taken; its id."""
        ...

    def payout(self) -> str:
        """Something was paid out; the id of the payout."""
        ...

    def standing(self, dispute: str) -> tuple[str, int]:
        """By the ledger: the status of a dispute, and how many texts of evidence it has."""
        ...

    def strike(self, task: Task, fault: str) -> None:
        """The next call meets the fault; a read meets it each time."""
        ...

    def calm(self) -> None:
        """No more faults."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...

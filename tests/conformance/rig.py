"""What the suite needs of an adapter and of the stand-in that it meets."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from strongroom.gateways.port import Account, Gateway
from strongroom.payments.refunds import Refund
from strongroom.payments.states import Attempt, DeclineClass
from tests.conformance.matrix import Condition, Operation


class Subject(Struct, frozen=True):
    """What an operation is asked for; `refund` where it is about one."""

    attempt: Attempt
    refund: Refund | None = None


class Rig(Protocol):
    """One adapter before its stand-in, whose ledger tells what really became of money."""

    name: str
    gateway: Gateway
    account: Account
    cannot: Mapping[tuple[Operation, Condition], str]
    """Cells that cannot exist at this gateway, and why."""
    declines: Mapping[DeclineClass, str]
    """By class, what makes the stand-in decline so: a token, or an amount."""
    no_declines: Mapping[DeclineClass, str]
    """Classes that this gateway knows nothing of, and why."""

    async def ready_for(self, operation: Operation) -> Subject:
        """A subject that the operation can be asked for, of a card that is fine."""
        ...

    async def declined(self, decline: DeclineClass, operation: Operation) -> Subject:
        """A subject whose instrument will be declined so, by a sale or an authorization."""
        ...

    async def asks(self, operation: Operation) -> Subject:
        """A subject whose customer is asked for something."""
        ...

    async def settled(self) -> Subject:
        """A sale that cannot be canceled any more."""
        ...

    async def refund_of_more(self) -> Subject:
        """A refund of more than was taken."""
        ...

    def fresh(self, subject: Subject) -> Subject:
        """The same under another key: what an engine does where an answer says so."""
        ...

    def strike(self, operation: Operation, fault: str) -> None:
        """The next call of the operation meets the fault; a read meets it each time."""
        ...

    def calm(self) -> None:
        """No more faults."""
        ...

    def taken(self, subject: Subject) -> int:
        """What was captured for the attempt, in minor units, by the ledger."""
        ...

    def held(self, subject: Subject) -> int:
        """What is held for it and not captured."""
        ...

    def given_back(self, subject: Subject) -> int:
        """What was refunded of it."""
        ...

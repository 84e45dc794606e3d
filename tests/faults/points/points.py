"""What a point is, which faults are tried at it, and how a cell is written in one word."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self


class Kind(StrEnum):
    """Where something can go wrong."""

    AWAIT = "await"
    """Before an `await` of our modules."""
    MESSAGE = "message"
    """A message to PostgreSQL, up to its sync, and what comes back."""
    EXCHANGE = "exchange"
    """One request to a provider, or from one, and its answer."""


class Fault(StrEnum):
    """What goes wrong at a point."""

    KILL_BEFORE = "kill-before"
    """kill -9 of our process; what it was about to say is not said."""
    KILL_AFTER = "kill-after"
    """kill -9 once the other side has acted and before we hear it."""
    DROP_BEFORE = "drop-before"
    """The connection breaks before the message arrives."""
    DROP_AFTER = "drop-after"
    """The other side acts, and its answer is lost: for COMMIT, nobody knows."""
    SERIALIZATION = "40001"
    DEADLOCK = "40P01"
    STOPPED = "stopped"
    """PostgreSQL is stopped immediately, and started again."""
    ERROR_AFTER = "500-after"
    """The provider acts and answers 500."""
    LATE = "late"
    """The provider's answer comes after our deadline."""
    CANCELED = "canceled"
    """The task that waits is cancelled."""


FAULTS: Final[dict[Kind, tuple[Fault, ...]]] = {
    Kind.AWAIT: (Fault.CANCELED,),
    Kind.MESSAGE: (
        Fault.KILL_BEFORE,
        Fault.KILL_AFTER,
        Fault.DROP_BEFORE,
        Fault.DROP_AFTER,
        Fault.SERIALIZATION,
        Fault.DEADLOCK,
        Fault.STOPPED,
    ),
    Kind.EXCHANGE: (
        Fault.KILL_BEFORE,
        Fault.KILL_AFTER,
        Fault.DROP_BEFORE,
        Fault.DROP_AFTER,
        Fault.ERROR_AFTER,
        Fault.LATE,
    ),
}
"""A process ends at messages and exchanges: between two of them nothing lasting happens. A task
is cancelled at every await, which is finer."""


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A place, in a state of the rows; the same place in the same state counts once."""

    kind: Kind
    place: str
    state: str

    def __str__(self) -> str:
        return f"{self.kind}|{self.place}|{self.state}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The point that was written as `text`. Raises ValueError."""
        kind, place, state = text.split("|")
        return cls(Kind(kind), place, state)


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One point with one fault."""

    point: Point
    fault: Fault

    def __str__(self) -> str:
        return f"{self.point}|{self.fault}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The cell that was written as `text`. Raises ValueError."""
        point, _, fault = text.rpartition("|")
        return cls(Point.read(point), Fault(fault))


def cells_of(points: set[Point]) -> list[Cell]:
    """Every point with every fault of its kind, in an order that says nothing of chance."""
    return [Cell(point, fault) for point in sorted(points) for fault in FAULTS[point.kind]]

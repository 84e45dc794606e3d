"""The lines of a process to its gateway accounts: each has a breaker, each account a bulkhead.

A line is one operation at one account. Who asks for a place on it gets one, or hears why not;
then nothing was sent. What fails at one account never closes the way to another.
"""

import random
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Literal, Self
from uuid import UUID

import structlog

from strongroom.clock import monotonic_seconds
from strongroom.gateways.breaker import LOOK_REST_SECONDS_MAX, REST_SECONDS_MAX, Breaker
from strongroom.gateways.port import Account
from strongroom.ids import to_text
from strongroom.payments.states import NotSent, Unknown
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry

Operation = Literal[
    "prepare",
    "send",
    "look",
    "cancel",
    "capture",
    "refund",
    "look_at_refund",
    "client_token",
    "card_look",
    "list",
    "look_at_dispute",
    "look_at_payout",
    "tell_dispute",
    "calculate_tax",
    "report_tax",
    "create_customer",
    "keep",
    "adopt",
    "save",
    "detach",
    "refresh",
]
WithheldWhy = Literal["gateway_resting", "account_busy"]

SHARE_OF_FREE: Final = 2
"""An account may have so many times as many calls under way as places are free: two thirds of a
worker for one that is slow, two fifths each for two, and never all of it."""
LOOKS_RESERVED: Final = 4
"""Looks that an account may have under way whatever else it waits for."""
LOOKS: Final[frozenset[Operation]] = frozenset({"look", "look_at_refund"})
FAILURES: Final = frozenset(
    {
        "no_answer",
        "not_reached",
        "connection_lost",
        "rate_limited",
        "gateway_error",
        "credentials_refused",
    }
)
"""What adapters and deadlines call an answer that teaches nothing; also all of MALFORMED."""
MALFORMED: Final = "malformed_"
OURS: Final = frozenset({"credentials_unreadable", "too_many_calls"})
"""Why an adapter itself sent nothing."""
PLACES: Final = 1024
LINES_MAX: Final = 50_000
"""Lines that are remembered; beyond it those that are closed and idle are forgotten."""

log = structlog.get_logger()


def places_for(calls: int) -> int:
    """So many places that one account may have `calls` under way, where no other has any."""
    return calls * (1 + SHARE_OF_FREE) // SHARE_OF_FREE


def has_failed(answer: object) -> bool | None:
    """Whether an answer counts against its line; None where it says nothing of the gateway."""
    if not isinstance(answer, NotSent | Unknown):
        return False
    if answer.why in OURS:
        return None
    return answer.why in FAILURES or answer.why.startswith(MALFORMED)


class Place:
    """One call that may be made. Used as `with`, and told the answer before it ends.

    Who leaves without an answer was broken off, which says nothing of the gateway.
    """

    __slots__ = ("_failed", "_line", "_lines", "_turn")

    def __init__(self, lines: "Lines", line: "_Line", turn: int) -> None:
        self._lines, self._line, self._turn = lines, line, turn
        self._failed: bool | None = None

    def answered(self, answer: object) -> None:
        """What was heard in time, silence at the deadline included."""
        self._failed = has_failed(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.leave(self._line, self._turn, self._failed)


class _Line:
    """One operation at one account, as this process knows it."""

    __slots__ = ("account", "breaker", "operation")

    def __init__(self, account: Account, operation: Operation) -> None:
        self.account, self.operation = account, operation
        self.breaker = Breaker()


class Lines:
    """All lines of one worker, which has `places` calls under way at most.

    `now` tells monotonic seconds, `chance` draws from [0, 1). `rests` is told of each line that
    opens, and for how many seconds it rests.
    """

    def __init__(
        self,
        places: int = PLACES,
        *,
        telemetry: NoTelemetry = NO_TELEMETRY,
        now: Callable[[], float] = monotonic_seconds,
        chance: Callable[[], float] = random.random,
        rests: Callable[[Account, Operation, float], None] | None = None,
    ) -> None:
        self._rests = rests
        self._places, self._now, self._chance, self._telemetry = places, now, chance, telemetry
        self._lines: dict[tuple[UUID, Operation], _Line] = {}
        self._under_way: dict[UUID, int] = {}
        self._all_under_way = 0

    def take(self, account: Account, operation: Operation) -> Place | WithheldWhy:
        """A place for one call, or why there is none: then nothing may be sent."""
        line = self._line(account, operation)
        now = self._now()
        going = line.breaker.asked(now)
        if going is None:
            self._telemetry.call_withheld(account.gateway, operation, "gateway_resting")
            return "gateway_resting"
        if self._is_full(account, operation):
            self._telemetry.call_withheld(account.gateway, operation, "account_busy")
            return "account_busy"
        self._turn_to(line, going)
        account_id = account.gateway_account_id
        self._under_way[account_id] = self._under_way.get(account_id, 0) + 1
        self._all_under_way += 1
        return Place(self, line, going.turn)

    def leave(self, line: _Line, turn: int, failed: bool | None) -> None:
        """The call is over; for Place alone."""
        account_id = line.account.gateway_account_id
        self._all_under_way -= 1
        self._under_way[account_id] -= 1
        if not self._under_way[account_id]:
            del self._under_way[account_id]
        longest = LOOK_REST_SECONDS_MAX if line.operation in LOOKS else REST_SECONDS_MAX
        self._turn_to(line, line.breaker.ended(turn, failed, self._now(), self._chance(), longest))

    def are_closed(self, account_id: UUID, operations: Sequence[Operation]) -> bool:
        """Whether all is well on these lines; one that was never used is closed."""
        return all(line.breaker.state == "closed" for line in self._known(account_id, operations))

    def are_resting(self, account_id: UUID, operations: Sequence[Operation]) -> bool:
        """Whether one of them would take no call now."""
        now = self._now()
        return any(line.breaker.asked(now) is None for line in self._known(account_id, operations))

    def _known(self, account_id: UUID, operations: Sequence[Operation]) -> list["_Line"]:
        found = (self._lines.get((account_id, operation)) for operation in operations)
        return [line for line in found if line is not None]

    def _is_full(self, account: Account, operation: Operation) -> bool:
        under_way = self._under_way.get(account.gateway_account_id, 0)
        if operation in LOOKS and under_way < LOOKS_RESERVED:
            return False
        return under_way >= SHARE_OF_FREE * (self._places - self._all_under_way)

    def _line(self, account: Account, operation: Operation) -> _Line:
        key = account.gateway_account_id, operation
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= LINES_MAX:
                self._forget()
            line = self._lines[key] = _Line(account, operation)
        return line

    def _forget(self) -> None:
        self._lines = {
            key: line
            for key, line in self._lines.items()
            if line.breaker.state != "closed" or key[0] in self._under_way
        }

    def _turn_to(self, line: _Line, breaker: Breaker) -> None:
        before, line.breaker = line.breaker.state, breaker
        if before == breaker.state:
            return
        gateway, operation = line.account.gateway, line.operation
        if breaker.state == "open" and self._rests is not None:
            self._rests(line.account, operation, breaker.rests_until - self._now())
        self._telemetry.line_turned(gateway, operation, before, breaker.state)
        ids = [to_text("gwa", line.account.gateway_account_id)]
        if before == "closed":
            log.warning("line_opened", gateway=gateway, operation=operation, ids=ids)
        elif breaker.state == "closed":
            log.info("line_closed", gateway=gateway, operation=operation, ids=ids)

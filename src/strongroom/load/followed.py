"""What becomes of the payments: a sample of those that were accepted, looked at until they end."""

import re
from collections import deque
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.load.callers import Connection, body_of

FOLLOWED_MAX: Final = 500
LOOKS_PER_SECOND_MAX: Final = 100
MOVING: Final = frozenset({"processing", "outcome_unknown"})
"""Payments that stand elsewhere wait for somebody, or have come to their end."""
_ID: Final = re.compile(rb'"id":"(pay_[0-9a-z]{26})"')


class _Payment(Struct):
    id: str
    status: str


_decoder: Final = msgspec.json.Decoder(_Payment)


class Followed:
    """A Party that asks GET /v1/payments/{id} for each payment of the sample, in turns."""

    def __init__(self, authority: str, api_key: str) -> None:
        self._head = f" HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {api_key}\r\n\r\n"
        self._turns: deque[str] = deque()
        self._allowed = 0.0
        self.states: dict[str, str] = {}
        """By payment id, where it was last seen to stand."""
        self.refused: str | None = None
        """The status by which a look was refused; nothing is asked any more."""

    @property
    def moving(self) -> int:
        """How many of the sample have not come to rest."""
        return len(self._turns)

    def counts(self) -> dict[str, int]:
        """How many of the sample stand where."""
        counts: dict[str, int] = {}
        for state in self.states.values():
            counts[state] = counts.get(state, 0) + 1
        return counts

    def take(self, answer: bytes) -> None:
        """Takes one payment of an answer into the sample, while there is room."""
        found = _ID.search(answer)
        if found and len(self.states) < FOLLOWED_MAX:
            payment = found[1].decode()
            self.states[payment] = "processing"
            self._turns.append(payment)

    def allow(self, seconds: float) -> None:
        """So much time has passed: as many looks more may be taken."""
        self._allowed = min(LOOKS_PER_SECOND_MAX, self._allowed + seconds * LOOKS_PER_SECOND_MAX)

    def may_send(self, connection: Connection) -> bool:  # noqa: ARG002 - there is only one
        """While there is somebody to look at, at the pace that is allowed."""
        return bool(self._turns) and self._allowed >= 1 and self.refused is None

    def request(self) -> bytes:
        """A look at the one whose turn it is."""
        self._allowed -= 1
        return f"GET /v1/payments/{self._turns[0]}{self._head}".encode()

    def answered(self, status: str, answer: bytes, seconds: float) -> None:  # noqa: ARG002
        """Notes where it stands; it is looked at again while it moves."""
        asked = self._turns.popleft()
        if status != "200":
            if status != "503":
                self.refused = status
            self._turns.append(asked)
            return
        self.states[asked] = _decoder.decode(body_of(answer)).status
        if self.states[asked] in MOVING:
            self._turns.append(asked)

    def lost(self, error: Exception | None) -> None:
        """It is asked again."""

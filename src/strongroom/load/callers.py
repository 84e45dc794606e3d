"""Callers: keep-alive connections with one request under way each, and what they count together."""

import asyncio
from array import array
from typing import Final, Protocol, cast

import msgspec
from msgspec import Struct

from strongroom.clock import monotonic_seconds
from strongroom.load.orders import Orders

CONNECT_AT_ONCE_MAX: Final = 32
FAILURE_BYTES_KEPT: Final = 600
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
_LENGTH: Final = b"ontent-length: "
_WHOLE_ITEM: Final = b',"status":202,"replayed":false,'


class Party(Protocol):
    """On whose behalf a connection asks."""

    def may_send(self, connection: "Connection") -> bool:
        """Whether the connection sends its next request now; else it waits for `send`."""
        ...

    def request(self) -> bytes:
        """The next request's bytes."""
        ...

    def answered(self, status: str, answer: bytes, seconds: float) -> None:
        """Hears of an answer: the whole of it, head and body."""
        ...

    def lost(self, error: Exception | None) -> None:
        """Hears of a request whose answer will not come."""
        ...


class _Item(Struct):
    """Of a result of a bulk, what is counted."""

    status: int


class _Results(Struct):
    results: list[_Item]


_decoder: Final = msgspec.json.Decoder(_Results)


class Callers:
    """Counters of a run, and what its connections share.

    `accepted` are payments that were answered with 201 or 202, `statuses` are payments by the
    status that they were answered with; a bulk that is refused as a whole counts all of its
    payments. `latencies` are seconds, one a request.
    """

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self.payments_each: Final = orders.payments_each
        self.sent = 0
        self.accepted = 0
        self.failed = 0
        self.in_flight = 0
        self.statuses: dict[str, int] = {}
        self.first_failure = ""
        self.latencies = array("d")
        self.ending = False
        self.quiet = asyncio.Event()

    def may_send(self, connection: "Connection") -> bool:  # noqa: ARG002 - for who holds them back
        """As long as the run is not ending."""
        if self.ending:
            self.hush()
            return False
        return True

    def request(self) -> bytes:
        """The next request's bytes."""
        self.sent += self.payments_each
        self.in_flight += 1
        return self._orders.next()

    def hush(self) -> None:
        """Says that all is over, once nothing is under way any more."""
        if not self.in_flight:
            self.quiet.set()

    def answered(self, status: str, answer: bytes, seconds: float) -> None:
        """Counts an answer."""
        self.in_flight -= 1
        self.latencies.append(seconds)
        if self.payments_each == 1:
            self._count(status, 1, answer)
        elif status == "200" and answer.count(_WHOLE_ITEM) == self.payments_each:
            self._count("202", self.payments_each, answer)
        elif status == "200":
            for item in _decoder.decode(body_of(answer)).results:
                self._count(str(item.status), 1, answer)
        else:
            self._count(status, self.payments_each, answer)

    def _count(self, status: str, payments: int, answer: bytes) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + payments
        if status in ("201", "202"):
            self.accepted += payments
            return
        self.failed += payments
        if not self.first_failure:
            self.first_failure = answer[:FAILURE_BYTES_KEPT].decode("utf-8", "replace")

    def lost(self, error: Exception | None) -> None:
        """Counts a request whose answer will not come."""
        self.in_flight -= 1
        self._count("lost", self.payments_each, repr(error).encode())
        if self.ending:
            self.hush()


def body_of(answer: bytes) -> bytes:
    """The body of a whole answer."""
    return answer[answer.find(b"\r\n\r\n") + 4 :]


def _length(data: bytes, head_end: int) -> int | None:
    """What the head says of the body's length; a proxy may write the name another way."""
    at = data.find(_LENGTH, 0, head_end)
    if at < 0:
        at = data[:head_end].lower().find(_LENGTH)
    value = data[at + len(_LENGTH) : data.find(b"\r", at)] if at >= 0 else b""
    return int(value) if value.isdigit() else None


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("_expected", "_have", "_parts", "_party", "_sent_at", "_transport")

    def __init__(self, party: Party) -> None:
        self._party = party
        self._parts: list[bytes] = []
        self._have = 0
        self._expected = 0
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to send."""
        # uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent on it."""
        return self._transport is not None

    def send(self) -> None:
        """Sends the next request, if there is to be one."""
        if self._transport is not None and not self._sent_at and self._party.may_send(self):
            self._sent_at = monotonic_seconds()
            self._transport.write(self._party.request())

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Gathers an answer; sends the next request when it is whole."""
        self._have += len(data)
        if not self._expected:
            if self._parts:
                data = b"".join((*self._parts, data))
                self._parts.clear()
            head_end = data.find(b"\r\n\r\n")
            if head_end >= 0:
                length = _length(data, head_end)
                if length is None:  # no answer of Strongroom's
                    self.close()
                    return
                self._expected = head_end + 4 + length
        if self._have > ANSWER_BYTES_MAX:
            self.close()
            return
        if not self._expected or self._have < self._expected:
            self._parts.append(data)
            return
        if self._parts:
            data = b"".join((*self._parts, data))
            self._parts.clear()
        self._have = self._expected = 0
        seconds, self._sent_at = monotonic_seconds() - self._sent_at, 0.0
        self._party.answered(data[9:12].decode("ascii", "replace"), data, seconds)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has closed it, or we have."""
        self._transport = None
        if self._sent_at:
            self._sent_at = 0.0
            self._party.lost(exc)

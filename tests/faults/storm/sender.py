"""Sends what is known again and again, over many connections, until enough was answered."""

import asyncio
import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from strongroom.load.callers import Connection, body_of
from strongroom_sandbox.stripe.webhooks import signature_header
from tests.faults.storm.front import Event

CONNECTIONS: Final = 96
"""The kernel spreads them over both processes of the API."""
IN_A_ROW: Final = (1, 1, 1, 2, 3)
"""So often an event is sent in one turn, over as many connections at the same moment."""


class Sender:
    """The gateways, as far as they deliver: each attempt is signed anew, as Stripe does it.

    `events` grows meanwhile; each turn takes all there are by then, in an order of its own.
    """

    def __init__(
        self, url: str, secret: bytes, events: Sequence[Event], connections: int = CONNECTIONS
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._secret, self._events = secret, events
        self._number, self._connections = connections, list[Connection]()
        self._turn: Iterator[Event] = iter(())
        self._sending = False
        self._last_round: Iterator[Event] | None = None
        self._under_way = self._rounded = 0
        self._awaited: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._quiet = asyncio.Event()
        """Nothing is under way."""
        self.answers: Counter[str] = Counter()
        """By status, and by the code of the problem where it was refused."""

    @property
    def taken(self) -> int:
        """How many deliveries were answered 200."""
        return self.answers["200"]

    @property
    def is_behind(self) -> bool:
        """Whether there are events that no round has had."""
        return len(self._events) > self._rounded

    async def until_taken(self, many: int) -> None:
        """Returns once so many were answered 200."""
        if self.taken < many:
            reached = asyncio.get_running_loop().create_future()
            heapq.heappush(self._awaited, (many, next(self._numbers), reached))
            await reached

    async def open(self) -> None:
        """Connects."""
        loop = asyncio.get_running_loop()
        for _ in range(self._number):
            _, connection = await loop.create_connection(
                lambda: Connection(Line(self)), self._host, self._port
            )
            self._connections.append(connection)

    def close(self) -> None:
        """Ends all connections."""
        self._sending = False
        for connection in self._connections:
            connection.close()

    def begin(self) -> None:
        """From now on deliveries are sent, without a pause."""
        self._sending = True
        for connection in self._connections:
            connection.send()

    async def end(self) -> None:
        """No more of them; returns when all are answered."""
        self._sending = False
        while self._under_way:
            await self._quiet.wait()

    async def round(self) -> None:
        """Each event once more, the last one first; returns when all are answered."""
        rounded = list(self._events)
        self._rounded, self._last_round = len(rounded), reversed(rounded)
        self.begin()
        while self._sending or self._under_way:
            await self._quiet.wait()

    def check(self) -> None:
        """Raises AssertionError where nobody would be sending any more."""
        assert any(connection.is_open for connection in self._connections), self.answers

    # What a line asks of whom it sends for.

    def take(self) -> Event | None:
        """What is delivered next; None where nothing is to be sent now."""
        event = self._take() if self._sending else None
        if event is not None:
            self._under_way += 1
            self._quiet.clear()
        return event

    def request_of(self, event: Event) -> bytes:
        """A delivery's bytes."""
        if event.gateway == "braintree":  # signed in its body, where no time stands
            return event.head + b"\r\n" + event.body
        signature = signature_header(event.body, [self._secret], int(time.time())).encode()
        return b"%bStripe-Signature: %b\r\n\r\n%b" % (event.head, signature, event.body)

    def told(self, event: Event, what: str) -> None:
        """Counts what became of a delivery."""
        self._under_way -= 1
        if not self._under_way:
            self._quiet.set()
        self.answers[what] += 1
        if what == "200":
            event.taken()
        while self._awaited and self._awaited[0][0] <= self.taken:
            _, _, reached = heapq.heappop(self._awaited)
            if not reached.done():
                reached.set_result(None)

    def _take(self) -> Event | None:
        if self._last_round is not None:
            event = next(self._last_round, None)
            self._sending = event is not None
            return event
        event = next(self._turn, None)
        if event is None:
            self._turn = _shuffled(self._events)
            event = next(self._turn, None)
        return event


def _shuffled(events: Sequence[Event]) -> Iterator[Event]:
    """Each at least once, some several times in a row."""
    for event in random.sample(events, len(events)):
        for _ in range(random.choice(IN_A_ROW)):
            yield event


class Line:
    """One connection's deliveries: a Party, as Connection has it."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._event: Event | None = None

    @property
    def event(self) -> Event:
        """What is under way."""
        assert self._event is not None
        return self._event

    def may_send(self, connection: Connection) -> bool:
        """Where there is something to be sent."""
        self._event = self._sender.take()
        return self._event is not None

    def request(self) -> bytes:
        """Its bytes."""
        return self._sender.request_of(self.event)

    def answered(self, status: str, answer: bytes, seconds: float) -> None:
        """By status, and by the code of the problem where it was refused."""
        if status != "200":
            status = f"{status} {msgspec.json.decode(body_of(answer)).get('code', '')}".strip()
        self._sender.told(self.event, status)

    def lost(self, error: Exception | None) -> None:
        """It was not answered."""
        self._sender.told(self.event, f"not answered: {type(error).__name__}")

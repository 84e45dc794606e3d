"""Webhooks on their way: retries, duplicates, reordering and forgeries on purpose.

As providers do: each event to each endpoint, in no order that anybody may rely on, again and again
until it is answered 2xx. Other than with a provider, what was not delivered is forgotten when the
process ends, and tries come in seconds instead of hours.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec

from strongroom_sandbox.ledger import Ledger

ENDPOINTS_MAX = 8
SECRETS_MAX = 2
UNDER_WAY_MAX = 20_000
"""Deliveries that wait or are tried again; beyond them events are dropped, and counted."""
AT_ONCE_MAX = 32
TRIES_MAX = 12
FIRST_WAIT_SECONDS = 0.2
WAIT_SECONDS_MAX = 30.0
ANSWER_SECONDS_MAX = 10.0
DELAY_MILLISECONDS_MAX = 60_000

Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Endpoint(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Where events go. Each secret signs, as while one takes the other's place.

    A file holds one secret a line; a provider that signs with its API keys needs neither.
    ``enabled_events`` are types, a noun with a star (``refund.*``), or ``*``. ``thin``: where the
    provider has such events, it is told the object's id and nothing of the object.
    """

    url: Annotated[str, msgspec.Meta(pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\])[:/]")]
    secrets: Annotated[list[str], msgspec.Meta(max_length=SECRETS_MAX)] = []
    secret_file: str | None = None
    enabled_events: list[str] = msgspec.field(default_factory=lambda: ["*"])
    thin: bool = False

    def wants(self, kind: str) -> bool:
        """Whether events of this type are sent there."""
        noun = kind.rpartition(".")[0] + ".*"
        return any(one in ("*", kind, noun) for one in self.enabled_events)


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """What goes wrong with deliveries, each by chance.

    ``duplicate``: it is sent twice. ``reorder``: it waits for up to ``delay_ms`` while later ones
    go. ``forge``: one with another signature is sent before it. ``delay_ms`` alone delays all.
    """

    duplicate: Chance = 0.0
    reorder: Chance = 0.0
    forge: Chance = 0.0
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=DELAY_MILLISECONDS_MAX)] = 0


class Registered(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /_webhooks, and the content of the file of endpoints."""

    endpoints: Annotated[list[Endpoint], msgspec.Meta(max_length=ENDPOINTS_MAX)] = []
    faults: Faults = msgspec.field(default_factory=Faults)


@dataclass(slots=True)
class Counts:
    """What became of deliveries since the start."""

    sent: int = 0
    answered_2xx: int = 0
    refused: int = 0
    given_up: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Post:
    """A request as it is sent; signed anew each time, as providers do."""

    body: bytes
    headers: Mapping[str, str]


Taken = Callable[[], None]
"""Called once for each endpoint that has answered an event with 2xx."""
Sign = Callable[[Endpoint, bytes, bool], Post]
"""What is posted for an event's text to an endpoint; the last says that it is forged."""


class Deliveries:
    """Sends events. ``file`` lists endpoints and is read again when it changes."""

    def __init__(self, ledger: Ledger, file: Path | None, sign: Sign) -> None:
        self._ledger, self._file, self._sign = ledger, file, sign
        self._stamp: tuple[int, int] | None = None
        self._from_file = Registered()
        self._put: Registered | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._session: aiohttp.ClientSession | None = None
        self.counts = Counts()

    def replace(self, registered: Registered | None) -> None:
        """These endpoints and faults from now on; None: those of the file again."""
        self._put = registered

    @property
    def under_way(self) -> int:
        """Deliveries that are not at their end."""
        return len(self._tasks)

    async def close(self) -> None:
        """Forget what is not delivered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def registered(self) -> Registered:
        """What holds now."""
        if self._put is not None:
            return self._put
        if self._file is not None:
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                found = self._file.stat()
                stamp = (found.st_ino, found.st_mtime_ns)
                if stamp != self._stamp:
                    content = self._file.read_bytes()
                    self._from_file = msgspec.json.decode(content, type=Registered)
                    self._stamp = stamp
        return self._from_file

    def about(self) -> dict[str, Any]:
        """Which endpoints there are, without their secrets, and what became of deliveries."""
        return {
            "urls": [endpoint.url for endpoint in self.registered().endpoints],
            "under_way": self.under_way,
            "counts": self.counts,
        }

    def send(
        self, kind: str, text: bytes, endpoints: list[Endpoint], taken: Taken | None = None
    ) -> None:
        """Begin to deliver an event to each endpoint that wants its kind; ``taken`` by each."""
        for endpoint in endpoints:
            if endpoint.wants(kind):
                self._begin(endpoint, text, taken)

    def _begin(self, endpoint: Endpoint, text: bytes, taken: Taken | None) -> None:
        faults = self.registered().faults
        seconds = faults.delay_ms / 1000
        if faults.reorder:
            seconds = seconds * random.random() if _strikes(faults.reorder) else 0.0  # noqa: S311
        if _strikes(faults.forge):
            self._start(self._deliver(endpoint, text, seconds, forged=True))
        self._start(self._deliver(endpoint, text, seconds, taken=taken))
        if _strikes(faults.duplicate):
            self._start(self._deliver(endpoint, text, seconds))

    def _start(self, delivery: Coroutine[Any, Any, None]) -> None:
        if len(self._tasks) >= UNDER_WAY_MAX:
            self.counts.dropped += 1
            delivery.close()
            return
        task = asyncio.get_running_loop().create_task(delivery)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(
        self,
        endpoint: Endpoint,
        text: bytes,
        seconds: float,
        *,
        forged: bool = False,
        taken: Taken | None = None,
    ) -> None:
        await self._ledger.durable()
        wait = FIRST_WAIT_SECONDS
        for _ in range(1 if forged else TRIES_MAX):
            await asyncio.sleep(seconds)
            async with self._room:
                status = await self._send(endpoint, text, forged=forged)
            if status is not None and 200 <= status < 300:
                self.counts.answered_2xx += 1
                if taken is not None:
                    taken()
                return
            self.counts.refused += 1
            seconds = wait * (0.5 + random.random())  # noqa: S311
            wait = min(wait * 2, WAIT_SECONDS_MAX)
        self.counts.given_up += 1

    async def _send(self, endpoint: Endpoint, text: bytes, *, forged: bool) -> int | None:
        post = self._sign(endpoint, text, forged)
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
            self._session = aiohttp.ClientSession(timeout=timeout)
        self.counts.sent += 1
        try:
            async with self._session.post(
                endpoint.url, data=post.body, headers=post.headers, allow_redirects=False
            ) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


def _strikes(chance: float) -> bool:
    return chance > 0 and random.random() < chance  # noqa: S311

"""Brings one webhook to the URL that a merchant chose, and tells how that went.

Receivers are strangers. What they may learn is the message and its signatures; what they may do is
answer with a status within the deadline. Nothing else of their answer is kept, shown or logged.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Literal

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from msgspec import Struct
from yarl import URL

from strongroom import __version__
from strongroom.clock import monotonic_seconds
from strongroom.errors import described
from strongroom.vault.secret import Secret
from strongroom.webhooks.egress import (
    LOCALHOST,
    LOOPBACK,
    AddressRefused,
    Destination,
    UrlRefused,
    checked_url,
    refusal_of,
)
from strongroom.webhooks.signatures import Message, signed_headers

ANSWER_SECONDS: Final = 15.0
"""From looking the name up to the end of the answer's head; a slow drip ends with it too."""
LOOKUPS_AT_ONCE_MAX: Final = 32
"""In threads of their own: a merchant's slow name server holds up nothing but webhooks."""
HEADER_BYTES_MAX: Final = 8190
HEADERS_MAX: Final = 100
BUFFER_BYTES: Final = 16_384
"""Of an answer, what the kernel and then we hold at most before it is looked at."""

INTERIM_ANSWERS_MAX: Final = 8
"""1xx before the answer, of which aiohttp would take any number."""

Outcome = Literal[
    "delivered",
    "answered",
    "redirected",
    "timed_out",
    "address_refused",
    "name_unknown",
    "tls_failed",
    "unreachable",
    "malformed_answer",
    "url_refused",
]

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""A DNS name → its addresses as text, the best first. Raises OSError where there are none."""
AddrInfo = tuple[Any, Any, int, str, Any]
"""As socket.getaddrinfo has it: family, kind, protocol, canonical name, socket address."""

log = structlog.get_logger()


class Delivered(Struct, frozen=True, kw_only=True):
    """How one try went: `delivered` is any 2xx, `redirected` any 3xx, which is not followed,
    `answered` any other status. `unreachable` includes a connection that ended without an answer.

    `status` is there for these three alone; `seconds` is how long all of it took.
    """

    outcome: Outcome
    status: int | None
    seconds: float


class Courier:
    """Delivers webhooks. Each has a connection of its own, which ends with it.

    So nothing of one merchant can reach another's message: no pooled connection that was made for
    another address, no cookie, no name that is remembered. Proxies and netrc of the environment are
    not asked: a proxy would look the name up once more, and elsewhere.
    """

    def __init__(
        self,
        *,
        loopback_allowed: bool = False,
        seconds: float = ANSWER_SECONDS,
        lookup: Lookup | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`loopback_allowed` is for development. Reads the system's list of CAs, from files."""
        self._loopback_allowed = loopback_allowed
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE_MAX, "webhook-names")
        self._lookup = self._look_up if lookup is None else lookup
        self._looking: dict[str, asyncio.Task[list[str]]] = {}
        self._tls = ssl.create_default_context() if tls is None else tls
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    async def close(self) -> None:
        """Starts no look-up any more; one that is under way still has its thread until it ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def deliver(self, url: str, message: Message, secrets: Sequence[Secret]) -> Delivered:
        """Posts the message once, signed by each of the secrets, newest first.

        Whatever a receiver does is an outcome. Raises SecretMalformed and InvariantBroken, before
        anything is sent, for what cannot be signed.
        """
        headers = signed_headers(message, secrets)
        started = monotonic_seconds()
        status: int | None = None
        try:
            async with asyncio.timeout(self._seconds):
                destination = checked_url(url, loopback_allowed=self._loopback_allowed)
                status = await self._post(destination, headers, message.body)
            outcome = _outcome_of(status)
        except Exception as error:  # noqa: BLE001 - a receiver can make any part of it fail
            outcome = _outcome_of_error(error)
        seconds = monotonic_seconds() - started
        return Delivered(outcome=outcome, status=status, seconds=seconds)

    async def _post(self, destination: Destination, headers: dict[str, str], body: bytes) -> int:
        """The status of the answer; its body stays where it is, and the connection ends."""
        way = _Way(destination, self._lookup, loopback_allowed=self._loopback_allowed)
        connector = aiohttp.TCPConnector(
            resolver=way,
            socket_factory=way.open_socket,
            use_dns_cache=False,
            happy_eyeballs_delay=None,
            force_close=True,
            ssl=self._tls,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(),
            response_class=_Answer,
            read_bufsize=BUFFER_BYTES,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )
        try:
            answer = await session.post(
                URL(destination.text, encoded=True),
                data=body,
                headers={
                    **headers,
                    "content-type": "application/json",
                    "user-agent": f"Strongroom/{__version__}",
                    "accept-encoding": "identity",
                    "connection": "close",
                },
                allow_redirects=False,
            )
            answer.close()
            return answer.status
        finally:
            way.end()
            await session.close()

    async def _look_up(self, name: str) -> list[str]:
        """Asks the system, once for all who ask in that moment: a slow name takes one thread."""
        task = self._looking.get(name)
        if task is None:
            task = asyncio.create_task(self._ask(name))
            self._looking[name] = task
            task.add_done_callback(lambda done: self._looked_up(name, done))
        return await asyncio.shield(task)

    def _looked_up(self, name: str, done: "asyncio.Task[list[str]]") -> None:
        del self._looking[name]
        if not done.cancelled():
            done.exception()  # everybody who asked may have gone

    async def _ask(self, name: str) -> list[str]:
        """A name is absolute: no search list adds our own domain to it."""
        absolute = name if name == LOCALHOST else name + "."
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(absolute, None, type=socket.SOCK_STREAM)
        )
        return [str(info[4][0]) for info in found]


class _Way(AbstractResolver):
    """The way to one destination, guarded twice: where its name is looked up, and at the socket.

    A name is looked up once, and what is connected to is of that answer, so that a name server that
    answers something else the next time (rebinding) is not asked: the first address, and if nobody
    listens there the first of the other family. If any address of the answer is refused, all are: a
    name that leads both into our network and out of it is an attack or a mistake, and which of them
    a connection takes would be chance.

    aiohttp asks no resolver for a host that is an address already, so the socket is what decides:
    none is made for an address other than a checked one, whatever the URL was taken for.
    """

    def __init__(self, destination: Destination, lookup: Lookup, *, loopback_allowed: bool) -> None:
        self._destination = destination
        self._lookup = lookup
        self._loopback_allowed = loopback_allowed
        literal = destination.address
        self._checked: tuple[str, ...] = () if literal is None else (str(literal),)
        self._sockets: list[socket.socket] = []

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the answer says which
    ) -> list[ResolveResult]:
        """What to connect to. Raises AddressRefused, and OSError for an unknown name."""
        if host != self._destination.host or self._checked:
            raise AddressRefused("another_host")
        addresses = await self._lookup(host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        for address in addresses:
            self._check(address)
        first = {_family(address): address for address in reversed(addresses)}
        self._checked = tuple(sorted(first.values(), key=addresses.index))
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=_family(address), proto=0, flags=0
            )
            for address in self._checked
        ]

    def open_socket(self, info: AddrInfo) -> socket.socket:
        """A socket for a checked address. Raises AddressRefused for another."""
        family, kind, protocol, _, (address, port, *scope) = info
        if address not in self._checked or port != self._destination.port or any(scope):
            raise AddressRefused("another_address")
        self._check(address)
        self._sockets.append(new_socket(family, kind, protocol))
        return self._sockets[-1]

    def end(self) -> None:
        """Ends the connection at once, though a receiver may not take what is still to be sent."""
        for made in self._sockets:
            with suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Part of the interface."""

    def _check(self, address: str) -> None:
        why = refusal_of(address, loopback_allowed=self._loopback_allowed)
        if why is not None:
            raise AddressRefused(why)
        if self._destination.scheme == "http" and refusal_of(address) != LOOPBACK:
            raise AddressRefused("plaintext")


class _Answer(aiohttp.ClientResponse):
    """An answer that may not be announced for ever; ClientPayloadError if it is."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """As it is, with a bound on what is read before the answer."""
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ServerDisconnectedError
        read, left = protocol.read, INTERIM_ANSWERS_MAX + 1

        async def bounded() -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise aiohttp.ClientPayloadError
            return await read()

        protocol.read = bounded  # type: ignore[method-assign]
        return await super().start(connection)


def new_socket(family: int, kind: int, protocol: int) -> socket.socket:
    """A socket that takes little at once and gives up on a receiver that takes nothing."""
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(ANSWER_SECONDS * 1000))
    return made


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _outcome_of(status: int) -> Outcome:
    if 200 <= status < 300:
        return "delivered"
    return "redirected" if 300 <= status < 400 else "answered"


def _outcome_of_error(error: Exception) -> Outcome:
    match error:
        case UrlRefused() | aiohttp.InvalidURL():
            return "url_refused"
        case AddressRefused():
            return "address_refused"
        case TimeoutError():
            return "timed_out"
        case aiohttp.ClientConnectorDNSError():
            return "name_unknown"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls_failed"
        case aiohttp.ClientConnectionError() | OSError():
            refused = isinstance(error.__cause__, ssl.SSLError)
            return "tls_failed" if refused else "unreachable"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "malformed_answer"
        case _:
            log.warning("webhook_answer_odd", **described(error))
            return "malformed_answer"

"""One exchange with Stripe: the account's client, the time it took, and no exception to the caller.

A client is kept for each account; its secret follows the account's file.
"""

import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import aiohttp
import stripe
from stripe import StripeClient, StripeError

from strongroom.clock import Clock
from strongroom.gateways.port import Account
from strongroom.payments.refunds import Refused
from strongroom.payments.states import Call, Declined, NotSent, Unknown

LIVE_URL: Final = "https://api.stripe.com"
SOCKET_TIMEOUT_SECONDS: Final = 600.0
"""Longer than any deadline of ours: an answer that comes late is still worth hearing."""
CONNECTIONS_MAX: Final = 512

stripe.enable_telemetry = False

Found = TypeVar("Found")
Said = TypeVar("Said")
Stamp = tuple[int, int, int]
"""Inode, size and time of change in ns: another one means that the file was written anew."""


class CredentialsUnreadable(Exception):
    """The account's secret could not be read from its file; nothing was sent."""


class _Kept(NamedTuple):
    """A client with the secret that stood in the account's file at `stamp`."""

    stamp: Stamp | None
    client: StripeClient
    http: stripe.HTTPClient


class Ask(NamedTuple, Generic[Found, Said]):
    """A request and how to read what comes of it: an object, or an error of the SDK.

    An error may carry an object, which is then what was found.
    """

    operation: str
    request: Callable[[StripeClient], Awaitable[Found]]
    read: Callable[[Found], Said]
    read_error: Callable[[StripeError], tuple[Said, Found | None]]


class Connections:
    """The clients of all of a process's Stripe accounts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clients: dict[Account, _Kept] = {}

    async def ask(
        self, account: Account, ask: Ask[Found, Said]
    ) -> tuple[Said | NotSent | Unknown, Call, Found | None]:
        """What was answered, the call for `explain`, and the object that was found, if any."""
        started_at, started = self._clock.now(), time.perf_counter()
        said: Said | NotSent | Unknown
        found: Found | None = None
        http_status: int | None = None
        request_id: str | None = None
        try:
            client = self._client(account)
            try:
                found = await ask.request(client)
                said = ask.read(found)
                response = getattr(found, "last_response", None)
                if response is not None:
                    http_status, request_id = response.code, response.request_id
            except StripeError as error:
                http_status, request_id = error.http_status, error.request_id
                said, found = ask.read_error(error)
                if http_status == 401:
                    self._read_secret_again(account)
        except CredentialsUnreadable:
            said = NotSent("credentials_unreadable")
        except Exception as error:  # noqa: BLE001 - whatever broke, the request had left
            said, found = Unknown("malformed_" + type(error).__name__), None
        call = Call(
            operation=ask.operation,
            started_at=started_at,
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
            outcome=str(getattr(found, "status", None) or _word(said)),
            http_status=http_status,
            gateway_request_id=request_id,
            code=_code(said),
        )
        return said, call, found

    def without_asking(self, operation: str, outcome: str) -> Call:
        """A call that was not made, for `explain`."""
        return Call(
            operation=operation, started_at=self._clock.now(), duration_ms=0.0, outcome=outcome
        )

    def moment(self) -> int:
        """A number that the next call will not have: microseconds since 1970."""
        return int(self._clock.now().timestamp() * 1_000_000)

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        for kept in self._clients.values():
            await kept.http.close_async()
        self._clients.clear()

    def _client(self, account: Account) -> StripeClient:
        """The account's client; its secret follows the file, its connections stay.

        Raises CredentialsUnreadable.
        """
        known = self._clients.get(account)
        file = Path(account.secret_file)
        try:
            found = file.stat()
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if known is not None and known.stamp == stamp:
                return known.client
            secret = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise CredentialsUnreadable from None
        http = known.http if known is not None else _connections()
        url = account.base_url if account.environment == "stand_in" else LIVE_URL
        client = StripeClient(
            secret,
            base_addresses={"api": url or LIVE_URL},
            http_client=http,
            max_network_retries=0,
        )
        self._clients[account] = _Kept(stamp, client, http)
        return client

    def _read_secret_again(self, account: Account) -> None:
        """It was refused: the next call reads the file, whatever its stamp says."""
        if (known := self._clients.get(account)) is not None:
            self._clients[account] = known._replace(stamp=None)


def _connections() -> stripe.HTTPClient:
    return stripe.AIOHTTPClient(
        timeout=SOCKET_TIMEOUT_SECONDS,
        connector=aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            ssl=ssl.create_default_context(cafile=stripe.ca_bundle_path),
        ),
    )


def _word(said: Any) -> str:
    if isinstance(said, NotSent | Unknown):
        return said.why
    return type(said).__name__.lower()


def _code(said: Any) -> str | None:
    if isinstance(said, Declined):
        return said.raw_code
    return said.why if isinstance(said, Refused) else None

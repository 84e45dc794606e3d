"""One exchange with Stripe: the account's client, the time it took, and no exception to the caller.

A client is kept for each version of an account's key that is in use. Stripe's answers 401 and 403
mean that nothing was done, so the next call takes the other version, if there is one.

Where calls go to stands in the database, and nothing seals it. So a key goes only where its own
form says that it may: one that takes real money to Stripe alone, for an account that is live.
"""

import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

import aiohttp
import stripe
import structlog
from stripe import StripeClient, StripeError

from strongroom.clock import Clock, monotonic_seconds
from strongroom.config import ConfigurationError, Mode
from strongroom.gateways.port import Account, Credentials
from strongroom.ids import to_text
from strongroom.payments.refunds import Refused
from strongroom.payments.states import Call, Declined, NotSent, Unknown
from strongroom.vault.kinds import STRIPE_API_KEY, checked, kind_of
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Slot

LIVE_URL: Final = "https://api.stripe.com"
SOCKET_TIMEOUT_SECONDS: Final = 600.0
"""Longer than any deadline of ours: an answer that comes late is still worth hearing."""
CONNECTIONS_MAX: Final = 512

stripe.enable_telemetry = False

Found = TypeVar("Found")
Said = TypeVar("Said")
KEY_REFUSED: Final = frozenset({401, 403})
"""No valid key, or one without the right to do this; the other version may have it."""
TOLD_SECONDS: Final = 60.0
"""Between two lines of the log that say the same of an account's key."""

log = structlog.get_logger()


class CredentialsUnreadable(Exception):
    """No secret of the account is at hand; nothing was sent."""


@dataclass(slots=True)
class _Kept:
    """An account's connections, and the clients of those versions of its key that are in use."""

    http: stripe.HTTPClient
    clients: dict[int, StripeClient] = field(default_factory=dict)
    refused: int | None = None
    """The version that Stripe refused last."""
    told: dict[str, float] = field(default_factory=dict)
    """By event of the log, when it was last said."""


class Ask(NamedTuple, Generic[Found, Said]):
    """A request and how to read what comes of it: an object, or an error of the SDK.

    An error may carry an object, which is then what was found.
    """

    operation: str
    request: Callable[[StripeClient], Awaitable[Found]]
    read: Callable[[Found], Said]
    read_error: Callable[[StripeError], tuple[Said, Found | None]]


class Connections:
    """The clients of all of a process's Stripe accounts.

    In mode `live` nothing is ever sent to a stand-in.
    """

    def __init__(self, clock: Clock, credentials: Credentials, mode: Mode) -> None:
        self._clock, self._credentials, self._mode = clock, credentials, mode
        self._kept: dict[Account, _Kept] = {}

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
            version, client = await self._client(account)
            try:
                found = await ask.request(client)
                said = ask.read(found)
                response = getattr(found, "last_response", None)
                if response is not None:
                    http_status, request_id = response.code, response.request_id
            except StripeError as error:
                http_status, request_id = error.http_status, error.request_id
                said, found = ask.read_error(error)
                if http_status in KEY_REFUSED:
                    self._refused(account, version)
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
        for kept in self._kept.values():
            await kept.http.close_async()
        self._kept.clear()

    async def _client(self, account: Account) -> tuple[int, StripeClient]:
        """A client of the account, and the version of the key that it has.

        The newest that Stripe has not just refused and that can be had: a client that is there
        already needs no key of ours. Raises CredentialsUnreadable.
        """
        slot = Slot(account.legal_entity_id, account.gateway_account_id, STRIPE_API_KEY)
        kept = self._kept.get(account)
        try:
            versions = await self._credentials.versions(slot)
            if kept is None:
                kept = self._kept.setdefault(account, _Kept(_connections()))
            for version in kept.clients.keys() - set(versions):
                del kept.clients[version]
            for version in sorted(versions, key=lambda one: (one == kept.refused, -one)):
                client = kept.clients.get(version) or await self._made(account, kept, slot, version)
                if client is not None:
                    return version, client
        except Exception:  # noqa: BLE001 - whatever broke, nothing has left
            raise CredentialsUnreadable from None
        raise CredentialsUnreadable

    async def _made(
        self, account: Account, kept: _Kept, slot: Slot, version: int
    ) -> StripeClient | None:
        """A client of this version, or None where that cannot be opened, or may not go there."""
        try:
            secret = await self._credentials.open(slot, version)
        except Exception:  # noqa: BLE001 - the version before may be at hand
            return None
        if version in kept.clients:  # somebody else made it meanwhile
            return kept.clients[version]
        try:
            url = self._address(account, secret)
        except ConfigurationError:
            _tell(log.error, account, kept, "credentials_misplaced")
            return None
        kept.clients[version] = client = StripeClient(
            secret.reveal_text(),
            base_addresses={"api": url},
            http_client=kept.http,
            max_network_retries=0,
        )
        return client

    def _address(self, account: Account, secret: Secret) -> str:
        """Where this key of the account may be sent. Raises ConfigurationError for nowhere."""
        checked(kind_of(STRIPE_API_KEY), account.environment, secret)
        if account.environment != "stand_in":
            return LIVE_URL
        if self._mode == "live" or account.base_url is None:
            raise ConfigurationError("there is no stand-in.")
        return account.base_url

    def _refused(self, account: Account, version: int) -> None:
        """The next call takes another version, if one is in use."""
        kept = self._kept.get(account)
        if kept is not None:
            kept.refused = version
            _tell(log.warning, account, kept, "credentials_refused")


def _tell(say: Callable[..., Any], account: Account, kept: _Kept, event: str) -> None:
    """A line in the log, once in TOLD_SECONDS."""
    now = monotonic_seconds()
    if now - kept.told.get(event, float("-inf")) >= TOLD_SECONDS:
        kept.told[event] = now
        say(event, gateway="stripe", ids=[to_text("gwa", account.gateway_account_id)])


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

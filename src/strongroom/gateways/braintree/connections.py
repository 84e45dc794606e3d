"""One exchange with Braintree: the account's client, a thread, the time it took; no exception.

The SDK blocks, so each exchange has a thread of its own out of a bounded number, and keeps it until
it ends by itself. A client is kept for each version of an account's keys that is in use; on 401 and
403, which mean that nothing was done, the next call takes the other version, if there is one.

Where calls go to stands in the database, and nothing seals it: so for an account that is no
stand-in the address comes from the SDK, and in mode `live` nothing is ever sent to a stand-in.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from braintree import BraintreeGateway, Configuration, Environment

from strongroom.clock import Clock, monotonic_seconds
from strongroom.config import ConfigurationError, Mode
from strongroom.gateways.braintree.errors import NEVER_EXECUTED, unanswered
from strongroom.gateways.braintree.keys import keys_of
from strongroom.gateways.braintree.wire import Wire
from strongroom.gateways.port import Account, Credentials
from strongroom.ids import to_text
from strongroom.payments.refunds import Refused
from strongroom.payments.states import Call, Declined, NotSent, Unknown
from strongroom.vault.kinds import BRAINTREE_KEYS, checked, kind_of
from strongroom.vault.lanes import Lanes, LanesFull
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Slot

CALLS_MAX: Final = 32
"""Threads, of all accounts together."""
WAITING_MAX: Final = 256
WAIT_SECONDS: Final = 2.0
"""For a thread; then the call counts as not sent."""
TOLD_SECONDS: Final = 60.0
"""Between two lines of the log that say the same of an account's keys."""

Said = TypeVar("Said")

log = structlog.get_logger()


class CredentialsUnreadable(Exception):
    """No secret of the account is at hand; nothing was sent."""


class Client(NamedTuple):
    """The SDK with one version of an account's keys, and what it sends by."""

    gateway: BraintreeGateway
    wire: Wire


@dataclass(slots=True)
class _Kept:
    """An account's clients, by the version of the keys."""

    clients: dict[int, Client] = field(default_factory=dict)
    refused: int | None = None
    """The version that Braintree refused last."""
    told: dict[str, float] = field(default_factory=dict)


class Heard(NamedTuple, Generic[Said]):
    """What an exchange came to: the answer, the object's id and its status, where one was seen."""

    said: Said
    object_id: str | None = None
    status: str | None = None


class Connections:
    """The clients of all of a process's Braintree accounts."""

    def __init__(self, clock: Clock, credentials: Credentials, mode: Mode) -> None:
        self._clock, self._credentials, self._mode = clock, credentials, mode
        self._kept: dict[tuple[UUID, str, str | None], _Kept] = {}
        self._lanes = Lanes(
            CALLS_MAX, WAITING_MAX, wait_seconds=WAIT_SECONDS, name="strongroom-braintree"
        )

    async def ask(
        self,
        account: Account,
        operation: str,
        exchange: Callable[[BraintreeGateway], Heard[Said]],
    ) -> tuple[Said | NotSent | Unknown, Call]:
        """What `exchange`, which may ask several times, makes of the answers; and the call."""
        started_at, started = self._clock.now(), time.perf_counter()
        heard: Heard[Any]
        http_status: int | None = None
        request_id: str | None = None
        try:
            version, client = await self._client(account)
            heard, error, (http_status, request_id) = await self._lanes.run(
                lambda: _exchanged(client, exchange)
            )
            if isinstance(error, NEVER_EXECUTED):
                self._refused(account, version)
        except CredentialsUnreadable:
            heard = Heard(NotSent("credentials_unreadable"))
        except LanesFull:
            heard = Heard(NotSent("too_many_calls"))
        call = Call(
            operation=operation,
            started_at=started_at,
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
            outcome=heard.status or _word(heard.said),
            http_status=http_status,
            gateway_request_id=request_id,
            code=_code(heard.said),
            object_id=heard.object_id,
        )
        return heard.said, call

    def without_asking(self, operation: str, outcome: str) -> Call:
        """A call that was not made, for `explain`."""
        return Call(
            operation=operation, started_at=self._clock.now(), duration_ms=0.0, outcome=outcome
        )

    def close(self) -> None:
        """Lets go of connections; calls under way end by themselves."""
        for kept in self._kept.values():
            for client in kept.clients.values():
                client.wire.close()
        self._kept.clear()

    def _of(self, account: Account) -> _Kept:
        where = account.gateway_account_id, account.environment, account.base_url
        return self._kept.setdefault(where, _Kept())

    async def _client(self, account: Account) -> tuple[int, Client]:
        """A client of the account and the version of its keys: the newest that was not refused.

        Raises CredentialsUnreadable.
        """
        slot = Slot(account.legal_entity_id, account.gateway_account_id, BRAINTREE_KEYS)
        try:
            versions = await self._credentials.versions(slot)
            kept = self._of(account)
            for version in kept.clients.keys() - set(versions):
                kept.clients.pop(version).wire.close()
            for version in sorted(versions, key=lambda one: (one == kept.refused, -one)):
                client = kept.clients.get(version) or await self._made(account, kept, slot, version)
                if client is not None:
                    return version, client
        except Exception:  # noqa: BLE001 - whatever broke, nothing has left
            raise CredentialsUnreadable from None
        raise CredentialsUnreadable

    async def _made(self, account: Account, kept: _Kept, slot: Slot, version: int) -> Client | None:
        """A client of this version, or None where that cannot be opened, or may not go there."""
        try:
            secret = await self._credentials.open(slot, version)
        except Exception:  # noqa: BLE001 - the version before may be at hand
            return None
        if version in kept.clients:  # somebody else made it meanwhile
            return kept.clients[version]
        try:
            environment = self._environment(account, secret)
        except ConfigurationError:
            _tell(log.error, account, kept, "credentials_misplaced")
            return None
        kept.clients[version] = client = client_of(environment, secret)
        return client

    def _environment(self, account: Account, secret: Secret) -> Environment:
        """Where the account's keys may be sent. Raises ConfigurationError for nowhere."""
        checked(kind_of(BRAINTREE_KEYS), account.environment, secret)
        if account.environment == "live":
            return Environment.Production
        if account.environment == "sandbox":
            return Environment.Sandbox
        if self._mode == "live" or account.base_url is None:
            raise ConfigurationError("there is no stand-in.")
        return stand_in(account.base_url)

    def _refused(self, account: Account, version: int) -> None:
        """The next call takes another version, if one is in use."""
        kept = self._of(account)
        kept.refused = version
        _tell(log.warning, account, kept, "credentials_refused")


def stand_in(base_url: str) -> Environment:
    """A stand-in as the SDK writes down a place. Raises ConfigurationError."""
    parts = urlsplit(base_url)
    if parts.scheme != "http" or parts.hostname is None or parts.port in (None, 443):
        raise ConfigurationError("a stand-in of Braintree is at http:// and a port other than 443.")
    host, port = parts.hostname, str(parts.port)
    return Environment("stand_in", host, port, base_url, False, None, host, port)


def client_of(environment: Environment, secret: Secret) -> Client:
    """The SDK with these keys. Raises ValueError."""
    keys = keys_of(secret)
    made: list[Wire] = []

    def wire(config: Configuration, where: Environment) -> Wire:
        made.append(Wire(config, where, CALLS_MAX))
        return made[0]

    config = Configuration(
        environment=environment,
        merchant_id=keys.merchant_id,
        public_key=keys.public_key,
        private_key=keys.private_key,
        http_strategy=wire,
    )
    return Client(BraintreeGateway(config=config), made[0])


def _exchanged(
    client: Client, exchange: Callable[[BraintreeGateway], Heard[Said]]
) -> tuple[Heard[Any], Exception | None, tuple[int | None, str | None]]:
    """In a thread: what the exchange came to, and the error that ended it."""
    client.wire.forget()
    try:
        return exchange(client.gateway), None, client.wire.said
    except Exception as error:  # noqa: BLE001 - whatever broke, the request may have left
        # Not kept with its traceback: its frames hold what was sent.
        bare = error.with_traceback(None)
        return Heard(unanswered(error)), bare, client.wire.said


def _tell(say: Callable[..., Any], account: Account, kept: _Kept, event: str) -> None:
    """A line in the log, once in TOLD_SECONDS."""
    now = monotonic_seconds()
    if now - kept.told.get(event, float("-inf")) >= TOLD_SECONDS:
        kept.told[event] = now
        say(event, gateway="braintree", ids=[to_text("gwa", account.gateway_account_id)])


def _word(said: Any) -> str:
    if isinstance(said, NotSent | Unknown):
        return said.why
    return type(said).__name__.lower()


def _code(said: Any) -> str | None:
    if isinstance(said, Declined):
        return said.raw_code
    return said.why if isinstance(said, Refused) else None

"""What a run may do, and to whom: refused before the first byte where it might do harm."""

import ipaddress
import re
import socket
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from strongroom.config import ConfigurationError

CLIENTS_MAX: Final = 1024
SECONDS_MAX: Final = 3600.0
PAYMENTS_MAX: Final = 10_000_000
RATE_MAX: Final = 1_000_000.0
BULK_MAX: Final = 500
_KEY: Final = re.compile(r"sr_(?:dev|live)_key_[0-9a-z]{26}_[A-Za-z0-9_-]{43}")


class LoadPlan(Struct, frozen=True, kw_only=True):
    """One run against the deployment at `url`.

    At most `clients` requests are under way at once, `rate` payments a second are begun (None: as
    many as are answered), in single requests or `bulk` payments a request. It ends after `seconds`,
    or with `payments_max` payments sent. `owned`: who runs it says that the deployment is theirs.
    """

    url: str
    api_key: str
    clients: int
    seconds: float
    payments_max: int
    rate: float | None = None
    bulk: int | None = None
    instrument: bool = True
    owned: bool = False


class Target(Struct, frozen=True):
    """Where to connect; `authority` is what the Host header says."""

    host: str
    port: int
    tls: bool

    @property
    def authority(self) -> str:
        """Host and port, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def target_of(plan: LoadPlan) -> Target:
    """Where the plan leads. Raises ConfigurationError when it may not be run."""
    _check_limits(plan)
    _check_key(plan.api_key)
    target = target_at(plan.url)
    if not plan.owned and not _is_loopback(target):
        raise ConfigurationError(
            f"{target.host} is not on this machine: load on what is not yours is an attack. "
            "Say --i-own-this-deployment if it is."
        )
    return target


def target_at(url: str) -> Target:
    """Where an address leads, to which a key may be sent. Raises ConfigurationError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad_url() from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _bad_url()
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _bad_url()
    tls = parts.scheme == "https"
    target = Target(parts.hostname, port or (443 if tls else 80), tls)
    if not tls and not _is_loopback(target):
        raise ConfigurationError(
            f"{target.host} is not on this machine: use https, so that the API key does not "
            "travel in the clear."
        )
    return target


def _check_limits(plan: LoadPlan) -> None:
    bounds: list[tuple[str, float | None, float, float]] = [
        ("--clients", plan.clients, 1, CLIENTS_MAX),
        ("--seconds", plan.seconds, 0.1, SECONDS_MAX),
        ("--payments", plan.payments_max, 1, PAYMENTS_MAX),
        ("--rate", plan.rate, 0.1, RATE_MAX),
        ("--bulk", plan.bulk, 1, BULK_MAX),
    ]
    for name, value, least, most in bounds:
        if value is not None and not least <= value <= most:
            raise ConfigurationError(f"{name} is from {least:,.10g} to {most:,.10g}.")


def _check_key(api_key: str) -> None:
    if not _KEY.fullmatch(api_key):
        raise ConfigurationError("this is no API key of Strongroom.")
    if not api_key.startswith("sr_dev_"):
        raise ConfigurationError("this is a key of a live deployment: its payments move money.")


def _is_loopback(target: Target) -> bool:
    """Whether every address of the host is this machine's own."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(f"{target.host} cannot be found: {error.strerror}.") from None
    return all(ipaddress.ip_address(str(entry[4][0])).is_loopback for entry in found)


def _bad_url() -> ConfigurationError:
    return ConfigurationError("--url is http(s)://HOST[:PORT], with nothing behind it.")

"""Where a webhook of ours may go: the rules for a merchant's URL, and for each address behind it.

A merchant chooses the URL, so our worker must not be its way into our network (OWASP API7:2023,
server-side request forgery). The URL says little: a name can lead anywhere, and elsewhere the next
time it is looked up. So `checked_url` is only the first gate, at entry and before each delivery;
`refusal_of` is the second, for every address that a name led to, and once more for the address that
a socket is about to be connected to (courier.py).

Default deny: an IPv4 address is let through if no network of the table holds it, an IPv6 address if
it lies in 2000::/3, all that IANA gives out for global unicast, and no network of the table holds
it. Sources: IANA's Special-Purpose Address Registries for IPv4 and IPv6 (RFC 6890, as of
2025-10-09), its IPv6 Address Space (RFC 4291) and IPv4 Multicast (RFC 5771); the RFC of each entry
stands beside it. Entries that IANA calls globally reachable are refused too where nobody can run a
shop there: relays, AS112, anycast of protocols. `ipaddress.is_global` is not asked: it differs
between the versions of Python that we run on, and calls multicast, site-local addresses and the
IPv4 addresses inside of NAT64's global in all of them.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal

from msgspec import Struct

URL_CHARACTERS_MAX: Final = 2048
NAME_CHARACTERS_MAX: Final = 253
"""RFC 1035, 2.3.4, as text without the last dot."""
PORT_MAX: Final = 65_535
DEFAULT_PORTS: Final = {"https": 443, "http": 80}
LOCALHOST: Final = "localhost"

LOOPBACK: Final = "loopback"
OUTSIDE: Final = "not_global_unicast"
NO_ADDRESS: Final = "no_address"
SCOPED: Final = "scoped"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
REFUSED: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified"),  # RFC 1122, 3.2.1.3; Linux takes 0.0.0.0 as loopback
        ("10.0.0.0/8", "private"),  # RFC 1918
        ("100.64.0.0/10", "shared"),  # RFC 6598, carrier-grade NAT; metadata of some clouds
        ("127.0.0.0/8", LOOPBACK),  # RFC 1122, 3.2.1.3
        ("168.63.129.16/32", "platform"),  # the host of an Azure machine, in public space
        ("169.254.0.0/16", "link_local"),  # RFC 3927; metadata of most clouds
        ("172.16.0.0/12", "private"),  # RFC 1918
        ("192.0.0.0/24", "protocols"),  # RFC 6890, with all that was given out of it
        ("192.0.2.0/24", "documentation"),  # RFC 5737
        ("192.31.196.0/24", "as112"),  # RFC 7535
        ("192.52.193.0/24", "relay"),  # RFC 7450, AMT
        ("192.88.99.0/24", "relay"),  # RFC 7526, 6to4
        ("192.168.0.0/16", "private"),  # RFC 1918
        ("192.175.48.0/24", "as112"),  # RFC 7534
        ("198.18.0.0/15", "benchmarking"),  # RFC 2544
        ("198.51.100.0/24", "documentation"),  # RFC 5737
        ("203.0.113.0/24", "documentation"),  # RFC 5737
        ("224.0.0.0/4", "multicast"),  # RFC 5771
        ("240.0.0.0/4", "reserved"),  # RFC 1112, 4; 255.255.255.255 by RFC 919
        ("::/128", "unspecified"),  # RFC 4291, 2.5.2
        ("::1/128", LOOPBACK),  # RFC 4291, 2.5.3
        ("::ffff:0:0/96", "ipv4_inside"),  # RFC 4291, 2.5.5.2, mapped
        ("::/96", "ipv4_inside"),  # RFC 4291, 2.5.5.1, compatible
        ("64:ff9b::/96", "ipv4_inside"),  # RFC 6052, NAT64
        ("64:ff9b:1::/48", "ipv4_inside"),  # RFC 8215, NAT64
        ("100::/64", "discard"),  # RFC 6666
        ("100:0:0:1::/64", "discard"),  # RFC 9780
        ("2001::/32", "ipv4_inside"),  # RFC 4380, Teredo
        ("2001:2::/48", "benchmarking"),  # RFC 5180
        ("2001:10::/28", "orchid"),  # RFC 4843
        ("2001:20::/28", "orchid"),  # RFC 7343
        ("2001::/23", "protocols"),  # RFC 2928, with all that was given out of it
        ("2001:db8::/32", "documentation"),  # RFC 3849
        ("2002::/16", "ipv4_inside"),  # RFC 3056, 6to4
        ("2620:4f:8000::/48", "as112"),  # RFC 7534
        ("3ffe::/16", "reserved"),  # RFC 3701, was the 6bone
        ("3fff::/20", "documentation"),  # RFC 9637
        ("5f00::/16", "segments"),  # RFC 9602, SRv6
        ("fc00::/7", "private"),  # RFC 4193
        ("fe80::/10", "link_local"),  # RFC 4291, 2.5.6
        ("fec0::/10", "site_local"),  # RFC 3879
        ("ff00::/8", "multicast"),  # RFC 4291, 2.7
    )
)
"""Networks that nothing is sent to, and why; the first that holds an address says why."""

WHY: Final = {
    "too_long": f"has more than {URL_CHARACTERS_MAX} characters",
    "characters": "has a character that a URL cannot have, or a % without two hex digits after it",
    "scheme": "does not begin with https://",
    "plaintext": "begins with http://, which is for loopback in development alone",
    "user": "names a user or a password",
    "fragment": "has a fragment",
    "port": f"has a port that is not a number from 1 to {PORT_MAX}",
    "host": "names no host, or one that is neither a DNS name nor an address in its usual form",
    "host_dot": "names a host with a dot at its end",
    "host_number": "names a host by a number that is no address in its usual form",
    "host_not_public": "names a host without a domain",
    "address": "names an address that is not a public one",
}
"""By reason of UrlRefused, what is wrong with a URL, to be read after “the URL”."""

_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<target>(?:/[^?]*)?(?:\?.*)?)",
    re.IGNORECASE | re.DOTALL,
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?")
_ALLOWED: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
"""RFC 3986, 2: reserved and unreserved characters, and octets in percents; all of it ASCII."""
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")


class UrlRefused(Exception):
    """A URL that nothing is sent to. `reason` is a key of WHY; nothing of the URL is shown."""

    def __init__(self, reason: str) -> None:
        super().__init__(WHY[reason])
        self.reason: Final = reason


class AddressRefused(Exception):
    """An address that nothing is sent to. `reason` is a word of REFUSED, or of this module."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


class Destination(Struct, frozen=True, kw_only=True):
    """A URL that passed, in its one form.

    `host` is in lower case, an IPv6 address without its brackets; `address` is the host where that
    is an address. `target` is path and query as they were written, at least `/`.
    """

    scheme: Literal["https", "http"]
    host: str
    port: int
    target: str
    address: Address | None

    @property
    def text(self) -> str:
        """The URL that is asked for."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"


def checked_url(text: str, *, loopback_allowed: bool = False) -> Destination:
    """The URL taken apart, if webhooks may be sent there as far as it tells by itself.

    It is https, and http only with `loopback_allowed` to an address of loopback or to `localhost`.
    A host is a DNS name in ASCII (one of another script in its xn-- form) with a dot in it, or an
    address in its usual form. Forms that programs read differently are refused rather than
    understood: a backslash, spaces and line ends, a user, a dot at the end, numbers such as 127.1
    or 0x7f000001, which some take for addresses (RFC 3986, 7.4). Raises UrlRefused.
    """
    if len(text) > URL_CHARACTERS_MAX:
        raise UrlRefused("too_long")
    if _ALLOWED.fullmatch(text) is None:
        raise UrlRefused("characters")
    parts = _URL.fullmatch(text)
    scheme = "" if parts is None else parts["scheme"].lower()
    if parts is None or scheme not in ("https", "http"):
        raise UrlRefused("scheme")
    if "#" in text:
        raise UrlRefused("fragment")
    if "@" in parts["authority"]:
        raise UrlRefused("user")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise UrlRefused("host")
    host, address = _checked_host(authority["host"].lower(), loopback_allowed=loopback_allowed)
    if scheme == "http" and not (loopback_allowed and _is_loopback(host, address)):
        raise UrlRefused("plaintext")
    target = parts["target"]
    return Destination(
        scheme="https" if scheme == "https" else "http",
        host=host,
        port=_checked_port(authority["port"], DEFAULT_PORTS[scheme]),
        target=target if target.startswith("/") else "/" + target,
        address=address,
    )


def refusal_of(address: str | Address, *, loopback_allowed: bool = False) -> str | None:
    """Why nothing may be sent to this address, as a word; None if it may.

    `loopback_allowed` lets 127.0.0.0/8 and ::1 through, and nothing else.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return NO_ADDRESS
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        return SCOPED
    for network, why in REFUSED:
        if found in network:
            return None if loopback_allowed and why == LOOPBACK else why
    if isinstance(found, IPv6Address) and found not in GLOBAL_UNICAST:
        return OUTSIDE
    return None


def _checked_host(host: str, *, loopback_allowed: bool) -> tuple[str, Address | None]:
    """The host without brackets, and the address that it is. Raises UrlRefused."""
    address = _literal(host)
    if address is not None:
        if refusal_of(address, loopback_allowed=loopback_allowed) is not None:
            raise UrlRefused("address")
        return str(address), address
    if host.endswith("."):
        raise UrlRefused("host_dot")
    labels = host.split(".")
    if len(host) > NAME_CHARACTERS_MAX or not all(map(_LABEL.fullmatch, labels)):
        raise UrlRefused("host")
    if _NUMBER.fullmatch(labels[-1]):
        raise UrlRefused("host_number")
    if len(labels) == 1 and not (loopback_allowed and host == LOCALHOST):
        raise UrlRefused("host_not_public")
    return host, None


def _literal(host: str) -> Address | None:
    """The address that a host is written as; None for a name. Raises UrlRefused."""
    try:
        return IPv6Address(host[1:-1]) if host.startswith("[") else IPv4Address(host)
    except ValueError:
        if host.startswith("["):
            raise UrlRefused("host") from None
        return None


def _checked_port(port: str | None, default: int) -> int:
    if port is None:
        return default
    if _PORT.fullmatch(port) is None or int(port) > PORT_MAX:
        raise UrlRefused("port")
    return int(port)


def _is_loopback(host: str, address: Address | None) -> bool:
    return host == LOCALHOST if address is None else refusal_of(address) == LOOPBACK

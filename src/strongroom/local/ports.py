"""Choosing TCP ports on loopback."""

import secrets
import socket
from pathlib import Path

from strongroom.local.errors import LocalError

LOOPBACK = "127.0.0.1"
_PORT_LOWEST = 15_000
_PORT_HIGHEST = 32_767  # the usual start of the kernel's own range, exclusive
_TRIES_MAX = 200
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on `port` of 127.0.0.1 at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int = 1) -> int:
    """The first of `count` consecutive free ports. Raises LocalError when none is found.

    They lie below the range from which the kernel takes ports for outgoing connections. A port
    in that range could be taken by any client while its server restarts, and a client that
    keeps dialling it could even connect to itself.
    """
    highest = min(_PORT_HIGHEST, _kernel_lowest() - 1) - count
    if highest <= _PORT_LOWEST:
        highest = _PORT_HIGHEST
    for _ in range(_TRIES_MAX):
        first = _PORT_LOWEST + secrets.randbelow(highest - _PORT_LOWEST + 1)
        if all(port_is_free(first + offset) for offset in range(count)):
            return first
    raise LocalError(f"no {count} free ports found on {LOOPBACK}: name one by --port")


def _kernel_lowest() -> int:
    try:
        return int(_RANGE_FILE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _PORT_HIGHEST + 1

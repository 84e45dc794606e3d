"""HTTP/1.1 by hand: what a client library would not send."""

import asyncio
import contextlib
import socket
from urllib.parse import urlsplit

from multidict import CIMultiDict, CIMultiDictProxy

from tests.acceptance.client import Answer

PIECE_BYTES = 32 * 1024
SOCKET_SECONDS_MAX = 60


async def send_raw(
    url: str,
    path: str,
    headers: list[tuple[str, str]],
    body: bytes,
    *,
    method: str = "POST",
    chunked: bool = False,
) -> Answer:
    """Sends exactly these headers, the body announced or chunked, and reads the answer."""
    place = urlsplit(url)
    length = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {place.netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (*headers, length)]
    head = "\r\n".join([*lines, "", ""]).encode()
    pieces = [body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES)]
    if chunked:
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""]]
    return (await exchange(url, [head, *pieces])).as_documented(method, path)


async def exchange(url: str, pieces: list[bytes]) -> Answer:
    """Sends the pieces, and reads what is answered until the connection is closed."""
    place = urlsplit(url)
    address = (place.hostname or "", place.port or 0)
    return await asyncio.to_thread(_exchange, address, pieces)


def _exchange(address: tuple[str, int], pieces: list[bytes]) -> Answer:
    with socket.create_connection(address, SOCKET_SECONDS_MAX) as connection:
        with contextlib.suppress(ConnectionError):  # the answer may come first, and close
            for piece in pieces:
                connection.sendall(piece)
        received = b""
        with contextlib.suppress(ConnectionError):
            while block := connection.recv(65536):
                received += block
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("ascii").split("\r\n")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    assert len(body) == int(headers["Content-Length"])
    return Answer(int(status.split()[1]), CIMultiDictProxy(headers), body)

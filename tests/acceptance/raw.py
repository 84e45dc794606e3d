"""HTTP/1.1 by hand: what a client library would not send."""

import asyncio
import contextlib
from urllib.parse import urlsplit

from multidict import CIMultiDict, CIMultiDictProxy

from tests.acceptance.client import Answer

PIECE_BYTES = 32 * 1024
ANSWER_SECONDS_MAX = 10


async def send_raw(
    url: str,
    path: str,
    headers: list[tuple[str, str]],
    body: bytes,
    *,
    method: str = "POST",
    chunked: bool = False,
) -> Answer:
    """Sends exactly these headers, the body announced or chunked; reads while it still sends."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    length = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {place.netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (*headers, length)]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    sending = asyncio.create_task(_send(writer, body, chunked=chunked))
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await _read(reader)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()


async def _send(writer: asyncio.StreamWriter, body: bytes, *, chunked: bool) -> None:
    with contextlib.suppress(ConnectionError):  # the answer may come first and close
        for start in range(0, len(body), PIECE_BYTES):
            piece = body[start : start + PIECE_BYTES]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    status, *lines = head.rstrip().split("\r\n")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    body = await reader.readexactly(int(headers["Content-Length"]))
    return Answer(int(status.split()[1]), CIMultiDictProxy(headers), body)

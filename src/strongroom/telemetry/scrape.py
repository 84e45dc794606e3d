"""A page for Prometheus: GET /metrics, on loopback, each process on a port of its own.

API processes share their public port, and a scrape through it would see now one and now another of
them. So each tells of itself alone, where nobody from outside can ask.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

LOOPBACK: Final = "127.0.0.1"
PATH: Final = b"/metrics"
HEAD_BYTES_MAX: Final = 8192
EXCHANGE_SECONDS_MAX: Final = 5.0
EXCHANGES_MAX: Final = 8
BIND_AGAIN_SECONDS: Final = 5.0

log = structlog.get_logger()


class MetricsPage:
    """Serves `text()` on a port of loopback.

    A port that cannot be had is tried again and again: payments do not stop for a page of numbers.
    """

    def __init__(self, text: Callable[[], bytes], port: int) -> None:
        self._text = text
        self._port = port
        self._open = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to listen, in the running loop."""
        self._task = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            try:
                server = await asyncio.start_server(
                    self._exchange, LOOPBACK, self._port, limit=HEAD_BYTES_MAX
                )
            except OSError as error:
                log.error("metrics_port_taken", port=self._port, error=type(error).__name__)
                await asyncio.sleep(BIND_AGAIN_SECONDS)
                continue
            log.info("metrics_ready", port=self._port)
            async with server:
                await server.serve_forever()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        self._open += 1
        try:
            if self._open <= EXCHANGES_MAX:
                async with asyncio.timeout(EXCHANGE_SECONDS_MAX):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()  # who asked has gone, or did not ask in time or in form
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or words[0] != b"GET" or words[1].partition(b"?")[0] != PATH:
            return _reply(b"404 Not Found", "text/plain; charset=utf-8", b"GET /metrics\n")
        return _reply(b"200 OK", CONTENT_TYPE_PLAIN_0_0_4, self._text())


def _reply(status: bytes, content_type: str, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        % (status, content_type.encode("ascii"), len(body))
    ) + body

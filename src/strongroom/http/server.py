"""The HTTP server: uvicorn on httptools, with bounds on what a client may make it wait for.

One event loop does everything. Requests wait for a commit and are answered many at once; a server
with threads of its own wakes them up for each answer, which costs more than the answer.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from strongroom.errors import Invalid, Unavailable
from strongroom.http.exchange import Reply, problem_reply
from strongroom.http.front_door import FIXED_HEADERS, Receive, Scope, Send, write_reply
from strongroom.http.traffic import Traffic
from strongroom.telemetry.request_ids import HEADER, new_request_id

HEAD_BYTES_MAX: Final = 64 * 1024
HEAD_SECONDS_MAX: Final = 10.0
"""From the first byte of a request, or from the connection, to the end of its headers."""
BARREN_BYTES_MAX: Final = 64 * 1024
"""Of one request after its head, beside its body: trailers, and what stands between chunks."""
UNREAD_SECONDS_MAX: Final = 30.0
"""How long an answer may wait for a client that does not read, and a closed connection for it."""
READ_BYTES_MIN: Final = 256 * 1024
"""What a client has to read of an answer in that time, or half of what is left, to go on."""
KEEP_ALIVE_SECONDS: Final = 75
BACKLOG: Final = 2048
CONNECTIONS_MAX: Final = 10_000
"""Connections served at once; further ones get 503. The work behind them has its own bound."""
PIPELINE_MAX: Final = 16
"""Requests of one connection that wait for the one before them, each kept whole until its turn."""
_CLOSE: Final = ("connection", "close")
DRAIN_SECONDS_MAX: Final = 32
"""A little longer than `Prefer: wait` may ask for; a client that stalls is left behind then."""


class _Trailers(list[tuple[bytes, bytes]]):
    """What stands in the place of the headers once they are whole, and keeps nothing.

    A trailer is no header (RFC 9110, 6.5.1): nobody has looked at it, and there is no end to them.
    """

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Drops it."""


_TRAILERS: Final = _Trailers()


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 of one connection, closed when the head of a request is too large or too slow, and
    when its answer is not read."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = False
        self._head_bytes = 0
        self._barren_bytes = 0
        self._is_barren = False
        """Whether the piece that came last brought neither head nor body so far."""
        self._patience: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._application = self.app
        self._look: Callable[[Any, bytearray | None], object] | None = None
        self._is_unseen = False
        """Whether the head is whole, and has not been looked at."""
        if isinstance(self.app, Traffic):
            self._look = self.app.look

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is closed as one that says too little."""
        super().connection_made(transport)
        self._wait_for_head()

    def on_message_begin(self) -> None:
        """The first byte of a request. Raises where too many wait: the parser gives up then."""
        if len(self.pipeline) >= PIPELINE_MAX:
            raise ConnectionAbortedError
        self._in_head, self._head_bytes, self._is_barren = True, 0, False
        self._is_unseen = False  # one before it in the same piece is looked at when it is served
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole; the application reads the body at its own pace."""
        self._in_head = False
        self._has_come()
        full = max(len(self.connections), len(self.tasks)) > CONNECTIONS_MAX
        self.app = _refusing(self._application) if full else self._application
        super().on_headers_complete()
        self.headers = _TRAILERS
        self._is_unseen = self._look is not None

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._is_barren = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole. One that came after its answer is over with now."""
        is_late = self.cycle.response_complete
        super().on_message_complete()
        if is_late:
            self._has_come()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """An answer may be earlier than the end of its body, which has to come like a head then."""
        is_early = not self.pipeline and self.cycle.more_body
        super().on_response_complete()
        if self.transport.is_closing():
            self._wait_for_reader()
        if is_early and self._patience is None and not self.transport.is_closing():
            self._wait_for_head()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the parser's words
        """What is not HTTP is answered as everything else that cannot be read.

        Where a request that was whole still waits for its answer, there is none: it would be taken
        for that of the other.
        """
        if self._has_unanswered():
            self._close()
            return
        reply = problem_reply(Invalid("request_malformed"))
        headers = [
            (b"content-type", reply.content_type.encode()),
            (b"content-length", b"%d" % len(reply.body)),
            (b"connection", b"close"),
            (HEADER, new_request_id()),
            *FIXED_HEADERS,
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + lines + b"\r\n" + reply.body)
        self._close()

    def pause_writing(self) -> None:
        """Too much waits for a client that does not read; it may not do so for ever."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """It reads. What is left of the last answer may still keep a connection that is closing."""
        super().resume_writing()
        self._has_read()
        if self.transport.is_closing():
            self._wait_for_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        self._has_read()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for a while."""
        if not self.transport.is_closing():
            self._close()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, unless the head has grown too large."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._close()
                return
        self._is_barren = not self._in_head
        super().data_received(data)
        self._barren_bytes = self._barren_bytes + len(data) if self._is_barren else 0
        if self._barren_bytes > BARREN_BYTES_MAX:
            self._close()
            return
        if self._is_unseen and self._look is not None:
            self._is_unseen = False
            self._look(self.scope, None if self.cycle.more_body else self.cycle.body)
        if self._in_head and self._patience is None:
            self._wait_for_head()

    def _has_unanswered(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        is_whole = cycle is not None and not cycle.response_complete and not cycle.more_body
        return is_whole or bool(self.pipeline)

    def _has_come(self) -> None:
        """What a client had to send within some time is there."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _wait_for_head(self) -> None:
        self._patience = asyncio.get_running_loop().call_later(HEAD_SECONDS_MAX, self._too_slow)

    def _too_slow(self) -> None:
        self._patience = None
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self._wait_for_reader()

    def _wait_for_reader(self) -> None:
        """A connection ends only once all was read, so one that nobody reads is broken off."""
        waiting = self.transport.get_write_buffer_size()
        if self._unread is None and waiting:
            loop = asyncio.get_running_loop()
            self._unread = loop.call_later(UNREAD_SECONDS_MAX, self._look_at_reader, waiting)

    def _look_at_reader(self, before: int) -> None:
        """Who has read something has more time for the rest."""
        self._unread = None
        read = before - self.transport.get_write_buffer_size()
        if read >= min(READ_BYTES_MIN, before / 2):
            self._wait_for_reader()
        else:
            self.transport.abort()

    def _has_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def _refusing(application: Any) -> Any:
    """What refuses a request, with whatever lies around the application."""
    return application.around(_refuse) if isinstance(application, Traffic) else _refuse


async def _refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
    reply = problem_reply(Unavailable("too_many_connections"))
    headers = (*reply.headers, _CLOSE)
    await write_reply(send, Reply(reply.status, reply.body, headers, reply.content_type))


class Server(uvicorn.Server):
    """uvicorn's server under our own signals and on a port that several processes may share."""

    def __init__(
        self, application: Any, host: str, port: int, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
                backlog=BACKLOG,
            )
        )
        self._address = (host, port)
        self._on_ready = on_ready

    async def listen(self) -> None:
        """Serves until `stop`. Raises OSError when the address cannot be had."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(self._address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            await self.serve(sockets=[listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and says so."""
        await super().startup(sockets)
        self._on_ready()

    def stop(self) -> None:
        """Takes no new connections, answers what was asked, and ends."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the composition root's: it drains more than HTTP."""
        yield

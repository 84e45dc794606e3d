"""A proxy before PostgreSQL that reads frames, so that a fault strikes at one message.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import asyncio
import re
import struct
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from tests.faults.points.points import Fault

SSL_REQUEST: Final = 80877103
CANCEL_REQUEST: Final = 80877102
ENDS_A_GROUP: Final = b"QSH"
"""Query, Sync and Flush: the server answers what came until then."""
ANSWERS_A_FLUSH: Final = b"TnE"
SQLSTATES: Final = {Fault.SERIALIZATION: "40001", Fault.DEADLOCK: "40P01"}
CONNECT: Final = "connect"
_NAMED: Final = re.compile(r"-- ([a-z_]+)\n")
_SETS: Final = re.compile(r"'[^']*'")

Watch = Callable[[str], Awaitable[Fault | None]]
"""Told of each message's place before it goes on; says what is to go wrong with it."""


class Frame(NamedTuple):
    """One message: its type, and all its bytes."""

    type: bytes
    raw: bytes


class Broken(Exception):
    """The fault ends this connection."""


class DatabaseProxy:
    """Passes connections on to a server, `database` replaced by whatever `clone` names now."""

    def __init__(self, upstream: tuple[str, int], database: str, watch: Watch) -> None:
        self._upstream, self._database, self._watch = upstream, database, watch
        self.clone = database
        self.on_kill: Callable[[], Awaitable[None]] = _nothing
        self.on_stop: Callable[[], Awaitable[None]] = _nothing
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listens on loopback; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut_all(self) -> None:
        """Every connection breaks."""
        for link in self._links:
            link.cancel()

    async def close(self) -> None:
        """Stops listening and breaks what is open."""
        self.cut_all()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            await _Link(self, reader, writer).run()
        except (OSError, EOFError, Broken):
            pass  # a connection that is over: both its ends are closed below
        except asyncio.CancelledError:
            if task.cancelling() == 0:
                raise
        finally:
            self._links.discard(task)
            writer.transport.abort()


async def _nothing() -> None:
    """Where nobody listens."""


class _Link:
    """One connection of a client, and ours to the server."""

    def __init__(
        self, proxy: DatabaseProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._there: asyncio.StreamWriter | None = None
        self._waits_for: bytes = b""
        self._answered = asyncio.Event()
        self._withholds = self._swallows_ready = False
        self._statements: dict[bytes, str] = {}
        self._who = ""

    async def run(self) -> None:
        startup = await self._startup()
        if startup is None:
            return
        if fault := await self._proxy._watch(f"{self._who} {CONNECT}"):
            await self._break_before(fault)
        reader, self._there = await asyncio.open_connection(*self._proxy._upstream, limit=2**20)
        self._there.write(startup)
        answers = asyncio.create_task(self._answers(reader))
        requests = asyncio.create_task(self._requests())
        try:
            done, _ = await asyncio.wait({answers, requests}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._there.transport.abort()  # first: who is cancelled here comes no further
            for task in (answers, requests):
                task.cancel()
            await asyncio.gather(answers, requests, return_exceptions=True)

    async def _startup(self) -> bytes | None:
        while True:
            head = await self._reader.readexactly(8)
            length, code = struct.unpack("!II", head)
            body = await self._reader.readexactly(length - 8)
            if code == SSL_REQUEST:
                self._writer.write(b"N")
                continue
            if code == CANCEL_REQUEST:
                _, there = await asyncio.open_connection(*self._proxy._upstream)
                there.write(head + body)
                there.close()
                return None
            parts = body.rstrip(b"\0").split(b"\0")
            given = dict(zip(parts[::2], parts[1::2], strict=True))
            program = given.get(b"application_name", b"").decode()
            self._who = program.partition("/")[0].removeprefix("strongroom-")
            if given[b"database"].decode() == self._proxy._database:
                given[b"database"] = self._proxy.clone.encode()
            else:
                self._who += " keys"
            packed = b"".join(name + b"\0" + value + b"\0" for name, value in given.items()) + b"\0"
            return struct.pack("!II", len(packed) + 8, code) + packed

    async def _requests(self) -> None:
        group: list[Frame] = []
        while True:
            frame = await _frame(self._reader)
            group.append(frame)
            if frame.type == b"X":
                self._send(group)
                raise EOFError
            if frame.type not in ENDS_A_GROUP:
                if frame.type == b"p":  # a password: the handshake is one point with its start
                    self._send(group)
                    group = []
                continue
            await self._pass(group)
            group = []

    async def _pass(self, group: list[Frame]) -> None:
        """One group of messages goes on, or meets its fault."""
        place, ends = self._place(group), group[-1].type
        fault = await self._proxy._watch(f"{self._who} {place}") if place else None
        if fault in SQLSTATES:
            return await self._refuse(place, SQLSTATES[fault], ends)
        if fault in (Fault.KILL_BEFORE, Fault.DROP_BEFORE, Fault.STOPPED):
            await self._break_before(fault)
        self._expect(b"Z" if ends != b"H" else ANSWERS_A_FLUSH)
        self._withholds = fault is not None
        self._send(group)
        if fault is not None:
            await self._answered.wait()
            if fault is Fault.KILL_AFTER:
                await asyncio.shield(self._proxy.on_kill())
            raise Broken
        return None

    async def _break_before(self, fault: Fault) -> None:
        if fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER):
            await asyncio.shield(self._proxy.on_kill())
        if fault is Fault.STOPPED:  # which breaks this connection too, and must not stop half-way
            await asyncio.shield(self._proxy.on_stop())
        raise Broken

    async def _refuse(self, place: str, sqlstate: str, ends: bytes) -> None:
        """The server itself raises it; a COMMIT that fails has rolled back."""
        if place == "COMMIT":
            self._expect(b"Z")
            self._withholds = True
            self._send([_query("ROLLBACK")])
            await self._answered.wait()
            self._withholds = False
        self._expect(b"Z")
        self._swallows_ready = ends == b"H"  # the client's own Sync brings one
        self._send([_query(f"DO $$BEGIN RAISE 'as asked' USING ERRCODE = '{sqlstate}'; END$$")])
        await self._answered.wait()
        self._swallows_ready = False

    def _expect(self, types: bytes) -> None:
        self._waits_for = types
        self._answered.clear()

    def _send(self, group: list[Frame]) -> None:
        assert self._there is not None
        self._there.write(b"".join(frame.raw for frame in group))

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        while True:
            frame = await _frame(reader)
            if self._writer.is_closing():
                raise EOFError
            ends = frame.type in self._waits_for if self._waits_for else False
            swallowed = self._withholds or (self._swallows_ready and frame.type == b"Z")
            if not swallowed:
                self._writer.write(frame.raw)
            if ends:
                self._waits_for = b""
                self._answered.set()

    def _place(self, group: list[Frame]) -> str:
        """What the group asks for, in a word or two; empty for a Sync alone."""
        for frame in group:
            body = frame.raw[5:]
            if frame.type == b"Q":
                return _brief(body.rstrip(b"\0").decode())
            if frame.type == b"P":
                name, _, rest = body.partition(b"\0")
                self._statements[name] = _brief(rest.partition(b"\0")[0].decode())
                return f"prepare {self._statements[name]}"
            if frame.type == b"B":
                name = body.split(b"\0", 2)[1]
                return self._statements.get(name, "a statement")
        return ""


async def _frame(reader: asyncio.StreamReader) -> Frame:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!I", head[1:])
    return Frame(head[:1], head + await reader.readexactly(length - 4))


def _query(sql: str) -> Frame:
    body = sql.encode() + b"\0"
    return Frame(b"Q", b"Q" + struct.pack("!I", len(body) + 4) + body)


def _brief(sql: str) -> str:
    """The name of a statement of ours, or its text without what differs from run to run."""
    if found := _NAMED.match(sql):
        return found[1]
    words = _SETS.sub("''", " ".join(sql.split())).replace("|", " ")
    return words[:60]

"""A proxy before PostgreSQL that reads its frames and loses COMMITs, or the answers to them.

Frames: docs "Message Formats" of PostgreSQL's protocol 3. The first message of a client has no
type byte; every other message is a type byte, four bytes of length with themselves, and a body.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from urllib.parse import urlsplit

QUERY, COMMAND_COMPLETE = b"Q", b"C"
COMMIT = b"COMMIT\x00"


class Loss(Enum):
    """What becomes of a COMMIT."""

    ANSWER_THEN_CLOSED = auto()
    ANSWER_THEN_SILENT = auto()
    COMMIT_THEN_CLOSED = auto()
    COMMIT_THEN_SILENT = auto()

    @property
    def of_answer(self) -> bool:
        """The database has committed; only nobody hears of it."""
        return self in (Loss.ANSWER_THEN_CLOSED, Loss.ANSWER_THEN_SILENT)

    @property
    def silent(self) -> bool:
        """The connection stays open, and nothing comes through it any more."""
        return self in (Loss.ANSWER_THEN_SILENT, Loss.COMMIT_THEN_SILENT)


class LossyProxy:
    """Passes everything on, until told to lose some COMMITs."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._address = (parts.hostname or "", parts.port or 0)
        self._loss = Loss.ANSWER_THEN_CLOSED
        self._left = 0
        self._open: set[asyncio.Task[None]] = set()
        self._is_away = False
        self.lost = 0
        self.port = 0

    def lose(self, loss: Loss, times: int = 1) -> None:
        """The next COMMITs, `times` of them, meet this."""
        self._loss, self._left = loss, times

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["LossyProxy"]:
        """Listens on a free port of loopback."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await self.cut()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """For a while, nobody gets through."""
        self._is_away = True
        await self.cut()
        try:
            yield
        finally:
            self._is_away = False

    async def cut(self) -> None:
        """Closes every connection."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, client: asyncio.StreamReader, reply: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._is_away:
            reply.close()
            return
        self._open.add(task)
        server, forward = await asyncio.open_connection(*self._address)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._to_server(client, forward))
                both.create_task(self._to_client(server, reply))
        except* (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(task)
            reply.close()
            forward.close()

    async def _to_server(self, client: asyncio.StreamReader, forward: asyncio.StreamWriter) -> None:
        forward.write(await _untyped(client))
        while True:
            kind, rest = await _frame(client)
            if kind == QUERY and rest.endswith(COMMIT) and self._loses(of_answer=False):
                await self._end(client)
            forward.write(kind + rest)
            await forward.drain()

    async def _to_client(self, server: asyncio.StreamReader, reply: asyncio.StreamWriter) -> None:
        while True:
            kind, rest = await _frame(server)
            if kind == COMMAND_COMPLETE and rest[4:] == COMMIT and self._loses(of_answer=True):
                await self._end(server)
            reply.write(kind + rest)
            await reply.drain()

    def _loses(self, *, of_answer: bool) -> bool:
        if self._left == 0 or self._loss.of_answer != of_answer:
            return False
        self._left -= 1
        self.lost += 1
        return True

    async def _end(self, reader: asyncio.StreamReader) -> None:
        """Closes both sides, or swallows what comes on this one as a dead network would."""
        if not self._loss.silent:
            raise ConnectionResetError
        while True:
            if not await reader.read(65536):
                # The other end has given up. Over a dead network the far end does not hear of it.
                await asyncio.Event().wait()


async def _frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    return kind, await _untyped(reader)


async def _untyped(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length, "big") - 4)

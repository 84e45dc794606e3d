"""A cable between two processes, of bytes, on which a test makes the weather of a network."""

import asyncio
import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

Fault = Literal[
    "latency", "loss", "drip", "partition", "answers_lost", "half_open", "reset", "refused"
]
FAULTS: Final[dict[Fault, str]] = {
    "latency": "each piece of bytes comes 50 to 150 ms late, both ways",
    "loss": "a third of the pieces wait up to a second, as for a segment that is sent again, and "
    "one in fifty is the end of its connection",
    "drip": "bytes pass in drops of 48, one every 4 ms",
    "partition": "nothing passes either way; at the end all that waited does",
    "answers_lost": "requests pass and answers do not; at the end those connections are reset",
    "half_open": "who was connected, and every third who connects then, talks to nobody and is "
    "not told; the others are served",
    "reset": "every connection is reset, and again every 0.4 s",
}
"""What a row of the grid is tried with. `refused` is for outages: nobody listens."""

CHUNK_BYTES: Final = 65_536
LATENCY_SECONDS: Final = (0.05, 0.15)
LOSS_SHARE, LOSS_SECONDS_MAX, LOSS_ENDS_SHARE = 0.33, 1.0, 0.02
DROP_BYTES, DROP_SECONDS = 48, 0.004
RESET_SECONDS: Final = 0.4
CONNECT_SECONDS: Final = 5.0
SILENT_EACH: Final = 3
"""While half open, so many new connections are one that goes silent."""
LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: what is closed is reset, and whatever was not sent yet is gone."""

Way = Literal["request", "answer"]


@dataclass(slots=True, eq=False)
class Link:
    """One connection: who called, and whom we called for it."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter | None = None
    silent: bool = False
    """Cut while half open: nothing that one end says reaches the other any more."""
    lost: bool = False
    """Bytes of it are gone."""

    def reset(self) -> None:
        """RST to both ends."""
        for writer in (self.near, self.far):
            if writer is not None:
                _reset(writer)


@dataclass(slots=True)
class Cable:
    """Listens on a port of its own for one address; `felt` counts what a fault came upon."""

    host: str
    port: int
    listens_on: int = 0
    fault: Fault | None = None
    felt: int = 0
    carried: int = 0
    """Pieces of bytes that came, in any weather."""
    _number: int = 0
    _healed: asyncio.Event = field(default_factory=asyncio.Event)
    _links: set[Link] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _resetting: "asyncio.Task[None] | None" = None

    async def open(self) -> None:
        """From now on it can be connected to, always at the same port."""
        self._healed.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.listens_on)
        self.listens_on = self._server.sockets[0].getsockname()[1]

    async def put(self, fault: Fault) -> None:
        """This weather from now on."""
        self.fault, self.felt = fault, 0
        self._healed.clear()
        match fault:
            case "half_open":
                for link in self._links:
                    link.silent = True
            case "reset":
                self._resetting = asyncio.create_task(self._reset_again_and_again())
            case "refused":
                await self._listen_no_more()
                self._reset_all()
            case _:
                pass

    async def heal(self) -> None:
        """All is well again; what lost bytes is reset."""
        was, self.fault = self.fault, None
        if self._resetting is not None:
            self._resetting.cancel()
            await asyncio.gather(self._resetting, return_exceptions=True)
            self._resetting = None
        for link in [link for link in self._links if link.lost or link.silent]:
            link.reset()
        self._healed.set()
        if was == "refused":
            await self.open()

    async def close(self) -> None:
        """Nobody is connected any more."""
        if self.fault is not None:
            self.fault = None
            self._healed.set()
        await self._listen_no_more()
        self._reset_all()
        for task in [*self._tasks, *filter(None, [self._resetting])]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen_no_more(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _reset_all(self) -> None:
        for link in list(self._links):
            link.reset()

    async def _reset_again_and_again(self) -> None:
        while True:
            self.felt += len(self._links)
            self._reset_all()
            await asyncio.sleep(RESET_SECONDS)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._number += 1
        link = Link(writer, silent=self.fault == "half_open" and not self._number % SILENT_EACH)
        self._links.add(link)
        try:
            await self._carry(link, reader)
        except (OSError, TimeoutError):
            link.reset()
        finally:
            self._links.discard(link)
            for one in (link.near, link.far):
                if one is not None:
                    one.close()

    async def _carry(self, link: Link, reader: asyncio.StreamReader) -> None:
        if self.fault == "partition":
            self.felt += 1
            await self._healed.wait()
        async with asyncio.timeout(CONNECT_SECONDS):
            far_reader, link.far = await asyncio.open_connection(self.host, self.port)
        ways = [
            asyncio.create_task(self._pump(link, "request", reader, link.far)),
            asyncio.create_task(self._pump(link, "answer", far_reader, link.near)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self, link: Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Brings what one end says to the other, its end too."""
        while piece := await reader.read(CHUNK_BYTES):
            self.carried += 1
            if self.fault is None:
                writer.write(piece)
            else:
                await self._through(link, way, piece, writer)
            await writer.drain()
        if self.fault is not None and (link.silent or link.lost or self.fault == "partition"):
            await self._healed.wait()  # who is cut off does not hear that the other has gone
        if link.silent or link.lost:
            link.reset()
        elif writer.can_write_eof():
            with suppress(OSError, RuntimeError):
                writer.write_eof()

    async def _through(
        self, link: Link, way: Way, piece: bytes, writer: asyncio.StreamWriter
    ) -> None:
        """What becomes of a piece of bytes in this weather."""
        if self.fault != "half_open" or link.silent:
            self.felt += 1
        match self.fault:
            case "latency":
                await asyncio.sleep(random.uniform(*LATENCY_SECONDS))
            case "loss":
                if random.random() < LOSS_ENDS_SHARE:
                    link.reset()
                    return
                if random.random() < LOSS_SHARE:
                    await asyncio.sleep(random.uniform(0, LOSS_SECONDS_MAX))
            case "drip":
                await self._drip(piece, writer)
                return
            case "partition":
                await self._healed.wait()
            case "answers_lost" if way == "answer":
                link.lost = True
                return
            case "half_open" if link.silent:
                return
            case _:
                pass
        writer.write(piece)

    async def _drip(self, piece: bytes, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(piece), DROP_BYTES):
            if self.fault != "drip":
                writer.write(piece[start:])
                return
            writer.write(piece[start : start + DROP_BYTES])
            await writer.drain()
            await asyncio.sleep(DROP_SECONDS)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()

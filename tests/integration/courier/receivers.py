"""Receivers of webhooks on loopback, kind and hostile, and certificates of a CA of their own."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"
HEAD_END = b"\r\n\r\n"
CHUNK_BYTES = 65_536
HOLD_SECONDS_MAX = 60.0
"""How long a receiver that says nothing waits for its connection to end."""

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Receiver:
    """A server that counts who connects, keeps what it was sent, and then behaves as it is told."""

    def __init__(self, behave: Behave, *, reads: bool = True) -> None:
        self._behave, self._reads = behave, reads
        self.port = 0
        self.connections = 0
        self.open = 0
        self.requests: list[Request] = []
        self.tasks: set[asyncio.Task[None] | None] = set()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/hooks"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.add(asyncio.current_task())
        self.open += 1
        try:
            if self._reads:
                self.requests.append(await Request.read(reader))
            await self._behave(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side went, or the test has ended
        finally:
            self.open -= 1
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


class Request:
    """One request as it came."""

    def __init__(self, line: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.line, self.body, self.pairs = line, body, headers
        self.headers = {name.lower(): value for name, value in headers}

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> "Request":
        head = (await reader.readuntil(HEAD_END)).decode("ascii")
        line, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
        pairs = [(name, value.strip()) for name, _, value in (one.partition(":") for one in rest)]
        headers = {name.lower(): value for name, value in pairs}
        return cls(line, pairs, await reader.readexactly(int(headers.get("content-length", 0))))


@asynccontextmanager
async def receiving(
    behave: Behave | bytes, *, tls: ssl.SSLContext | None = None, reads: bool = True
) -> AsyncIterator[Receiver]:
    """A receiver on a free port of loopback; bytes are sent as they are, then it hangs up."""
    receiver = Receiver(behave if callable(behave) else sending(behave), reads=reads)
    server = await asyncio.start_server(receiver.serve, LOOPBACK, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in filter(None, receiver.tasks):
            task.cancel()
        await asyncio.gather(*filter(None, receiver.tasks), return_exceptions=True)


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {code} X", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def sending(*chunks: bytes) -> Behave:
    """Sends these, and hangs up."""

    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()

    return behave


def endless(first: bytes, again: bytes) -> Behave:
    """Sends something for ever, as fast as it is taken."""

    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        blob = again * max(1, CHUNK_BYTES // len(again))
        while not writer.is_closing():
            writer.write(blob)
            await writer.drain()

    return behave


def dripping(first: bytes, drop: bytes, seconds: float = 0.02) -> Behave:
    """Sends a little, again and again, and never comes to an end."""

    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while not writer.is_closing():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(seconds)

    return behave


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Says nothing until the other side goes."""
    async with asyncio.timeout(HOLD_SECONDS_MAX):
        while await reader.read(CHUNK_BYTES):
            pass


async def resetting(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Breaks the connection off in the middle of a status line."""
    writer.write(b"HTTP/1.1 2")
    await writer.drain()
    writer.transport.abort()


class Authority:
    """A CA that nobody knows but who is given its certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a CA of a test")])
        self._name = name
        self.certificate = self._sign(name, self._key.public_key(), [], is_ca=True)
        self._count = 0

    def trusted(self) -> ssl.SSLContext:
        """What a client needs to believe it."""
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """What a server of these names and addresses needs."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        made = self._sign(subject, key.public_key(), list(names), expired=expired)
        self._count += 1
        file = self._folder / f"server-{self._count}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        names: list[str],
        *,
        is_ca: bool = False,
        expired: bool = False,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        days = (-20, -10) if expired else (-1, 10)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            made = made.add_extension(alternatives, critical=False)
        return made.sign(self._key, hashes.SHA256())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

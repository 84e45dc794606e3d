"""The API's parts inside the test's own process, on the deployment's database."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct

from strongroom.app import Api
from strongroom.clock import SystemClock
from strongroom.config import Home
from strongroom.customers.register import Register
from strongroom.database import connect_pool
from strongroom.http.commands import CommandOperations
from strongroom.http.exchange import Asked, Reply
from strongroom.http.front_door import Application
from strongroom.http.payments import PaymentOperations
from strongroom.http.refunds import RefundOperations
from strongroom.log.window import NO_WINDOW, NoWindow
from strongroom.payments.accept import Acceptor
from strongroom.payments.texts import TextStore
from strongroom.vault.opening import open_vault
from tests.acceptance.client import order, until
from tests.acceptance.running import Running

LOOKED_FOR_SECONDS_MAX = 30

Header = tuple[bytes, bytes]


class Inside(Struct, frozen=True):
    """What one process is made of; `writers` are the connections that batches are written by."""

    api: Api
    operations: PaymentOperations
    refunds: RefundOperations
    commands: CommandOperations
    front_door: Application
    plain: Application
    acceptor: Acceptor
    writers: asyncpg.Pool


class Said(Struct, frozen=True):
    """What an ASGI application answered, headers sorted."""

    status: int
    headers: list[Header]
    body: bytes


@asynccontextmanager
async def inside(
    running: Running,
    database_url: str | None = None,
    *,
    seals: bool = True,
    logs: Path | None = None,
    window: NoWindow = NO_WINDOW,
    **limits: Any,
) -> AsyncIterator[Inside]:
    """The parts, started; `limits` are the acceptor's. One connection writes.

    `database_url` is another way to the database, or to none. `seals`: as on a database that no
    older version uses any more. `logs` is another folder of them, `window` holds money back.
    """
    home = Home(running.home)
    url = database_url or home.secret("database_api_url")
    pool = await connect_pool(url, size_max=4, application="test")
    writers = await connect_pool(url, size_max=1, application="test-writers")
    acceptor = Acceptor(writers, **limits)
    vault = await open_vault(home, home.settings(), "api")
    texts = TextStore(pool, vault.keyring, seals=seals)
    register = Register(pool, vault.keyring, vault.subjects)
    api = Api(
        pool, SystemClock(), home.settings(), acceptor, texts, register=register,
        logs=logs or home.logs, window=window,
    )  # fmt: skip
    api.start()
    try:
        yield Inside(
            api,
            api.operations,
            api.refunds,
            api.commands,
            api.front_door,
            api.plain,
            acceptor,
            writers,
        )
    finally:
        await api.drain()
        await vault.close()
        await writers.close()
        await pool.close()


async def say(
    application: Application,
    path: str,
    headers: list[Header],
    chunks: list[bytes],
    *,
    method: str = "POST",
    query: bytes = b"",
    stalls: bool = False,
) -> Said:
    """Drives an ASGI application through one request whose body comes in these chunks.

    `stalls`: there should be more, and it does not come.
    """
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
        "root_path": "", "scheme": "http", "headers": headers, "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "extensions": {},
    }  # fmt: skip
    coming = [
        {"type": "http.request", "body": chunk, "more_body": stalls or number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        if stalls and not coming:
            await asyncio.Event().wait()
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    start = sent[0]
    body = b"".join(message.get("body", b"") for message in sent[1:])
    found = sorted((bytes(name).lower(), bytes(value)) for name, value in start["headers"])
    return Said(start["status"], found, body)


def asked(api_key: str, body: dict[str, Any], key: str | None, path: str = "/v1/payments") -> Asked:
    """The request, with the merchant reference as its key where none is given."""
    return Asked(
        method="POST",
        path=path,
        authorization=f"Bearer {api_key}",
        idempotency_key=key or body.get("merchant_reference"),
        content_type="application/json",
        body=json.dumps(body).encode(),
    )


async def create(
    process: Inside, api_key: str, body: dict[str, Any], key: str | None = None
) -> Reply:
    return await process.operations.create(asked(api_key, body, key))


async def until_seen(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await until(holds, LOOKED_FOR_SECONDS_MAX)


async def until_queued(process: Inside, count: int) -> None:
    """So many requests wait for the writer, and no more are on their way to it."""
    await until_seen(lambda: process.acceptor._batcher._queued == count)


async def busy(process: Inside, api_key: str) -> asyncio.Task[Reply]:
    """A first request that the writer holds in its hands, waiting for its connection."""
    task = asyncio.create_task(create(process, api_key, order(token=None)))
    await until_seen(lambda: process.acceptor._batcher._in_flight == 1)
    return task

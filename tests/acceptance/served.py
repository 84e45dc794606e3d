"""An API server inside the test's own process, for what only a process in trouble answers.

It listens on a port of loopback and works on the deployment's database, or finds none there. The
limits that it is given are as small as a test needs them; what answers is the product.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from strongroom.config import Home
from strongroom.http.server import Server
from strongroom.http.traffic import Traffic
from strongroom.local.ports import LOOPBACK, free_ports
from tests.acceptance.frames import LossyProxy
from tests.acceptance.inside import Inside, inside
from tests.acceptance.running import Running, through

READY_SECONDS_MAX = 30
RERUN_SECONDS = 0.2
NOWHERE = "postgresql://strongroom:x@127.0.0.1:9/strongroom"


@asynccontextmanager
async def served(
    running: Running, database_url: str | None = None, **limits: Any
) -> AsyncIterator[tuple[str, Inside]]:
    """Its URL, and what it is made of."""
    async with inside(running, database_url, **limits) as parts:
        port, ready = free_ports(1), asyncio.Event()
        server = Server(Traffic(parts.front_door), LOOPBACK, port, on_ready=ready.set)
        serving = asyncio.create_task(server.listen())
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                await ready.wait()
            yield f"http://{LOOPBACK}:{port}", parts
        finally:
            server.stop()
            await serving


@asynccontextmanager
async def served_through(running: Running) -> AsyncIterator[tuple[str, LossyProxy]]:
    """One whose way to the database can be cut, and which is not patient then."""
    own = Home(running.home).secret("database_api_url")
    async with LossyProxy(running.owner_url).serving() as proxy:
        url = through(own, proxy.port)
        async with served(running, url, rerun_seconds=RERUN_SECONDS) as (place, parts):
            parts.api._commander._batcher._rerun_seconds = RERUN_SECONDS
            yield place, proxy

"""A pool of connections for commands that read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from strongroom.config import Home
from strongroom.database import connect_pool


@asynccontextmanager
async def reader(home: Home, login: str = "api") -> AsyncIterator[asyncpg.Pool]:
    """A pool with the rights of a process; `login` says of which."""
    url = home.secret(f"database_{login}_url")
    pool = await connect_pool(url, size_max=1, application="strongroom-cli")
    try:
        yield pool
    finally:
        await pool.close()

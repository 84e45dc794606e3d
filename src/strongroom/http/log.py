"""The log over HTTP: what the signer published, in the layout of C2SP's tlog-tiles.

Each caller sees the log of the legal entity of its API key, as if there were no other.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final

import structlog
from msgspec import Meta

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.errors import Missing, Unavailable
from strongroom.http.asking import answer, authorise
from strongroom.http.exchange import Asked, Reply
from strongroom.log.notes import NOTE_BYTES_MAX
from strongroom.log.published import LogsAway, Published
from strongroom.log.tiles import (
    BUNDLE_BYTES_MAX,
    CHECKPOINT,
    ENTRIES,
    PUBLIC_KEY,
    TILE_BYTES,
    TILE_PATH,
    TilesRefused,
    read_tile_name,
    tile_name,
)
from strongroom.log.witnessed import COSIGNED

PATH: Final = "/v1/log"
TILES: Final = PATH + "/tile/"
SCOPE: Final = "log:read"
READS_MAX: Final = 4
"""Files that are read at once, each in a thread of ours: a slow disk holds up nothing else."""
READ_SECONDS_MAX: Final = 10.0
"""For one file, with the wait for a thread."""
NOTE_TYPE: Final = "text/plain; charset=utf-8"
TILE_TYPE: Final = "application/octet-stream"
FOR_ONE: Final = ("vary", "Authorization")
"""A cache of somebody with two keys does not take one log for the other."""
IMMUTABLE: Final = ("cache-control", "private, max-age=31536000, immutable")

TileName = Annotated[
    str,
    Meta(
        description="Level and number, or `entries` and number, as tlog-tiles writes them: groups "
        "of three digits, each but the last after an `x`; with `.p/` and a width it is a partial "
        "tile. Its slashes stand in the path as they are.",
        extra_json_schema={"pattern": f"^{TILE_PATH}$"},
        examples=["entries/x001/x234/067.p/8"],
    ),
]

log = structlog.get_logger()


class LogOperations:
    """What can be asked of a log over HTTP; each method answers with a Reply, always."""

    def __init__(self, *, keys: ApiKeys, published: Published) -> None:
        self._keys, self._published = keys, published
        self._threads = ThreadPoolExecutor(READS_MAX, thread_name_prefix="log")

    async def checkpoint(self, asked: Asked) -> Reply:
        """GET /v1/log/checkpoint."""
        return await answer(self._signed, asked, CHECKPOINT)

    async def cosigned(self, asked: Asked) -> Reply:
        """GET /v1/log/checkpoint.cosigned."""
        return await answer(self._cosigned, asked)

    async def key(self, asked: Asked) -> Reply:
        """GET /v1/log/key."""
        return await answer(self._signed, asked, PUBLIC_KEY)

    async def tile(self, asked: Asked) -> Reply:
        """GET /v1/log/tile/{tile}."""
        return await answer(self._tile, asked)

    def close(self) -> None:
        """Waits for no file."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _signed(self, asked: Asked, name: str) -> Reply:
        credential = await authorise(self._keys, asked, SCOPE)
        found = await self._read(credential, name, NOTE_BYTES_MAX)
        if found is None:
            raise Missing("log_not_signed")
        return Reply(200, found, (FOR_ONE,), NOTE_TYPE)

    async def _cosigned(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, SCOPE)
        found = await self._read(credential, COSIGNED, NOTE_BYTES_MAX)
        if found is None:
            raise Missing("log_not_cosigned")
        return Reply(200, found, (FOR_ONE,), NOTE_TYPE)

    async def _tile(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, SCOPE)
        tile = read_tile_name(asked.path.removeprefix(TILES))
        if tile is None:
            raise Missing("tile_not_found")
        bytes_max = BUNDLE_BYTES_MAX if tile[0] == ENTRIES else TILE_BYTES
        # The name is made anew: of what was asked for, only numbers go on.
        found = await self._read(credential, tile_name(*tile), bytes_max)
        if found is None:
            raise Missing("tile_not_found")
        return Reply(200, found, (FOR_ONE, IMMUTABLE), TILE_TYPE)

    async def _read(self, credential: Credential, name: str, bytes_max: int) -> bytes | None:
        """A file of the caller's log; None where there is none. Raises Unavailable."""
        reading = asyncio.get_running_loop().run_in_executor(
            self._threads, self._published.read, credential.legal_entity_id, name, bytes_max
        )
        try:
            return await asyncio.wait_for(reading, READ_SECONDS_MAX)
        except (LogsAway, TilesRefused, TimeoutError) as error:
            log.warning("log_not_read", error=type(error).__name__, reason=str(error))
            raise Unavailable("log_unavailable") from None

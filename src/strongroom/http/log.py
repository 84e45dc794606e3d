"""The log over HTTP: what the signer published, in the layout of C2SP's tlog-tiles.

Each caller sees the log of the legal entity of its API key, as if there were no other.
"""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final, TypeVar

import structlog
from msgspec import Meta, Struct

from strongroom.access.api_keys import ApiKeys, Credential
from strongroom.errors import Missing, Unavailable
from strongroom.http.asking import answer, authorise
from strongroom.http.exchange import Asked, Reply, json_reply
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
EPOCHS: Final = PATH + "/epochs"
EPOCH: Final = "[1-9][0-9]{0,5}"
FIRST: Final = "1"
ESCAPED_SLASH: Final = "%2F"
"""As the front door leaves it in a path."""
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
        "tile. Its slashes may stand in the path as they are, or escaped.",
        extra_json_schema={"pattern": f"^{TILE_PATH}$"},
        examples=["entries/x001/x234/067.p/8"],
    ),
]

EpochNumber = Annotated[
    str,
    Meta(
        description="The number of an epoch, from 1 on.",
        extra_json_schema={"pattern": f"^{EPOCH}$"},
        examples=["2"],
    ),
]


class EpochView(Struct, frozen=True, kw_only=True):
    """An epoch of a log, as an answer shows it."""

    epoch: Annotated[int, Meta(description="Its number, from 1 on.")]
    origin: Annotated[str, Meta(description="The name under which its checkpoints are signed.")]
    size: Annotated[int, Meta(description="How many entries its newest checkpoint is of.")]
    prefix: Annotated[
        str, Meta(description="What clients of tlog-tiles take as the prefix of this log.")
    ]


class EpochList(Struct, frozen=True, kw_only=True):
    """All epochs, from the first on; what is written now goes into the last."""

    data: list[EpochView]


Result = TypeVar("Result")

log = structlog.get_logger()


class LogOperations:
    """What can be asked of a log over HTTP; each method answers with a Reply, always."""

    def __init__(self, *, keys: ApiKeys, published: Published) -> None:
        self._keys, self._published = keys, published
        self._threads = ThreadPoolExecutor(READS_MAX, thread_name_prefix="log")

    async def epochs(self, asked: Asked) -> Reply:
        """GET /v1/log/epochs."""
        return await answer(self._epochs, asked)

    async def checkpoint(self, asked: Asked, epoch: str = FIRST) -> Reply:
        """GET /v1/log/checkpoint, also of an epoch."""
        return await answer(self._note, asked, epoch, CHECKPOINT)

    async def cosigned(self, asked: Asked, epoch: str = FIRST) -> Reply:
        """GET /v1/log/checkpoint.cosigned, also of an epoch."""
        return await answer(self._note, asked, epoch, COSIGNED)

    async def key(self, asked: Asked, epoch: str = FIRST) -> Reply:
        """GET /v1/log/key, also of an epoch."""
        return await answer(self._note, asked, epoch, PUBLIC_KEY)

    async def tile(self, asked: Asked, epoch: str | None = None) -> Reply:
        """GET /v1/log/tile/{tile}, also of an epoch."""
        return await answer(self._tile, asked, epoch)

    def close(self) -> None:
        """Waits for no file."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _epochs(self, asked: Asked) -> Reply:
        credential = await authorise(self._keys, asked, SCOPE)
        found = await self._in_thread(self._published.epochs, credential.legal_entity_id)
        shown = [
            EpochView(epoch=epoch, origin=one.origin, size=one.size, prefix=f"{EPOCHS}/{epoch}")
            for epoch, one in enumerate(found, 1)
        ]
        return json_reply(200, EpochList(data=shown), FOR_ONE)

    async def _note(self, asked: Asked, epoch: str, name: str) -> Reply:
        credential = await authorise(self._keys, asked, SCOPE)
        found = await self._read(credential, epoch, name, NOTE_BYTES_MAX)
        if found is None and name == COSIGNED:
            raise Missing("log_not_cosigned")
        if found is None:
            raise Missing("log_not_signed")
        return Reply(200, found, (FOR_ONE,), NOTE_TYPE)

    async def _tile(self, asked: Asked, epoch: str | None) -> Reply:
        credential = await authorise(self._keys, asked, SCOPE)
        prefix = TILES if epoch is None else f"{EPOCHS}/{epoch}/tile/"
        # A client that was made from the OpenAPI document escapes the slashes of a part of a path.
        tile = read_tile_name(asked.path.removeprefix(prefix).replace(ESCAPED_SLASH, "/"))
        if tile is None:
            raise Missing("tile_not_found")
        bytes_max = BUNDLE_BYTES_MAX if tile[0] == ENTRIES else TILE_BYTES
        # The name is made anew: of what was asked for, only numbers go on.
        found = await self._read(credential, epoch or FIRST, tile_name(*tile), bytes_max)
        if found is None:
            raise Missing("tile_not_found")
        return Reply(200, found, (FOR_ONE, IMMUTABLE), TILE_TYPE)

    async def _read(
        self, credential: Credential, epoch: str, name: str, bytes_max: int
    ) -> bytes | None:
        """A file of the caller's log; None where there is none.

        Raises Missing for what is no number of an epoch, and Unavailable.
        """
        if not re.fullmatch(EPOCH, epoch):
            raise Missing("log_epoch_not_found")
        read, entity = self._published.read, credential.legal_entity_id
        return await self._in_thread(read, entity, int(epoch), name, bytes_max)

    async def _in_thread(self, read: Callable[..., Result], *arguments: object) -> Result:
        """What the folder has, in a thread of ours. Raises Unavailable."""
        reading = asyncio.get_running_loop().run_in_executor(self._threads, read, *arguments)
        try:
            return await asyncio.wait_for(reading, READ_SECONDS_MAX)
        except (LogsAway, TilesRefused, TimeoutError) as error:
            log.warning("log_not_read", error=type(error).__name__, reason=str(error))
            raise Unavailable("log_unavailable") from None

"""The window of an API process over a log whose witness is a key in the hands of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from strongroom.clock import Clock
from strongroom.database import connect_pool
from strongroom.log.cosignatures import CosigningKey, cosigned
from strongroom.log.notes import note_parts
from strongroom.log.tiles import TileFolder
from strongroom.log.window import Window
from tests.integration.conftest import Deployment
from tests.integration.test_signing import ORIGIN, Log
from tests.integration.watched_log import Watched, watched

__all__ = ["watched"]

W1, W2 = (CosigningKey.new(f"witness.example/w{number}") for number in (1, 2))
LIMIT = timedelta(seconds=600)


def note_of(folder: Path, key: CosigningKey = W1) -> bytes:
    """The newest checkpoint of a log's folder, cosigned."""
    note = TileFolder(folder).checkpoint()
    assert note is not None
    return cosigned(note, [key.cosign(note_parts(note)[0], 1_800_000_000)], key.verifier)


async def witness(log: Log, folder: Path | None = None, epoch: int = 1) -> None:
    """The witness sees the newest checkpoint, and the database is told."""
    log.signer.cosigned(log.entity, epoch, note_of(folder or log.own))
    await log.signer.step()


@asynccontextmanager
async def opened(
    deployment: Deployment, clock: Clock, origin: str = ORIGIN
) -> AsyncIterator[Window]:
    """The window of an API process, with the rights of one; nothing reads beside the test."""
    pool = await connect_pool(deployment.url("api"), size_max=4, application="test")
    try:
        yield Window(pool, clock, [W1.verifier], origin, LIMIT)
    finally:
        await pool.close()


@pytest.fixture
async def window(deployment: Deployment, watched: Watched) -> AsyncIterator[Window]:
    """Of a log that was witnessed up to now."""
    await watched.log.go_on()
    await witness(watched.log)
    async with opened(deployment, watched.hands) as made:
        yield made


async def sees(window: Window, entity: UUID) -> bool:
    """What a process answers that has just read."""
    window._take_in(entity)
    await window.read([entity])
    return await window.is_open(entity)


async def why(window: Window, entity: UUID) -> str | None:
    if await sees(window, entity):
        return None
    (reason,) = [reason for reason, number in window.closed().items() if number]
    return reason

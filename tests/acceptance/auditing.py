"""An auditor with an API key and the public key: copies of a log over HTTP, and what they say."""

from pathlib import Path

from strongroom.log.notes import NoteVerifier
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import Verified, verify_folder
from tests.acceptance.client import Api, item, until
from tests.acceptance.conftest import Merchant
from tests.acceptance.running import Running

ROOT = "/v1/log"
FEW, MANY = 20, 300
"""Entries that fill a part of a tile, and more than a tile."""


def size_in(checkpoint: bytes) -> int:
    return int(checkpoint.split(b"\n")[1])


async def grown(api: Api, entries: int) -> bytes:
    """The newest checkpoint, once the log has so many entries more, and so many at least."""
    before = await api.get(f"{ROOT}/checkpoint")
    wanted = entries + (size_in(before.body) if before.status == 200 else 0)
    made = await api.bulk([item(None) for _ in range(entries)])
    assert made.status == 200, made
    found: list[bytes] = []

    async def has_grown() -> bool:
        answer = await api.get(f"{ROOT}/checkpoint")
        found[:] = [answer.body] if answer.status == 200 else []
        return bool(found) and size_in(found[0]) >= wanted

    await until(has_grown)
    return found[0]


async def filled(api: Api) -> None:
    """Sees to it that the log has a full tile."""
    answer = await api.get(f"{ROOT}/checkpoint")
    if answer.status != 200 or size_in(answer.body) < MANY:
        await grown(api, MANY)


def tiles_of(size: int) -> list[str]:
    """The tiles and bundles of a log, counted as C2SP's tlog-tiles does; below 256,000 entries."""
    names = []
    for level in range(8):
        full, width = divmod(size >> 8 * level, 256)
        numbers = [f"{number:03d}" for number in range(full)]
        numbers += [f"{full:03d}.p/{width}"] if width else []
        names += [f"{kind}/{number}" for number in numbers for kind in _kinds(level)]
    return names


def _kinds(level: int) -> tuple[str, ...]:
    return ("0", "entries") if level == 0 else (str(level),)


async def copied(api: Api, folder: Path, checkpoint: bytes | None = None, root: str = ROOT) -> Path:
    """What an auditor with this key gets: a checkpoint, and the tiles that it calls for.

    Where a partial tile is gone the full one is taken, as the specification has clients do.
    """
    if checkpoint is None:
        checkpoint = (await api.get(f"{root}/checkpoint")).body
    files = {"checkpoint": checkpoint}
    for name in tiles_of(size_in(checkpoint)):
        got, answer = name, await api.get(f"{root}/tile/{name}")
        if answer.status == 404:
            got = name.partition(".p/")[0]
            answer = await api.get(f"{root}/tile/{got}")
        assert answer.status == 200, (name, answer)
        files[f"tile/{got}"] = answer.body
    return written(folder, files)


def written(folder: Path, files: dict[str, bytes]) -> Path:
    """The folder with these files in it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def verified(folder: Path, running: Running, merchant: Merchant, *older: bytes) -> Verified:
    """What an auditor finds who had the public key from elsewhere. Raises LogRefused."""
    key = (running.home / "log" / merchant.legal_entity / "key").read_text()
    return verify_folder(TileFolder(folder), NoteVerifier.read(key.strip()), older=older)

"""A log whose database is restored from backups, with the commands of both operators.

A backup is a copy of the database, as PostgreSQL makes one of a template.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from strongroom.cli import main
from strongroom.config import Settings
from strongroom.database import connect_pool
from strongroom.ids import to_text
from strongroom.log.entries import Entry
from strongroom.log.notes import Checkpoint, NoteVerifier, open_note
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import Verified, verify_folder
from tests.integration.conftest import Deployment
from tests.integration.test_signing import KEY, ORIGIN, Log

COPIES_MAX = 10
BECAUSE = "the disk of the first of June"


class Restorable(Log):
    """A log whose database can be restored, with the commands of both operators."""

    def __init__(
        self, deployment: Deployment, pools: dict[str, asyncpg.Pool], folder: Path
    ) -> None:
        super().__init__(deployment, pools, folder)
        self.deployment, self.home = deployment, deployment.home.path
        deployment.home.write_settings(Settings())
        self.backup = f"{self.database}_backup"

    @property
    def database(self) -> str:
        return urlsplit(self.deployment.owner_url).path[1:]

    @property
    def name(self) -> str:
        return to_text("ent", self.entity)

    def folder_of(self, epoch: int) -> Path:
        return self.own if epoch == 1 else self.own.with_name(f"{self.own.name}.{epoch}")

    def verifier_of(self, epoch: int) -> NoteVerifier:
        end = "" if epoch == 1 else f"/{epoch}"
        return KEY.named(f"{ORIGIN}/{self.name}{end}").verifier

    def checkpoint_of(self, epoch: int) -> Checkpoint:
        note = (self.folder_of(epoch) / "checkpoint").read_bytes()
        return Checkpoint.read(open_note(note, self.verifier_of(epoch)))

    def files_of(self, epoch: int) -> dict[Path, bytes]:
        found = [path for path in self.folder_of(epoch).rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in found}

    async def _copy(self, source: str, target: str) -> None:
        for pool in self.pools.values():
            await pool.expire_connections()
        server = urlunsplit(urlsplit(self.deployment.owner_url)._replace(path="/postgres"))
        connection = await asyncpg.connect(server)
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY ($1)",
                [source, target],
            )
            await connection.execute(f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)')
            for _ in range(COPIES_MAX):
                # Sessions that were ended may still be on their way out.
                with suppress(asyncpg.ObjectInUseError):
                    await connection.execute(f'CREATE DATABASE "{target}" TEMPLATE "{source}"')
                    return
            raise AssertionError(f"somebody keeps using {source}")
        finally:
            await connection.close()

    async def back_up(self) -> None:
        await self._copy(self.database, self.backup)

    async def restore(self) -> None:
        await self._copy(self.backup, self.database)

    async def lose(self, *, signed: int = 10, kept: int = 5) -> None:
        """A backup, more that is signed, and a restore."""
        await self.add(kept)
        await self.go_on()
        await self.back_up()
        await self.add(signed)
        await self.go_on()
        await self.restore()

    async def say(self, *words: str) -> int:
        return await asyncio.to_thread(main, [*words, "--home", str(self.home)])

    async def open(self, *words: str) -> int:
        logs = ("--logs", str(self.folder / "log"))
        return await self.say("log", "new-epoch", "--because", BECAUSE, *logs, *words)

    async def accept(self, epoch: int = 2, *words: str) -> int:
        if not (self.home / "signer").exists():
            (self.home / "signer").symlink_to(self.folder / "signer")
        what = ("--entity", self.name, "--epoch", str(epoch))
        return await self.say("signer", "accept-epoch", *what, "--yes", *words)

    async def why(self) -> list[tuple[str, str]]:
        """What a signer that begins now says of our log, and that it signs nothing."""
        self.signer = await self.restarted()
        with capture_logs() as lines:
            await self.go_on()
            assert await self.go_on() == 0
        return [(line["event"], line["reason"]) for line in lines if self.name in line["ids"]]

    async def die_at(self, owner: type, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The signer goes on, and is killed where it calls this."""

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(owner, method, die)
            with pytest.raises(KeyboardInterrupt):
                await self.go_on()

    async def entries(self) -> list[Entry]:
        rows = await self.pools["owner"].fetch(
            "SELECT index, entry FROM log_entries WHERE legal_entity_id = $1 ORDER BY index",
            self.entity,
        )
        assert [row["index"] for row in rows] == list(range(len(rows)))
        return [Entry.read(row["entry"]) for row in rows]

    def verified(self, epoch: int, older: Sequence[bytes] = ()) -> Verified:
        tiles = TileFolder(self.folder_of(epoch))
        return verify_folder(tiles, self.verifier_of(epoch), older=older)


async def pools_of(deployment: Deployment) -> dict[str, asyncpg.Pool]:
    urls = {one: deployment.url(one) for one in ("sequencer", "signer", "api")}
    urls["owner"] = deployment.owner_url
    return {
        name: await connect_pool(url, size_max=2, application="test") for name, url in urls.items()
    }


@asynccontextmanager
async def restorable(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Restorable]:
    """One, and what is left of it cleared away."""
    pools = await pools_of(deployment)
    log = Restorable(deployment, pools, tmp_path)
    yield log
    for pool in pools.values():
        await pool.close()
    server = urlunsplit(urlsplit(deployment.owner_url)._replace(path="/postgres"))
    connection = await asyncpg.connect(server)
    await connection.execute(f'DROP DATABASE IF EXISTS "{log.backup}" WITH (FORCE)')
    await connection.close()

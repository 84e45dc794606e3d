"""The signer: what it signs is a tree that only grows, and what it remembers is its own."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from strongroom.clock import Clock, SystemClock
from strongroom.config import ConfigurationError
from strongroom.database import connect_pool
from strongroom.ids import to_text
from strongroom.log.memory import Memory
from strongroom.log.notes import Checkpoint, NoteKey, NoteVerifier, open_note
from strongroom.log.sequencing import Sequencer
from strongroom.log.signing import Signer
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import LogRefused, verify_folder
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from tests.integration.conftest import NOW, Deployment

ORIGIN = "strongroom.test/1"
KEY = NoteKey.new(ORIGIN)
NEW_EVENTS = """
INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, payload)
SELECT $1, $2, version, 'payment.changed', 'test', $3, $4, convert_to(version::text, 'UTF8')
FROM generate_series(1, $5::int) AS version
"""


class Log:
    """A database with a sequencer and a signer, whose steps a test takes."""

    def __init__(
        self,
        deployment: Deployment,
        pools: dict[str, asyncpg.Pool],
        folder: Path,
        clock: Clock | None = None,
        telemetry: NoTelemetry = NO_TELEMETRY,
    ) -> None:
        self.clock, self.telemetry = clock or SystemClock(), telemetry
        self.entity, self.pools, self.folder = deployment.ours.legal_entity_id, pools, folder
        self.sequencer = Sequencer(deployment.url("sequencer"), self.clock)
        self.memory = Memory(folder / "signer")
        self.memory.hold()
        self.signer = self.new_signer()

    def new_signer(self) -> Signer:
        pool, logs = self.pools["signer"], self.folder / "log"
        return Signer(pool, self.clock, KEY, logs, self.memory, self.telemetry)

    async def restarted(self) -> Signer:
        signer = self.new_signer()
        await signer.remember()
        return signer

    def forget(self) -> None:
        for file in (self.folder / "signer").glob("*.json"):
            file.unlink()

    async def add(self, many: int) -> UUID:
        subject = uuid4()
        await self.pools["owner"].execute(NEW_EVENTS, self.entity, subject, NOW, b"d" * 32, many)
        return subject

    async def go_on(self) -> int:
        await self.sequencer.step(self.pools["sequencer"])
        return await self.signer.step()

    @property
    def own(self) -> Path:
        return self.folder / "log" / to_text("ent", self.entity)

    @property
    def verifier(self) -> NoteVerifier:
        return KEY.named(f"{ORIGIN}/{to_text('ent', self.entity)}").verifier

    def checkpoint(self) -> Checkpoint:
        return Checkpoint.read(open_note((self.own / "checkpoint").read_bytes(), self.verifier))


@pytest.fixture
async def log(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Log]:
    urls = {one: deployment.url(one) for one in ("sequencer", "signer")}
    urls["owner"] = deployment.owner_url
    pools = {
        name: await connect_pool(url, size_max=2, application="test") for name, url in urls.items()
    }
    yield Log(deployment, pools, tmp_path)
    for pool in pools.values():
        await pool.close()


async def test_what_is_signed_can_be_checked_from_the_files_alone(log: Log) -> None:
    older = []
    for many in (1, 300, 1, 2000):
        await log.add(many)
        await log.go_on()
        older.append((log.own / "checkpoint").read_bytes())
    verified = verify_folder(TileFolder(log.own), log.verifier, older=older)
    assert (verified.size, verified.root) == (2303, log.checkpoint().root)
    assert verified.origin == f"{ORIGIN}/{to_text('ent', log.entity)}"
    assert (log.own / "key").read_text().strip() == log.verifier.text()


async def test_a_signer_that_was_killed_goes_on_where_it_was(log: Log) -> None:
    await log.add(10)
    await log.go_on()
    first = (log.own / "checkpoint").read_bytes()
    (log.own / "checkpoint").unlink()  # it had written down its memory, and nothing after it
    log.signer = await log.restarted()
    assert (log.own / "checkpoint").read_bytes() == first
    await log.add(10)
    assert await log.go_on() == 10
    assert verify_folder(TileFolder(log.own), log.verifier, older=[first]).size == 21


async def test_files_that_were_written_before_a_kill_are_written_again(log: Log) -> None:
    await log.add(700)
    await log.go_on()
    log.forget()  # the tiles were on disk, the memory was not, and nothing was signed
    for other in (log.folder / "log").glob("ent_*"):
        (other / "checkpoint").unlink(missing_ok=True)
    await log.pools["owner"].execute("DELETE FROM log_checkpoints")
    log.signer = await log.restarted()
    await log.go_on()
    assert verify_folder(TileFolder(log.own), log.verifier).size == 701


async def test_nothing_is_signed_that_cannot_be_remembered(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the memory is full: a checkpoint that were out could be contradicted later."""
    await log.add(10)
    await log.go_on()
    before = (log.own / "checkpoint").read_bytes()

    def is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log.memory, "write", is_full)
    await log.add(5)
    with pytest.raises(OSError, match="No space left"):
        await log.go_on()
    assert (log.own / "checkpoint").read_bytes() == before
    notes = "SELECT note FROM log_checkpoints WHERE legal_entity_id = $1"
    assert await log.pools["owner"].fetchval(notes, log.entity) == before
    monkeypatch.undo()
    assert await log.go_on() == 5
    assert verify_folder(TileFolder(log.own), log.verifier, older=[before]).size == 16


async def test_what_was_edited_after_it_was_signed_changes_nothing_that_is_signed(
    log: Log,
) -> None:
    await log.add(500)
    await log.go_on()
    signed = log.checkpoint()
    await log.pools["owner"].execute(
        "UPDATE log_entries SET entry = 'edited' WHERE legal_entity_id = $1 AND index = 7",
        log.entity,
    )
    await log.add(5)
    await log.go_on()
    assert verify_folder(TileFolder(log.own), log.verifier, older=[]).size == signed.size + 5
    assert b"edited" not in b"".join(
        file.read_bytes() for file in log.own.rglob("*") if file.is_file()
    )


@pytest.mark.parametrize("attack", ["shorter", "grown again", "gap"])
async def test_a_database_that_lost_what_was_signed_is_signed_no_more(
    log: Log, attack: str
) -> None:
    await log.add(20)
    await log.go_on()
    before = log.checkpoint()
    owner = log.pools["owner"]
    if attack == "gap":
        await log.add(5)
        await log.sequencer.step(log.pools["sequencer"])
        await owner.execute("DELETE FROM log_entries WHERE index = 22")
    else:  # a restore of an older backup
        ours = "legal_entity_id = $1"
        await owner.execute(f"DELETE FROM log_entries WHERE index >= 10 AND {ours}", log.entity)
        await owner.execute(f"UPDATE log_heads SET size = 10 WHERE {ours}", log.entity)
    if attack == "grown again":  # before the signer looks
        await log.add(40)
        await log.sequencer.step(log.pools["sequencer"])
    assert await log.signer.step() == 0
    for signer in (log.signer, await log.restarted()):
        log.signer = signer
        await log.add(30)
        await log.go_on()
        assert log.checkpoint() == before


async def test_of_two_signers_one_signs(log: Log) -> None:
    with pytest.raises(ConfigurationError, match="another signer"):
        Memory(log.folder / "signer").hold()


@pytest.mark.parametrize("known_by", ["checkpoint", "checkpoint.cosigned", "database"])
async def test_a_memory_of_before_signs_nothing(log: Log, known_by: str) -> None:
    await log.add(3)
    await log.go_on()
    files = {file: file.read_bytes() for file in (log.folder / "signer").glob("*.json")}
    await log.add(3)
    await log.go_on()
    for file, content in files.items():
        file.write_bytes(content)
    newest = log.own / "checkpoint"
    content = newest.read_bytes()
    if known_by != "database":
        await log.pools["owner"].execute("DELETE FROM log_checkpoints")
    if known_by == "checkpoint.cosigned":
        newest.rename(log.own / "checkpoint.cosigned")
    if known_by == "database":
        newest.unlink()
    with pytest.raises(ConfigurationError, match="does not remember"):
        await log.restarted()
    if known_by == "checkpoint":
        assert newest.read_bytes() == content


async def test_one_log_that_cannot_be_signed_holds_up_no_other(
    log: Log, deployment: Deployment
) -> None:
    await log.sequencer.step(log.pools["sequencer"])
    signed = 0
    for entity in (deployment.ours, deployment.theirs):
        folder = log.folder / "log" / to_text("ent", entity.legal_entity_id)
        folder.parent.mkdir(exist_ok=True)
        if not folder.exists():
            folder.write_text("no folder")
            with pytest.raises((FileExistsError, NotADirectoryError)):
                await log.signer.step()
            folder.unlink()
        signed += await log.signer.step()
    assert signed == 1, "the second one was signed while the first could not be"
    assert len(list((log.folder / "signer").glob("*.json"))) == 2


async def test_a_signer_without_its_memory_does_not_guess(log: Log) -> None:
    await log.add(3)
    await log.go_on()
    for file in (log.folder / "signer").glob("*.json"):
        file.write_text("{")
    with pytest.raises(ConfigurationError, match="restore it from a backup"):
        await log.restarted()
    log.forget()
    with pytest.raises(ConfigurationError, match="does not remember"):
        await log.restarted()


async def test_each_legal_entity_has_a_log_of_its_own(log: Log, deployment: Deployment) -> None:
    await log.go_on()
    folders = sorted(folder.name for folder in (log.folder / "log").iterdir())
    entities = (deployment.ours.legal_entity_id, deployment.theirs.legal_entity_id)
    assert folders == sorted(to_text("ent", one) for one in entities)
    other = log.folder / "log" / to_text("ent", deployment.theirs.legal_entity_id)
    with pytest.raises(LogRefused):
        verify_folder(TileFolder(other), log.verifier)

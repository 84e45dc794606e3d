"""The sequencer goes on after a restore, also in another server, whose transactions begin anew."""

import asyncio
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from strongroom.database import begin
from strongroom.errors import InvariantBroken
from strongroom.local import binaries
from strongroom.log.epochs import OPENED
from strongroom.log.noting import note
from strongroom.log.sequencing import Sequencer
from strongroom.migrations import create_group_roles
from strongroom.setup import initialise
from tests.faults.servers import OwnServer
from tests.integration.conftest import NOW, Deployment
from tests.integration.restoring import Restorable, pools_of, restorable
from tests.integration.test_signing import NEW_EVENTS, ORIGIN
from tests.plugins.parts import require


@pytest.fixture
async def log(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Restorable]:
    async with restorable(deployment, tmp_path) as log:
        yield log


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[OwnServer]:
    require("embedded-postgresql")
    base = Path(tempfile.mkdtemp(prefix="strongroom-elsewhere-"))
    base.chmod(0o711)
    server = OwnServer(base)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(base, ignore_errors=True)


BURN = "DO $$ BEGIN FOR i IN 1..$many LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"


async def _burn(url: str, many: int) -> None:
    """Uses up so many transactions."""
    connection = await asyncpg.connect(url)
    await connection.execute(BURN.replace("$many", str(many)))
    await connection.close()


def _dumped(url: str, file: Path) -> None:
    words = [str(binaries.locate() / "pg_dump"), "--format", "custom", "-f", str(file), "-d", url]
    subprocess.run(words, check=True, capture_output=True, timeout=120)


async def _restored(log: Restorable, elsewhere: OwnServer, file: Path) -> Restorable:
    """The same home, with the database in the other server."""
    url = elsewhere.url(log.database)
    connection = await asyncpg.connect(elsewhere.url())
    await create_group_roles(connection)
    await connection.execute(f'CREATE DATABASE "{log.database}" TEMPLATE template0')
    await connection.close()
    words = [str(binaries.locate() / "pg_restore"), "--no-owner", "--exit-on-error", "-d", url]
    await asyncio.to_thread(
        subprocess.run, [*words, str(file)], check=True, capture_output=True, timeout=120
    )
    home = log.deployment.home
    await initialise(home, url, "dev", ORIGIN)
    ours, theirs = log.deployment.ours, log.deployment.theirs
    deployment = Deployment(home, url, ours, theirs)
    for pool in log.pools.values():
        await pool.close()
    log.memory.release()
    pools = await pools_of(deployment)
    log.pools.update(pools)
    return Restorable(deployment, log.pools, log.folder)


async def _placed(log: Restorable) -> Counter[tuple[UUID, int]]:
    return Counter((one.subject_id, one.version) for one in await log.entries())


@pytest.mark.parametrize("further", [0, 6000])
async def test_a_dump_in_another_server_goes_on(
    log: Restorable, elsewhere: OwnServer, tmp_path: Path, further: int
) -> None:
    """Its transactions have numbers that the first server used before, or newer ones."""
    await log.add(30)
    await log.go_on()
    await _burn(log.deployment.owner_url, 3000)
    await log.add(7)
    await log.go_on()
    unplaced = await log.add(5)  # committed, and in the backup without a place
    dump = tmp_path / "dump"
    await asyncio.to_thread(_dumped, log.deployment.owner_url, dump)
    await log.add(20)
    await log.go_on()
    log = await _restored(log, elsewhere, dump)
    await _burn(log.deployment.owner_url, further)
    with pytest.raises(InvariantBroken, match="another server"):
        await log.sequencer.step(log.pools["sequencer"])
    meanwhile = await log.add(4)
    assert (await log.open(), await log.accept()) == (0, 0)
    log.signer = await log.restarted()
    assert await log.go_on() == 38 + 1 + 5 + 4
    for _ in range(3):  # while its transactions come to the numbers of the old ones
        await _burn(log.deployment.owner_url, 1500)
        await log.add(1)
        await log.go_on()
        await log.go_on()
    placed = await _placed(log)
    assert set(placed.values()) == {1}
    assert len(placed) == 48 + 3
    assert sum(1 for subject, _ in placed if subject in {unplaced, meanwhile}) == 9
    assert log.verified(2).size == 51
    kinds = [one.kind for one in await log.entries()]
    assert kinds.index(OPENED) == 38, "it says so before anything else is new"


async def test_a_move_to_another_server_needs_no_epoch(
    log: Restorable, elsewhere: OwnServer, tmp_path: Path
) -> None:
    await _burn(log.deployment.owner_url, 3000)
    await log.add(12)
    await log.go_on()
    dump = tmp_path / "dump"
    await asyncio.to_thread(_dumped, log.deployment.owner_url, dump)
    log = await _restored(log, elsewhere, dump)
    with pytest.raises(InvariantBroken, match="new-epoch"):
        await log.sequencer.step(log.pools["sequencer"])
    assert await log.open() == 0
    log.signer = await log.restarted()
    await log.add(3)
    assert await log.go_on() == 3
    assert log.checkpoint_of(1).size == 16
    assert not log.folder_of(2).exists()


async def test_events_that_are_written_meanwhile_get_one_place(log: Restorable) -> None:
    """Writers and a sequencer go on while the command is at work, again and again."""
    await log.add(50)
    await log.go_on()
    subjects: list[UUID] = []
    stop, wrote = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            async with log.pools["owner"].acquire() as connection:
                await begin(connection, [log.entity])
                subject = uuid4()
                await connection.execute(NEW_EVENTS, log.entity, subject, NOW, b"d" * 32, 2)
                await asyncio.sleep(0)
                await connection.execute("COMMIT")
                subjects.append(subject)
                wrote.set()

    async def place() -> None:
        while not stop.is_set():
            with suppress(asyncpg.LockNotAvailableError):  # as where a worker runs it
                await log.sequencer.step(log.pools["sequencer"])
            await asyncio.sleep(0)

    working = [asyncio.create_task(one()) for one in (write, write, place)]
    for _ in range(5):
        before = len(subjects)
        assert await log.open() == 0
        while len(subjects) < before + 5:
            wrote.clear()
            await wrote.wait()
    stop.set()
    await asyncio.gather(*working)
    await log.go_on()
    placed = await _placed(log)
    assert set(placed.values()) == {1}
    assert len(placed) == 51 + 2 * len(subjects)
    assert await log.signer.step() == 0


async def test_what_was_noted_of_the_entity_meanwhile_comes_before(log: Restorable) -> None:
    """The entry that opens an epoch is a version of the legal entity, as its other events are."""
    await log.lose()
    async with log.pools["owner"].acquire() as connection:
        for _ in range(2):
            await begin(connection, [log.entity])
            await note(connection, log.entity, log.entity, "legal_entity.tested", NOW)
            await connection.execute("COMMIT")
    assert (await log.open(), await log.accept(), await log.go_on()) == (0, 0, 9)
    own = [one for one in await log.entries() if one.subject_id == log.entity]
    assert [one.version for one in own] == [1, 2, 3]
    assert own[-1].kind == OPENED
    assert b'"outcome":"succeeded"' in own[-1].payload
    await log.add(1)
    assert await log.go_on() == 1


async def test_a_sequencer_waits_for_the_command(log: Restorable) -> None:
    await log.add(2)
    async with log.pools["owner"].acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE directory.log_cursor IN EXCLUSIVE MODE")
        other = Sequencer(log.deployment.url("sequencer"), log.sequencer._clock)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await other.step(log.pools["sequencer"])
    assert await log.go_on() == 4

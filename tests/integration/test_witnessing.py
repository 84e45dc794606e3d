"""Signer, witness and auditor: a log that forks is not cosigned, and whoever looks sees it."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Settings, WitnessAt
from strongroom.database import connect_pool
from strongroom.ids import to_text
from strongroom.log import submitting
from strongroom.log.cosignatures import CosignatureVerifier, witnessed
from strongroom.log.memory import Memory
from strongroom.log.notes import NoteKey, open_note
from strongroom.log.submitting import Submitter
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import LogRefused, verify_folder
from strongroom.log.witnessed import find_witnessed
from strongroom.log.witnessing import BODY_BYTES_MAX, Submission
from tests.acceptance.running import environment
from tests.integration.conftest import Deployment
from tests.integration.test_signing import KEY, ORIGIN, Log
from tests.integration.witnesses import Running, witness

WAIT_SECONDS_MAX = 30.0


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


@pytest.fixture
def keys(deployment: Deployment, tmp_path: Path) -> Path:
    """A folder with the public keys of both logs, as the witness was given it."""
    folder = tmp_path / "known"
    folder.mkdir()
    for one in (deployment.ours, deployment.theirs):
        name = to_text("ent", one.legal_entity_id)
        (folder / name).write_text(KEY.named(f"{ORIGIN}/{name}").verifier.text())
    return folder


@pytest.fixture
def running(tmp_path: Path, keys: Path) -> Iterator[Running]:
    with witness(tmp_path / "witness", str(keys)) as found:
        yield found


@asynccontextmanager
async def submitted(logs: Path, *witnesses: WitnessAt) -> AsyncIterator[None]:
    task = asyncio.create_task(Submitter(logs, witnesses, SystemClock()).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until_seen(file: Path, vkey: str, size: int) -> None:
    """Until the file has this witness's word of this size."""
    await until(lambda: size_of(file, vkey) == size)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


def size_of(file: Path, vkey: str) -> int:
    """How much of the log the witness saw, by this file; -1 where it has no word of it."""
    try:
        return witnessed(file.read_bytes(), CosignatureVerifier.read(vkey)).checkpoint.size
    except Exception:  # noqa: BLE001 - not there yet, or not cosigned
        return -1


def verify(folder: Path, key: Path, *witnesses: Path) -> tuple[int, str]:
    words = [word for each in witnesses for word in ("--witness", str(each))]
    done = subprocess.run(
        [sys.executable, "-m", "strongroom", "verify", "--log", str(folder), "--key", str(key),
         *words],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def written(path: Path, vkey: str) -> Path:
    path.write_text(vkey + "\n")
    return path


async def test_each_checkpoint_is_cosigned_and_an_auditor_sees_it(
    log: Log, running: Running, tmp_path: Path
) -> None:
    checkpoint, cosigned = log.own / "checkpoint", log.own / "checkpoint.cosigned"
    size = 0
    async with submitted(log.folder / "log", running.at):
        for many in (3, 300, 20):
            await log.add(many)
            await log.go_on()
            size = log.checkpoint().size
            await until_seen(checkpoint, running.vkey, size)
            assert cosigned.read_bytes() == checkpoint.read_bytes()
    await log.add(5)
    await log.go_on()  # the newest is not cosigned, and the one before is not lost
    assert size_of(checkpoint, running.vkey) == -1
    assert size_of(cosigned, running.vkey) == size
    vkey = written(tmp_path / "vkey", running.vkey)
    code, told = verify(log.own, log.own / "key", vkey)
    assert code == 0, told
    assert f"witness witness.example/w1: {size} of {size + 5} entries, at 20" in told
    code, told = verify(log.own, log.own / "key")
    assert (code, "witness" in told) == (0, False), told


async def test_the_signer_s_process_submits_to_the_witnesses_of_its_settings(
    log: Log, running: Running, deployment: Deployment
) -> None:
    home = deployment.home
    home.write_settings(Settings(mode="dev", witnesses=(running.at,)))
    home.write_secret("log_key", KEY.text().reveal_text())
    (home.path / "signer").mkdir()  # key and memory belong together
    await log.add(9)
    await log.sequencer.step(log.pools["sequencer"])
    process = subprocess.Popen(  # noqa: ASYNC220 - it is over at once
        [sys.executable, "-m", "strongroom", "signer", "--home", str(home.path)],
        env=environment(), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        own = home.path / "log" / log.own.name
        await until_seen(own / "checkpoint", running.vkey, 10)
        await until_seen(own / "checkpoint.cosigned", running.vkey, 10)
    finally:
        process.terminate()
        _, told = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 0, told
    assert "signer_stopped" in told
    seed = KEY.text().reveal_text().split("+", 4)[4]  # in base64, which has this sign, too
    assert seed not in told
    assert "error" not in told


async def test_a_forked_log_is_not_cosigned_and_the_auditor_refuses_it(
    log: Log, running: Running, tmp_path: Path
) -> None:
    """Whoever has the database and the signer's key begins another history, with a new memory."""
    vkey = written(tmp_path / "vkey", running.vkey)
    await log.add(30)
    await log.go_on()
    async with submitted(log.folder / "log", running.at):
        await until_seen(log.own / "checkpoint", running.vkey, 31)
    honest, log.folder = log.own, tmp_path / "forked"
    await log.pools["owner"].execute(
        "UPDATE log_entries SET entry = entry || 'edited' WHERE legal_entity_id = $1 AND index = 7",
        log.entity,
    )
    await log.pools["owner"].execute("DELETE FROM log_checkpoints")
    log.memory = Memory(log.folder / "signer")
    log.memory.hold()
    log.signer = await log.restarted()
    with capture_logs() as lines:
        await log.go_on()
        async with submitted(log.folder / "log", running.at):
            await until(lambda: "witness_refuses" in str(lines))  # of the same size
        await log.add(4)
        await log.go_on()
        async with submitted(log.folder / "log", running.at):
            await until(lambda: "proof_refused" in str(lines))  # of a larger one
    mine = [line for line in lines if line.get("ids") == [log.own.name]]
    reasons = {line["reason"] for line in mine if line["event"] == "witness_refuses"}
    assert reasons == {"another_root", "proof_refused"}
    assert mine[0]["host"] == "127.0.0.1"
    assert verify_folder(TileFolder(log.own), log.verifier).size == 35, "whole in itself"
    code, told = verify(log.own, honest / "key", vkey)
    assert (code, "is cosigned by witness.example/w1" in told) == (1, True), told
    # The forger lays the old word of the witness into his copy.
    shutil.copy(honest / "checkpoint.cosigned", log.own)
    code, told = verify(log.own, honest / "key", vkey)
    assert (code, "something was rewritten since" in told) == (1, True), told
    code, told = verify(honest, honest / "key", vkey)
    assert code == 0, told


async def test_a_cut_log_is_shown_by_what_was_cosigned(
    log: Log, running: Running, tmp_path: Path
) -> None:
    await log.add(3)
    await log.go_on()
    shorter = (log.own / "checkpoint").read_bytes()
    await log.add(30)
    await log.go_on()
    async with submitted(log.folder / "log", running.at):
        await until_seen(log.own / "checkpoint.cosigned", running.vkey, 34)
    (log.own / "checkpoint").write_bytes(shorter)
    code, told = verify(log.own, log.own / "key", written(tmp_path / "vkey", running.vkey))
    assert (code, "The tail is cut" in told) == (1, True), told


async def test_who_submits_anew_asks_the_witness_what_it_saw(log: Log, running: Running) -> None:
    checkpoint = log.own / "checkpoint"
    for many in (9, 1):
        await log.add(many)
        await log.go_on()
        async with submitted(log.folder / "log", running.at):
            await until_seen(checkpoint, running.vkey, log.checkpoint().size)
    log.signer = (
        await log.restarted()
    )  # it publishes the checkpoint anew, as the log alone signed it
    assert size_of(checkpoint, running.vkey) == -1
    async with submitted(log.folder / "log", running.at):
        await until_seen(checkpoint, running.vkey, 11)


async def test_two_witnesses_stand_in_one_note_and_one_that_is_away_is_no_loss(
    log: Log, running: Running, tmp_path: Path, keys: Path
) -> None:
    checkpoint, cosigned = log.own / "checkpoint", log.own / "checkpoint.cosigned"
    with witness(tmp_path / "second", str(keys), name="witness.example/w2") as second:
        await log.add(5)
        await log.go_on()
        async with submitted(log.folder / "log", running.at, second.at):
            for one in (running, second):
                await until_seen(checkpoint, one.vkey, 6)
                await until_seen(cosigned, one.vkey, 6)
    await log.add(5)
    await log.go_on()
    async with submitted(log.folder / "log", running.at, second.at):
        await until_seen(cosigned, running.vkey, 11)
    found = find_witnessed(log.own, log.verifier, CosignatureVerifier.read(second.vkey))
    assert found.size == 6, "what it signed last is kept beside the newest"
    text = open_note(checkpoint.read_bytes(), log.verifier)
    assert text == open_note(cosigned.read_bytes(), log.verifier)


async def test_a_witness_that_lags_is_told_of(
    log: Log, monkeypatch: pytest.MonkeyPatch, unused_tcp_port_factory: Callable[[], int]
) -> None:
    monkeypatch.setattr(submitting, "LAG_SECONDS_MAX", 0.5)
    vkey = CosignatureVerifier("w", bytes(32)).text()
    away = WitnessAt(url=f"http://127.0.0.1:{unused_tcp_port_factory()}", key=vkey)
    await log.add(3)
    await log.go_on()
    before = (log.own / "checkpoint").read_bytes()
    with capture_logs() as lines:
        async with submitted(log.folder / "log", away):
            await until(lambda: "witness_lags" in str(lines))
            await asyncio.sleep(1)
    mine = [line for line in lines if line.get("ids") == [log.own.name]]
    assert [line["event"] for line in mine] == ["witness_lags"], "once a minute"
    assert mine[0]["log_level"] == "error"
    assert (log.own / "checkpoint").read_bytes() == before


async def test_a_cosignature_of_somebody_else_is_not_taken(
    log: Log, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What answers at the url has another key than the settings say."""
    monkeypatch.setattr(submitting, "LAG_SECONDS_MAX", 0.1)
    vkey = CosignatureVerifier("witness.example/w1", bytes(32)).text()
    await log.add(3)
    await log.go_on()
    before = (log.own / "checkpoint").read_bytes()
    with capture_logs() as lines:
        async with submitted(log.folder / "log", WitnessAt(url=running.url, key=vkey)):
            await until(lambda: "no_cosignature" in str(lines))
    assert (log.own / "checkpoint").read_bytes() == before
    assert not (log.own / "checkpoint.cosigned").exists()


async def test_a_key_of_a_log_is_no_witness(log: Log) -> None:
    one = WitnessAt(url="https://witness.example", key=log.verifier.text())
    with pytest.raises(ConfigurationError, match="not that of a witness"):
        Submitter(log.folder / "log", [one], SystemClock())


async def test_the_server_bounds_what_it_reads(log: Log, running: Running) -> None:
    stranger = NoteKey.new("example.com/stranger")
    await log.add(3)
    await log.go_on()
    note = (log.own / "checkpoint").read_bytes()
    fine = Submission(0, (), note).body()
    bodies = {
        413: [b"x" * (BODY_BYTES_MAX + 1), b"x" * 1_000_000],
        400: [b"", b"old 0\n\n"],
        403: [fine.replace(b"\n4\n", b"\n5\n")],
        404: [fine.replace(b"strongroom.test", b"strongroom.best")],
        200: [fine],
        409: [fine.replace(b"old 0", b"old 3")],
    }
    assert stranger.name.encode() not in fine
    async with aiohttp.ClientSession() as session:
        for status, each in bodies.items():
            for body in each:
                async with session.post(running.url + "/add-checkpoint", data=body) as response:
                    assert response.status == status, body[:80]
                    if status == 409:
                        assert response.headers["Content-Type"].startswith("text/x.tlog.size")
                        assert await response.text() == "4\n"
        async with session.get(running.url + "/add-checkpoint") as response:
            assert response.status == 405
        async with session.get(running.url + "/") as response:
            assert response.status == 404


def test_one_folder_has_one_witness(running: Running, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "strongroom", "witness", "--folder", str(tmp_path / "witness"),
         "--port", "0"],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "another witness works with" in done.stderr) == (1, True), done
    shown = subprocess.run(
        [sys.executable, "-m", "strongroom", "witness", "key", "--folder",
         str(tmp_path / "witness")],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert shown.stdout.strip() == running.vkey


def test_a_checkpoint_that_nobody_cosigned_is_not_one_that_somebody_did(tmp_path: Path) -> None:
    with pytest.raises(LogRefused, match="No checkpoint"):
        find_witnessed(tmp_path, KEY.verifier, CosignatureVerifier("w", bytes(32)))

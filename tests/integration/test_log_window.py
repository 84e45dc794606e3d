"""The unprotected window, who is behind with it, and a log that was rewritten."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from strongroom.config import Settings, WitnessAt
from strongroom.ids import to_text
from strongroom.log import submitting
from strongroom.log.cosignatures import CosignatureVerifier
from strongroom.log.memory import Memory
from strongroom.log.submitting import Submitter
from strongroom.log.tiles import TileFolder
from strongroom.telemetry.port import Behind
from tests.acceptance.running import environment
from tests.integration.conftest import Deployment
from tests.integration.test_signing import KEY, ORIGIN, Log
from tests.integration.watched_log import Watched, watched, watched_from_now
from tests.integration.witnesses import Running, witness
from tests.unit.test_metrics import samples

WAIT_SECONDS_MAX = 60.0


__all__ = ["watched", "watched_from_now"]


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("DELETE FROM log_entries WHERE index >= 10", "shorter_than_signed"),
        ("DELETE FROM log_entries", "shorter_than_signed"),
        ("UPDATE log_entries SET entry = 'edited' WHERE index = 20", "last_entry_differs"),
        ("DELETE FROM log_entries WHERE index = 22", "gap"),
    ],
)
async def test_a_rewritten_log_is_told_for_good(
    watched_from_now: Watched, attack: str, reason: str
) -> None:
    one = watched_from_now
    for _ in range(20):
        await one.add()
    await one.log.go_on()
    for _ in range(5):
        await one.add()
    await one.sequence()
    assert sum(samples(one.told.metrics, "strongroom_logs_stopped").values()) == 0
    ours = f"legal_entity_id = '{one.entity}'"
    await one.owner.execute(attack + (" AND " if "WHERE" in attack else " WHERE ") + ours)
    if attack.endswith(">= 10"):
        await one.owner.execute(f"UPDATE log_heads SET size = 10 WHERE {ours}")
    if attack.endswith("log_entries"):
        await one.owner.execute(f"DELETE FROM log_heads WHERE {ours}")
    with capture_logs() as lines:
        await one.log.signer.step()
    assert [line["event"] for line in lines] == ["log_rewritten"]
    for signer in (one.log.signer, await one.log.restarted()):
        one.log.signer = signer
        await signer.step()
        told = samples(one.told.metrics, "strongroom_logs_stopped")
        assert told.pop(f'reason="{reason}"') == 1
        assert set(told.values()) == {0}
    one.hands.turn(300)
    await one.lag.read()
    if reason in ("last_entry_differs", "gap"):
        assert one.gauge("log_unsigned_entries") == 5
        assert one.gauge("log_unsigned_seconds") == 300


async def test_an_entry_that_is_no_entry_is_signed_all_the_same(watched_from_now: Watched) -> None:
    one = watched_from_now
    before = samples(one.told.metrics, "strongroom_log_window_seconds_count")
    await one.add()
    await one.sequence()
    await one.owner.execute(
        "UPDATE log_entries SET entry = '' WHERE legal_entity_id = $1 AND index = 1", one.entity
    )
    assert await one.log.signer.step() == 1
    assert samples(one.told.metrics, "strongroom_log_window_seconds_count") == before


# The window.


async def test_the_window_is_from_the_event_until_it_is_signed(watched_from_now: Watched) -> None:
    one = watched_from_now
    labels = 'step="signed",witness=""'
    before = one.gauge("log_window_seconds_sum", labels)
    await one.add()
    one.hands.turn(2)
    await one.sequence()
    one.hands.turn(3)
    await one.add()
    await one.sequence()
    await one.log.signer.step()
    assert one.gauge("log_window_seconds_sum", labels) - before == 5, "of the oldest"
    assert one.gauge("log_window_seconds_count", labels) == 3


@pytest.fixture
def keys(deployment: Deployment, tmp_path: Path) -> Path:
    """A folder with the public keys of both logs, as the witness was given it."""
    folder = tmp_path / "known"
    folder.mkdir()
    for one in (deployment.ours, deployment.theirs):
        name = to_text("ent", one.legal_entity_id)
        (folder / name).write_text(KEY.named(f"{ORIGIN}/{name}").verifier.text())
    return folder


async def submit(
    submitter: Submitter, running: Running, log: Log, holds: Callable[[Behind], bool]
) -> Behind:
    """Lets the one witness be asked of our log until it stands so."""
    verifier = CosignatureVerifier.read(running.vkey)
    async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            await submitter.step(session, running.url, verifier, log.own)
            [seen] = submitter.behind()
            if holds(seen):
                return seen
            await asyncio.sleep(0.02)


async def test_a_witness_that_is_away_is_behind_until_it_comes_back(
    watched_from_now: Watched, tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = watched_from_now
    monkeypatch.setattr(submitting, "PAUSE_SECONDS_MAX", 0.05)
    monkeypatch.setattr(submitting, "PAUSE_SECONDS", 0.01)
    with witness(tmp_path / "witness", str(keys)) as running:
        submitter = Submitter(one.log.folder / "log", [running.at], one.hands, one.told)
        await submit(submitter, running, one.log, lambda seen: seen.entries == 0)
    await one.add()
    await one.add()
    await one.log.go_on()
    one.hands.turn(700)
    seen = await submit(submitter, running, one.log, lambda seen: seen.entries > 0)
    assert seen == Behind("witness.example/w1", 2, 700.0, 0)
    labels = 'step="cosigned",witness="witness.example/w1"'
    before = one.gauge("log_window_seconds_sum", labels)
    with witness(tmp_path / "witness", str(keys)) as back:
        ats = [WitnessAt(url=back.url, key=back.vkey)]
        anew = Submitter(one.log.folder / "log", ats, one.hands, one.told)
        seen = await submit(anew, back, one.log, lambda seen: seen.entries == 0)
        assert seen == Behind("witness.example/w1", 0, 0.0, 0)
    assert one.gauge("log_window_seconds_sum", labels) - before == 700


async def test_a_witness_of_a_forked_log_says_so(
    watched_from_now: Watched, tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the database and the signer's key signs another history, by a new memory."""
    one, log = watched_from_now, watched_from_now.log
    monkeypatch.setattr(submitting, "PAUSE_SECONDS", 0.01)
    with witness(tmp_path / "witness", str(keys)) as running:
        honest = Submitter(log.folder / "log", [running.at], one.hands, one.told)
        await submit(honest, running, log, lambda seen: seen.entries == 0)
        await one.owner.execute("UPDATE log_entries SET entry = entry || 'edited'")
        await one.owner.execute("DELETE FROM log_checkpoints")
        log.folder = tmp_path / "forked"
        log.memory = Memory(log.folder / "signer")
        log.memory.hold()
        log.signer = await log.restarted()
        await log.signer.step()
        forged = Submitter(log.folder / "log", [running.at], one.hands, one.told)
        await submit(forged, running, log, lambda seen: seen.contradicted == 1)
    assert TileFolder(log.own).checkpoint() is not None
    assert sum(log.signer.stopped().values()) == 0


async def test_the_signer_s_process_tells_of_itself(
    watched: Watched, deployment: Deployment, unused_tcp_port_factory: Callable[[], int]
) -> None:
    """Whom it cannot reach, and that the database lost what it had signed."""
    away = CosignatureVerifier("witness.example/w1", bytes(32)).text()
    nowhere = f"http://127.0.0.1:{unused_tcp_port_factory()}"
    home, port = deployment.home, unused_tcp_port_factory()
    home.write_settings(Settings(mode="dev", witnesses=(WitnessAt(url=nowhere, key=away),)))
    home.write_secret("log_key", KEY.text().reveal_text())
    (home.path / "signer").mkdir()  # key and memory belong together
    await watched.sequence()
    process = subprocess.Popen(  # noqa: ASYNC220 - it is over at once
        [sys.executable, "-m", "strongroom", "signer", "--home", str(home.path),
         "--metrics-port", str(port)],
        env=environment(), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        await until_told(
            port, 'strongroom_log_uncosigned_entries{witness="witness.example/w1"} 2.0'
        )
        await until_told(port, 'strongroom_log_window_seconds_count{step="signed",witness=""} 2.0')
        await until_told(port, 'strongroom_logs_stopped{reason="shorter_than_signed"} 0.0')
        await watched.owner.execute("DELETE FROM log_entries")
        await watched.owner.execute("DELETE FROM log_heads")
        text = await until_told(port, 'strongroom_logs_stopped{reason="shorter_than_signed"} 2.0')
        lines = 'strongroom_log_lines_total{event="log_rewritten",level="error"} '
        assert float(text.partition(lines)[2].split()[0]) >= 2
        assert '"ent_' not in text
    finally:
        process.terminate()
        _, told = await asyncio.to_thread(process.communicate, timeout=WAIT_SECONDS_MAX)
    assert process.returncode == 0, told


async def until_told(port: int, line: str) -> str:
    """What the page of this port says, once it has this line."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    text = await answer.text()
                    if line in text.splitlines():
                        return text
            await asyncio.sleep(0.05)

"""A signer under an account of its own: it signs, others read what it publishes and nothing else.

docs/log.md, "A signer of its own account".
"""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

import strongroom
from strongroom.config import Home, Settings
from strongroom.ids import to_text
from strongroom.local.process import die_with_parent
from strongroom.log.notes import NoteKey
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import verify_folder
from strongroom.vault.secret import Secret
from tests.integration.conftest import Deployment
from tests.integration.restoring import Restorable, restorable
from tests.integration.test_signing import ORIGIN
from tests.plugins.parts import ORDINARY_UID, can_read, python_for_everybody

pytestmark = pytest.mark.needs("root", "python-for-everybody", "packages-for-everybody")

CODE = [Path(strongroom.__file__).parents[1], Path(asyncpg.__file__).parents[1]]
OTHER_UID = pwd.getpwnam("daemon").pw_uid
EVENTS = 40
SIGNED_SECONDS_MAX = 60
LOOK_SECONDS = 0.05
STOP_SECONDS_MAX = 30


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody passes through and the signer's account owns."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-signer-"))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder)


def home_of_its_own(place: Path, deployment: Deployment) -> Home:
    """As the page says: the settings, the signer's login, and nothing else."""
    home = Home(place / "home")
    home.write_settings(Settings())
    home.write_secret("database_signer_url", deployment.url("signer"))
    home.path.chmod(0o711)
    for path in (home.path, *home.path.rglob("*")):
        os.chown(path, ORDINARY_UID, ORDINARY_UID)
    return home


def begin(home: Home, output: Path) -> subprocess.Popen[bytes]:
    """The program, as the account."""
    python, parent = python_for_everybody(), os.getpid()
    assert python is not None
    with output.open("wb") as stream:
        return subprocess.Popen(
            [python, "-m", "strongroom", "signer", "--home", str(home.path)],
            env={"PYTHONPATH": ":".join(map(str, CODE)), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, cwd="/",
            user=ORDINARY_UID, group=ORDINARY_UID, extra_groups=[ORDINARY_UID], umask=0o022,
            preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 - as in `spawn`
        )  # fmt: skip


async def all_signed(log: Restorable, signer: subprocess.Popen[bytes], output: Path) -> None:
    async with asyncio.timeout(SIGNED_SECONDS_MAX):
        while True:
            size = await log.pools["owner"].fetchval(
                "SELECT size FROM log_checkpoints WHERE legal_entity_id = $1", log.entity
            )
            if size is not None and size >= EVENTS:
                return
            assert signer.poll() is None, f"{output} says why it ended"
            await asyncio.sleep(LOOK_SECONDS)


async def test_it_signs_and_only_what_it_publishes_is_read(
    deployment: Deployment, place: Path, tmp_path: Path
) -> None:
    home, output = home_of_its_own(place, deployment), tmp_path / "signer.log"
    async with restorable(deployment, tmp_path) as log:
        await log.add(EVENTS)
        await log.sequencer.step(log.pools["sequencer"])
        signer = begin(home, output)
        try:
            await all_signed(log, signer, output)
            signer.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(signer.wait, STOP_SECONDS_MAX) == 0
        finally:
            signer.kill()
        key = NoteKey.read(Secret(home.secret("log_key")))
        name = to_text("ent", log.entity)
        verified = verify_folder(
            TileFolder(home.logs / name), key.named(f"{ORIGIN}/{name}").verifier
        )
        assert verified.size >= EVENTS
    published = [path for path in home.logs.rglob("*") if path.is_file()]
    assert published
    assert can_read(OTHER_UID, *published), "the API serves them"
    for kept in (home.secrets, home.secrets / "log_key", home.path / "signer"):
        assert kept.stat().st_uid == ORDINARY_UID
        assert not can_read(OTHER_UID, kept), kept
    for theirs in (deployment.home.secrets, *deployment.home.secrets.iterdir()):
        assert not can_read(ORDINARY_UID, theirs), theirs

"""What the API serves of a folder that the signer wrote, or that somebody else wrote there."""

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from strongroom.http import log as http_log
from strongroom.log.published import Published
from tests.acceptance.auditing import ROOT, filled, grown, written
from tests.acceptance.client import Api
from tests.acceptance.conftest import Merchant, new_merchant
from tests.acceptance.running import Running
from tests.acceptance.served import served


@pytest.fixture(scope="module")
def followed(running: Running) -> Merchant:
    """A legal entity whose log these tests copy, and change."""
    return new_merchant(running, "Copied Ltd")


@pytest.fixture
def mine(api: Api, followed: Merchant) -> Api:
    return api.with_key(followed.api_key)


async def test_what_a_witness_cosigned_is_served_beside_the_newest(
    mine: Api, running: Running, followed: Merchant, tmp_path: Path
) -> None:
    older = await grown(mine, 1)
    newest = await grown(mine, 1)
    logs = tmp_path / "log"
    written(logs / followed.legal_entity, {"checkpoint": newest, "checkpoint.cosigned": older})
    async with served(running, logs=logs) as (url, _):
        there = mine.at(url)
        assert (await there.get(f"{ROOT}/checkpoint")).body == newest
        assert (await there.get(f"{ROOT}/checkpoint.cosigned")).body == older


async def test_a_machine_without_the_folder_says_what_to_do(
    mine: Api, running: Running, tmp_path: Path
) -> None:
    async with served(running, logs=tmp_path / "nowhere") as (url, _):
        for name in ("checkpoint", "key", "checkpoint.cosigned", "tile/0/000"):
            refused = await mine.at(url).get(f"{ROOT}/{name}")
            assert (refused.status, refused.code) == (503, "log_unavailable")
            assert refused.json["retry_safe"]
            assert "`log` in the home" in refused.json["what_to_do"]


async def test_a_link_in_the_folder_leads_nowhere(
    mine: Api, running: Running, followed: Merchant, tmp_path: Path
) -> None:
    await filled(mine)
    folder, other = tmp_path / "log" / followed.legal_entity, running.home / "log"
    shutil.copytree(other / followed.legal_entity, folder)
    secret = tmp_path / "secret"
    secret.write_text("what only the API may read")
    for name, target in (
        ("key", secret),
        ("checkpoint", other / running.legal_entity / "checkpoint"),
        ("tile/0/000", secret),
        ("tile/1", other / running.legal_entity / "tile" / "0"),
    ):
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
        (folder / name).symlink_to(target)
    async with served(running, logs=tmp_path / "log") as (url, _):
        for name in ("key", "checkpoint", "tile/0/000", "tile/1/000.p/1"):
            refused = await mine.at(url).get(f"{ROOT}/{name}")
            assert (refused.status, refused.code) == (503, "log_unavailable")
        assert (await mine.at(url).get(f"{ROOT}/tile/entries/000")).status == 200


async def test_tiles_of_a_large_log_lie_where_the_specification_says(
    mine: Api, running: Running, followed: Merchant, tmp_path: Path
) -> None:
    tile, bundle, most = bytes(range(256)) * 32, b"\0\3abc" * 3, b"\xff\xff" * 32768 * 256
    files = {
        "tile/0/x001/x234/067": tile,
        "tile/63/000": tile,
        "tile/1/x004/822.p/255": tile[:8160],
        "tile/entries/x001/x234/067.p/3": bundle,
        "tile/entries/x999/x999/999": most,
    }
    written(tmp_path / followed.legal_entity, files)
    written(
        tmp_path / followed.legal_entity,
        {"tile/0/001": tile + b"?", "tile/entries/001": most + bytes(256 * 65537 - len(most) + 1)},
    )
    async with served(running, logs=tmp_path) as (url, _):
        for name, content in files.items():
            answer = await mine.at(url).get(f"{ROOT}/{name}")
            assert (answer.status, answer.body == content) == (200, True), name
        for name in ("tile/0/001", "tile/entries/001"):  # longer than any can be
            refused = await mine.at(url).get(f"{ROOT}/{name}")
            assert (refused.status, refused.code) == (503, "log_unavailable"), name


async def test_a_disk_that_does_not_answer_holds_up_nothing_else(
    mine: Api, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, begun = threading.Event(), list[object]()

    def read(*_: object) -> None:
        begun.append(None)
        goes_on.wait()

    monkeypatch.setattr(Published, "read", read)
    monkeypatch.setattr(http_log, "READ_SECONDS_MAX", 0.2)
    try:
        async with served(running) as (url, _):
            there = mine.at(url)
            waiting = [there.get(f"{ROOT}/checkpoint") for _ in range(4 * http_log.READS_MAX)]
            refused: list[Any] = await asyncio.gather(*waiting)
            assert {(one.status, one.code) for one in refused} == {(503, "log_unavailable")}
            assert (await there.get("/v1/payments", limit=1)).status == 200
            assert len(begun) == http_log.READS_MAX
    finally:
        goes_on.set()

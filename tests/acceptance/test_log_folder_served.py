"""What the API serves of a folder that the signer wrote, or that somebody else wrote there."""

import asyncio
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from strongroom.http import log as http_log
from strongroom.log.entries import Entry
from strongroom.log.epochs import OPENED, Opened
from strongroom.log.notes import Checkpoint, NoteKey, NoteVerifier, sign_note
from strongroom.log.published import Published
from strongroom.log.tiles import TileFolder
from strongroom.log.tree import NO_LEAVES, leaf_hash
from strongroom.log.verifying import verify_folder
from tests.acceptance.auditing import ROOT, copied, filled, grown, written
from tests.acceptance.client import Api
from tests.acceptance.conftest import Merchant, new_merchant
from tests.acceptance.raw import send_raw
from tests.acceptance.running import Running
from tests.acceptance.served import served

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


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


def epoch_made(logs: Path, entity: str, epoch: int, entries: int) -> NoteVerifier:
    """An epoch of a log as a signer writes it; its key."""
    end = "" if epoch == 1 else f"/{epoch}"
    key = NoteKey.new(f"example.com/payments/{entity}{end}")
    tiles = TileFolder(logs / (entity + end.replace("/", ".")))
    opened = Opened(
        epoch=epoch, because="a test", previous_origin="before", signed_size=1, signed_root="",
        kept=0, size=entries - 1,
    )  # fmt: skip
    contents = [
        Entry(
            kind=OPENED if number == opened.size else "payment.changed",
            subject_id=UUID(int=number), version=1, at=NOW, row_format=1, row_digest=bytes(32),
            actor="operator:ada", payload=opened.payload(),
        ).content()
        for number in range(entries)
    ]  # fmt: skip
    tiles.append(0, contents)
    root = NO_LEAVES.extended(list(map(leaf_hash, contents))).root()
    tiles.write_checkpoint(sign_note(Checkpoint(key.name, entries, root).text(), key))
    (tiles.path / "key").write_text(key.verifier.text() + "\n")
    return key.verifier


async def test_each_epoch_is_a_log_with_a_prefix_of_its_own(
    mine: Api, running: Running, followed: Merchant, tmp_path: Path
) -> None:
    logs, entity = tmp_path / "log", followed.legal_entity
    sizes = {1: 300, 2: 290, 3: 7}
    keys = {epoch: epoch_made(logs, entity, epoch, size) for epoch, size in sizes.items()}
    epoch_made(logs, running.legal_entity, 4, 1)  # of somebody else
    async with served(running, logs=logs) as (url, _):
        there = mine.at(url)
        listed = (await there.get(f"{ROOT}/epochs")).json["data"]
        assert [one["epoch"] for one in listed] == [1, 2, 3]
        for one in listed:
            key, size = keys[one["epoch"]], sizes[one["epoch"]]
            assert (one["origin"], one["size"]) == (key.name, size)
            copy = await copied(there, tmp_path / f"copy-{one['epoch']}", root=one["prefix"])
            assert verify_folder(TileFolder(copy), key).size == size
            told = await there.get(f"{one['prefix']}/key")
            assert told.body.decode().strip() == key.text()
        first = await there.get(f"{ROOT}/checkpoint")
        assert first.body == (await there.get(f"{ROOT}/epochs/1/checkpoint")).body
        for epoch in ("4", "999999"):
            gone = await there.get(f"{ROOT}/epochs/{epoch}/checkpoint")
            assert (gone.status, gone.code) == (404, "log_not_signed")
            gone = await there.get(f"{ROOT}/epochs/{epoch}/tile/0/000")
            assert (gone.status, gone.code) == (404, "tile_not_found")
        gone = await there.get(f"{ROOT}/epochs/2/checkpoint.cosigned")
        assert (gone.status, gone.code) == (404, "log_not_cosigned")


@pytest.mark.parametrize(
    "epoch", ["0", "01", "-1", "+2", "1000000", "2.0", "²", "1_0", "..", "%2e%2e", "x", "1%2F2"]
)
async def test_what_is_no_number_of_an_epoch_has_no_files(
    mine: Api, running: Running, followed: Merchant, tmp_path: Path, epoch: str
) -> None:
    logs, entity = tmp_path / "log", followed.legal_entity
    epoch_made(logs, entity, 1, 1)
    for name in (f"{entity}.0", f"{entity}.01", f"{entity}.1", f"{entity}.x"):
        written(logs / name, {"checkpoint": b"not of a log"})
    async with served(running, logs=logs) as (url, _):
        for name in ("checkpoint", "key", "checkpoint.cosigned", "tile/0/000"):
            path = f"{ROOT}/epochs/{quote(epoch, safe='%')}/{name}"
            headers = [("Authorization", f"Bearer {mine.api_key}")]
            answer = await send_raw(url, path, headers, b"", method="GET")
            assert answer.status == 404, (epoch, name, answer)


async def test_the_slashes_of_a_tile_may_be_escaped(
    mine: Api, running: Running, followed: Merchant, tmp_path: Path
) -> None:
    """As a client does that was made from the OpenAPI document."""
    logs = tmp_path / "log"
    for epoch in (1, 2):
        epoch_made(logs, followed.legal_entity, epoch, 300)
    headers = [("Authorization", f"Bearer {mine.api_key}")]
    async with served(running, logs=logs) as (url, _):
        for prefix in (ROOT, f"{ROOT}/epochs/2"):
            for name in ("entries/000", "0/001.p/44", "entries/001.p/44"):
                plain = await send_raw(url, f"{prefix}/tile/{name}", headers, b"", method="GET")
                assert plain.status == 200
                for escaped in (quote(name, safe=""), quote(name, safe="").lower()):
                    path = f"{prefix}/tile/{escaped}"
                    answer = await send_raw(url, path, headers, b"", method="GET")
                    assert (answer.status, answer.body) == (200, plain.body), escaped
            for name in ("..%2Fcheckpoint", "0%2F..%2F..%2Fkey", "%2F0%2F000", "0%2F%2F000"):
                answer = await send_raw(url, f"{prefix}/tile/{name}", headers, b"", method="GET")
                assert answer.status == 404, name


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

"""The log over HTTP: copied by who has a key of its legal entity, and by nobody else."""

import asyncio
import re
import subprocess
from pathlib import Path

import asyncpg
import pytest

from strongroom.access.api_keys import add_key
from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.directory import create_entity
from strongroom.ids import new_id
from strongroom.log.verifying import LogRefused
from tests.acceptance.auditing import (
    FEW,
    MANY,
    ROOT,
    copied,
    filled,
    grown,
    size_in,
    tiles_of,
    verified,
)
from tests.acceptance.client import Api
from tests.acceptance.conftest import Merchant, new_merchant
from tests.acceptance.raw import send_raw
from tests.acceptance.running import Running
from tests.plugins.parts import FOREIGN_VERIFIER

FOREVER = "private, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def followed(running: Running) -> Merchant:
    """A legal entity whose log these tests read."""
    return new_merchant(running, "Followed Ltd")


@pytest.fixture
def mine(api: Api, followed: Merchant) -> Api:
    return api.with_key(followed.api_key)


def key_of(running: Running, merchant: Merchant, *scopes: str) -> str:
    words = [word for scope in scopes for word in ("--scope", scope)]
    command = ("keys", "create", "--entity", merchant.legal_entity, "--name", "of a test")
    return running.command(*command, *words)


def said_by_others(key: Path, folder: Path) -> str:
    """The line of the verifier that rests on code of others."""
    done = subprocess.run(
        [FOREIGN_VERIFIER, "-key", key, "-log", folder],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


async def test_a_log_is_copied_over_http_and_holds(
    mine: Api, running: Running, followed: Merchant, tmp_path: Path
) -> None:
    checkpoint = await grown(mine, MANY)
    folder = await copied(mine, tmp_path / "copy", checkpoint)
    found = verified(folder, running, followed)
    assert found.size == size_in(checkpoint) >= MANY
    assert found.origin.endswith(f"/{followed.legal_entity}")
    assert any(".p/" not in file.name for file in (folder / "tile" / "entries").iterdir())
    key = await mine.get(f"{ROOT}/key")
    assert key.body == (running.home / "log" / followed.legal_entity / "key").read_bytes()
    changed = folder / "tile" / "entries" / "000"
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    with pytest.raises(LogRefused):
        verified(folder, running, followed)


@pytest.mark.needs("foreign-verifier")
async def test_a_verifier_of_others_accepts_what_came_over_http(
    mine: Api, followed: Merchant, tmp_path: Path
) -> None:
    folder = await copied(mine, tmp_path / "copy", await grown(mine, FEW))
    (tmp_path / "key").write_bytes((await mine.get(f"{ROOT}/key")).body)
    said = said_by_others(tmp_path / "key", folder)
    assert said.startswith("accepted "), said
    assert f"/{followed.legal_entity} " in said
    (folder / "checkpoint").write_bytes(b"x" + (folder / "checkpoint").read_bytes())
    assert said_by_others(tmp_path / "key", folder).startswith("refused: ")


async def test_a_log_grows_and_keeps_its_tiles(api: Api, running: Running, tmp_path: Path) -> None:
    merchant = await asyncio.to_thread(new_merchant, running, "Growing Ltd")
    mine = api.with_key(merchant.api_key)
    few = await grown(mine, FEW)
    partial = f"{ROOT}/tile/0/000.p/{size_in(few)}"
    before = await mine.get(partial)
    await copied(mine, tmp_path / "few", few)
    many = await grown(mine, MANY)
    # A partial tile goes once its full one is there, which begins with it.
    gone, full = await mine.get(partial), await mine.get(f"{ROOT}/tile/0/000")
    assert (gone.status, gone.code) == (404, "tile_not_found")
    assert (full.status, len(full.body)) == (200, 8192)
    assert full.body.startswith(before.body)
    folder = await copied(mine, tmp_path / "many", many)
    assert verified(folder, running, merchant, few).size == size_in(many)
    # Also with the older checkpoint, whose tiles are wider now.
    again = await copied(mine, tmp_path / "again", few)
    assert verified(again, running, merchant) == verified(tmp_path / "few", running, merchant)


async def test_what_never_changes_may_be_kept_and_nobody_else_gets_it(mine: Api) -> None:
    await filled(mine)
    size = size_in((await mine.get(f"{ROOT}/checkpoint")).body)
    above = f"tile/1/000.p/{size // 256}"
    for name in ("tile/0/000", "tile/entries/000", above):
        answer = await mine.get(f"{ROOT}/{name}")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Cache-Control"] == FOREVER
        assert answer.headers["Vary"] == "Authorization"
    for name in ("checkpoint", "key"):
        answer = await mine.get(f"{ROOT}/{name}")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Vary"] == "Authorization"
    assert (await mine.get(f"{ROOT}/tile/0/900")).headers["Cache-Control"] == "no-store"


async def test_each_key_sees_the_log_of_its_own_legal_entity(
    mine: Api, api: Api, running: Running, followed: Merchant, tmp_path: Path
) -> None:
    merchant = await asyncio.to_thread(new_merchant, running, "Stranger Ltd")
    stranger = api.with_key(merchant.api_key)
    await filled(mine)
    ours = await copied(mine, tmp_path / "ours")
    await grown(stranger, FEW)
    theirs = await copied(stranger, tmp_path / "theirs")
    for folder, entity in ((ours, followed), (theirs, merchant)):
        assert verified(folder, running, entity).origin.endswith(entity.legal_entity)
    # What the other log has and the own one has not is as if it were nowhere.
    foreign = await stranger.get(f"{ROOT}/tile/entries/000")
    unknown = await stranger.get(f"{ROOT}/tile/entries/999")
    assert (await mine.get(f"{ROOT}/tile/entries/000")).status == 200
    assert (foreign.status, foreign.body) == (unknown.status, unknown.body)
    assert (foreign.status, foreign.code) == (404, "tile_not_found")


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint.cosigned", "key", "tile/entries/000"])
async def test_nobody_gets_in_without_a_key_with_that_scope(
    name: str, mine: Api, running: Running, followed: Merchant
) -> None:
    await filled(mine)
    for wrong in ("", "sr_dev_x", followed.api_key[:-1], followed.api_key.upper()):
        refused = await mine.with_key(wrong).get(f"{ROOT}/{name}")
        assert (refused.status, refused.code) == (401, "api_key_invalid")
    refused = await send_raw(running.api_url, f"{ROOT}/{name}", [], b"", method="GET")
    assert (refused.status, refused.code) == (401, "api_key_invalid")
    other = await asyncio.to_thread(key_of, running, followed, "payments:read", "payouts:read")
    refused = await mine.with_key(other).get(f"{ROOT}/{name}")
    assert (refused.status, refused.code) == (403, "scope_missing")
    # Also what is no tile, so that nobody learns by that what there is.
    refused = await mine.with_key("").get(f"{ROOT}/tile/none")
    assert (refused.status, refused.code) == (401, "api_key_invalid")


async def test_an_auditor_s_key_reads_the_log_and_nothing_else(
    mine: Api, running: Running, followed: Merchant, tmp_path: Path
) -> None:
    await filled(mine)
    auditor = mine.with_key(await asyncio.to_thread(key_of, running, followed, "log:read"))
    verified(await copied(auditor, tmp_path / "copy"), running, followed)
    refused = await auditor.get("/v1/payments")
    assert (refused.status, refused.code) == (403, "scope_missing")


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_it_is_read_only_as_everything_else_that_is_read(mine: Api, method: str) -> None:
    headers = {"Authorization": f"Bearer {mine.api_key}"}
    said = {}
    for path in (f"{ROOT}/checkpoint", f"{ROOT}/tile/0/000", "/v1/payouts"):
        async with mine.session.request(method, mine.url + path, headers=headers) as answer:
            allowed = answer.headers.get("Allow", "").split(", ")
            said[path] = answer.status, sorted(allowed)
    assert said[f"{ROOT}/checkpoint"] == said[f"{ROOT}/tile/0/000"] == said["/v1/payouts"]
    assert method == "OPTIONS" or said[f"{ROOT}/checkpoint"][0] == 405


async def test_a_log_without_a_checkpoint_says_so(api: Api, owner: asyncpg.Connection) -> None:
    """Of a legal entity that came into the database by another way, so that nothing was noted."""
    now = SystemClock().now()
    entity = await create_entity(owner, "Silent Ltd", now)
    silent = api.with_key(
        await add_key(
            owner, mode="dev", legal_entity_id=entity, name="of a test", scopes=["log:read"],
            api_key_id=new_id(microseconds_since_epoch(now), entity), at=now,
        )
    )  # fmt: skip
    for name, code in (
        ("checkpoint", "log_not_signed"),
        ("key", "log_not_signed"),
        ("checkpoint.cosigned", "log_not_cosigned"),
        ("tile/0/000", "tile_not_found"),
    ):
        refused = await silent.get(f"{ROOT}/{name}")
        assert (refused.status, refused.code, refused.json["retry_safe"]) == (404, code, False)


async def test_a_log_of_no_witness_has_nothing_cosigned(mine: Api) -> None:
    await filled(mine)
    refused = await mine.get(f"{ROOT}/checkpoint.cosigned")
    assert (refused.status, refused.code) == (404, "log_not_cosigned")


ATTACKS = [
    "tile/../checkpoint", "tile/0/../../key", "tile/0/../../../../secrets/dev_api_key",
    "tile/%2e%2e/checkpoint", "tile/%2e%2e%2fcheckpoint", "tile/%252e%252e%252fcheckpoint",
    "tile/..%2f..%2f..%2f..%2fetc%2fpasswd", "tile/%c0%ae%c0%ae/checkpoint", "tile/..\\checkpoint",
    "tile//etc/passwd", "tile/%2fetc%2fpasswd", "tile//0/000", "/tile/0/000", "tile/0//000",
    "tile/0/000/", "tile/0/./000", "tile/0/000%00", "tile/0/000%00.p/1", "tile/0/%000",
    "tile/0/%2530%2530%2530", "tile/0%2f%2f000", "tile%2f0%2f000", "tile/0%2f..%2f000",
    "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/000", "tile/00/000", "tile/0/000.p/0",
    "tile/0/000.p/01", "tile/0/000.p/256", "tile/0/000.p/-1", "tile/0/000.p", "tile/0/000.p/",
    "tile/64/000", "tile/-1/000", "tile/entries", "tile/data/000", "tile/0/%d9%a0%d9%a0%d9%a0",
    "tile/%ef%bc%90/000", "tile/0/000%0a", "tile/0/%20000", "tile/0/000;a", "tile/0/%zz",
    "tile/0/" + "x999/" * 5 + "999", "tile/0/" + "x999/" * 900 + "999", "tile/0/" + "9" * 9000,
    "tile/0/x424/x242/x424/x242/x424/242", "tile", "tile/", "", "/", "checkpoint/", "key/",
    "checkpoint%00", "checkpoint.cosigned.0a0a0a0a", "checkpoint/../key", "../log/tile/0/000",
    ".checkpoint.1", "%2e%2e/secrets/dev_api_key", "signer", "lock",
]  # fmt: skip
"""What is no name of a tile, or of any other file of a log, below /v1/log/."""


@pytest.mark.parametrize("name", ATTACKS)
async def test_only_names_of_tiles_are_read(mine: Api, running: Running, name: str) -> None:
    await filled(mine)
    headers = [("Authorization", f"Bearer {mine.api_key}")]
    answer = await send_raw(running.api_url, f"{ROOT}/{name}", headers, b"", method="GET")
    assert (answer.status, answer.code) in {(404, "tile_not_found"), (404, "route_not_found")}


async def test_no_name_leads_to_another_legal_entity(
    mine: Api, running: Running, followed: Merchant
) -> None:
    await filled(mine)
    headers = [("Authorization", f"Bearer {running.api_key}")]
    entity = followed.legal_entity
    for path in (
        f"{ROOT}/{entity}/checkpoint", f"{ROOT}/../{entity}/checkpoint", f"{ROOT}/%2e/{entity}/key",
        f"{ROOT}/tile/../../{entity}/checkpoint", f"{ROOT}/tile/{entity}/tile/0/000",
    ):  # fmt: skip
        answer = await send_raw(running.api_url, path, headers, b"", method="GET")
        assert answer.status == 404, answer
    for query in (f"entity={entity}", f"legal_entity_id={entity}"):
        answer = await send_raw(
            running.api_url, f"{ROOT}/checkpoint?{query}", headers, b"", method="GET"
        )
        assert (answer.status, answer.code) == (422, "parameter_unknown")


def test_the_names_that_are_asked_for_are_those_of_the_specification() -> None:
    """The example of C2SP's tlog-tiles: 70,000 entries."""
    names = tiles_of(70_000)
    assert len([name for name in names if re.match(r"0/\d{3}$", name)]) == 273
    assert {"0/273.p/112", "1/000", "1/001.p/17", "2/000.p/1", "entries/273.p/112"} <= set(names)
    assert len(names) == 2 * 274 + 3
    assert tiles_of(256) == ["0/000", "entries/000", "1/000.p/1"]

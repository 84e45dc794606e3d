"""The documents about the API are served to everybody, may be kept, and load nothing."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from strongroom.http.reference.openapi import make_openapi
from strongroom.http.reference.page import make_page
from strongroom.http.reference.probes import OPENAPI_PATH, PAGE_PATH
from tests.acceptance import contract
from tests.acceptance.running import Running

BROWSER_SECONDS_MAX = 60
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DOCUMENTS = pytest.mark.parametrize("path", [OPENAPI_PATH, PAGE_PATH])


async def read(
    session: aiohttp.ClientSession, url: str, path: str, **headers: str
) -> tuple[aiohttp.ClientResponse, bytes]:
    async with session.get(url + path, headers=headers) as answer:
        body = await answer.read()
        said: Any = json.loads(body) if body and "json" in answer.content_type else None
        contract.check("GET", path, answer.status, answer.headers, body, said)
        return answer, body


async def test_the_openapi_document_is_the_one_that_the_tests_hold_to(
    running: Running, session: aiohttp.ClientSession
) -> None:
    answer, body = await read(session, running.api_url, OPENAPI_PATH)
    assert answer.status == 200
    assert json.loads(body) == json.loads(json.dumps(make_openapi()))


async def test_the_page_comes_with_its_policy(
    running: Running, session: aiohttp.ClientSession
) -> None:
    answer, body = await read(session, running.api_url, PAGE_PATH)
    page, policy = make_page()
    assert (answer.status, body.decode()) == (200, page)
    assert answer.headers["Content-Security-Policy"] == policy


@DOCUMENTS
async def test_a_document_may_be_kept_and_asked_for_by_its_tag(
    path: str, running: Running, session: aiohttp.ClientSession
) -> None:
    first, _ = await read(session, running.api_url, path)
    assert first.headers["Cache-Control"].startswith("public, max-age=")
    tag = first.headers["ETag"]
    for kept in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again, body = await read(session, running.api_url, path, **{"If-None-Match": kept})
        assert (again.status, body) == (304, b"")
        assert again.headers["ETag"] == tag
    other, body = await read(session, running.api_url, path, **{"If-None-Match": '"other"'})
    assert other.status == 200
    assert body


@DOCUMENTS
async def test_many_first_readers_get_one_document(
    path: str, running: Running, session: aiohttp.ClientSession
) -> None:
    answers = await asyncio.gather(*(read(session, running.api_url, path) for _ in range(20)))
    assert len({body for _, body in answers}) == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/returned"])
async def test_what_is_for_everybody_bears_with_foreign_parameters(
    path: str, running: Running, session: aiohttp.ClientSession
) -> None:
    """A gateway adds its own to the address that it sends a customer back to."""
    answer, _ = await read(session, running.api_url, path + "?payment_intent=pi_1&redirect_status=")
    assert answer.status == 200


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("width", [1440, 390])
def test_a_browser_shows_the_page_and_has_nothing_to_complain_of(
    width: int, running: Running, tmp_path: Path
) -> None:
    browser = next(path for name in BROWSERS if (path := shutil.which(name)))
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [
            browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1000",
            f"--screenshot={picture}", running.api_url + PAGE_PATH,
        ],
        capture_output=True, text=True, timeout=BROWSER_SECONDS_MAX, check=True,
    )  # fmt: skip
    assert picture.stat().st_size > 20_000, "more than an empty page"
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []

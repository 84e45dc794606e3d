"""What a page shows is what happens to a reader who does what it says."""

import json
import shutil
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from strongroom.config import Home
from tests.acceptance.running import Running, up
from tests.contract.first_version import make_first_version
from tests.docs.pages import ANSWERS, COMMANDS, Page, pages
from tests.docs.reader import Clone, Reader, hold_schema

NOT_RUN: Final[dict[tuple[str, str], int]] = {
    ("bench/README.md", "measures for a minute"): 1,
    ("docs/webhooks-out.md", "what a server of yours gets"): 1,
}
"""The blocks that may say that they are not run, by page and reason: no more, and no fewer."""
OF_AN_OLDER_DATABASE: Final = "docs/upgrading.md"
"""The page whose reader has the database of an older version."""
A_PAYMENT: Final = {
    "amount": 1999, "currency": "EUR", "merchant_reference": "a-payment",
    "instrument": {"gateway": "stripe", "token": "pm_card_visa"},
}  # fmt: skip
PAGES: Final = pages()


def a_payment(running: Running) -> str:
    """The id of a payment that has succeeded."""
    headers = {
        "Authorization": f"Bearer {running.api_key}", "Content-Type": "application/json",
        "Idempotency-Key": "a-payment", "Prefer": "wait=30",
    }  # fmt: skip
    asked = urllib.request.Request(
        running.api_url + "/v1/payments", json.dumps(A_PAYMENT).encode(), headers
    )
    with urllib.request.urlopen(asked) as answer:
        made: dict[str, Any] = json.load(answer)
    assert made["status"] == "succeeded", made
    return str(made["id"])


@pytest.fixture(scope="module")
def clone() -> Iterator[Clone]:
    folder = Path(tempfile.mkdtemp(prefix="strongroom-docs-"))
    try:
        made = Clone(folder)
        with up(made.home) as running:
            made.running = running
            made.words = {"ENTITY": running.legal_entity, "PAYMENT": a_payment(running)}
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def older_clone(database_url: str, tmp_path: Path) -> Clone:
    """A clone whose database is as the first version left it, with nothing that runs."""
    connection = await asyncpg.connect(database_url)
    try:
        await make_first_version(connection, datetime.now(UTC))
    finally:
        await connection.close()
    folder = tmp_path / "clone"
    folder.mkdir()
    made = Clone(folder)
    Home(made.home).write_secret("database_owner_url", database_url)
    return made


@pytest.mark.sampled(3)
@pytest.mark.needs("curl", "make")
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.blocks and page.path != OF_AN_OLDER_DATABASE],
    ids=lambda page: page.path,
)
def test_a_reader_sees_what_the_page_shows(page: Page, clone: Clone, tmp_path: Path) -> None:
    Reader(clone, tmp_path).read(page)


def test_who_upgrades_sees_what_the_page_shows(older_clone: Clone, tmp_path: Path) -> None:
    [page] = [page for page in PAGES if page.path == OF_AN_OLDER_DATABASE]
    Reader(older_clone, tmp_path).read(page)


def test_every_block_is_run_or_says_why_not_and_may() -> None:
    blocks = [block for page in PAGES for block in page.blocks]
    assert len(blocks) > 40, "the pages are there, and their fences are found"
    unknown = [block.place for block in blocks if block.language not in COMMANDS | ANSWERS]
    assert [place for place in unknown if place not in not_run_places()] == []
    said = Counter((block.page, block.not_run) for block in blocks if block.not_run is not None)
    assert said == NOT_RUN


def not_run_places() -> set[str]:
    return {block.place for page in PAGES for block in page.blocks if block.not_run is not None}


def test_code_stands_in_fences() -> None:
    assert [f"{page.path}:{line}" for page in PAGES for line in page.indented] == []


def test_each_answer_follows_what_it_answers_or_names_its_schema() -> None:
    for page in PAGES:
        asked = False
        for block in page.blocks:
            if block.language in ANSWERS and block.schema is None and block.not_run is None:
                assert asked, f"{block.place}: nothing was asked before this answer"
            if block.schema is not None:
                hold_schema(block.schema, json.loads(block.text))
            asked = block.language in ("sh", "python") and block.not_run is None

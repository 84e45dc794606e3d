"""What docs/upgrading.md shows is run, on a database of the first version, and says the same."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from strongroom.cli import main
from strongroom.config import Home
from tests.integration.test_migrations import older, owner

__all__ = ["older", "owner"]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "upgrading.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
SECONDS = re.compile(r"\d+\.\d\d s\b")
MONTH = re.compile(r"events_\d{4}_\d\d")


def blocks() -> list[tuple[list[str], str]]:
    """Each command of the page, as arguments, and what it is shown to say."""
    found = []
    for block in BLOCK.findall(PAGE.read_text("utf-8")):
        asked, *said = [line.strip() for line in block.strip().splitlines()]
        assert asked.startswith("$ strongroom "), asked
        found.append((asked.split()[2:], "\n".join(said)))
    return found


def plain(text: str) -> str:
    return MONTH.sub("MONTH", SECONDS.sub("N s", text)).strip()


async def run(*arguments: str) -> int:
    """As from a terminal; the commands bring an event loop of their own."""
    return await asyncio.to_thread(main, arguments)


async def test_the_page_shows_what_the_commands_say(
    older: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Home(tmp_path).write_secret("database_owner_url", database_url)
    shown = blocks()
    assert [" ".join(command) for command, _ in shown] == [
        "migrate --check", "migrate", "migrate --finish",
    ]  # fmt: skip
    for command, expected in shown:
        code = await run(*command, "--home", str(tmp_path))
        assert plain(capsys.readouterr().out) == plain(expected), command
        assert code == (1 if "--check" in command else 0)
    assert await run("migrate", "--check", "--home", str(tmp_path)) == 0
    assert capsys.readouterr().out.strip() == "the database is up to date"


async def test_a_database_out_of_reach_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Home(tmp_path).write_secret("database_owner_url", "postgresql://x:y@127.0.0.1:1/none")
    assert await run("migrate", "--home", str(tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be used as its owner: ConnectionRefusedError" in said

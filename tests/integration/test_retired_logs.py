"""The log of a legal entity that a restore lost is given up for good, by who has the memory."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from strongroom.ids import to_text
from strongroom.log.memory import Memory
from tests.integration.conftest import Deployment
from tests.integration.restoring import Restorable, restorable

WHY = "made after the backup of Monday"


@pytest.fixture
async def log(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Restorable]:
    """Ten entries of it are signed."""
    async with restorable(deployment, tmp_path) as log:
        await log.add(9)
        await log.go_on()
        (log.home / "signer").symlink_to(log.folder / "signer")
        yield log


async def gone(log: Restorable) -> None:
    """The database has nothing of it any more, and the signer has seen that."""
    for table in ("log_entries", "log_heads", "log_checkpoints", "events"):
        await log.pools["owner"].execute(
            f"DELETE FROM {table} WHERE legal_entity_id = $1", log.entity
        )
    await log.signer.step()
    assert sum(log.signer.stopped().values()) == 1


async def retire(log: Restorable, *words: str, entity: str | None = None) -> int:
    what = ("--entity", entity or log.name, "--because", WHY)
    return await log.say("signer", "retire-log", *what, *(words or ("--yes",)))


async def told(log: Restorable) -> list[tuple[str, str]]:
    with capture_logs() as lines:
        for _ in range(2):
            await log.signer.step()
    return [(line["event"], line["reason"]) for line in lines]


async def test_nobody_is_called_for_it_any_more(
    log: Restorable, capsys: pytest.CaptureFixture[str]
) -> None:
    await gone(log)
    before = log.files_of(1)
    assert await retire(log) == 0
    assert "10 entries" in capsys.readouterr().out
    assert await told(log) == []
    assert set(log.signer.stopped().values()) == {0}
    assert log.files_of(1) == before, "for auditors"
    log.signer = await log.restarted()
    assert set(log.signer.stopped().values()) == {0}, "from the first moment on"
    assert await told(log) == []
    assert log.files_of(1) == before
    assert log.verified(1).size == 10
    assert await retire(log) == 0, "twice is once"


async def test_the_other_logs_go_on(log: Restorable, deployment: Deployment) -> None:
    await gone(log)
    await retire(log)
    theirs = deployment.theirs
    await log.pools["owner"].execute(
        "INSERT INTO events (legal_entity_id, payment_id, version, kind, actor, at, row_digest, "
        "payload) SELECT $1, gen_random_uuid(), 1, 'payment.changed', 'test', now(), $2, ''",
        theirs.legal_entity_id, b"d" * 32,
    )  # fmt: skip
    assert await log.go_on() == 1


async def test_the_memory_says_who_gave_up_what_and_why(log: Restorable) -> None:
    await gone(log)
    await retire(log)
    kept = msgspec.json.decode((log.folder / "signer" / f"{log.name}.retired").read_bytes())
    assert (kept["epoch"], kept["size"], kept["because"]) == (1, 10, WHY)
    assert kept["by"].startswith("operator:")
    assert kept["at"].endswith("Z")


@pytest.mark.parametrize("back", ["as it was", "grown", "in another epoch"])
async def test_it_is_never_signed_again_whatever_the_database_shows(
    log: Restorable, back: str
) -> None:
    await log.back_up()
    await gone(log)
    await retire(log)
    await told(log)
    before = log.files_of(1)
    await log.restore()
    if back == "grown":
        await log.add(5)
        await log.sequencer.step(log.pools["sequencer"])
    if back == "in another epoch":
        assert await log.open("--entity", log.name) == 0
        assert await log.accept() == 1, "it is over"
    for signer in (log.signer, await log.restarted()):
        log.signer = signer
        assert ("log_rewritten", "retired_is_back") in await told(log)
        assert log.signer.stopped()["retired_is_back"] == 1, "somebody is called"
    assert log.files_of(1) == before
    assert not log.folder_of(2).exists()


async def test_one_that_goes_away_again_calls_nobody(log: Restorable) -> None:
    await log.back_up()
    await gone(log)
    await retire(log)
    await log.restore()
    await told(log)
    assert log.signer.stopped()["retired_is_back"] == 1
    for table in ("log_entries", "log_heads"):
        await log.pools["owner"].execute(
            f"DELETE FROM {table} WHERE legal_entity_id = $1", log.entity
        )
    assert await told(log) == []
    assert set(log.signer.stopped().values()) == {0}


# What cannot be given up.


async def refusal(
    log: Restorable, capsys: pytest.CaptureFixture[str], *words: str, entity: str | None = None
) -> str:
    capsys.readouterr()
    assert await retire(log, *words, entity=entity) == 1
    assert not Memory(log.folder / "signer").is_retired(log.entity)
    return capsys.readouterr().err


async def test_a_log_that_goes_on_is_not_given_up(
    log: Restorable, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by one alone: who has the signer cannot end the log of a legal entity that lives."""
    assert "was not stopped" in await refusal(log, capsys)
    await log.add(1)
    assert await log.go_on() == 1


async def test_nor_one_that_the_database_has_a_part_of(
    log: Restorable, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = log.pools["owner"]
    await owner.execute(
        "DELETE FROM log_entries WHERE legal_entity_id = $1 AND index > 4", log.entity
    )
    await owner.execute("UPDATE log_heads SET size = 5 WHERE legal_entity_id = $1", log.entity)
    await log.signer.step()
    assert "another epoch" in await refusal(log, capsys)
    assert (await log.open(), await log.accept()) == (0, 0), "the other way out stays open"


async def test_nor_without_a_word_or_by_nobody(
    log: Restorable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await gone(log)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert "say --yes" in await refusal(log, capsys, "--because", WHY)
    assert "say why" in await refusal(log, capsys, "--because", " ", "--yes")
    assert "say why" in await refusal(log, capsys, "--because", "x" * 501, "--yes")
    never = to_text("ent", UUID(int=7))
    assert "signed nothing" in await refusal(log, capsys, entity=never)
    shutil.rmtree(log.folder / "signer")
    (log.home / "signer").unlink()
    assert "not the signer's home" in await refusal(log, capsys)


async def test_a_person_is_shown_what_is_given_up_and_asked(
    log: Restorable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await gone(log)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []

    def answer(text: str, word: str) -> str:
        asked.append(text)
        return word

    monkeypatch.setattr("builtins.input", lambda text: answer(text, "no"))
    capsys.readouterr()
    assert await log.say("signer", "retire-log", "--entity", log.name, "--because", WHY) == 1
    assert "shorter_than_signed" in capsys.readouterr().out
    assert not Memory(log.folder / "signer").is_retired(log.entity)
    monkeypatch.setattr("builtins.input", lambda text: answer(text, "yes"))
    assert await log.say("signer", "retire-log", "--entity", log.name, "--because", WHY) == 0
    assert "ever signed again" in asked[0]
    assert Memory(log.folder / "signer").is_retired(log.entity)

"""What a process knows of the window, and does where it cannot know."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from strongroom.config import Settings, WitnessAt
from strongroom.database import connect_pool
from strongroom.ids import to_text
from strongroom.log import window as module
from strongroom.log.window import NO_WINDOW, Window, window_of
from strongroom.telemetry.port import NO_TELEMETRY
from strongroom.telemetry.reporting import Telemetry
from tests.integration.conftest import Deployment
from tests.integration.watched_log import Watched, watched
from tests.integration.windows import W1, opened, window, witness
from tests.unit.test_metrics import samples

__all__ = ["watched", "window"]

# A process that cannot know.


async def test_where_nothing_can_be_read_nothing_is_moved(
    deployment: Deployment, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS_MAX", 0.2)
    await watched.log.go_on()
    await witness(watched.log)
    async with opened(deployment, watched.hands) as window:
        connection = await asyncpg.connect(deployment.owner_url)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE directory.log_cursor IN ACCESS EXCLUSIVE MODE")
                with capture_logs() as lines:
                    assert not await window.is_open(watched.entity)
            assert [line["event"] for line in lines] == ["log_window_not_read"]
            assert window.closed()["unread"] == 1
        finally:
            await connection.close()
        assert await window.is_open(watched.entity), "it is read as soon as it can be"


async def test_a_reading_holds_for_a_while_and_no_longer(
    window: Window, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, reads = [1000.0], list[object]()
    monkeypatch.setattr(module, "monotonic_seconds", lambda: at[0])
    assert await window.is_open(watched.entity)
    at[0] += module.UNREAD_SECONDS_MAX - 0.1

    async def fail(entities: object) -> None:
        reads.append(entities)
        raise TimeoutError

    monkeypatch.setattr(window, "read", fail)
    assert await window.is_open(watched.entity)
    assert reads == [], "a request costs a look into a table"
    at[0] += 0.2
    assert not await window.is_open(watched.entity)
    assert reads == [[watched.entity]]


async def test_many_requests_of_one_that_is_new_wait_for_one_reading(
    window: Window, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, read = list[object](), window.read

    async def counted(entities: list[UUID]) -> None:
        reads.append(entities)
        await read(entities)

    monkeypatch.setattr(window, "read", counted)
    monkeypatch.setattr(module, "EVERY_SECONDS", 60.0)
    answers = await asyncio.gather(*(window.is_open(watched.entity) for _ in range(100)))
    assert (all(answers), len(reads)) == (True, 1)
    watched.hands.turn(601)
    await read([watched.entity])
    answers = await asyncio.gather(*(window.is_open(watched.entity) for _ in range(100)))
    assert (any(answers), len(reads)) == (False, 1), "who is held back asks no database"


async def test_the_table_is_bounded(
    window: Window, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENTITIES_MAX", 3)
    for _ in range(10):
        assert await window.is_open(uuid4()), "of one that nothing happened to"
        assert len(window._standings) <= 3
    assert await window.is_open(watched.entity)


async def test_it_reads_by_itself_and_tells_what_it_found(
    deployment: Deployment, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.02)
    await watched.log.go_on()
    await witness(watched.log)
    ids = [to_text("ent", watched.entity)]
    async with opened(deployment, watched.hands) as window:
        with capture_logs() as lines:
            window.start()
            try:
                assert await window.is_open(watched.entity)
                await watched.add()
                watched.hands.turn(601)
                await watched.log.go_on()
                await until_told(lines, "log_window_closed")
                await witness(watched.log)
                await until_told(lines, "log_window_open")
            finally:
                await window.close()
    told = [line for line in lines if line["event"] in ("log_window_closed", "log_window_open")]
    assert [(line["items"], line["ids"], line["log_level"]) for line in told] == [
        (1, ids, "warning")
    ] * 2


async def until_told(lines: list[Any], event: str) -> None:
    async with asyncio.timeout(60):
        while True:
            if event in [line["event"] for line in lines]:
                return
            await asyncio.sleep(0.02)


# Which processes have one.


def settings(url: str, **others: Any) -> Settings:
    at = WitnessAt(url=url, key=W1.verifier.text())
    return Settings(witnesses=(at,), **others)


async def test_dev_mode_holds_nothing_back_unless_it_is_asked_to(
    deployment: Deployment, watched: Watched
) -> None:
    telemetry = Telemetry(watched.hands, deadline_seconds=1.0)
    pool = await connect_pool(deployment.url("api"), size_max=1, application="test")
    try:
        plain = settings("http://127.0.0.1:1")
        assert await window_of(plain, pool, watched.hands, NO_TELEMETRY) is NO_WINDOW
        assert await NO_WINDOW.is_open(watched.entity)
        asked = settings("http://127.0.0.1:1", log_window_in_dev=True, log_window_seconds=60)
        window = await window_of(asked, pool, watched.hands, telemetry)
        assert isinstance(window, Window)
        await watched.sequence()
        assert await window.is_open(watched.entity)
        watched.hands.turn(61)
        await window.read([watched.entity])
        told = samples(telemetry.metrics, "strongroom_log_windows_closed")
        assert told == {
            'reason="not_witnessed"': 0, 'reason="not_sequenced"': 1, 'reason="unread"': 0,
        }  # fmt: skip
        live = settings("https://witness.example", mode="live")
        assert isinstance(await window_of(live, pool, watched.hands, NO_TELEMETRY), Window)
    finally:
        await pool.close()

"""Money is held back while what happened to a legal entity is without a witness for too long."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from strongroom.database import reading
from strongroom.ids import to_text
from strongroom.log import window as module
from strongroom.log.tiles import TileFolder
from strongroom.log.window import Window
from tests.integration.conftest import Deployment
from tests.integration.restoring import Restorable, restorable
from tests.integration.watched_log import NEW_EVENT, Watched, watched
from tests.integration.windows import W2, note_of, opened, sees, why, window, witness

__all__ = ["watched", "window"]


async def test_it_is_open_while_everything_is_witnessed(window: Window, watched: Watched) -> None:
    for _ in range(3):
        assert await why(window, watched.entity) is None
        watched.hands.turn(3600)
        await watched.sequence()  # the sequencer looks, and finds nothing


async def test_what_no_witness_saw_closes_it_when_it_is_too_old(
    window: Window, watched: Watched
) -> None:
    await watched.add()
    await watched.log.go_on()  # it is signed, and no witness is asked
    for seconds, expected in (
        (0, None),
        (599, None),
        (2, "not_witnessed"),
        (10**6, "not_witnessed"),
    ):
        watched.hands.turn(seconds)
        await watched.sequence()
        assert await why(window, watched.entity) == expected, seconds
    await witness(watched.log)
    assert await why(window, watched.entity) is None


async def test_it_is_the_oldest_that_counts_and_not_the_newest(
    window: Window, watched: Watched
) -> None:
    await watched.add()
    for _ in range(7):
        watched.hands.turn(100)
        await watched.add()
        await watched.log.go_on()
    assert await why(window, watched.entity) == "not_witnessed"


async def test_a_signer_that_stands_still_closes_it(window: Window, watched: Watched) -> None:
    await watched.add()
    await watched.sequence()
    watched.hands.turn(601)
    await watched.sequence()
    assert await why(window, watched.entity) == "not_witnessed"
    await watched.log.signer.step()
    assert await why(window, watched.entity) == "not_witnessed", "signed is not witnessed"
    await witness(watched.log)
    assert await why(window, watched.entity) is None


async def test_a_sequencer_that_stands_still_closes_it_for_all(
    window: Window, watched: Watched, deployment: Deployment
) -> None:
    """Whether anything happened since is not known without it."""
    watched.hands.turn(599)
    assert await why(window, watched.entity) is None
    watched.hands.turn(2)
    assert await why(window, watched.entity) == "not_sequenced"
    assert not await sees(window, deployment.theirs.legal_entity_id)
    await watched.sequence()
    assert await why(window, watched.entity) is None


async def test_a_database_that_no_sequencer_of_this_version_saw_is_closed(
    window: Window, watched: Watched
) -> None:
    await watched.owner.execute("UPDATE directory.log_cursor SET moved_at = NULL")
    assert await why(window, watched.entity) == "not_sequenced"


async def test_another_legal_entity_goes_on(
    window: Window, watched: Watched, deployment: Deployment
) -> None:
    theirs, log = deployment.theirs.legal_entity_id, watched.log
    log.signer.cosigned(theirs, 1, note_of(log.folder / "log" / to_text("ent", theirs)))
    await watched.add()
    watched.hands.turn(601)
    await watched.log.go_on()
    assert not await sees(window, watched.entity)
    assert await sees(window, theirs)


async def test_an_event_that_says_it_is_of_tomorrow_is_as_old_as_its_place(
    window: Window, watched: Watched
) -> None:
    tomorrow = watched.hands.now() + timedelta(days=1)
    await watched.owner.execute(NEW_EVENT, watched.entity, uuid4(), tomorrow, b"d" * 32)
    await watched.log.go_on()
    watched.hands.turn(601)
    await watched.sequence()
    assert await why(window, watched.entity) == "not_witnessed"


async def test_an_entry_that_is_none_is_as_old_as_its_place(
    window: Window, watched: Watched
) -> None:
    subject = await watched.add()
    await watched.sequence()
    await watched.owner.execute(
        "UPDATE log_entries SET entry = '\\xff' WHERE subject_id = $1", subject
    )
    assert await why(window, watched.entity) is None
    watched.hands.turn(601)
    await watched.sequence()
    assert await why(window, watched.entity) == "not_witnessed"


# What the database says of a witness is believed of its signature alone.


@pytest.mark.parametrize("forgery", ["unsigned", "by another", "of another log", "garbage", "none"])
async def test_what_no_known_witness_signed_for_this_log_covers_nothing(
    window: Window, watched: Watched, deployment: Deployment, forgery: str
) -> None:
    await watched.add()
    watched.hands.turn(601)
    await watched.log.go_on()
    theirs = watched.log.folder / "log" / to_text("ent", deployment.theirs.legal_entity_id)
    note = {
        "unsigned": TileFolder(watched.log.own).checkpoint(),
        "by another": note_of(watched.log.own, W2),
        "of another log": note_of(theirs),
        "garbage": b"\xff\x00 not a note",
        "none": None,
    }[forgery]
    await watched.owner.execute(
        "UPDATE log_checkpoints SET cosigned = $2 WHERE legal_entity_id = $1", watched.entity, note
    )
    assert await why(window, watched.entity) == "not_witnessed"


async def test_a_checkpoint_of_another_deployment_covers_nothing(
    deployment: Deployment, window: Window, watched: Watched
) -> None:
    assert await sees(window, watched.entity)
    async with opened(deployment, watched.hands, "elsewhere.test/1") as other:
        watched.hands.turn(601)
        await watched.sequence()
        assert not await sees(other, watched.entity)


async def test_a_log_that_shows_less_than_was_witnessed_is_closed(
    window: Window, watched: Watched
) -> None:
    for _ in range(5):
        await watched.add()
    await watched.log.go_on()
    await witness(watched.log)
    watched.hands.turn(601)
    await watched.sequence()
    assert await why(window, watched.entity) is None
    ours = "legal_entity_id = $1"
    await watched.owner.execute(
        f"DELETE FROM log_entries WHERE {ours} AND index > 2", watched.entity
    )
    await watched.owner.execute(f"UPDATE log_heads SET size = 3 WHERE {ours}", watched.entity)
    assert await why(window, watched.entity) == "not_witnessed"


# After a restore.


@pytest.fixture
async def restored(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Restorable]:
    async with restorable(deployment, tmp_path) as log:
        yield log


async def test_an_epoch_that_no_witness_saw_is_covered_as_far_as_it_was_kept(
    restored: Restorable, deployment: Deployment
) -> None:
    log = restored
    await log.add(10)
    await log.go_on()
    await witness(log, log.folder_of(1))
    await log.back_up()
    await log.add(10)
    await log.go_on()
    await log.restore()
    async with opened(deployment, log.clock) as window:
        assert (await log.open(), await log.accept()) == (0, 0)
        await log.go_on()
        entry = await uncovered_by(window, log.entity)
        assert entry == log.checkpoint_of(2).size - 1, "the entry that opened it"
        await witness(log, log.folder_of(2), epoch=2)
        assert await uncovered_by(window, log.entity) == log.checkpoint_of(2).size


async def uncovered_by(window: Window, entity: UUID) -> int:
    """From which entry on nothing is covered."""
    window._take_in(entity)
    async with reading(window._pool, [entity]) as connection:
        (row,) = await connection.fetch(module.SQL["windows"], [entity])
    return window._size_covered(row)

"""Rounds that are broken off, that meet, or that wait: what is told stays told, and in order."""

import asyncio
from collections.abc import Sized
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from strongroom.ids import to_text
from strongroom.webhooks import deliverer
from strongroom.webhooks.deliverer import LEASE
from strongroom.webhooks.endpoint_rows import (
    lock_endpoint,
    remove_endpoint,
    set_state,
    tell_again,
)
from tests.acceptance.client import until
from tests.integration.entering import owner_of
from tests.integration.receivers import receiving
from tests.integration.telling import DELIVERIES, ENDPOINTS, ROUNDS_MAX, Shop, shop

__all__ = ["shop"]
SENT_SECONDS_MAX = 60.0


async def came(found: Sized, count: int) -> bool:
    return len(found) >= count


async def test_killed_between_sending_and_writing_it_is_told_again_under_one_id(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.clock.offset = -timedelta(minutes=2)
    payment = uuid4()
    async with receiving() as receiver:
        await shop.endpoint(receiver, "payment.*")
        for version in (1, 2):
            await shop.happens(payment, version)
        await shop.placed()
        with monkeypatch.context() as patch:

            async def killed(*_: Any, **__: Any) -> None:
                raise asyncio.CancelledError

            patch.setattr(shop.deliverer, "_end", killed)
            with pytest.raises(asyncio.CancelledError):
                await shop.step()
        assert await shop.step() == 0, "the lease of the one that died is not over"
        shop.clock.advance(LEASE)
        await shop.rounds()
    assert receiver.sequences() == {to_text("pay", payment): [1, 1, 2]}
    assert receiver.ids[0] == receiver.ids[1]


async def test_who_has_lost_its_lease_writes_nothing_over_the_next_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took longer than its lease, and another one has told the same meanwhile."""
    shop.clock.offset = -timedelta(minutes=2)
    end, has_sent, may_end = shop.deliverer._end, asyncio.Event(), asyncio.Event()

    async def slowly(*given: Any, **named: Any) -> None:
        has_sent.set()
        await may_end.wait()
        await end(*given, **named)

    async with receiving() as receiver:
        await shop.endpoint(receiver, "payment.*")
        await shop.happens(uuid4(), 1)
        await shop.placed()
        with monkeypatch.context() as patch:
            patch.setattr(shop.deliverer, "_end", slowly)
            first = asyncio.create_task(shop.step())
            await asyncio.wait_for(has_sent.wait(), SENT_SECONDS_MAX)
        shop.clock.advance(LEASE)
        await shop.rounds()
        before = await shop.rows("SELECT * FROM webhook_endpoints")
        may_end.set()
        await first
    assert len(receiver.taken) == 2
    assert await shop.rows("SELECT * FROM webhook_endpoints") == before


async def test_each_event_is_told_that_comes_after_a_round(shop: Shop) -> None:
    """The place in the log is where the last round ended, and neither before nor behind it."""
    shop.clock.offset = timedelta()
    payment = uuid4()
    async with receiving() as receiver:
        await shop.endpoint(receiver, "payment.*")
        for version in range(1, 6):
            await shop.happens(payment, version)
            await shop.rounds()
    assert receiver.sequences() == {to_text("pay", payment): [1, 2, 3, 4, 5]}


async def test_two_workers_share_endpoints_without_telling_twice(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    async with receiving() as receiver:
        for _ in range(3):
            await shop.endpoint(receiver, "payment.*")
        receiver.unchecked = True  # three endpoints sign with three secrets
        for version in range(1, 31):
            await shop.happens(uuid4(), version)
        await shop.placed()
        for _ in range(ROUNDS_MAX):
            done = await asyncio.gather(*(shop.step() for _ in range(4)))
            if not any(done):
                break
    rows = await shop.rows(DELIVERIES)
    assert len(rows) == 90
    assert {(row["state"], row["tries"]) for row in rows} == {("delivered", 1)}


async def test_removed_in_the_middle_of_a_round_it_is_gone(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    async with receiving() as receiver:
        endpoint = await shop.endpoint(receiver, "payment.*")
        await shop.happens(uuid4(), 1)
        await shop.placed()
        loop = asyncio.get_running_loop()
        removed = loop.create_future()

        async def remove() -> None:
            async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, _):
                found = await lock_endpoint(
                    connection, endpoint.legal_entity_id, endpoint.endpoint_id
                )
                assert found is not None
                await remove_endpoint(connection, found, actor="test", at=shop.clock.now())
            removed.set_result(None)

        real = shop.deliverer._end

        async def end(*arguments: Any, **named: Any) -> None:
            await remove()
            await real(*arguments, **named)

        shop.deliverer._end = end  # type: ignore[method-assign]
        await shop.step()
    assert removed.done()
    assert await shop.rows(DELIVERIES) == []
    assert await shop.rows(ENDPOINTS) == []


async def test_a_receiver_that_does_not_answer_holds_up_no_other(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    released = asyncio.Event()
    async with receiving() as slow, receiving() as quick:
        slow.held_by = released
        await shop.endpoint(slow, "payment.*")
        await shop.endpoint(quick, "payment.*", entity=shop.deployment.theirs.legal_entity_id)
        running = asyncio.create_task(shop.deliverer.run())
        try:
            await shop.happens(uuid4(), 1)
            await shop.placed()
            await until(partial(came, slow.tried, 1))
            for number in range(1, 6):
                await shop.happens(uuid4(), number, entity=shop.deployment.theirs.legal_entity_id)
                await shop.placed()
                await until(partial(came, quick.taken, number))
            assert slow.taken == []
        finally:
            released.set()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_row_that_is_no_entry_stops_its_own_endpoint_alone(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    theirs = shop.deployment.theirs.legal_entity_id
    async with receiving() as receiver, receiving() as other:
        await shop.endpoint(receiver, "payment.*")
        await shop.endpoint(other, "payment.*", entity=theirs)
        await shop.happens(uuid4(), 1)
        await shop.happens(uuid4(), 1, entity=theirs)
        await shop.placed()
        await shop.owner.execute(
            "UPDATE log_entries SET entry = 'edited' WHERE legal_entity_id = $1 AND index > 0",
            shop.entity,
        )
        await shop.rounds()
    assert receiver.tried == []
    assert len(other.taken) == 1


async def test_buckets_have_their_turns_alike(shop: Shop) -> None:
    """Endpoints that always have something to do leave room for those of every other bucket."""
    shop.clock.offset = timedelta()
    theirs = shop.deployment.theirs.legal_entity_id
    async with receiving() as busy, receiving() as other:
        busy.unchecked = True
        for _ in range(10):
            await shop.endpoint(busy, "payment.*")
        await shop.endpoint(other, "payment.*", entity=theirs)
        for number in range(1, 200):
            await shop.happens(uuid4(), number)
        await shop.happens(uuid4(), 1, entity=theirs)
        await shop.placed()
        for _ in range(30):
            await shop.step()
            if other.taken:
                break
        assert len(other.taken) == 1
        assert len(busy.taken) < 10 * 199


async def test_a_message_that_cannot_be_made_costs_the_others_nothing(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    odd, good = uuid4(), [uuid4() for _ in range(3)]
    async with receiving() as receiver:
        await shop.endpoint(receiver, "payment.*")
        await shop.happens(odd, 1, refund={"id": 7})
        for payment in good:
            await shop.happens(payment, 1)
        await shop.rounds()
        before = list(receiver.ids)
        shop.clock.advance(LEASE * 2)
        await shop.rounds()
    assert sorted(receiver.sequences()) == sorted(to_text("pay", one) for one in good)
    assert receiver.ids == before
    outcomes = {row["subject_id"]: row["outcome"] for row in await shop.rows(DELIVERIES)}
    assert outcomes[odd] == "not_sent"


async def test_a_clock_that_is_set_back_stops_nobody(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    async with receiving() as receiver:
        await shop.endpoint(receiver, "payment.*")
        shop.clock.advance(timedelta(hours=25))
        receiver.unchecked = True
        await shop.happens(uuid4(), 1)
        await shop.rounds()
        shop.clock.advance(-timedelta(hours=25))
        await shop.happens(uuid4(), 1)
        await shop.rounds()
    assert len(receiver.taken) == 2


async def test_what_is_not_yet_read_is_not_told_again_before_its_turn(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    payment = uuid4()
    async with receiving() as receiver:
        endpoint = await shop.endpoint(receiver, "payment.*")
        for version in (1, 2, 3, 4):
            await shop.happens(payment, version)
        await shop.placed()
        size = len(await shop.rows("SELECT FROM log_entries"))
        async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, _):
            found = await lock_endpoint(connection, endpoint.legal_entity_id, endpoint.endpoint_id)
            assert found is not None
            assert await tell_again(connection, found, size - 2, size, shop.clock.now()) == 0
        await shop.rounds()
    assert receiver.sequences() == {to_text("pay", payment): [1, 2, 3, 4]}


async def test_disabled_between_two_steps_of_a_round_it_is_told_nothing(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    async with receiving() as receiver:
        endpoint = await shop.endpoint(receiver, "payment.*")
        await shop.happens(uuid4(), 1)
        await shop.placed()
        real = shop.deliverer._secrets_of

        async def secrets_of(*arguments: Any) -> Any:
            async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, _):
                found = await lock_endpoint(
                    connection, endpoint.legal_entity_id, endpoint.endpoint_id
                )
                assert found is not None
                if found.state == "enabled":
                    await set_state(
                        connection, found, "disabled", "a test", actor="test", at=shop.clock.now()
                    )
            return await real(*arguments)

        shop.deliverer._secrets_of = secrets_of  # type: ignore[assignment, method-assign]
        await shop.step()
    assert receiver.tried == []


async def test_told_to_stop_it_ends_what_it_has_begun(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliverer, "STOP_SECONDS", 60.0)
    shop.clock.offset = timedelta()
    released = asyncio.Event()
    async with receiving() as receiver:
        receiver.held_by = released
        await shop.endpoint(receiver, "payment.*")
        await shop.happens(uuid4(), 1)
        await shop.placed()
        running = asyncio.create_task(shop.deliverer.run())
        await until(partial(came, receiver.tried, 1))
        running.cancel()
        await asyncio.sleep(0)
        released.set()
        await asyncio.gather(running, return_exceptions=True)
    [row] = await shop.rows(DELIVERIES)
    assert row["state"] == "delivered"

"""Receivers that fail now and then, or refuse some events: nothing is given up before its time."""

from datetime import timedelta
from uuid import uuid4

import pytest

from strongroom.ids import to_text
from strongroom.webhooks.endpoint_rows import lock_endpoint, set_state
from strongroom.webhooks.endpoints import GIVEN_UP_AFTER
from tests.integration.entering import owner_of
from tests.integration.receivers import receiving
from tests.integration.telling import DELIVERIES, Shop, shop

__all__ = ["shop"]


async def test_other_events_that_are_taken_use_up_no_tries_of_one_that_is_refused(
    shop: Shop,
) -> None:
    refused = uuid4()
    async with receiving() as receiver:
        receiver.unchecked = True
        await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda m: 422 if m["data"]["id"] == to_text("pay", refused) else 200
        await shop.happens(refused, 1)
        for _ in range(40):
            await shop.rounds()
            shop.clock.advance(timedelta(seconds=30))
            await shop.happens(uuid4(), 1)
    [row] = [row for row in await shop.rows(DELIVERIES) if row["subject_id"] == refused]
    # Twenty minutes: at once, after 5 seconds, and after 5 minutes.
    assert (row["state"], row["tries"]) == ("waiting", 3)


async def test_what_was_on_its_way_when_an_outage_began_is_told_after_it(shop: Shop) -> None:
    payments = [uuid4() for _ in range(6)]
    async with receiving() as receiver:
        receiver.unchecked = True
        await shop.endpoint(receiver, "payment.*")
        taken = to_text("pay", payments[0])
        receiver.answering = lambda m: 200 if m["data"]["id"] == taken else 503
        for payment in payments:
            await shop.happens(payment, 1)
        began = shop.clock.now()
        while shop.clock.now() - began < GIVEN_UP_AFTER + timedelta(hours=2):
            await shop.rounds()
            shop.clock.advance(timedelta(minutes=30))
        receiver.answering = lambda _: 200
        shop.clock.advance(timedelta(minutes=2))
        await shop.rounds()
        shop.clock.advance(timedelta(minutes=6))
        await shop.rounds()
    assert sorted(receiver.sequences()) == sorted(to_text("pay", one) for one in payments)


async def test_enabled_too_early_nothing_is_given_up(shop: Shop) -> None:
    async with receiving() as receiver:
        receiver.unchecked = True
        endpoint = await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda _: 503
        for _ in range(5):
            await shop.happens(uuid4(), 1)
        while shop.clock.offset < -timedelta(hours=6):
            await shop.rounds()
            shop.clock.advance(timedelta(hours=3))
        async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, _):
            found = await lock_endpoint(connection, endpoint.legal_entity_id, endpoint.endpoint_id)
            assert found is not None
            assert found.state == "disabled"
            await set_state(connection, found, "enabled", None, actor="test", at=shop.clock.now())
        await shop.rounds()
        assert {row["state"] for row in await shop.rows(DELIVERIES)} == {"waiting"}
        receiver.answering = lambda _: 200
        for _ in range(3):
            shop.clock.advance(timedelta(minutes=2))
            await shop.rounds()
    assert len(receiver.taken) == 5


async def test_many_that_are_refused_hold_up_no_other_for_long(shop: Shop) -> None:
    good = uuid4()
    async with receiving() as receiver:
        receiver.unchecked = True
        await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda m: 200 if m["data"]["id"] == to_text("pay", good) else 404
        for _ in range(100):
            await shop.happens(uuid4(), 1)
        for _ in range(30):
            await shop.rounds()
            shop.clock.advance(timedelta(minutes=1))
        await shop.happens(good, 1)
        waited = timedelta()
        while not receiver.taken:
            await shop.rounds()
            shop.clock.advance(timedelta(seconds=10))
            waited += timedelta(seconds=10)
            assert waited < timedelta(minutes=20)


async def test_after_an_outage_even_what_has_waited_longest_is_told_soon(shop: Shop) -> None:
    async with receiving() as receiver:
        receiver.unchecked = True
        await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda _: 503
        await shop.happens(uuid4(), 1)
        for _ in range(40):
            await shop.rounds()
            shop.clock.advance(timedelta(minutes=30))
        receiver.answering = lambda _: 200
        shop.clock.advance(timedelta(minutes=1))
        await shop.rounds()
    assert len(receiver.taken) == 1


async def test_a_message_keeps_its_id_at_each_try(shop: Shop) -> None:
    async with receiving() as receiver:
        receiver.unchecked = True
        await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda _: 200 if len(receiver.tried) > 1 else 500
        await shop.happens(uuid4(), 1)
        await shop.rounds()
        shop.clock.advance(timedelta(minutes=1))
        await shop.rounds()
    assert (len(receiver.tried), len(set(receiver.tried)), len(receiver.taken)) == (2, 1, 1)


@pytest.mark.slow
async def test_a_kind_that_is_always_refused_stops_nobody(shop: Shop) -> None:
    """Each half hour one more is refused, and each ten minutes one is taken."""
    refused, good = set[str](), list[str]()
    async with receiving() as receiver:
        receiver.unchecked = True
        endpoint = await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda m: 422 if m["data"]["id"] in refused else 200
        for minute in range(0, 12 * 60, 10):
            payment = uuid4()
            (good.append if minute % 30 else refused.add)(to_text("pay", payment))
            await shop.happens(payment, 1)
            for _ in range(5):
                await shop.rounds()
                shop.clock.advance(timedelta(minutes=2))
        for _ in range(10):
            await shop.rounds()
            shop.clock.advance(timedelta(minutes=2))
    assert sorted(receiver.sequences()) == sorted(good)
    [row] = await shop.rows("SELECT state FROM webhook_endpoints")
    assert (row["state"], endpoint.state) == ("enabled", "enabled")

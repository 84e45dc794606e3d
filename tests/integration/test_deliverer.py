"""Endpoints are told what is in the log: all of it, in order, whatever their servers do."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from strongroom.ids import to_text
from strongroom.vault.entering import retire_secret, rotate_secret, set_secret
from strongroom.webhooks.courier import Courier
from strongroom.webhooks.deliverer import KEPT
from strongroom.webhooks.endpoint_rows import (
    lock_endpoint,
    set_state,
    tell_again,
)
from strongroom.webhooks.endpoints import AT_ONCE_MAX, DEAD_AFTER, GIVEN_UP_AFTER, Endpoint
from strongroom.webhooks.signatures import new_secret
from tests.integration.entering import owner_of
from tests.integration.receivers import Answering, receiving
from tests.integration.telling import DELIVERIES, Shop, shop

__all__ = ["shop"]


async def test_what_happens_is_told_once_signed_and_in_order(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    payment, refund = uuid4(), uuid4()
    async with receiving() as receiver:
        await shop.placed()
        await shop.endpoint(receiver)
        for version in (1, 2, 3):
            await shop.happens(payment, version, status="processing", idempotency_key="hidden")
        await shop.happens(
            payment, 4, "payment.refund_changed", refunded_minor=5,
            refund={"id": str(refund), "status": "succeeded", "amount_minor": 5, "reason": "x"},
        )  # fmt: skip
        await shop.rounds()
    told = [m for m in receiver.taken if m["data"]["id"] == to_text("pay", payment)]
    assert [m["data"]["sequence"] for m in told] == [1, 2, 3, 4]
    assert [m["data"]["log_index"] for m in receiver.taken] == sorted(
        m["data"]["log_index"] for m in receiver.taken
    )
    assert told[0]["data"]["changed"] == {"status": "processing"}
    assert told[3]["data"]["changed"] == {
        "refunded_amount": 5,
        "refund": {"id": to_text("ref", refund), "status": "succeeded", "amount": 5},
    }
    assert len(receiver.tried) == len(set(receiver.ids)) == len(receiver.taken)
    # That it was added is in the log, and told to those alone that ask for such events.
    assert {m["type"].partition(".")[0] for m in receiver.taken} == {"payment"}
    assert {row["state"] for row in await shop.rows(DELIVERIES)} == {"delivered"}


async def test_an_endpoint_is_told_what_it_wants_and_of_its_own_entity_alone(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    theirs = shop.deployment.theirs.legal_entity_id
    async with receiving() as ours, receiving() as other:
        await shop.placed()
        await shop.endpoint(ours, "payment.succeeded", "refund.*", first=0)
        await shop.endpoint(other, "payment.*", entity=theirs, first=0)
        for number, kind in enumerate(
            ("payment.succeeded", "payment.failed", "refund.accepted", "payment_method.created",
             "refunds.accepted"), start=1,
        ):  # fmt: skip
            await shop.happens(uuid4(), 1, kind)
            await shop.happens(uuid4(), number, "payment.accepted", entity=theirs)
        await shop.rounds()
    assert sorted(m["type"] for m in ours.taken) == ["payment.succeeded", "refund.accepted"]
    assert {m["type"] for m in other.taken} == {"payment.accepted"}
    assert {m["data"]["legal_entity"] for m in other.taken} == {to_text("ent", theirs)}


async def test_an_hour_of_failure_loses_nothing_and_keeps_the_order(shop: Shop) -> None:
    shop.clock.offset = -timedelta(hours=1, minutes=1)
    payments = [uuid4() for _ in range(40)]
    async with receiving() as receiver:
        await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda _: 500
        for minute in range(60):
            if minute < 20:
                for payment in payments:
                    await shop.happens(payment, minute + 1)
            await shop.rounds()
            shop.clock.advance(timedelta(minutes=1))
        tries = len(receiver.tried)
        receiver.answering = lambda _: 204
        shop.clock.advance(timedelta(minutes=1))
        await shop.rounds()
    assert receiver.sequences() == {
        to_text("pay", payment): list(range(1, 21)) for payment in payments
    }
    assert len(receiver.ids) == len(set(receiver.ids))
    # While nothing goes through a few events are tried, about once a minute.
    assert 30 <= tries <= 60 * AT_ONCE_MAX + 20
    assert (await shop.state())[0] == "enabled"


async def test_one_payment_that_is_refused_holds_up_no_other(shop: Shop) -> None:
    shop.clock.offset = -timedelta(minutes=8)
    stuck, others = uuid4(), [uuid4() for _ in range(5)]
    async with receiving() as receiver:
        receiver.unchecked = True
        await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda m: 422 if m["data"]["id"] == to_text("pay", stuck) else 200
        for version in (1, 2):
            for payment in (stuck, *others):
                await shop.happens(payment, version)
        await shop.rounds()
        shop.clock.advance(timedelta(minutes=2))
        await shop.rounds()
        assert receiver.sequences() == {to_text("pay", one): [1, 2] for one in others}
        # What comes second waits for what comes first; it was never tried.
        assert len(set(receiver.tried)) == 2 * len(others) + 1
        receiver.answering = lambda _: 200
        shop.clock.advance(timedelta(minutes=6))
        await shop.rounds()
    assert receiver.sequences()[to_text("pay", stuck)] == [1, 2]


async def test_what_is_refused_for_three_days_is_given_up_and_the_next_is_told(shop: Shop) -> None:
    stuck = uuid4()
    async with receiving() as receiver:
        receiver.unchecked = True
        await shop.endpoint(receiver, "payment.*")
        receiver.answering = _refusing(to_text("pay", stuck), 1)
        for version in (1, 2):
            await shop.happens(stuck, version)
        await shop.rounds()
        # Something else goes through now and then, so that the endpoint is alive.
        other, version = uuid4(), 0
        while shop.clock.offset < timedelta(hours=-2):
            shop.clock.advance(timedelta(hours=2))
            version += 1
            await shop.happens(other, version)
            await shop.rounds()
    first, second = [row for row in await shop.rows(DELIVERIES) if row["subject_id"] == stuck]
    assert (first["state"], first["status"], first["tries"]) == ("given_up", 500, 10)
    assert first["ended_at"] - first["first_tried_at"] >= GIVEN_UP_AFTER
    assert (second["state"], second["tries"]) == ("delivered", 1)
    assert (await shop.state()) == ("enabled", None)


def _refusing(subject: str, sequence: int) -> Answering:
    def answering(message: dict[str, Any]) -> int:
        data = message["data"]
        return 500 if (data["id"], data["sequence"]) == (subject, sequence) else 204

    return answering


async def test_an_endpoint_that_is_dead_for_three_days_is_disabled_and_goes_on_when_enabled(
    shop: Shop,
) -> None:
    payment = uuid4()
    async with receiving() as receiver:
        endpoint = await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda _: 503
        await shop.happens(payment, 1)
        began = shop.clock.now()
        while (await shop.state())[0] == "enabled" and shop.clock.offset < timedelta(hours=-1):
            await shop.rounds()
            shop.clock.advance(timedelta(hours=3))
        assert await shop.state() == ("disabled", "dead")
        assert shop.clock.now() - began >= DEAD_AFTER
        tries = len(receiver.tried)
        await shop.happens(payment, 2)
        await shop.rounds()
        assert len(receiver.tried) == tries
        shop.clock.offset = timedelta()
        receiver.answering = lambda _: 200
        await enabled(shop, endpoint)
        await shop.rounds()
    assert receiver.sequences() == {to_text("pay", payment): [1, 2]}
    kinds = [row["kind"] for row in await shop.rows(
        "SELECT kind FROM events WHERE kind LIKE 'webhook_endpoint.%' ORDER BY version"
    )]  # fmt: skip
    assert kinds == [f"webhook_endpoint.{what}" for what in ("created", "disabled", "enabled")]


async def enabled(shop: Shop, endpoint: Endpoint) -> None:
    async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, _):
        found = await lock_endpoint(connection, endpoint.legal_entity_id, endpoint.endpoint_id)
        assert found is not None
        await set_state(connection, found, "enabled", None, actor="test", at=shop.clock.now())


async def test_gone_ends_it_at_once(shop: Shop) -> None:
    async with receiving() as receiver:
        await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda _: 410
        for _ in range(3):
            await shop.happens(uuid4(), 1)
        await shop.rounds()
        tries = len(receiver.tried)
        shop.clock.advance(timedelta(days=1))
        await shop.rounds()
    assert len(receiver.tried) == tries > 0
    assert await shop.state() == ("disabled", "gone")


async def test_while_a_secret_is_rotated_either_of_both_verifies(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    async with receiving() as receiver:
        endpoint = await shop.endpoint(receiver, "payment.*")
        old, new = receiver.secret, new_secret()
        async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, keys):
            await rotate_secret(connection, keys, shop.slot(endpoint), new, shop.clock.now())
        for secret in (old, new.reveal_text()):
            receiver.secret = secret
            await shop.happens(uuid4(), 1)
            await shop.rounds()
        async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, _):
            await retire_secret(
                connection, shop.slot(endpoint), 1, shop.clock.now(), last_too=False
            )
        shop.secrets.close()  # as five seconds do
        receiver.secret = old
        await shop.happens(uuid4(), 1)
        await shop.rounds()
        assert len(receiver.taken) == 2, "the retired secret verifies still"
        receiver.secret = new.reveal_text()
        shop.clock.advance(timedelta(minutes=2))
        await shop.rounds()
        assert len(receiver.taken) == 3


async def test_without_its_secret_nothing_is_sent_and_nothing_lost(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    async with receiving() as receiver:
        endpoint = await shop.endpoint(receiver, "payment.*")
        async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, _):
            await retire_secret(connection, shop.slot(endpoint), 1, shop.clock.now(), last_too=True)
        await shop.happens(uuid4(), 1)
        await shop.rounds()
        assert receiver.tried == []
        secret = new_secret()
        async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, keys):
            await set_secret(connection, keys, shop.slot(endpoint), secret, shop.clock.now())
        receiver.secret = secret.reveal_text()
        shop.secrets.close()
        shop.clock.advance(timedelta(seconds=10))
        await shop.rounds()
    assert len(receiver.taken) == 1


async def test_entries_are_told_again_by_their_place(shop: Shop) -> None:
    shop.clock.offset = timedelta()
    async with receiving() as receiver:
        endpoint = await shop.endpoint(receiver, "payment.*", first=0)
        payments = [uuid4() for _ in range(6)]
        for payment in payments:
            await shop.happens(payment, 1)
        await shop.rounds()
        before = list(receiver.ids)
        places = {m["data"]["log_index"]: name for m, name in zip(
            receiver.taken, receiver.ids, strict=True)}  # fmt: skip
        index = sorted(places)[-3]
        async with owner_of(shop.deployment.home, shop.slot(endpoint)) as (connection, _):
            found = await lock_endpoint(connection, endpoint.legal_entity_id, endpoint.endpoint_id)
            assert found is not None
            again = await tell_again(connection, found, index, index + 1000, shop.clock.now())
        await shop.rounds()
    assert again == 3
    wanted = [name for place, name in places.items() if place >= index]
    assert sorted(receiver.ids[len(before) :]) == sorted(wanted)


async def test_what_ended_is_forgotten_and_can_be_told_again(shop: Shop) -> None:
    shop.clock.offset = -KEPT - timedelta(days=1)
    async with receiving() as receiver:
        receiver.unchecked = True
        await shop.endpoint(receiver, "payment.*")
        receiver.answering = lambda _: 204
        await shop.happens(uuid4(), 1)
        await shop.rounds()
        assert len(await shop.rows(DELIVERIES)) == 1
        shop.clock.offset = timedelta()
        await shop.happens(uuid4(), 1)
        await shop.rounds()
        await shop.deliverer.forget()
    [row] = await shop.rows(DELIVERIES)
    assert row["tried_at"] > shop.clock.now() - timedelta(hours=1)


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/hooks", "https://169.254.169.254/latest", "https://[64:ff9b::7f00:1]/",
     "https://[2002:7f00:1::]/", "https://[::ffff:127.0.0.1]/"],
)  # fmt: skip
async def test_addresses_inside_receive_nothing(shop: Shop, url: str) -> None:
    """Also where a row holds one, whatever wrote it there."""
    shop.deliverer._courier = Courier(seconds=5.0)
    async with receiving() as receiver:
        await shop.endpoint(receiver, "payment.*", url=url.replace("/hooks", f":{receiver.port}/"))
        await shop.happens(uuid4(), 1)
        await shop.rounds()
    assert receiver.tried == []
    [row] = await shop.rows(DELIVERIES)
    assert row["outcome"] in ("address_refused", "url_refused")
    assert (row["state"], row["status"]) == ("waiting", None)

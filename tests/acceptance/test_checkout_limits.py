"""Limits against who tests cards: of an address, of a card, of a link; and what is asked first."""

import asyncio
import json
from collections import Counter
from datetime import timedelta

import asyncpg
import pytest

from strongroom.checkout.card_looks import LOOKS_MAX
from strongroom.checkout.limits import TRIES_OF_A_CARD_MAX, TRIES_OF_AN_ADDRESS_MAX, hour_of
from strongroom.clock import SystemClock
from strongroom.ids import from_text
from tests.acceptance.client import Api, StandIn
from tests.acceptance.running import Running
from tests.acceptance.visitor import linked

DECLINED = "pm_card_chargeDeclined"
OF_ONE_HOUR_SECONDS = 20
"""What has to happen in one hour of the clock does not begin so shortly before its end."""


@pytest.fixture(autouse=True)
async def no_limits_yet(owner: asyncpg.Connection) -> None:
    """All tests come from one address."""
    await owner.execute("DELETE FROM checkout_limits")


async def test_too_many_tries_from_one_address_wait(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    """What took money is not counted; the limit holds over links, for an hour of the clock."""
    now = SystemClock().now()
    left = (hour_of(now) + timedelta(hours=1) - now).total_seconds()
    await asyncio.sleep(left + 1 if left < OF_ONE_HOUR_SECONDS else 0)
    _, paying = await linked(api, running)
    await paying.attempt(1)
    await paying.until("paid")
    await owner.execute(
        "UPDATE checkout_limits SET tries = $1 WHERE hour = $2",
        TRIES_OF_AN_ADDRESS_MAX, hour_of(SystemClock().now()),
    )  # fmt: skip
    payment, visitor = await linked(api, running)
    answer = await visitor.attempt(1)
    told = json.loads(answer.body)
    assert (answer.status, told["code"]) == (429, "too_many_tries")
    assert 0 < int(answer.headers["Retry-After"]) == told["retry_after_seconds"] <= 3601
    assert "Try again in" in told["message"]
    assert (await api.get(f"/v1/payments/{payment}")).json["status"] == "requires_payment_method"
    assert (await visitor.state())["number"] == 1
    rows = await owner.fetch("SELECT tries FROM checkout_limits WHERE tries > 0")
    assert [row["tries"] for row in rows] == [TRIES_OF_AN_ADDRESS_MAX]


async def test_one_card_is_tried_so_often_a_day_by_whatever_links(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    """Each token of it is another; with another card the same customer can pay."""
    _, visitor = await linked(api, running)
    assert (await visitor.attempt(1, DECLINED)).status == 202
    await visitor.until("open")
    counted = await owner.fetch("SELECT tries FROM checkout_limits")
    assert [row["tries"] for row in counted] == [1, 1], "the address, and the card"
    await owner.execute("UPDATE checkout_limits SET tries = $1", TRIES_OF_A_CARD_MAX)
    payment, visitor = await linked(api, running)
    answer = await visitor.attempt(1, DECLINED)
    told = json.loads(answer.body)
    assert (answer.status, told["code"]) == (429, "too_many_tries")
    assert "use another card" in told["message"]
    assert 0 < int(answer.headers["Retry-After"]) <= 24 * 3600 + 1
    assert (await api.get(f"/v1/payments/{payment}")).json["status"] == "requires_payment_method"
    assert (await visitor.attempt(1)).status == 202
    await visitor.until("paid")


async def test_tries_of_one_card_that_race_are_counted_one_by_one(
    api: Api, running: Running
) -> None:
    visitors = [(await linked(api, running))[1] for _ in range(TRIES_OF_A_CARD_MAX + 4)]
    answers = await asyncio.gather(*(visitor.attempt(1, DECLINED) for visitor in visitors))
    assert Counter(answer.status for answer in answers) == {202: TRIES_OF_A_CARD_MAX, 429: 4}


async def test_a_card_that_pays_is_not_held_against_anybody(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    for _ in range(2):
        _, visitor = await linked(api, running)
        await visitor.attempt(1)
        await visitor.until("paid")
    rows = await owner.fetch("SELECT tries FROM checkout_limits")
    assert [row["tries"] for row in rows] == [0, 0]


async def test_a_card_that_nobody_can_name_is_not_tried(
    api: Api, running: Running, stripe: StandIn, owner: asyncpg.Connection
) -> None:
    payment, visitor = await linked(api, running)
    failing = {"fault": "error_503", "match": {"operation": "payment_methods.retrieve"}}
    await stripe.knobs(failing)
    try:
        answer = await visitor.attempt(1)
    finally:
        await stripe.clear()
    told = json.loads(answer.body)
    assert (answer.status, told["code"]) == (503, "gateway_unavailable")
    assert "No money was taken" in told["message"]
    assert int(answer.headers["Retry-After"]) == told["retry_after_seconds"] > 0
    assert (await api.get(f"/v1/payments/{payment}")).json["status"] == "requires_payment_method"
    assert await owner.fetch("SELECT FROM checkout_limits") == []
    assert (await visitor.attempt(1, "pm_card_mastercard")).status == 202
    await visitor.until("paid")


async def test_a_link_has_so_many_tokens_looked_at_in_an_hour(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    payment, visitor = await linked(api, running)
    await owner.execute(
        "INSERT INTO card_looks SELECT legal_entity_id, payment_id, 'tok_' || n, payment_id, 0, $2 "
        "FROM checkout_links, generate_series(1, $3::int) n WHERE payment_id = $1",
        from_text("pay", payment), SystemClock().now(), LOOKS_MAX,
    )  # fmt: skip
    answer = await visitor.attempt(1)
    assert (answer.status, json.loads(answer.body)["code"]) == (429, "too_many_tries")
    await owner.execute("UPDATE card_looks SET asked_at = asked_at - interval '1 hour'")
    assert (await visitor.attempt(1)).status == 202
    await visitor.until("paid")


async def test_a_try_that_may_still_begin_is_not_said_to_be_none(
    api: Api, running: Running, stripe: StandIn
) -> None:
    """The browser goes away while the gateway is asked which card it is; the server goes on."""
    _, visitor = await linked(api, running)
    slow = {"fault": "delay", "delay_ms": 2000, "match": {"operation": "payment_methods.retrieve"}}
    await stripe.knobs(slow)
    try:
        trying = asyncio.create_task(visitor.attempt(1))
        await asyncio.sleep(1)
        assert (await visitor.state())["step"] == "processing"
        assert (await trying).status == 202
    finally:
        await stripe.clear()
    await visitor.until("paid")


async def test_an_old_address_begins_no_try(api: Api, running: Running) -> None:
    payment, visitor = await linked(api, running)
    answer = await api.post(f"/v1/payments/{payment}/checkout_link", {})
    assert answer.status in (200, 201), answer
    assert (await visitor.attempt(1)).status == 404


async def test_the_same_request_asks_for_its_card_once(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    payment, visitor = await linked(api, running)
    answers = await asyncio.gather(*(visitor.attempt(1) for _ in range(8)))
    assert {answer.status for answer in answers} <= {202, 409}
    await visitor.until("paid")
    of_link = ("WHERE payment_id = $1", from_text("pay", payment))
    [row] = await owner.fetch(f"SELECT tries, card FROM card_looks {of_link[0]}", of_link[1])
    assert (row["tries"], len(row["card"])) == (1, 32)

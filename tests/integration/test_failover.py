"""Two accounts at two stand-ins: where one fails the other takes over, and nobody pays twice."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
from msgspec import Struct

from strongroom.clock import microseconds_since_epoch
from strongroom.database import connect_pool
from strongroom.gateways.breaker import WINDOW_CALLS
from strongroom.ids import new_id, to_text
from strongroom.payments.declines import MEANINGS
from strongroom.payments.states import InstrumentBrought
from strongroom.payments.ways import Way
from strongroom.vault.kinds import STRIPE_API_KEY
from strongroom.vault.secrets import Slot
from tests.integration.both_sides import BothSides
from tests.integration.conftest import NEW_ACCOUNT, Deployment
from tests.integration.entering import enter
from tests.sandbox.conftest import SECRET_KEY, RunningStripe, own_stripe

__all__ = ["own_stripe"]
IN_FLIGHT = 8
PROBES_MAX = 12
EACH = 30
RACES = 12
ENDED_SECONDS_MAX = 120
WAITING = ("gateway_resting", "gateway_error", "waiting_for_cancel_at_gateway")
"""Withheld, answered by an error, or just about to be tried anew."""


class Two(Struct):
    """Both sides, with a second account at a stand-in of its own."""

    sides: BothSides
    other: RunningStripe
    other_id: UUID

    def way(self, token: str | None = "pm_card_visa") -> Way:
        return Way(gateway="stripe", gateway_account_id=self.other_id, token=token)

    def charges(self) -> Counter[str]:
        """By payment, what was taken at both, by their own ledgers."""
        return Counter(
            charge["metadata"]["strongroom_payment"]
            for server in (self.sides.stripe, self.other)
            for charge in server.charges()
        )

    def taken_there(self) -> set[str]:
        return {charge["metadata"]["strongroom_payment"] for charge in self.other.charges()}

    async def attempts(self, of: Any) -> list[tuple[int, str, UUID]]:
        rows = await self.sides.owner.fetch(
            "SELECT attempt_no, state, gateway_account_id FROM attempts WHERE payment_id = $1 "
            "ORDER BY attempt_no", of.payment_id,
        )  # fmt: skip
        return [tuple(row) for row in rows]


@pytest.fixture
async def two(
    deployment: Deployment, own_stripe: RunningStripe, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Two]:
    owner = await asyncpg.connect(
        deployment.owner_url, server_settings={"search_path": "strongroom, directory"}
    )
    api = await connect_pool(deployment.url("api"), size_max=3, application="api")
    worker = await connect_pool(deployment.url("worker"), size_max=4, application="worker")
    sides = BothSides(api, worker, owner, deployment.ours, own_stripe, deployment.home)
    await sides.open_account()
    other = RunningStripe(tmp_path_factory.mktemp("other")).start()
    entity, now = deployment.ours.legal_entity_id, sides.clock.now() + timedelta(days=365)
    other_id = new_id(microseconds_since_epoch(sides.clock.now()), entity)
    await owner.execute(NEW_ACCOUNT, entity, other_id, now)
    await owner.execute(
        "UPDATE gateway_accounts SET base_url = $2 WHERE gateway_account_id = $1",
        other_id, other.url,
    )  # fmt: skip
    await enter(deployment.home, Slot(entity, other_id, STRIPE_API_KEY), SECRET_KEY)
    sides.in_flight_max = IN_FLIGHT
    async with sides.working():
        yield Two(sides, other, other_id)
    other.kill()
    await api.close()
    await worker.close()
    await owner.close()


async def test_where_a_gateway_fails_some_go_elsewhere_and_the_others_wait_for_it(two):
    sides, begun = two.sides, time.monotonic()
    sides.stripe.knobs({"fault": "error_500_before", "match": {"operation": "*"}})
    may = [await sides.ask(f"may-{number}", ways=(two.way(),)) for number in range(EACH)]
    may_not = [await sides.ask(f"may-not-{number}") for number in range(EACH)]
    for one in may:
        await sides.until_status(one, "succeeded")
    # Its line has opened, and stays so: few calls are made however many wait.
    hits = sides.stripe.control("GET", "/_knobs")["rules"][0]["hits"]
    probes_max = PROBES_MAX + int(time.monotonic() - begun)  # each rest is about a second or more
    assert 0 < hits <= WINDOW_CALLS + IN_FLIGHT + probes_max
    for one in may_not:
        row = await sides.row(one)
        assert row["status"] == "processing"
        assert row["status_reason"] in WAITING
    assert two.taken_there() == {to_text("pay", one.payment_id) for one in may}
    assert two.charges().total() == EACH
    # It recovers: its line closes by itself, and those who waited are charged there.
    sides.stripe.control("DELETE", "/_knobs")
    async with asyncio.timeout(ENDED_SECONDS_MAX):
        while {(await sides.row(one))["status"] for one in may_not} != {"succeeded"}:
            sides.clock.advance(timedelta(seconds=5))
            await asyncio.sleep(0.2)
    account_id = (await sides.row(may_not[0]))["gateway_account_id"]
    assert sides.lines.are_closed(account_id, ("prepare", "send"))
    assert set(two.charges().values()) == {1}
    assert len(two.charges()) == 2 * EACH
    assert len(two.taken_there()) == EACH


async def test_a_payment_that_may_go_nowhere_else_ends_with_a_reason(two):
    sides = two.sides
    sides.stripe.knobs({"fault": "error_500_before", "match": {"operation": "*"}})
    lost = [await sides.ask(f"lost-{number}") for number in range(EACH)]
    asks = await sides.ask("asks", ways=(two.way(None),))

    async def all_over() -> bool:
        sides.clock.advance(timedelta(seconds=30))
        return {(await sides.row(one))["status"] for one in lost} == {"canceled"}

    async def waits_for_an_instrument() -> bool:
        sides.clock.advance(timedelta(seconds=1))
        return bool((await sides.row(asks))["status"] == "requires_payment_method")

    await sides.until(waits_for_an_instrument)
    row = await sides.row(asks)
    assert (row["status_reason"], row["gateway"], row["instrument_token"]) == (
        "gateway_resting", None, None,
    )  # fmt: skip
    brought = InstrumentBrought("stripe", two.other_id, "pm_card_visa", None)
    await sides.command(asks, brought)
    await sides.until_status(asks, "succeeded")
    assert two.charges() == {to_text("pay", asks.payment_id): 1}
    await sides.until(all_over)
    reasons = {(await sides.row(one))["status_reason"] for one in lost}
    assert reasons == {"not_sent_in_time"}
    assert two.charges().total() == 1


async def test_a_decline_that_allows_it_is_tried_elsewhere_once_the_first_can_take_no_more(two):
    sides = two.sides
    one = await sides.ask("again", "pm_decline_processing_error", ways=(two.way(),))
    row = await sides.until_status(one, "succeeded")
    assert (row["gateway_account_id"], row["attempt_no"]) == (two.other_id, 2)
    assert (row["decline"], row["ways"]) == (None, None)
    first = (await two.attempts(one))[0]
    assert first[:2] == (1, "declined")
    assert sides.intent_status(one) == "canceled"
    assert [kind for kind, _ in await sides.told(one)] == [
        "payment.accepted", "payment.closing", "payment.rerouted", "payment.succeeded",
    ]  # fmt: skip
    assert two.charges() == {to_text("pay", one.payment_id): 1}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "code", ["fraudulent", "stolen_card", "insufficient_funds", "expired_card"]
)
async def test_a_decline_that_does_not_is_the_end(two, code):
    one = await two.sides.ask("ends", f"pm_decline_{code}", ways=(two.way(),))
    row = await two.sides.until_status(one, "failed")
    assert f'"raw_code": "{code}"' in row["decline"]
    assert row["status_reason"] in MEANINGS
    assert len(await two.attempts(one)) == 1
    assert two.charges() == {}


async def test_without_a_token_the_next_gateway_is_named_and_a_confirm_goes_on(two):
    sides = two.sides
    one = await sides.ask("named", "pm_decline_processing_error", ways=(two.way(None),))
    row = await sides.until_status(one, "requires_payment_method")
    assert (row["status_reason"], row["attempt_no"]) == ("try_again", 2)
    assert sides.intent_status(one) == "canceled"
    brought = InstrumentBrought("stripe", two.other_id, "pm_card_visa", None)
    await sides.command(one, brought)
    await sides.until_status(one, "succeeded")
    assert two.charges() == {to_text("pay", one.payment_id): 1}


async def test_an_unknown_outcome_goes_nowhere_else(two):
    sides = two.sides
    sides.stripe.knobs(
        {"fault": "error_500_after", "match": {"operation": "payment_intents.confirm"}},
        {"fault": "error_503", "match": {"operation": "payment_intents.retrieve"}},
    )
    one = await sides.ask("unknown", ways=(two.way(),))
    await sides.until_status(one, "outcome_unknown")
    for _ in range(10):
        sides.clock.advance(timedelta(seconds=40))
        await asyncio.sleep(0.1)
    assert (await sides.row(one))["status"] == "outcome_unknown"
    assert two.other.charges(kind="all") == []
    sides.stripe.control("DELETE", "/_knobs")
    async with asyncio.timeout(ENDED_SECONDS_MAX):
        while (await sides.row(one))["status"] != "succeeded":
            sides.clock.advance(timedelta(seconds=40))
            await asyncio.sleep(0.1)
    assert two.charges() == {to_text("pay", one.payment_id): 1}


async def test_the_customer_finishes_in_the_old_tab_while_another_card_is_brought(two):
    """3-D Secure is pending, another instrument is wanted, then the first is finished after all."""
    sides, chance = two.sides, random.Random(5)
    asked = [
        await sides.ask(f"old-tab-{number}", "pm_card_threeDSecure2Required")
        for number in range(RACES)
    ]
    brought = InstrumentBrought("stripe", two.other_id, "pm_card_visa", None)

    async def race(one: Any) -> None:
        row = await sides.until_status(one, "requires_action")
        action = urlsplit(json.loads(row["next_action"])["url"])

        async def finish() -> None:
            await asyncio.sleep(chance.random() * 0.3)
            await asyncio.to_thread(sides.stripe.raw, "POST", f"{action.path}/complete")

        async def replace() -> None:
            await asyncio.sleep(chance.random() * 0.1)
            await sides.command(one, brought)

        await asyncio.gather(finish(), replace())
        await sides.until_status(one, "succeeded")

    for one in asked:
        await race(one)
    await sides.until_nothing_is_due()
    charges = two.charges()
    assert charges == {to_text("pay", one.payment_id): 1 for one in asked}
    for one in asked:
        row = await sides.row(one)
        there = to_text("pay", one.payment_id) in two.taken_there()
        assert (row["gateway_account_id"] == two.other_id) == there
        assert row["review"] is None

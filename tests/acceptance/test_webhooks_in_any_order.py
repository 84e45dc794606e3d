"""Webhooks in any order, each up to five times, end where the same ones in order and once do.

A few thousand deliveries; STRONGROOM_WEBHOOK_DELIVERIES=100000 makes it as many.
"""

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any

import asyncpg

from strongroom.ids import from_text
from tests.acceptance.client import Api, StandIn, until
from tests.acceptance.hooks import Account, event, intent_of
from tests.acceptance.test_webhooks import OK, ours  # noqa: F401
from tests.acceptance.test_webhooks_followed import quiet, waiting  # noqa: F401

DELIVERIES = int(os.environ.get("STRONGROOM_WEBHOOK_DELIVERIES", "3000"))
TIMES_MAX = 5
KINDS = ("created", "requires_action", "processing", "succeeded", "payment_failed")
FATES = ("fail", "fail", "complete", "complete", "complete", "complete")
AT_ONCE = 64
ALL_ENDED_SECONDS = 60 + DELIVERIES / 100
STATES = """
SELECT state, count(*) FROM webhook_events WHERE gateway_event_id = ANY ($1) GROUP BY state
"""
PAYMENT = """
SELECT p.status, p.status_reason, p.review, p.captured_minor, p.version, a.state, a.decline,
  ARRAY(SELECT e.kind FROM events e WHERE e.payment_id = p.payment_id ORDER BY e.version) AS kinds,
  ARRAY(SELECT e.version FROM events e WHERE e.payment_id = p.payment_id ORDER BY e.version) AS at
FROM payments p JOIN attempts a ON a.payment_id = p.payment_id WHERE p.payment_id = $1
"""


async def told(owner: asyncpg.Connection, payments: Sequence[str], each: int) -> list[Any]:
    """So many events of each payment, in the order in which they could have happened."""
    shown = [await intent_of(owner, payment) for payment in payments]
    return [
        event(shown[number % len(shown)], f"payment_intent.{KINDS[number % len(KINDS)]}")
        for number in range(each * len(shown))
    ]


async def deliver(account: Account, deliveries: Sequence[Any], at_once: int) -> None:
    waiting_ones = iter(deliveries)

    async def one_by_one() -> None:
        for one in waiting_ones:
            assert await account.send(one) == OK

    await asyncio.gather(*(one_by_one() for _ in range(at_once)))


async def ended(owner: asyncpg.Connection, sent: Sequence[Any]) -> dict[str, int]:
    """By state, the rows of these events, once all of them are at their end."""
    names = [one["id"] for one in sent]
    found: dict[str, int] = {}

    async def all_of_them() -> bool:
        found.clear()
        found.update({row[0]: row[1] for row in await owner.fetch(STATES, names)})
        return "received" not in found

    await until(all_of_them, ALL_ENDED_SECONDS)
    return found


async def test_any_order_and_any_number_of_times_end_as_in_order_and_once(
    api: Api,
    stripe: StandIn,
    owner: asyncpg.Connection,
    quiet: Any,  # noqa: F811
    ours: Account,  # noqa: F811
) -> None:
    groups = []
    for _ in range(2):
        made = [await waiting(api, owner) for _ in FATES]
        for (_, url), fate in zip(made, FATES, strict=True):
            await stripe.decide(url, fate)
        groups.append([payment for payment, _ in made])
    orderly, shuffled = groups
    chance = random.Random(7)
    each = DELIVERIES * 2 // (TIMES_MAX + 1) // len(FATES) + 1
    once = await told(owner, orderly, each)
    events = await told(owner, shuffled, each)
    times = [chance.randint(1, TIMES_MAX) for _ in events]
    while (missing := DELIVERIES - sum(times)) != 0:
        number = chance.randrange(len(times))
        times[number] = min(max(times[number] + (1 if missing > 0 else -1), 1), TIMES_MAX)
    many = [one for one, count in zip(events, times, strict=True) for _ in range(count)]
    chance.shuffle(many)
    await deliver(ours, once, 1 if DELIVERIES <= 5000 else AT_ONCE)
    await deliver(ours, many, AT_ONCE)
    for group in groups:
        for payment, fate in zip(group, FATES, strict=True):
            async with asyncio.timeout(ALL_ENDED_SECONDS):
                await api.until(payment, "failed" if fate == "fail" else "succeeded")
    states = [await ended(owner, one) for one in (once, events)]
    created = sum(one["type"] == "payment_intent.created" for one in events)
    assert states == [{"applied": len(events) - created, "ignored": created}] * 2
    ends = [
        [tuple(await owner.fetchrow(PAYMENT, from_text("pay", one)) or ()) for one in group]
        for group in groups
    ]
    assert ends[0] == ends[1]
    for end in ends[1]:
        assert end[-1] == list(range(1, len(end[-1]) + 1))
        assert sum(kind in ("payment.succeeded", "payment.failed") for kind in end[-2]) == 1
    charges = await stripe.charges()
    taken = [[len(charges[payment]) for payment in group] for group in groups]
    assert taken == [[0 if fate == "fail" else 1 for fate in FATES]] * 2
    print(f"{len(many)} deliveries of {len(events)} events, and {len(once)} in order and once")

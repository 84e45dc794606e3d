"""A full queue says so at once, and one entity's flood is not another's."""

import asyncio
import json
from typing import Any

import asyncpg

from strongroom.http.exchange import Reply
from tests.acceptance.client import Api, order
from tests.acceptance.conftest import Merchant
from tests.acceptance.inside import Inside, busy, create, inside, until_queued, until_seen
from tests.acceptance.running import Running

QUEUE, SHARE = 6, 4
FLOOD = 30
IN_WRITING = 1


def refused(tasks: list[asyncio.Task[Reply]]) -> list[asyncio.Task[Reply]]:
    """Those that were turned away, while all that were taken in still wait."""
    return [task for task in tasks if task.done()]


async def test_a_flood_beyond_its_share_is_refused_and_others_get_through(
    running: Running, api: Api, other_merchant: Merchant, owner: asyncpg.Connection
) -> None:
    limits: Any = {"writers": 1, "batch_max": 4, "queue_max": QUEUE, "share_max": SHARE}
    async with inside(running, **limits) as process:
        await create(process, api.api_key, order(token=None))
        async with process.writers.acquire():
            first = await busy(process, api.api_key)
            bodies = [order(token=None) for _ in range(FLOOD)]
            flood = [asyncio.create_task(create(process, api.api_key, body)) for body in bodies]
            await until_seen(lambda: len(refused(flood)) == FLOOD - SHARE)
            others = [
                asyncio.create_task(create(process, other_merchant.api_key, order(token=None)))
                for _ in range(FLOOD)
            ]
            await until_seen(lambda: len(refused(others)) == FLOOD - (QUEUE - SHARE))
            await until_queued(process, QUEUE)
            turned_away = [task.result() for task in refused(flood) + refused(others)]
        for answer in turned_away:
            assert answer.status == 503
            assert ("retry-after", "1") in answer.headers
            problem = json.loads(answer.body)
            assert (problem["code"], problem["retry_safe"]) == ("queue_full", True)
        answers = await asyncio.gather(first, *flood, *others)
        taken_in = [answer for answer in answers if answer not in turned_away]
        assert [answer.status for answer in taken_in] == [201] * (IN_WRITING + QUEUE)
        await assert_refused_then_accepted(process, api.api_key, bodies, flood, owner)


async def assert_refused_then_accepted(
    process: Inside,
    api_key: str,
    bodies: list[dict[str, Any]],
    flood: list[asyncio.Task[Reply]],
    owner: asyncpg.Connection,
) -> None:
    """Of what was refused nothing is stored, and the same request is good a moment later."""
    bad = [body for body, task in zip(bodies, flood, strict=True) if task.result().status == 503]
    references = [body["merchant_reference"] for body in bad]
    stored = await owner.fetchval(
        "SELECT count(*) FROM idempotency_keys WHERE idempotency_key = ANY ($1::text[])",
        references,
    )
    assert stored == 0
    for body in bad[: SHARE * 2]:
        again = await create(process, api_key, body)
        assert again.status == 201
        assert ("idempotent-replayed", "true") not in again.headers


async def test_a_long_queue_of_one_does_not_hold_up_another(
    running: Running, api: Api, other_merchant: Merchant
) -> None:
    """Each batch has room for everyone who waits: the last to come is in the next one."""
    async with inside(running, writers=1, batch_max=2) as process:
        await create(process, api.api_key, order(token=None))
        await create(process, other_merchant.api_key, order(token=None))
        order_of_end: list[str] = []

        async def note(name: str, api_key: str) -> None:
            answer = await create(process, api_key, order(token=None))
            assert answer.status == 201
            order_of_end.append(name)

        async with process.writers.acquire():
            first = await busy(process, api.api_key)
            flood = [asyncio.create_task(note("flood", api.api_key)) for _ in range(FLOOD)]
            await until_queued(process, FLOOD)
            single = asyncio.create_task(note("single", other_merchant.api_key))
            await until_queued(process, FLOOD + 1)
            assert order_of_end == []
        await asyncio.gather(first, *flood, single)
        assert order_of_end.index("single") <= 2

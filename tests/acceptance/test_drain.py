"""An API process that is asked to stop finishes what it took in."""

import asyncio
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from strongroom.http.exchange import BODY_SECONDS_MAX
from tests.acceptance.client import Answer, Api, StandIn, fresh, order, until
from tests.acceptance.running import STOP_SECONDS_MAX, Running, second_api

WAITING = 40
FLOOD = 300
STALL_SECONDS_MAX = 20


async def test_requests_that_wait_get_their_answer(
    running: Running, api: Api, stripe: StandIn, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    """They are held by `Prefer: wait`, their payments by the gateway, when the signal comes."""
    group = fresh("group")
    await stripe.knobs(
        {"fault": "delay", "delay_ms": 4000, "match": {"operation": "payment_intents.confirm"}}
    )
    async with second_api(running, tmp_path) as second:
        bodies = [order(merchant_reference=f"{group}-{n}") for n in range(WAITING)]
        asking = [asyncio.create_task(api.at(second.url).pay(body, wait=20)) for body in bodies]

        async def all_stored() -> bool:
            return await _stored(owner, group) == WAITING

        await until(all_stored)
        assert not any(task.done() for task in asking)
        second.process.terminate()
        answers = await asyncio.gather(*asking)
        assert await asyncio.wait_for(second.ended(), STOP_SECONDS_MAX) == 0
    assert {(answer.status, answer.json["status"]) for answer in answers} == {(201, "succeeded")}
    log = [json.loads(line)["event"] for line in second.log_file.read_text().splitlines()]
    assert log[-1] == "api_stopped"


async def test_no_accepted_payment_is_lost_when_the_process_stops_in_a_flood(
    running: Running, api: Api, stripe: StandIn, tmp_path: Path
) -> None:
    async with second_api(running, tmp_path) as second:
        at_second = api.at(second.url)
        bodies = [order() for _ in range(FLOOD)]

        async def send(body: dict[str, object]) -> Answer | None:
            try:
                return await at_second.pay(body, key=str(body["merchant_reference"]))
            except aiohttp.ClientError:
                return None  # not taken in, or its answer lost: the client sends it again

        asking = [asyncio.create_task(send(body)) for body in bodies]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        second.process.terminate()
        began = time.monotonic()
        first = await asyncio.gather(*asking)
        assert await asyncio.wait_for(second.ended(), STOP_SECONDS_MAX) == 0
        assert time.monotonic() - began < STOP_SECONDS_MAX
    answered = [answer for answer in first if answer is not None]
    assert answered
    assert {answer.status for answer in answered} <= {202, 503}
    again = await asyncio.gather(
        *(api.pay(body, key=str(body["merchant_reference"])) for body in bodies)
    )
    assert {answer.status for answer in again} <= {200, 202}
    for before, after in zip(first, again, strict=True):
        if before is not None and before.status == 202:
            assert (after.replayed, after.id) == (True, before.id)
    settled = await api.all_settled([answer.id for answer in again])
    assert {payment["status"] for payment in settled} == {"succeeded"}
    charges = await stripe.charges()
    assert {len(charges[answer.id]) for answer in again} == {1}


async def test_a_client_that_stalls_does_not_hold_up_the_stop(
    running: Running, tmp_path: Path
) -> None:
    async with second_api(running, tmp_path) as second:
        place = urlsplit(second.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        idle = await asyncio.open_connection(place.hostname, place.port)
        async with aiohttp.ClientSession() as session:
            assert (await session.get(f"{second.url}/healthz")).status == 200
            second.process.terminate()
            async with asyncio.timeout(BODY_SECONDS_MAX + STALL_SECONDS_MAX):
                head = await reader.readuntil(b"\r\n")
                assert await second.ended() == 0
        assert head.startswith(b"HTTP/1.1 408 ")
        writer.close()
        idle[1].close()


async def _stored(owner: asyncpg.Connection, group: str) -> int:
    count: int = await owner.fetchval(
        "SELECT count(*) FROM payments WHERE merchant_reference LIKE $1 || '-%'", group
    )
    return count

"""The database's word is lost on the way: what was asked for once is stored once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Answer, Api, StandIn, fresh, order
from tests.acceptance.frames import Loss, LossyProxy
from tests.acceptance.running import Running, second_api

ANSWERED_SECONDS_MAX = 60


@pytest.fixture
async def proxy(running: Running) -> AsyncIterator[LossyProxy]:
    async with LossyProxy(running.owner_url).serving() as proxy:
        yield proxy


@pytest.fixture
async def lossy_api(
    running: Running, proxy: LossyProxy, api: Api, tmp_path: Path
) -> AsyncIterator[Api]:
    """An API process whose way to the database is the proxy."""
    async with second_api(running, tmp_path, database_port=proxy.port) as second:
        yield api.at(second.url)


async def until_answered(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """What a client does that knows the contract: 503 means the same again."""
    async with asyncio.timeout(ANSWERED_SECONDS_MAX):
        while True:
            answer = await ask()
            if answer.status != 503:
                return answer
            assert answer.json["retry_safe"] is True
            assert answer.headers["Retry-After"] == "1"


async def rows_of(owner: asyncpg.Connection, reference: str) -> list[int]:
    """How many payments, keys, references, events and jobs the reference has."""
    row = await owner.fetchrow(
        """
        WITH p AS (SELECT payment_id FROM payments WHERE merchant_reference = $1)
        SELECT (SELECT count(*) FROM p),
          (SELECT count(*) FROM idempotency_keys JOIN p USING (payment_id)),
          (SELECT count(*) FROM merchant_references WHERE merchant_reference = $1),
          (SELECT count(*) FROM events JOIN p USING (payment_id)),
          (SELECT count(*) FROM jobs JOIN p USING (payment_id))
        """,
        reference,
    )
    assert row is not None
    return list(row.values())


@pytest.mark.sampled(3)
@pytest.mark.parametrize("loss", list(Loss))
async def test_a_lost_commit_or_answer_leaves_one_payment(
    loss: Loss, lossy_api: Api, proxy: LossyProxy, api: Api, owner: asyncpg.Connection
) -> None:
    """Without an instrument, so that nothing but the accept itself writes rows."""
    body, key = order(token=None), fresh("key")
    proxy.lose(loss)
    answer = await until_answered(lambda: lossy_api.pay(body, key=key))
    assert proxy.lost == 1
    assert (answer.status, answer.replayed) == (201, False)
    again = await api.pay(body, key=key)
    assert (again.status, again.replayed, again.id) == (200, True, answer.id)
    assert await rows_of(owner, body["merchant_reference"]) == [1, 1, 1, 1, 1]


async def test_a_batch_whose_answers_stay_away_is_charged_once(
    lossy_api: Api, proxy: LossyProxy, api: Api, stripe: StandIn
) -> None:
    """The answers to the batch and to its first repetitions are lost, for many at once."""
    bodies = [order() for _ in range(50)]
    proxy.lose(Loss.ANSWER_THEN_CLOSED, times=6)
    first = await asyncio.gather(
        *(
            until_answered(partial(lossy_api.pay, body, key=body["merchant_reference"]))
            for body in bodies
        )
    )
    assert proxy.lost == 6
    again = await asyncio.gather(
        *(api.pay(body, key=body["merchant_reference"]) for body in bodies)
    )
    assert [answer.id for answer in first] == [answer.id for answer in again]
    assert all(answer.replayed for answer in again)
    settled = await api.all_settled([answer.id for answer in first])
    assert {payment["status"] for payment in settled} == {"succeeded"}
    charges = await stripe.charges()
    assert {len(charges[answer.id]) for answer in first} == {1}


Do = Callable[[Api, str, str], Awaitable[Answer]]
COMMANDS: dict[str, tuple[dict[str, Any], Do, str]] = {
    "confirm": ({"token": None}, lambda at, id_, key: at.confirm(id_, "pm_card_visa", key=key),
                "payment.instrument_brought"),
    "capture": ({"capture": "manual"}, lambda at, id_, key: at.capture(id_, 500, key=key),
                "payment.capture_asked"),
    "cancel": ({"capture": "manual"}, lambda at, id_, key: at.cancel(id_, key=key),
               "payment.closing"),
    "refund": ({}, lambda at, id_, key: at.refund(id_, 500, key=key), "refund.accepted"),
}  # fmt: skip


@pytest.mark.sampled(5)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("loss", [Loss.ANSWER_THEN_CLOSED, Loss.COMMIT_THEN_CLOSED])
async def test_a_command_whose_commit_is_lost_is_carried_out_once(
    loss: Loss, command: str, lossy_api: Api, proxy: LossyProxy, api: Api,
    stripe: StandIn, owner: asyncpg.Connection,
) -> None:  # fmt: skip
    fields, do, kind = COMMANDS[command]
    made, key = await api.pay(order(**fields)), fresh("key")
    await api.until(made.id, "requires_payment_method", "authorized", "succeeded")
    proxy.lose(loss)
    answer = await until_answered(lambda: do(lossy_api, made.id, key))
    assert proxy.lost == 1
    # Carried out meanwhile, perhaps, and all the same not by an earlier request.
    assert (answer.status in (200, 201, 202), answer.replayed) == (True, False)
    again = await do(api, made.id, key)
    assert (again.status in (200, 202), again.replayed, again.id) == (True, True, answer.id)
    payment_id = from_text("pay", made.id)
    rows = await owner.fetch("SELECT kind FROM events WHERE payment_id = $1", payment_id)
    assert [row["kind"] for row in rows].count(kind) == 1
    if command == "refund":
        await api.until_refund(answer.id, "succeeded")
        assert [one["amount"] for one in await stripe.refunds_of(made.id)] == [500]
        return
    ended = await api.until(made.id, "succeeded", "canceled")
    taken = {"confirm": 1999, "capture": 500, "cancel": 0}[command]
    assert ended["captured_amount"] == taken
    assert (await stripe.charge_of(made.id))["captured"] == taken

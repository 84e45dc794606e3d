"""What a decision leaves behind: events that fold to the row, digests that survive the database."""

from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from strongroom.clock import ShiftedClock
from strongroom.database import connect_pool
from strongroom.ids import BUCKETS
from strongroom.payments.accept import Acceptor
from strongroom.payments.acceptance import Created, Request
from strongroom.payments.engine import Engine
from strongroom.payments.idempotency import fingerprint
from strongroom.payments.journal import _STATE_FIELDS, accepted_payload
from strongroom.payments.reads import read_history, read_payments
from strongroom.payments.states import (
    ActionRequired,
    Answer,
    Answered,
    Approved,
    Call,
    Canceled,
    Declined,
    Mismatched,
    NotSent,
    Payment,
    Pending,
    Unknown,
)
from tests.unit.examples import AMOUNT, ENTITY, payment

APPROVED = Approved(AMOUNT, "EUR")
ACTION = ActionRequired({"type": "redirect_to_url", "url": "https://bank.example/3ds?a=1&b=ä"})
DECLINED = Declined("insufficient_funds", "insufficient_funds", object_open=True)


class Staged:
    """As much of a gateway as opening an attempt needs."""

    staged = True
    per_currency = False

    def parameters(self, of: Payment, _: object, *, saves: bool = False) -> dict[str, Any]:
        return {"create": {"amount": of.amount_minor}}


@pytest.fixture
async def pool(migrated_url: str):
    made = await connect_pool(migrated_url, size_max=4, application="test")
    yield made
    await made.close()


async def accepted(pool: asyncpg.Pool, clock: ShiftedClock, **fields: Any) -> Payment:
    now = clock.now()
    one = payment(
        version=1,
        created_at=now,
        updated_at=now,
        not_after=now + timedelta(minutes=15),
        **fields,
    )
    acceptor = Acceptor(pool)
    acceptor.start()
    outcome = await acceptor.accept(
        Request(
            payment=one,
            idempotency_key="key-1",
            fingerprint=fingerprint("POST", "/v1/payments", {}),
            actor="test",
            run_at=now,
            row_digest=one.row_digest(),
            payload=accepted_payload(one, "key-1"),
        )
    )
    await acceptor.drain()
    assert outcome == Created(one)
    return one


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"description": "Ä \U0001f600 \u2028 \\u0041 \"'", "return_url": "https://a.example/?x=1"},
        {"metadata": {"b": "1", "a": "é", "": "", "aa": "\t\n", "B": "0.10"}},
        {"amount_minor": 2**63 - 1, "merchant_reference": "x" * 200},
        {"status": "requires_payment_method", "gateway": None, "instrument_token": None},
    ],
)
async def test_the_digest_is_the_same_after_the_database(pool, fields):
    one = await accepted(pool, ShiftedClock(), **fields)
    [read] = await read_payments(pool, {one.payment_id: ENTITY})
    assert read == one
    assert read.row_digest() == one.row_digest()
    assert replace(one, version=2).row_digest() != one.row_digest()
    assert replace(one, digest_salt=bytes(15) + b"x").row_digest() != one.row_digest()


STORIES: dict[str, list[Answer]] = {
    "approved": [APPROVED],
    "unknown, then approved": [Unknown("no_answer"), APPROVED],
    "action, then approved": [ACTION, APPROVED, APPROVED],
    "declined, canceled": [DECLINED, Canceled()],
    "canceled, then a late charge": [Canceled(), APPROVED],
    "another amount": [Mismatched(1, "EUR"), APPROVED],
    "given up, then canceled": [NotSent("gateway_error", fresh_key=True), Canceled()],
    "given up, canceled, then a late charge": [
        NotSent("gateway_error", fresh_key=True),
        Canceled(),
        APPROVED,
    ],
    "under way, then approved": [Pending(), Unknown("no_answer"), Unknown("no_answer"), APPROVED],
}


@pytest.mark.parametrize("story", STORIES)
async def test_events_fold_to_the_row_and_carry_its_digest(pool, story):
    clock = ShiftedClock()
    one = await accepted(pool, clock)
    engine = Engine(
        pool, clock, {"stripe": Staged()}, actor="worker",  # type: ignore[dict-item]
        lease=timedelta(seconds=25), buckets=range(BUCKETS),
    )  # fmt: skip
    engine.start()
    [claimed] = await engine.claim(10)
    seen = claimed.payment
    assert seen == one  # opening its attempt has left it alone
    sent = replace(claimed.attempt, gateway_object_id="pi_1")
    for number, answer in enumerate(STORIES[story]):
        call = Call(operation="confirm", started_at=clock.now(), duration_ms=number, outcome="x")
        answered = Answered(attempt=sent, answer=answer, call=call, asked="send", tries=1)
        seen = (await engine.settle(seen, answered, claimed.lease)).payment
    await engine.drain()
    history = await read_history(pool, ENTITY, one.payment_id)
    assert history is not None
    assert [event["version"] for event in history.events] == list(range(1, seen.version + 1))
    folded: dict[str, Any] = {}
    for event in history.events:
        folded |= {
            name: event["payload"][name] for name in _STATE_FIELDS if name in event["payload"]
        }
    for name, value in folded.items():
        assert msgspec.to_builtins(getattr(history.payment, name)) == value
    for name in set(_STATE_FIELDS) - set(folded):
        assert getattr(history.payment, name) == getattr(one, name)
    assert history.payment == seen
    assert bytes(history.events[-1]["row_digest"]) == history.payment.row_digest()
    counted = await pool.fetch("SELECT lane, review FROM reviews")
    review = history.payment.review
    assert [tuple(row) for row in counted] == ([("payments", review)] if review else [])
    # Each call is told once: by its event, or by the attempt where no event was written.
    told = [event["payload"]["call"] for event in history.events if "call" in event["payload"]]
    told += [call for one in history.attempts for call in one["calls"]]
    assert sorted(call["duration_ms"] for call in told) == list(range(len(STORIES[story])))


async def test_payloads_are_canonical(pool):
    one = await accepted(pool, ShiftedClock())
    async with pool.acquire() as connection:
        for row in await connection.fetch("SELECT payload FROM events"):
            content = msgspec.json.decode(row["payload"])
            assert msgspec.json.encode(content, order="sorted") == row["payload"]
    assert accepted_payload(one, "key-1") == accepted_payload(replace(one), "key-1")

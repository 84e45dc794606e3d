"""Many requests in one moment: each gets its own answer, and nobody pays twice."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.acceptance.client import Answer, Api, StandIn, fresh, order

REQUESTS = 512
CLIENTS = 200
TIMES = 3
REFUSED_REFERENCE = "the one that a CHECK refuses"


@pytest.fixture
async def extra_check(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """A rule in the database that the API knows nothing of."""
    await owner.execute(
        "ALTER TABLE payments ADD CONSTRAINT of_the_test "
        f"CHECK (merchant_reference <> '{REFUSED_REFERENCE}')"
    )
    yield
    await owner.execute("ALTER TABLE payments DROP CONSTRAINT of_the_test")


def statuses(answers: list[Answer]) -> list[int]:
    return sorted(answer.status for answer in answers)


async def test_one_bad_request_among_512_fails_alone(
    api: Api, stripe: StandIn, owner: asyncpg.Connection, extra_check: None
) -> None:
    key, reference = fresh("key"), fresh()
    twice = order()
    special = [
        api.pay(order(merchant_reference=f"{fresh()}\x00")),
        api.pay(order(amount=2**63)),
        api.pay(order(merchant_reference=REFUSED_REFERENCE)),
        api.pay(twice, key=key),
        api.pay(twice, key=key),
        api.pay(order(merchant_reference=reference)),
        api.pay(order(merchant_reference=reference)),
    ]
    plain = [api.pay(order()) for _ in range(REQUESTS - len(special))]
    middle = len(plain) // 2
    answers = await asyncio.gather(*plain[:middle], *special, *plain[middle:])
    nul, large, checked, key_one, key_two, order_one, order_two = answers[
        middle : middle + len(special)
    ]
    others = answers[:middle] + answers[middle + len(special) :]

    assert (nul.status, nul.code) == (422, "merchant_reference_characters")
    assert (large.status, large.code) == (422, "amount_invalid")
    assert (checked.status, checked.code) == (422, "refused_by_database")
    assert statuses([key_one, key_two]) in ([200, 202], [202, 202])
    assert sorted([key_one.replayed, key_two.replayed]) == [False, True]
    assert key_one.id == key_two.id
    assert statuses([order_one, order_two]) == [202, 409]
    loser, winner = sorted([order_one, order_two], key=lambda answer: -answer.status)
    assert loser.code == "merchant_reference_taken"
    assert loser.json["payment_id"] == winner.id
    assert {(answer.status, answer.replayed) for answer in others} == {(202, False)}

    accepted = [answer.id for answer in (*others, key_one, winner)]
    assert len(set(accepted)) == REQUESTS - 5
    settled = await api.all_settled(accepted)
    assert {payment["status"] for payment in settled} == {"succeeded"}
    charges = await stripe.charges()
    assert {len(charges[payment]) for payment in accepted} == {1}
    stored = await owner.fetchval(
        "SELECT count(*) FROM payments WHERE merchant_reference = $1", REFUSED_REFERENCE
    )
    assert stored == 0


async def test_each_request_sent_three_times_at_once_is_one_charge(
    api: Api, stripe: StandIn
) -> None:
    async def client() -> list[Answer]:
        body, key = order(), fresh("key")
        return await asyncio.gather(*(api.pay(body, key=key) for _ in range(TIMES)))

    families = await asyncio.gather(*(client() for _ in range(CLIENTS)))
    for family in families:
        assert len({answer.id for answer in family}) == 1
        first = [answer for answer in family if not answer.replayed]
        assert [answer.status in (201, 202) for answer in first] == [True]
        assert all(answer.status in (200, 202) for answer in family if answer.replayed)
    payments = [family[0].id for family in families]
    assert len(set(payments)) == CLIENTS
    settled = await api.all_settled(payments)
    assert {payment["status"] for payment in settled} == {"succeeded"}
    charges = await stripe.charges()
    assert {len(charges[payment]) for payment in payments} == {1}

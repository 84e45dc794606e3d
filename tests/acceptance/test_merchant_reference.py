"""One order is paid once: its reference is free only when no charge is possible any more."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.acceptance.client import Api, StandIn, fresh, order


async def test_a_second_intent_for_a_paid_order_is_refused_and_names_the_first(
    api: Api, stripe: StandIn
) -> None:
    body = order()
    paid = await api.pay(body, wait=20)
    assert paid.json["status"] == "succeeded"
    for second in (body, body | {"amount": 5000}, body | {"instrument": None}):
        refused = await api.pay(second)
        assert (refused.status, refused.code) == (409, "merchant_reference_taken")
        assert refused.json["payment_id"] == paid.id
        assert refused.json["field"] == "merchant_reference"
    assert len((await stripe.charges())[paid.id]) == 1


async def test_a_declined_payment_gives_its_reference_back(api: Api, stripe: StandIn) -> None:
    body, key = order("pm_card_chargeDeclinedInsufficientFunds"), fresh("key")
    declined = await api.pay(body, key=key)
    failed = await api.until(declined.id, "failed")
    assert failed["status_reason"] == "insufficient_funds"
    good = {"instrument": {"gateway": "stripe", "token": "pm_card_visa"}}
    paid = await api.pay(body | good, wait=20)
    assert (paid.replayed, paid.json["status"]) == (False, "succeeded")
    assert paid.id != declined.id
    replay = await api.pay(body, key=key)
    assert (replay.replayed, replay.id, replay.json["status"]) == (True, declined.id, "failed")
    charges = await stripe.charges()
    assert (len(charges[declined.id]), len(charges[paid.id])) == (0, 1)


async def test_of_many_who_take_up_a_free_reference_one_wins(api: Api, stripe: StandIn) -> None:
    reference = fresh()
    answers = await asyncio.gather(
        *(api.pay(order(merchant_reference=reference)) for _ in range(40))
    )
    won = [answer for answer in answers if answer.status == 202]
    assert len(won) == 1
    assert {a.json["payment_id"] for a in answers if a.status == 409} == {won[0].id}
    await api.until(won[0].id, "succeeded")
    assert len((await stripe.charges())[won[0].id]) == 1


async def test_what_was_not_paid_in_time_is_canceled_and_gives_its_reference_back(
    api: Api, stripe: StandIn
) -> None:
    not_after = datetime.now(UTC) + timedelta(seconds=5)
    body = order(token=None, not_after=not_after.isoformat())
    made = await api.pay(body)
    assert datetime.fromisoformat(made.json["not_after"]) == not_after
    held = await api.pay(order(merchant_reference=body["merchant_reference"]))
    assert held.code == "merchant_reference_taken"
    canceled = await api.until(made.id, "canceled")
    assert canceled["status_reason"] == "no_instrument_in_time"
    assert not_after <= datetime.fromisoformat(canceled["updated_at"])
    late = await api.confirm(made.id, "pm_card_visa")
    assert (late.status, late.code) == (409, "payment_is_over")
    paid = await api.pay(order(merchant_reference=body["merchant_reference"]), wait=20)
    assert paid.json["status"] == "succeeded"
    charges = await stripe.charges()
    assert (len(charges[made.id]), len(charges[paid.id])) == (0, 1)


async def test_an_unknown_outcome_holds_the_reference(api: Api, stripe: StandIn) -> None:
    body = order()
    mine = {"merchant_reference": body["merchant_reference"]}
    await stripe.knobs(
        {
            "fault": "drop_after",
            "match": {"operation": "payment_intents.confirm", "metadata": mine},
        },
        {
            "fault": "error_503",
            "match": {"operation": "payment_intents.retrieve", "metadata": mine},
        },
    )
    made = await api.pay(body)
    unknown = await api.until(made.id, "outcome_unknown")
    assert unknown["status_reason"] == "no_answer_from_gateway"
    second = await api.pay(body)
    assert (second.status, second.json["payment_id"]) == (409, made.id)
    await stripe.clear()
    await api.until(made.id, "succeeded")
    assert len((await stripe.charges())[made.id]) == 1

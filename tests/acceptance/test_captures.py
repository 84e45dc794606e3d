"""Holds are captured once or canceled, and whoever asks what at once, both sides tell the same."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Answer, Api, StandIn, fresh, order

AMOUNT = 1999
ROUNDS = 40
DELAY_MS = 700


async def held(api: Api, **fields: Any) -> str:
    """The id of a payment that holds money."""
    made = await api.pay(order(capture="manual", **fields), wait=20)
    assert (made.status, made.json["status"]) == (201, "authorized"), made
    return made.id


async def both_sides(api: Api, stripe: StandIn, payment_id: str) -> tuple[str, int, int]:
    """How the payment ended, what it says was captured, and what really was."""
    ended = await api.until(payment_id, "succeeded", "canceled", "failed")
    assert ended["review"] is None
    charge = await stripe.charge_of(payment_id)
    return ended["status"], ended["captured_amount"], charge["captured"]


ONE_TRUTH = (("succeeded", AMOUNT, AMOUNT), ("canceled", 0, 0))


class TestCapture:
    """What was authorized is taken when the caller says so."""

    async def test_a_hold_is_captured_in_full(self, api: Api, stripe: StandIn) -> None:
        payment_id = await held(api)
        payment = await api.payment(payment_id)
        assert (payment["captured_amount"], payment["capture"]) == (0, "manual")
        assert payment["capture_before"]
        assert (await stripe.charge_of(payment_id))["captured"] == 0
        captured = await api.capture(payment_id, wait=20)
        assert (captured.status, captured.json["status"]) == (200, "succeeded")
        assert await both_sides(api, stripe, payment_id) == ONE_TRUTH[0]

    async def test_a_hold_is_captured_in_part_and_the_rest_is_released(
        self, api: Api, stripe: StandIn
    ) -> None:
        payment_id = await held(api)
        captured = await api.capture(payment_id, 700, wait=20)
        assert (captured.json["captured_amount"], captured.json["amount"]) == (700, AMOUNT)
        assert await both_sides(api, stripe, payment_id) == ("succeeded", 700, 700)
        for again in (await api.capture(payment_id), await api.cancel(payment_id)):
            assert (again.status, again.code) == (409, "payment_is_over")

    async def test_a_repeated_key_captures_once(self, api: Api, stripe: StandIn) -> None:
        payment_id, key = await held(api), fresh("key")
        first = await api.capture(payment_id, 700, key=key)
        assert (first.status, first.replayed, first.json["status"]) == (202, False, "processing")
        await api.until(payment_id, "succeeded")
        again = await api.capture(payment_id, 700, key=key)
        assert (again.status, again.replayed) == (200, True)
        assert again.json["captured_amount"] == 700
        other = await api.capture(payment_id, 701, key=key)
        assert (other.status, other.code) == (422, "idempotency_key_reused")
        assert (await stripe.charge_of(payment_id))["captured"] == 700

    async def test_of_many_captures_at_once_one_counts(self, api: Api, stripe: StandIn) -> None:
        payment_id = await held(api)
        answers = await asyncio.gather(*(api.capture(payment_id, 100 + n) for n in range(20)))
        won = [number for number, answer in enumerate(answers) if answer.status == 202]
        assert len(won) == 1
        codes = {answer.code for answer in answers if answer.status == 409}
        assert codes <= {"capture_under_way", "payment_is_over"}
        taken = 100 + won[0]
        assert await both_sides(api, stripe, payment_id) == ("succeeded", taken, taken)

    async def test_more_than_is_held_is_refused(self, api: Api) -> None:
        payment_id = await held(api)
        over = await api.capture(payment_id, AMOUNT + 1)
        assert (over.status, over.code) == (409, "capture_exceeds_authorized")
        assert (await api.payment(payment_id))["status"] == "authorized"

    async def test_only_what_is_held_is_captured(self, api: Api) -> None:
        waiting = await api.pay(order(token=None, capture="manual"))
        automatic = await api.pay(order(), wait=20)
        for made, code in ((waiting, "payment_not_authorized"), (automatic, "payment_is_over")):
            refused = await api.capture(made.id)
            assert (refused.status, refused.code) == (409, code)

    async def test_after_an_action_of_the_customer_it_is_held_as_well(
        self, api: Api, stripe: StandIn
    ) -> None:
        made = await api.pay(order("pm_card_authenticationRequired", capture="manual"), wait=20)
        assert made.json["status"] == "requires_action"
        await stripe.decide(made.json["next_action"]["url"], "complete")
        assert (await api.confirm(made.id, wait=20)).status == 200
        await api.until(made.id, "authorized")
        assert (await api.capture(made.id, wait=20)).json["status"] == "succeeded"

    async def test_a_declined_hold_holds_nothing(self, api: Api) -> None:
        made = await api.pay(order("pm_card_visa_chargeDeclined", capture="manual"), wait=20)
        assert (made.json["status"], made.json["captured_amount"]) == ("failed", 0)

    async def test_a_refused_capture_leaves_the_hold_to_be_captured_again(
        self, api: Api, stripe: StandIn
    ) -> None:
        """The answer is lost each time, and the capture is not."""
        payment_id = await held(api)
        await stripe.knobs(
            {"fault": "drop_after", "match": {"operation": "payment_intents.capture"}}
        )
        await api.capture(payment_id, 700)
        assert await both_sides(api, stripe, payment_id) == ("succeeded", 700, 700)


class TestCancel:
    """No money is taken any more, once the gateway has confirmed that."""

    async def test_a_hold_is_released_and_its_reference_is_free(
        self, api: Api, stripe: StandIn
    ) -> None:
        reference = fresh()
        payment_id = await held(api, merchant_reference=reference)
        canceled = await api.cancel(payment_id, wait=20)
        assert (canceled.status, canceled.json["status"]) == (200, "canceled")
        assert canceled.json["status_reason"] == "requested_by_caller"
        assert await both_sides(api, stripe, payment_id) == ONE_TRUTH[1]
        again = await api.pay(order(merchant_reference=reference), wait=20)
        assert again.json["status"] == "succeeded"

    async def test_what_waits_for_an_instrument_is_canceled(
        self, api: Api, owner: asyncpg.Connection
    ) -> None:
        body = order(token=None)
        made = await api.pay(body)
        canceled = await api.cancel(made.id, wait=20)
        assert (canceled.json["status"], canceled.json["captured_amount"]) == ("canceled", 0)
        brought = await api.confirm(made.id, "pm_card_visa")
        assert brought.status == 409
        attempts = "SELECT count(*) FROM attempts WHERE payment_id = $1"
        assert await owner.fetchval(attempts, from_text("pay", made.id)) == 0
        assert (await api.pay(order(merchant_reference=body["merchant_reference"]))).status == 202

    async def test_what_waits_for_the_customer_is_canceled_there_too(
        self, api: Api, stripe: StandIn
    ) -> None:
        made = await api.pay(order("pm_card_authenticationRequired"), wait=20)
        url = made.json["next_action"]["url"]
        canceled = await api.cancel(made.id, wait=20)
        assert (canceled.json["status"], canceled.json["next_action"]) == ("canceled", None)
        await stripe.decide(url, "complete")
        assert made.id not in await stripe.charges()

    async def test_again_is_the_same_and_after_success_is_refused(self, api: Api) -> None:
        made, key = await api.pay(order(token=None)), fresh("key")
        first = await api.cancel(made.id, key=key)
        assert (first.status, first.json["status"]) == (202, "processing")
        await api.until(made.id, "canceled")
        replay, another = await api.cancel(made.id, key=key), await api.cancel(made.id)
        assert (replay.status, replay.replayed) == (200, True)
        assert (another.status, another.replayed) == (200, False)
        assert replay.json == another.json
        paid = await api.pay(order(), wait=20)
        late = await api.cancel(paid.id)
        assert (late.status, late.code) == (409, "payment_is_over")


class TestAtOnce:
    """Whatever meets whatever, there is one truth, and it is the same on both sides."""

    @pytest.mark.parametrize("first", ["capture", "cancel", "both"])
    async def test_capture_races_cancel(self, first: str, api: Api, stripe: StandIn) -> None:
        async def race() -> tuple[str, int, int]:
            payment_id = await held(api)
            asks = {"capture": api.capture, "cancel": api.cancel}
            names = sorted(asks, key=lambda name: name != first)
            going = []
            for name in names:
                going.append(asyncio.create_task(asks[name](payment_id)))
                if first != "both":
                    await asyncio.sleep(random.choice([0, 0.002, 0.02, 0.1]))
            answers: dict[str, Answer] = dict(zip(names, await asyncio.gather(*going), strict=True))
            assert {answer.status for answer in answers.values()} <= {200, 202, 409}
            truth = await both_sides(api, stripe, payment_id)
            # Whoever was told no was not the one who decided.
            if answers["capture"].status == 409:
                assert truth == ONE_TRUTH[1]
            if answers["cancel"].status == 409:
                assert truth == ONE_TRUTH[0]
            return truth

        turns = asyncio.Semaphore(8)

        async def in_turn() -> tuple[str, int, int]:
            async with turns:
                return await race()

        truths = await asyncio.gather(*(in_turn() for _ in range(ROUNDS)))
        assert set(truths) <= set(ONE_TRUTH)
        print(first, {truth[0]: truths.count(truth) for truth in set(truths)})

    @pytest.mark.parametrize("capture", ["automatic", "manual"])
    async def test_a_cancel_comes_while_a_confirm_is_under_way(
        self, capture: str, api: Api, stripe: StandIn
    ) -> None:
        await stripe.knobs(
            {
                "fault": "delay",
                "delay_ms": DELAY_MS,
                "match": {"operation": "payment_intents.confirm"},
            }
        )
        made = [await api.pay(order(capture=capture)) for _ in range(8)]
        for number, answer in enumerate(made):
            await asyncio.sleep(DELAY_MS / 4000 / len(made) * (number % 3))
            asked = await api.cancel(answer.id)
            over = (asked.status, asked.code) == (409, "payment_is_over")
            assert over or asked.status in (200, 202)
        for answer in made:
            ended = await api.until(answer.id, "succeeded", "canceled")
            charges = (await stripe.charges())[answer.id]
            assert len(charges) == (1 if ended["status"] == "succeeded" else 0)
            assert ended["captured_amount"] == sum(one["captured"] for one in charges)
            if capture == "manual":
                assert ended["status"] == "canceled"

    async def test_a_cancel_comes_while_a_capture_is_under_way(
        self, api: Api, stripe: StandIn
    ) -> None:
        payment_id = await held(api)
        await stripe.knobs(
            {
                "fault": "delay",
                "delay_ms": 6 * DELAY_MS,  # it is under way for longer than it takes to ask
                "match": {"operation": "payment_intents.capture"},
            }
        )
        assert (await api.capture(payment_id)).status == 202
        await asyncio.sleep(DELAY_MS / 2000)
        refused = await api.cancel(payment_id)
        assert (refused.status, refused.code) == (409, "capture_under_way")
        assert await both_sides(api, stripe, payment_id) == ONE_TRUTH[0]

    async def test_confirm_races_cancel(self, api: Api, stripe: StandIn) -> None:
        async def race() -> None:
            made = await api.pay(order(token=None))
            confirm, cancel = await asyncio.gather(
                api.confirm(made.id, "pm_card_visa"), api.cancel(made.id)
            )
            ended = await api.until(made.id, "succeeded", "canceled")
            taken = (await stripe.charges())[made.id]
            assert len(taken) == (ended["status"] == "succeeded")
            assert (confirm.status, cancel.status) in ((202, 202), (409, 202), (202, 409))
            if confirm.status == 409:
                assert ended["status"] == "canceled"

        await asyncio.gather(*(race() for _ in range(16)))

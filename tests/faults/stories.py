"""What customers do in a week, and what goes wrong at the gateway meanwhile."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from tests.faults.week import Shop, Story

AT_ONCE_OVER: Final = timedelta()

SECONDS: Final = timedelta(seconds=5)
FAULTS: Final = (
    ("drop_after", "payment_intents.confirm", "pm_card_be", 1.0),
    ("drop_before", "payment_intents.confirm", "pm_card_bg", 0.5),
    ("error_500_after", "payment_intents.confirm|create", "pm_card_cz", 0.5),
    ("error_503", "payment_intents.*", "pm_card_dk", 0.5),
    ("error_503", "payment_intents.*", "pm_card_at", 1.0),
    ("withhold_after", "payment_intents.confirm", "pm_card_fi", 0.2),
    ("drop_after", "payment_intents.capture|cancel", None, 0.1),
    ("drop_after", "refunds.create", None, 0.1),
    ("error_500_after", "refunds.create", None, 0.1),
    ("error_429", "refunds.retrieve|list", None, 0.02),
)
REFUND_SETTLES: Final = timedelta(days=2)


def knobs() -> dict[str, Any]:
    """What goes wrong at the gateway all week."""
    return {
        "rules": [
            {"fault": fault, "match": {
                "operation": operation, "probability": chance,
                **({} if card is None else {"payment_method": card})}}
            for fault, operation, card, chance in FAULTS
        ],
        "refund_settle_seconds": int(REFUND_SETTLES.total_seconds()),
    }  # fmt: skip


def hours(most: float) -> timedelta:
    return timedelta(hours=random.uniform(0, most))


async def paid(shop: Shop) -> Story:
    await shop.create(random.choice(("pm_card_visa", "pm_card_mastercard", "pm_card_amex")))
    if random.random() < 0.1:
        await shop.ask("GET", "/v1/payments?limit=20")
    yield AT_ONCE_OVER


async def declined(shop: Shop) -> Story:
    await shop.create(
        random.choice(("pm_card_chargeDeclined", "pm_card_visa_chargeDeclinedExpiredCard"))
    )
    yield AT_ONCE_OVER


async def three_d_secure(shop: Shop) -> Story:
    payment = await shop.create("pm_card_threeDSecure2Required")
    yield SECONDS
    what = random.choice(("complete", "complete", "fail", None))
    if what is not None:
        await shop.act(payment, what)


async def brought_later(shop: Shop) -> Story:
    payment = await shop.create(None)
    yield SECONDS
    what = random.random()
    if what < 0.7:
        instrument = {"gateway": "stripe", "token": "pm_card_visa"}
        await shop.post(f"/v1/payments/{payment}/confirm", {"instrument": instrument})
    elif what < 0.85:
        await shop.post(f"/v1/payments/{payment}/cancel", {})


async def not_in_time(shop: Shop) -> Story:
    ends = shop.clock.now() + timedelta(seconds=random.choice((2, 30, 90)))
    await shop.create(random.choice((None, "pm_card_at")), not_after=ends.isoformat())
    yield AT_ONCE_OVER


async def unknown(shop: Shop) -> Story:
    cards = ("pm_card_be", "pm_card_bg", "pm_card_cz", "pm_card_dk", "pm_card_fi")
    await shop.create(random.choices(cards, (4, 4, 4, 4, 1))[0])
    yield AT_ONCE_OVER


async def canceled_at_once(shop: Shop) -> Story:
    payment = await shop.create("pm_card_visa")
    await shop.post(f"/v1/payments/{payment}/cancel", {})
    yield AT_ONCE_OVER


async def held(shop: Shop) -> Story:
    payment = await shop.create("pm_card_visa", capture="manual")
    yield hours(20)
    what = random.random()
    if what < 0.75:
        amount = {} if what < 0.5 else {"amount": 400}
        await shop.post(f"/v1/payments/{payment}/capture", amount)
        if random.random() < 0.2:
            await shop.post(f"/v1/payments/{payment}/cancel", {})
    elif what < 0.9:
        await shop.post(f"/v1/payments/{payment}/cancel", {})
    # The others end by themselves, a week later.


WISHES: Final[tuple[tuple[dict[str, int], ...], ...]] = (
    ({},),
    ({"amount": 300},),
    ({"amount": 200}, {"amount": 100}),
    ({"amount": 200}, {}),
    ({}, {"amount": 100}),
)
"""Refunds of one payment; the last one asks for more than is left."""


async def refunded(shop: Shop) -> Story:
    cards = ("pm_card_visa", "pm_card_refundFail", "pm_card_pendingRefund")
    payment = await shop.create(random.choices(cards, (8, 1, 1))[0])
    yield hours(20)
    for wish in random.choice(WISHES):
        await shop.post("/v1/refunds", {"payment": payment, **wish})
        if random.random() < 0.5:
            yield hours(2)


STORIES: Final[dict[Callable[[Shop], Story], int]] = {
    paid: 46, declined: 7, three_d_secure: 8, brought_later: 7, not_in_time: 3, unknown: 6,
    canceled_at_once: 2, held: 10, refunded: 11,
}  # fmt: skip

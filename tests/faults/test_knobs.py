"""Every way in which a gateway fails, by chance, over many payments; then it works again."""

import asyncio
import random
import time
from typing import Any

import aiohttp
import pytest

from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment, Rule
from tests.faults.judge import judge, statuses, until_ended
from tests.faults.shoppers import Order, Shoppers, orders_of

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS_OF_EACH = 200
KNOBS_SECONDS = 10.0
END_SECONDS_MAX = 150.0
OPERATIONS = "payment_intents.create|confirm|retrieve|cancel"
# A card of its own for each fault: all of them run at the same time.
FAULTS: tuple[tuple[str, str, Rule], ...] = (
    ("pm_card_at", "error_500_before", {}),
    ("pm_card_be", "error_500_after", {}),
    ("pm_card_bg", "error_500_saved", {}),
    ("pm_card_cz", "drop_before", {}),
    ("pm_card_dk", "drop_after", {}),
    ("pm_card_ee", "error_429", {}),
    ("pm_card_fi", "error_503", {}),
    ("pm_card_fr", "malformed", {}),
    ("pm_card_de", "delay", {"delay_ms": 1600}),
)
CHANCE = 0.3
MIXED_CHANCE = 0.05
MIXED_CARDS = (
    ("pm_card_visa", None),
    ("pm_card_chargeDeclined", None),
    ("pm_card_chargeDeclinedInsufficientFunds", None),
    ("pm_card_visa_chargeDeclinedExpiredCard", None),
    ("pm_card_threeDSecure2Required", 8.0),
    ("pm_card_threeDSecureRequiredChargeDeclined", 8.0),
    ("pm_card_mastercard", 3.0),
    ("pm_card_amex", 3.0),
)
"""A card and the seconds until not_after."""


def knobs() -> list[Rule]:
    rules: list[Rule] = [
        {
            "fault": fault,
            "match": {"operation": OPERATIONS, "payment_method": card, "probability": CHANCE},
            **more,
        }
        for card, fault, more in FAULTS
    ]
    mixed: list[Rule] = [
        {
            "fault": fault,
            "match": {"operation": OPERATIONS, "payment_method": card, "probability": MIXED_CHANCE},
            **more,
        }
        for card, _ in MIXED_CARDS
        for _, fault, more in FAULTS
    ]
    cancels: list[Rule] = [  # what was declined holds no card that a rule could name
        {
            "fault": fault,
            "match": {"operation": "payment_intents.cancel", "probability": MIXED_CHANCE},
            **more,
        }
        for _, fault, more in FAULTS
    ]
    return rules + mixed + cancels


def orders() -> list[Order]:
    made = [
        order
        for card, fault, _ in FAULTS
        for order in orders_of(fault, PAYMENTS_OF_EACH, token=card)
    ]
    for number, order in enumerate(orders_of("mixed", PAYMENTS_OF_EACH)):
        order.token, order.not_after_seconds = MIXED_CARDS[number % len(MIXED_CARDS)]
        made.append(order)
    random.shuffle(made)
    return made


async def take_actions(deployment: Deployment, over: asyncio.Event) -> int:
    """Customers who are asked for 3-D Secure: most pass, some fail, some never answer."""
    met: set[str] = set()
    taken = 0
    async with aiohttp.ClientSession() as session:
        while not over.is_set():
            rows = await deployment.fetch(
                "SELECT payment_id, next_action->'redirect_to_url'->>'url' AS deep, "
                "next_action->>'url' AS url FROM payments WHERE status = 'requires_action'"
            )
            for row in rows:
                url = row["url"] or row["deep"]
                if url is None or url in met:
                    continue
                met.add(url)
                decision = random.choice(("complete", "complete", "fail", None))
                if decision is not None:
                    taken += 1
                    async with session.post(f"{url}/{decision}", allow_redirects=False) as reply:
                        assert reply.status in (200, 303), (url, reply.status)
            await asyncio.sleep(0.3)
    return taken


async def by_fault(deployment: Deployment) -> dict[str, Any]:
    """What became of each group: payments by status, and attempts at most."""
    rows = await deployment.fetch(
        "SELECT split_part(merchant_reference, '-', 1) AS fault, status, count(*) AS many, "
        "max(attempt_no) AS attempts FROM payments GROUP BY 1, 2 ORDER BY 1, 2"
    )
    found: dict[str, Any] = {}
    for row in rows:
        found.setdefault(row["fault"], {})[row["status"]] = (row["many"], row["attempts"])
    return found


async def test_every_fault_by_chance(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=1.0)
    await deployment.set_knobs(*knobs())
    shoppers, over, begun = Shoppers(deployment), asyncio.Event(), time.monotonic()
    acting = asyncio.create_task(take_actions(deployment, over))
    await shoppers.send_all(orders())
    print(f"sent within {time.monotonic() - begun:.1f} s: {dict(shoppers.answers)}")
    await asyncio.sleep(max(0.0, KNOBS_SECONDS - (time.monotonic() - begun)))
    print(f"before the knobs are cleared: {dict(await statuses(deployment))}")
    await deployment.clear_knobs()
    try:
        seconds = await until_ended(deployment, END_SECONDS_MAX)
        print(f"all ended {seconds:.1f} s after the knobs were cleared")
    finally:
        over.set()
        print(f"{await acting} actions taken")
        for fault, found in (await by_fault(deployment)).items():
            print(f"{fault}: {found}")
    judged = await judge(deployment, shoppers.accepted)
    print(f"{judged.statuses}, {judged.charges} charges, attempts {judged.attempts_most}")
    assert not shoppers.refused
    assert not shoppers.unanswered
    for fault, found in (await by_fault(deployment)).items():
        # Cards that work are charged, whatever the gateway did meanwhile.
        assert fault == "mixed" or set(found) == {"succeeded"}, (fault, found)

"""What is bought and given back meanwhile, and what befalls it at the gateways."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.faults.cashiers import Cashiers
from tests.faults.deployment import Deployment
from tests.faults.shoppers import Order, Shoppers

AT_ONCE: Final = 32
LOOK_SECONDS: Final = 0.1
ENDS_SECONDS_MAX: Final = 120.0
CHALLENGE_SECONDS_MAX: Final = 30.0
DISPUTED_EACH: Final = 3
"""Every third sale at Braintree is disputed, the others are settled and paid out."""
STORIES: Final = {
    "paid": 34, "declined": 8, "challenged": 10, "held": 10, "given_back": 20, "disputed": 4,
    "at_braintree": 14,
}  # fmt: skip
GIVEN_BACK: Final = {"pm_card_visa": 6, "pm_card_pendingRefund": 1, "pm_card_refundFail": 2}
"""Cards whose refund succeeds at once, succeeds later, and fails after it has succeeded."""
CHALLENGED_SQL: Final = """
SELECT payment_id, next_action->>'url' AS url FROM payments
WHERE status = 'requires_action' AND next_action->>'url' IS NOT NULL
"""


@dataclass(slots=True)
class Customers:
    """Each number is a payment, with a story by chance. Use `buy` from as many as are wanted."""

    deployment: Deployment
    session: aiohttp.ClientSession
    shoppers: Shoppers = field(init=False)
    at_braintree: Shoppers = field(init=False)
    cashiers: Cashiers = field(init=False)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.shoppers, self.at_braintree = Shoppers(self.deployment), Shoppers(self.deployment)
        self.cashiers = Cashiers(self.deployment)

    @property
    def payments(self) -> int:
        """How many were answered 2xx."""
        return len(self.shoppers.accepted) + len(self.at_braintree.accepted)

    async def buy(self, numbers: range, may_begin: Callable[[int], Awaitable[None]]) -> None:
        """All of these, in order; the next one begins when it may."""
        waiting = iter(numbers)

        async def one_by_one() -> None:
            for number in waiting:
                await may_begin(number)
                [story] = random.choices(list(STORIES), list(STORIES.values()))
                await getattr(self, f"_{story}")(f"{story}-{number:06d}", 1000 + number % 9000)

        await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))

    async def _send(self, reference: str, token: str, amount: int, **more: Any) -> str:
        order = Order(reference, token, amount, **more)
        await self.shoppers.send(self.session, order)
        return self.shoppers.accepted[reference]

    async def _paid(self, reference: str, amount: int) -> None:
        await self._send(reference, "pm_card_visa", amount)

    async def _declined(self, reference: str, amount: int) -> None:
        await self._send(reference, "pm_card_chargeDeclined", amount)

    async def _disputed(self, reference: str, amount: int) -> None:
        await self._send(reference, "pm_card_createDispute", amount)

    async def _challenged(self, reference: str, amount: int) -> None:
        ends = {"not_after_seconds": CHALLENGE_SECONDS_MAX}
        await self._send(reference, "pm_card_threeDSecure2Required", amount, **ends)

    async def _held(self, reference: str, amount: int) -> None:
        payment = await self._send(reference, "pm_card_visa", amount, capture="manual")
        await self._until(payment, "authorized")
        if random.random() < 0.7:
            await self.cashiers.capture(self.session, payment, random.choice((amount, 600)))
        else:
            await self.cashiers.cancel(self.session, payment)

    async def _given_back(self, reference: str, amount: int) -> None:
        [card] = random.choices(list(GIVEN_BACK), list(GIVEN_BACK.values()))
        payment = await self._send(reference, card, amount)
        await self._until(payment, "succeeded")
        await self.cashiers.refund(self.session, payment, 300, 1)
        if random.random() < 0.5:
            await self.cashiers.refund(self.session, payment, amount - 300, 2)

    async def _at_braintree(self, reference: str, amount: int) -> None:
        order = Order(reference, "fake-valid-visa-nonce", amount, gateway="braintree")
        await self.at_braintree.send(self.session, order)

    async def _until(self, payment: str, status: str) -> None:
        ready = self.deployment.ready
        headers = {"Authorization": f"Bearer {ready['api_key']}"}
        url = f"{ready['api_url']}/v1/payments/{payment}"
        async with asyncio.timeout(ENDS_SECONDS_MAX):
            while True:
                async with self.session.get(url, headers=headers) as answer:
                    if (await answer.json())["status"] == status:
                        return
                await asyncio.sleep(LOOK_SECONDS)

    async def pass_challenges(self) -> None:
        """Whoever is asked for 3-D Secure passes or fails, until all is `over`."""
        met: set[str] = set()
        while not self.over.is_set():
            for row in await self.deployment.fetch(CHALLENGED_SQL):
                url = row["url"]
                if url not in met:
                    met.add(url)
                    what = random.choice(("complete", "complete", "fail"))
                    async with self.session.post(f"{url}/{what}", allow_redirects=False) as answer:
                        assert answer.status in (200, 303), (url, answer.status)
            await asyncio.sleep(LOOK_SECONDS)

    async def befall(self) -> None:
        """Braintree's bank disputes some sales, settles the others and pays them out."""
        page = await self._braintree("GET", "/_ledger/charges?limit=10000&kind=taken")
        for number, charge in enumerate(page["data"]):
            if number % DISPUTED_EACH == 0:
                asked = {"transaction": charge["id"]}
                dispute = (await self._braintree("POST", "/_disputes", asked))["id"]
                ends = {"dispute": dispute, "status": random.choice(("won", "lost"))}
                await self._braintree("POST", "/_disputes", ends)
            else:
                await self._braintree("POST", "/_settle", {"transaction": charge["id"]})
        if len(page["data"]) > 1:
            await self._braintree("POST", "/_disbursements", {"merchant_account": None})
        await self._braintree("POST", "/_webhooks/check")

    async def _braintree(self, method: str, path: str, body: object = None) -> Any:
        url = self.deployment.ready["braintree_url"] + path
        headers = {"X-Knob-Token": self.deployment.ready["knob_token"]}
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            return await answer.json()

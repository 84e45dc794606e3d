"""Traffic that never pauses: creates, confirms, reads, lists and replays, every answer counted."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.faults.deployment import Deployment

ANSWER_SECONDS_MAX: Final = 20.0
RETRY_SECONDS: Final = 0.02
RETRIES_MAX: Final = 40
GOOD: Final = (200, 201, 202)
CARDS: Final[dict[str | None, int]] = {
    "pm_card_visa": 8,
    "pm_card_mastercard": 4,
    "pm_card_chargeDeclined": 1,
    "pm_card_threeDSecure2Required": 1,
    None: 3,
}
"""A card, or none so far, and how often."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that was answered otherwise than with success, or cut off."""

    at: float
    what: str
    answer: str


@dataclass(slots=True)
class Made:
    """A payment that was answered 2xx, and the request that a replay sends again."""

    payment_id: str
    body: dict[str, Any]
    key: str
    card: str | None
    confirm: dict[str, Any] | None = None


@dataclass(slots=True)
class Traffic:
    """Clients that keep their connections, as a merchant's do.

    A request that is cut off is sent again with its key; so is nothing else.
    """

    deployment: Deployment
    clients: int = 12
    pause_seconds: float = 0.02
    number: int = 0
    made: list[Made] = field(default_factory=list)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    failed: list[Failed] = field(default_factory=list)
    cut_off: list[Failed] = field(default_factory=list)
    slowest_seconds: float = 0.0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _met: set[str] = field(default_factory=set)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    @property
    def accepted(self) -> dict[str, str]:
        """Merchant reference → payment id of everything that was answered 2xx."""
        return {made.body["merchant_reference"]: made.payment_id for made in self.made}

    async def begin(self) -> None:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self.clients)]

    async def end(self) -> None:
        """No new requests; returns when all are answered."""
        self.over.set()
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not self.over.is_set():
                await random.choice((self.create, self.create, self.read, self.page, self.replay))(
                    session
                )
                await asyncio.sleep(random.uniform(0, 2 * self.pause_seconds))

    async def create(self, session: aiohttp.ClientSession, card: str | None = "any") -> Made | None:
        """A new payment; one without a card is confirmed with one, one with 3-D Secure passed."""
        self.number += 1
        number = self.number
        token = random.choices(list(CARDS), list(CARDS.values()))[0] if card == "any" else card
        body: dict[str, Any] = {
            "amount": 1000 + number,
            "currency": "EUR",
            "merchant_reference": f"traffic-{number:06d}",
        }
        if token is not None:
            body["instrument"] = {"gateway": "stripe", "token": token}
        made = Made("", body, f"key-{number:06d}", token)
        wait = {"Prefer": "wait=5"} if random.random() < 0.2 else {}
        answer = await self.ask(session, "create", "POST", "/v1/payments", body, made.key, wait)
        if answer is None:
            return None
        made.payment_id = answer["id"]
        self.made.append(made)
        if token is None and card == "any" and random.random() < 0.8:
            await self.confirm(session, made)
        if answer["status"] == "requires_action" and card == "any":
            await self.act(session, answer["next_action"])
        return made

    async def confirm(self, session: aiohttp.ClientSession, made: Made) -> None:
        """Bring a card."""
        made.confirm = {"instrument": {"gateway": "stripe", "token": "pm_card_visa"}}
        path = f"/v1/payments/{made.payment_id}/confirm"
        await self.ask(session, "confirm", "POST", path, made.confirm, "c" + made.key)

    async def act(self, session: aiohttp.ClientSession, action: dict[str, Any]) -> None:
        """The customer passes 3-D Secure."""
        async with session.post(action["url"] + "/complete", allow_redirects=False) as reply:
            assert reply.status in (200, 303), reply.status

    async def read(self, session: aiohttp.ClientSession) -> None:
        """One payment; an action that it asks for is taken."""
        if self.made:
            made = random.choice(self.made)
            answer = await self.ask(session, "read", "GET", f"/v1/payments/{made.payment_id}")
            if answer and answer["status"] == "requires_action" and random.random() < 0.5:
                url = answer["next_action"]["url"]
                if url not in self._met:
                    self._met.add(url)
                    await self.act(session, answer["next_action"])

    async def page(self, session: aiohttp.ClientSession) -> None:
        """A page of payments."""
        await self.ask(session, "list", "GET", f"/v1/payments?limit={random.randint(1, 40)}")

    async def replay(self, session: aiohttp.ClientSession, made: Made | None = None) -> None:
        """An earlier request once more: it must be answered with the same payment."""
        if not self.made:
            return
        made = made or random.choice(self.made)
        path, body, key = "/v1/payments", made.body, made.key
        if made.confirm is not None and random.random() < 0.5:
            path = f"{path}/{made.payment_id}/confirm"
            body, key = made.confirm, "c" + made.key
        answer = await self.ask(session, "replay", "POST", path, body, key)
        assert answer is None or answer["id"] == made.payment_id, (made, answer)

    async def ask(
        self,
        session: aiohttp.ClientSession,
        what: str,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The answer's body when it was a success, else None."""
        ready = self.deployment.ready
        sent = {"Authorization": f"Bearer {ready['api_key']}", **(headers or {})}
        if key is not None:
            sent["Idempotency-Key"] = key
        for _ in range(RETRIES_MAX):
            begun = time.monotonic()
            try:
                async with session.request(
                    method, ready["api_url"] + path, json=body, headers=sent
                ) as reply:
                    status, answer = reply.status, await reply.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.cut_off.append(Failed(time.monotonic(), what, type(error).__name__))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - begun)
            self.answers[what, status] += 1
            if status in GOOD:
                return answer
            self.failed.append(
                Failed(time.monotonic(), what, f"{status} {answer.get('code') if answer else ''}")
            )
            return None
        self.failed.append(Failed(time.monotonic(), what, "never answered"))
        return None

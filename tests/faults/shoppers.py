"""Clients that behave as documented: on no answer or 503 they send the same request again."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp

from tests.faults.deployment import Deployment

ANSWER_SECONDS_MAX: Final = 8.0
RETRY_SECONDS: Final = (0.05, 0.4)
SENT_AGAIN: Final = 0.05
"""This share of the requests is sent once more after its 2xx: a replay, with the same id."""


@dataclass(slots=True)
class Order:
    """One payment that a client wants."""

    reference: str
    token: str = "pm_card_visa"
    amount: int = 1999
    currency: str = "EUR"
    not_after_seconds: float | None = None
    capture: str = "automatic"
    gateway: str = "stripe"
    account: str | None = None

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "amount": self.amount,
            "currency": self.currency,
            "merchant_reference": self.reference,
            "instrument": {"gateway": self.gateway, "token": self.token},
            "capture": self.capture,
        }
        if self.account is not None:
            body["instrument"]["account"] = self.account
        if self.not_after_seconds is not None:
            moment = datetime.now(UTC) + timedelta(seconds=self.not_after_seconds)
            body["not_after"] = moment.isoformat()
        return body


@dataclass(slots=True)
class Shoppers:
    """Sends orders and remembers what was answered."""

    deployment: Deployment
    give_up_seconds: float = 90.0
    accepted: dict[str, str] = field(default_factory=dict)
    """merchant reference → payment id of every request that was answered 2xx."""
    unanswered: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    async def send_all(
        self, orders: list[Order], *, at_once: int = 64, per_second: float | None = None
    ) -> None:
        """Send every order, at most `at_once` at a time and `per_second`, until all are over."""
        begun, waiting = time.monotonic(), list(reversed(orders))
        async with self.session() as session:

            async def one_by_one() -> None:
                while waiting:
                    number = len(orders) - len(waiting)
                    order = waiting.pop()
                    if per_second:
                        wait = begun + number / per_second - time.monotonic()
                        await asyncio.sleep(max(0.0, wait))
                    await self.send(session, order)

            await asyncio.gather(*(one_by_one() for _ in range(at_once)))

    def session(self) -> aiohttp.ClientSession:
        """Connections for `send`; it ends with the caller's block."""
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def send(self, session: aiohttp.ClientSession, order: Order) -> None:
        """One order, again and again until it is over."""
        body, begun = order.body(), time.monotonic()
        while time.monotonic() - begun < self.give_up_seconds:
            asked = time.monotonic()
            status, answer = await self._ask(session, order, body)
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - asked)
            self.answers[str(status)] += 1
            if status in (200, 201, 202):
                known = self.accepted.setdefault(order.reference, answer["id"])
                assert known == answer["id"], f"{order.reference}: {known} became {answer['id']}"
                if random.random() >= SENT_AGAIN:
                    return
            elif status not in (0, 500, 503):
                self.refused[order.reference] = f"{status} {answer.get('code')}"
                return
            await asyncio.sleep(random.uniform(*RETRY_SECONDS))
        if order.reference not in self.accepted:
            self.unanswered.add(order.reference)

    async def _ask(
        self, session: aiohttp.ClientSession, order: Order, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Status and body; 0 when there was no answer."""
        ready = self.deployment.ready
        headers = {
            "Authorization": f"Bearer {ready['api_key']}",
            "Idempotency-Key": f"key-{order.reference}",
        }
        try:
            async with session.post(
                ready["api_url"] + "/v1/payments", json=body, headers=headers
            ) as reply:
                return reply.status, await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self.answers[type(error).__name__] += 1
            return 0, {}


def orders_of(prefix: str, count: int, **more: Any) -> list[Order]:
    """Orders with references of their own; the amounts differ, so that a mix-up shows."""
    return [
        Order(f"{prefix}-{number:05d}", amount=1000 + number, **more) for number in range(count)
    ]

"""Clients that capture, cancel and refund; on no answer or 503 they send the same request again."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.faults.deployment import Deployment

ANSWER_SECONDS_MAX: Final = 8.0
RETRY_SECONDS: Final = (0.05, 0.4)
GIVE_UP_SECONDS: Final = 120.0
SENT_AGAIN: Final = 0.1
"""This share of the requests is sent once more after its answer."""


@dataclass(slots=True)
class Cashiers:
    """Asks for things and remembers what was answered."""

    deployment: Deployment
    answers: Counter[str] = field(default_factory=Counter)
    refunds: dict[str, int] = field(default_factory=dict)
    """Id of every refund that was answered 2xx, and its amount."""

    async def capture(self, session: aiohttp.ClientSession, payment_id: str, amount: int) -> int:
        """The status that it was answered with in the end."""
        path = f"/v1/payments/{payment_id}/capture"
        status, _ = await self.ask(session, path, {"amount": amount}, f"c-{payment_id}")
        return status

    async def cancel(self, session: aiohttp.ClientSession, payment_id: str) -> int:
        """As `capture`."""
        path = f"/v1/payments/{payment_id}/cancel"
        status, _ = await self.ask(session, path, {}, f"x-{payment_id}")
        return status

    async def refund(
        self, session: aiohttp.ClientSession, payment_id: str, amount: int, number: int = 0
    ) -> int:
        """As `capture`; what was accepted is remembered."""
        body = {"payment": payment_id, "amount": amount}
        key = f"r-{payment_id}-{number}"
        status, answer = await self.ask(session, "/v1/refunds", body, key)
        if status < 300:
            assert answer["amount"] == amount
            self.refunds[answer["id"]] = amount
        return status

    async def ask(
        self, session: aiohttp.ClientSession, path: str, body: dict[str, Any], key: str
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer, sent again until there is one."""
        begun, known = time.monotonic(), None
        while time.monotonic() - begun < GIVE_UP_SECONDS:
            status, answer = await self._once(session, path, body, key)
            self.answers[f"{status} {answer.get('code', '')}".strip()] += 1
            if status not in (0, 500, 503):
                assert known in (None, answer.get("id")), (known, answer)
                known = answer.get("id")
                if random.random() >= SENT_AGAIN:
                    return status, answer
            await asyncio.sleep(random.uniform(*RETRY_SECONDS))
        raise AssertionError(f"{path} was never answered")

    async def _once(
        self, session: aiohttp.ClientSession, path: str, body: dict[str, Any], key: str
    ) -> tuple[int, dict[str, Any]]:
        ready = self.deployment.ready
        headers = {"Authorization": f"Bearer {ready['api_key']}", "Idempotency-Key": key}
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        try:
            async with session.post(
                ready["api_url"] + path, json=body, headers=headers, timeout=timeout
            ) as reply:
                return reply.status, await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0, {}

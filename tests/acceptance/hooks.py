"""Webhooks as Stripe sends them, signed by its SDK, to an account of the deployment."""

import asyncio
import hashlib
import json
import time
import uuid
from typing import Any

import aiohttp
import asyncpg
from msgspec import Struct
from stripe import WebhookSignature

from strongroom.ids import from_text
from tests.acceptance.client import SETTLE_SECONDS_MAX, until
from tests.acceptance.running import Running

ROW = "SELECT * FROM webhook_events WHERE gateway_event_id = $1"
ATTEMPT = "SELECT * FROM attempts WHERE payment_id = $1 ORDER BY attempt_no DESC LIMIT 1"
EVENTS_OF_ALARM = "SELECT * FROM events WHERE payment_id = $1 ORDER BY version"
LATER = "UPDATE jobs SET run_at = run_at + interval '1 hour' WHERE payment_id = $1 AND NOT held"
LISTS_LATER = (
    "UPDATE settlement_looks SET run_at = run_at + interval '1 hour' "
    "WHERE noun = $1 AND gateway_object_id = ''"
)


def fresh_event_id() -> str:
    """Letters alone: a log blots out thirteen digits in a row, which hexadecimal has by chance."""
    return "evt_" + uuid.uuid4().hex.translate(str.maketrans("0123456789", "ghijklmnop"))


def signed(body: bytes, secret: str, at: float | None = None) -> str:
    """The header of a genuine delivery; `at` in Unix seconds."""
    timestamp = int(time.time() if at is None else at)
    made: str = WebhookSignature.generate_signature_header(body.decode(), secret, timestamp)
    return made


def event(
    shown: dict[str, Any], kind: str = "payment_intent.succeeded", **changes: Any
) -> dict[str, Any]:
    """A snapshot event about an object."""
    made = {
        "id": fresh_event_id(), "object": "event", "api_version": "2026-10-28.endive",
        "created": int(time.time()), "data": {"object": shown}, "livemode": False,
        "pending_webhooks": 1, "request": {"id": None, "idempotency_key": None}, "type": kind,
    }  # fmt: skip
    return made | changes


def thin(object_id: str, **changes: Any) -> dict[str, Any]:
    """A thin event, which names its object and shows nothing of it."""
    made = {
        "id": fresh_event_id(), "object": "v2.core.event", "type": "v1.payment_intent.succeeded",
        "created": "2026-11-28T12:00:00.000Z", "livemode": False,
        "related_object": {"id": object_id, "type": "payment_intent", "url": "/v1/x"},
    }  # fmt: skip
    return made | changes


class Refusal(Struct, frozen=True):
    """What the sender was told."""

    status: int
    code: str | None


class Account(Struct, frozen=True):
    """A gateway account that webhooks are sent to, as the gateway knows it."""

    session: aiohttp.ClientSession
    url: str
    secret: str
    owner: asyncpg.Connection

    async def send(
        self, body: dict[str, Any] | bytes, header: str | list[str] | None = None
    ) -> Refusal:
        """Sends it with a genuine signature, or with this header, or with these."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if header is None:
            header = signed(raw, self.secret)
        values = [header] if isinstance(header, str) else header
        headers = [("Stripe-Signature", value) for value in values]
        async with self.session.post(self.url, data=raw, headers=headers) as answer:
            content = await answer.read()
            return Refusal(answer.status, json.loads(content).get("code"))

    async def row(self, event_id: str) -> asyncpg.Record | None:
        return await self.owner.fetchrow(ROW, event_id)

    async def ended(self, event_id: str) -> asyncpg.Record:
        """Its row once a worker has been at it."""
        async with asyncio.timeout(SETTLE_SECONDS_MAX):
            while True:
                row = await self.row(event_id)
                if row is not None and row["state"] != "received":
                    return row
                await asyncio.sleep(0.02)


async def intent_of(owner: asyncpg.Connection, payment_id: str) -> dict[str, Any]:
    """What the gateway would show of a payment's intent."""
    attempt = await owner.fetchrow(ATTEMPT, from_text("pay", payment_id))
    assert attempt is not None
    return {
        "id": attempt["gateway_object_id"], "object": "payment_intent", "status": "succeeded",
        "amount": attempt["amount_minor"], "currency": attempt["currency"].lower(),
        "metadata": {
            "strongroom_payment": payment_id, "strongroom_attempt": str(attempt["attempt_no"])
        },
    }  # fmt: skip


async def stop_polling(owner: asyncpg.Connection, payment_id: str) -> None:
    """From now on nobody looks at the payment for an hour, unless something tells him to."""

    async def put_off() -> bool:
        return await owner.execute(LATER, from_text("pay", payment_id)) == "UPDATE 1"

    await until(put_off)


async def stop_lists(owner: asyncpg.Connection, noun: str) -> None:
    """From now on nobody goes through the gateways' lists of these, unless he is told to.

    Else it may be their turn in the very moment in which a test shows that nobody knows yet.
    """
    assert await owner.execute(LISTS_LATER, noun) != "UPDATE 0"


async def assert_standing(
    running: Running, account: Account, kind: str, subject: str, reason: str
) -> str:
    """One alarm about this, as a row, an event and a line of the command; returns its id."""
    lines = json.loads(running.command("alarms", "--json", "--limit", "1000"))
    [line] = [one for one in lines if (one["kind"], one["subject"]) == (kind, subject)]
    assert line["reason"] == reason
    assert line["account"] == account.url.rpartition("/")[2]
    assert line["what_to_do"].startswith("docs/runbooks/")
    [told] = await account.owner.fetch(EVENTS_OF_ALARM, from_text("alm", line["alarm"]))
    assert (told["version"], told["kind"]) == (1, "alarm.raised")
    payload = json.loads(told["payload"])
    assert (payload["kind"], payload["subject"], payload["reason"]) == (kind, subject, reason)
    assert hashlib.sha256(told["payload"]).digest() == told["row_digest"]
    name: str = line["alarm"]
    return name


async def looked_at(owner: asyncpg.Connection, payment_id: str) -> bool:
    """Whether its next look is not an hour away any more."""
    left = await owner.fetchval(
        "SELECT run_at - now() FROM jobs WHERE payment_id = $1", from_text("pay", payment_id)
    )
    return left is None or left.total_seconds() < 1800

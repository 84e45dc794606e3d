"""What tests of bulks ask of an answer and of the database."""

import json
from typing import Any

import asyncpg

from tests.acceptance.client import Answer, Api


def bulk_body(items: list[dict[str, Any]], **more: Any) -> bytes:
    return json.dumps({"payments": items} | more).encode()


def results(answer: Answer) -> list[dict[str, Any]]:
    """The results of a bulk that could be read: one an item, in order, each of one kind."""
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json"), answer
    found: list[dict[str, Any]] = answer.json["results"]
    assert [one["index"] for one in found] == list(range(len(found)))
    for one in found:
        accepted = one["status"] < 300
        kind = "payment" if accepted else "problem"
        assert set(one) == {"index", "status", "replayed", kind}
        assert accepted or one["problem"]["status"] == one["status"]
    return found


def without_key(one: dict[str, Any]) -> dict[str, Any]:
    """The body that the item would have been sent with alone."""
    return {name: value for name, value in one.items() if name != "idempotency_key"}


async def alone(api: Api, one: dict[str, Any]) -> Answer:
    return await api.pay(without_key(one), key=one["idempotency_key"])


async def stored(owner: asyncpg.Connection, references: list[str]) -> list[int]:
    """How many payments, keys, references, events and jobs these references have."""
    row = await owner.fetchrow(
        """
        WITH p AS (SELECT payment_id FROM payments WHERE merchant_reference = ANY ($1::text[]))
        SELECT (SELECT count(*) FROM p),
          (SELECT count(*) FROM idempotency_keys JOIN p USING (payment_id)),
          (SELECT count(*) FROM merchant_references WHERE merchant_reference = ANY ($1::text[])),
          (SELECT count(*) FROM events JOIN p USING (payment_id) WHERE kind = 'payment.accepted'),
          (SELECT count(*) FROM jobs JOIN p USING (payment_id))
        """,
        references,
    )
    assert row is not None
    return list(row.values())

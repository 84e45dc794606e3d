"""What has to hold of payments at Braintree, whose one call moves money, by its own ledger."""

import asyncio
import time
from collections import Counter
from typing import Any, Protocol

import asyncpg

from strongroom.ids import to_text
from tests.faults.deployment import Deployment
from tests.faults.judge import Fetching, logged
from tests.faults.shoppers import Shoppers

END_SECONDS_MAX = 120
NOT_ENDED = """SELECT payment_id, status, status_reason, review FROM payments
WHERE status <> 'succeeded' OR review IS NOT NULL LIMIT 5"""


class Ledger(Protocol):
    """What a stand-in says was charged."""

    def charges(self, *, kind: str) -> list[dict[str, Any]]:
        """All charges of a kind."""
        ...

    def control(self, method: str, path: str) -> Any:
        """The answer to a question that only tests may ask."""
        ...


async def until_paid(deployment: Deployment) -> float:
    begun = time.monotonic()
    left: Any = None
    while time.monotonic() - begun < END_SECONDS_MAX:
        try:
            left = await deployment.fetch(NOT_ENDED)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            left = None  # the database itself is on its way back
        if left is not None and not left:
            return time.monotonic() - begun
        await asyncio.sleep(0.25)
    raise AssertionError(f"after {END_SECONDS_MAX} s: {[dict(row) for row in left or ()]}")


async def judge(deployment: Fetching, server: Ledger, shoppers: Shoppers) -> None:
    assert not shoppers.refused
    assert not shoppers.unanswered
    charges = server.charges(kind="taken")
    orders = Counter(charge["order_id"].partition(".")[0] for charge in charges)
    print(f"{len(charges)} charges of {len(orders)} payments")
    assert [order for order, times in orders.items() if times > 1] == []
    assert server.control("GET", "/_ledger/summary")["twice"] == []
    rows = await deployment.fetch("SELECT * FROM payments")
    payments = {to_text("pay", row["payment_id"]): row for row in rows}
    assert set(orders) == set(payments)
    assert set(shoppers.accepted.values()) <= set(payments)
    for charge in charges:
        row = payments[charge["order_id"].partition(".")[0]]
        ours = (row["captured_minor"], row["currency"])
        assert ours == (charge["captured"], charge["currency"])
    attempts = await deployment.fetch(
        "SELECT payment_id, gateway_object_id, state FROM attempts WHERE state <> 'not_sent'"
    )
    assert {row["state"] for row in attempts} == {"approved"}
    assert {row["gateway_object_id"] for row in attempts} == {charge["id"] for charge in charges}
    assert await logged(deployment, {row["payment_id"]: row for row in rows}) == []
    jobs = await deployment.fetch("SELECT payment_id FROM jobs")
    watched = {to_text("pay", row["payment_id"]) for row in jobs}
    settled = {
        charge["order_id"].partition(".")[0] for charge in charges if charge["status"] == "settled"
    }
    assert watched <= set(payments)
    assert set(payments) - watched <= settled  # each is looked at until it settled

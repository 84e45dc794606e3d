"""kill -9 while payments are sent to Braintree, whose one call moves money: none is taken twice."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from strongroom.ids import to_text
from strongroom.local.ports import free_ports
from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment, until
from tests.faults.judge import logged
from tests.faults.shoppers import Shoppers, orders_of
from tests.sandbox.braintree_server import MERCHANT, PRIVATE_KEY, PUBLIC_KEY, RunningBraintree

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS = 600
SENDING_SECONDS = 18
KILLS = ("worker", "braintree", "api", "worker", "postmaster", "braintree", "worker", "api")
PAUSE_SECONDS = (1.2, 2.2)
RECOVERY_SECONDS_MAX = 60
END_SECONDS_MAX = 120
NOT_ENDED = """SELECT payment_id, status, status_reason, review FROM payments
WHERE status <> 'succeeded' OR review IS NOT NULL LIMIT 5"""


class Fixed(RunningBraintree):
    """It comes back at the address that the account has."""

    port = 0

    def command(self, *more: str) -> list[str]:
        self.port = self.port or free_ports(1)
        words = super().command(*more)
        words[words.index("--port") + 1] = str(self.port)
        return words


def open_account(deployment: Deployment, server: RunningBraintree) -> str:
    file = deployment.base / "braintree_keys"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
        stream.write(f"{MERCHANT}:{PUBLIC_KEY}:{PRIVATE_KEY}")
    account = deployment.command(
        "gateway-accounts", "add", "--entity", deployment.ready["legal_entity"], "--gateway",
        "braintree", "--environment", "stand_in", "--base-url", server.url,
        "--secret-file", str(file),
    ).strip()  # fmt: skip
    deployment.command("gateway-accounts", "pay-to", account, "EUR", "eur")
    return account


async def kill(deployment: Deployment, server: RunningBraintree, what: str) -> None:
    if what == "braintree":
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(random.uniform(0.1, 1.0))
        await asyncio.to_thread(server.start)
        return
    await until(lambda: bool(deployment.pids(what)), RECOVERY_SECONDS_MAX, f"{what} to kill")
    before = set(deployment.signal(what, signal.SIGKILL))
    await until(
        lambda: bool(set(deployment.pids(what)) - before), RECOVERY_SECONDS_MAX, f"{what} back"
    )


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


async def test_kills_while_sales_are_sent(deploy: MakeDeployment, tmp_path: Path) -> None:
    deployment, server = deploy(deadline_seconds=2.0), Fixed(tmp_path)
    server.start()
    try:
        account, token = open_account(deployment, server), "fake-valid-visa-nonce"
        shoppers = Shoppers(deployment)
        orders = orders_of("sale", PAYMENTS, token=token, gateway="braintree", account=account)
        sending = asyncio.create_task(
            shoppers.send_all(orders, at_once=64, per_second=PAYMENTS / SENDING_SECONDS)
        )
        for what in KILLS:
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
            await kill(deployment, server, what)
        await sending
        print(f"answers {dict(shoppers.answers)}; refused {shoppers.refused}")
        print(f"all paid after another {await until_paid(deployment):.1f} s")
        await judge(deployment, server, shoppers)
    finally:
        server.kill()


async def judge(deployment: Deployment, server: RunningBraintree, shoppers: Shoppers) -> None:
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
        "SELECT gateway_object_id, state FROM attempts WHERE state <> 'not_sent'"
    )
    assert {row["state"] for row in attempts} == {"approved"}
    assert {row["gateway_object_id"] for row in attempts} == {charge["id"] for charge in charges}
    assert await logged(deployment, {row["payment_id"]: row for row in rows}) == []
    jobs = await deployment.fetch("SELECT payment_id FROM jobs")
    assert len(jobs) == len(rows)  # each is looked at until it settled

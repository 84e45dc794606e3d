"""kill -9 while payments are sent to Braintree, whose one call moves money: none is taken twice."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from strongroom.local.ports import free_ports
from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment, until
from tests.faults.judge_braintree import judge, until_paid
from tests.faults.shoppers import Shoppers, orders_of
from tests.sandbox.braintree_server import MERCHANT, PRIVATE_KEY, PUBLIC_KEY, RunningBraintree

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS = 600
SENDING_SECONDS = 18
KILLS = ("worker", "braintree", "api", "worker", "postmaster", "braintree", "worker", "api")
PAUSE_SECONDS = (1.2, 2.2)
RECOVERY_SECONDS_MAX = 60


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

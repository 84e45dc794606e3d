"""The gateway account's secret is missing or wrong for a while: payments wait, none is lost."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import MakeDeployment
from tests.faults.judge import judge, statuses, until_ended
from tests.faults.shoppers import Shoppers, orders_of

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS = 40
TROUBLE_SECONDS = 1.5
WRONG = "sk_test_" + "notTheKeyOfThisAccount"


def spoil(file: Path, trouble: str) -> None:
    file.unlink()
    match trouble:
        case "missing":
            pass
        case "a folder":  # unreadable for root as well
            file.mkdir()
        case _:
            file.write_text(WRONG + "\n")


def restore(file: Path, secret: str) -> None:
    if file.is_dir():
        file.rmdir()
    file.touch(mode=0o600)
    file.write_text(secret)


async def test_payments_wait_for_the_secret(deploy: MakeDeployment) -> None:
    deployment = deploy()
    shoppers, done = Shoppers(deployment), 0
    file = deployment.home / "secrets" / "stripe_key"
    secret = file.read_text()
    troubles = [
        (trouble, fresh) for trouble in ("missing", "a folder", "wrong") for fresh in (True, False)
    ]
    for number, (trouble, fresh) in enumerate(troubles):
        spoil(file, trouble)
        if fresh:  # a worker that has never seen the right secret
            deployment.signal("worker", signal.SIGKILL)
        await shoppers.send_all(orders_of(f"waiting-{number}", PAYMENTS))
        await asyncio.sleep(TROUBLE_SECONDS)
        assert await statuses(deployment) == Counter(processing=PAYMENTS, succeeded=done)
        restore(file, secret)
        seconds = await until_ended(deployment, 20)
        print(f"{trouble}, {fresh=}: all ended {seconds:.1f} s after the secret was back")
        done += PAYMENTS
        assert (await statuses(deployment)) == {"succeeded": done}

    assert (await judge(deployment, shoppers.accepted)).charges == done
    for log in (deployment.home / "logs").iterdir():
        text = log.read_text(errors="replace")
        assert secret.strip() not in text, log.name
        assert WRONG not in text, log.name
    rows = await deployment.fetch("SELECT calls::text AS calls FROM attempts")
    assert not any(secret.strip() in row["calls"] or WRONG in row["calls"] for row in rows)

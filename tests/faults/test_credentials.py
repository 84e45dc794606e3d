"""An account's secret is missing, wrong or another one for a while: payments wait, none is lost."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment
from tests.faults.judge import judge, statuses, until_ended
from tests.faults.shoppers import Shoppers, orders_of

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

PAYMENTS: Final = 40
TROUBLE_SECONDS: Final = 1.5
SEEN_SECONDS: Final = 8.0
END_SECONDS_MAX: Final = 90
"""A worker looks for changed secrets every five."""
KIND: Final = "stripe_api_key"
WRONG: Final = "sk_test_" + "notTheKeyOfThisAccount"
KEYS: Final = [f"sk_test_rotated{number}0123456789" for number in range(2)]
FLIP: Final = (
    "UPDATE secrets SET sealed = set_byte(sealed, 80, 255 # get_byte(sealed, 80)) "
    "WHERE sealed IS NOT NULL"
)


class Operator:
    """Who sits at the command line."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.account = ""

    async def begin(self) -> None:
        """Looks for the account."""
        listed = await self._run("secrets", "list")
        self.account = listed.split()[0]

    async def enter(self, what: str, secret: str) -> None:
        """`set` or `rotate`, from a file that is gone afterwards."""
        file = self._deployment.base / "entered"
        file.touch(mode=0o600)
        file.write_text(secret)
        said = await self._run("secrets", what, self.account, KIND, "--file", str(file))
        file.unlink()
        assert secret not in said

    async def retire(self, *words: str) -> None:
        """Ends the oldest version."""
        await self._run("secrets", "retire", self.account, KIND, *words)

    async def _run(self, *words: str) -> str:
        return await asyncio.to_thread(self._deployment.command, *words)


Trouble = tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]


def troubles_of(deployment: Deployment, operator: Operator, secret: str) -> dict[str, Trouble]:
    """By name, what is done to the secret and what undoes it."""

    async def spoil() -> None:
        await operator.retire("--force")
        await operator.enter("set", WRONG)

    async def mend() -> None:
        await operator.enter("rotate", secret)
        await operator.retire()

    return {
        "missing": (lambda: operator.retire("--force"), lambda: operator.enter("set", secret)),
        "changed": (lambda: deployment.fetch(FLIP), lambda: deployment.fetch(FLIP)),
        "wrong": (spoil, mend),
    }


async def test_payments_wait_for_the_secret(deploy: MakeDeployment) -> None:
    deployment = deploy()
    operator = Operator(deployment)
    await operator.begin()
    shoppers, done = Shoppers(deployment), 0
    secret = (deployment.home / "secrets" / "stripe_key").read_text().strip()
    for name, (spoil, mend) in troubles_of(deployment, operator, secret).items():
        await spoil()
        deployment.signal("worker", signal.SIGKILL)  # the new one never saw the right secret
        await shoppers.send_all(orders_of(f"waiting-{name}", PAYMENTS))
        await asyncio.sleep(TROUBLE_SECONDS)
        assert await statuses(deployment) == Counter(processing=PAYMENTS, succeeded=done)
        await mend()
        seconds = await until_ended(deployment, END_SECONDS_MAX)
        print(f"{name}: all ended {seconds:.1f} s after the secret was back")
        done += PAYMENTS
        assert (await statuses(deployment)) == {"succeeded": done}

    assert (await judge(deployment, shoppers.accepted)).charges == done
    assert await found_in_the_clear(deployment, shoppers, [secret, WRONG]) == []


async def test_a_key_is_rotated_while_payments_run(deploy: MakeDeployment) -> None:
    """First as one should; then entered before the gateway takes it, and the old one cut off."""
    deployment = deploy()
    operator, shoppers = Operator(deployment), Shoppers(deployment)
    await operator.begin()
    accepted = deployment.home / "secrets" / "stripe_key"
    first = accepted.read_text().strip()
    begun = asyncio.Event()

    async def shop() -> int:
        for number in range(1_000):
            await shoppers.send_all(orders_of(f"rotating-{number}", 10))
            if begun.is_set():
                return number
            await asyncio.sleep(0.1)
        raise AssertionError("the rotation took too long")

    shopping = asyncio.create_task(shop())
    accepted.write_text(f"{KEYS[0]}\n{first}")
    await operator.enter("rotate", KEYS[0])
    await asyncio.sleep(SEEN_SECONDS)
    await operator.retire()
    await asyncio.sleep(SEEN_SECONDS)
    accepted.write_text(KEYS[0])
    await asyncio.sleep(1)
    assert await refusals(deployment) == 0

    await operator.enter("rotate", KEYS[1])
    await asyncio.sleep(SEEN_SECONDS)
    assert await refusals(deployment) > 0
    accepted.write_text(KEYS[1])
    await asyncio.sleep(1)
    await operator.retire()
    await asyncio.sleep(1)
    begun.set()
    rounds = await shopping
    await until_ended(deployment, END_SECONDS_MAX)
    found = await statuses(deployment)
    print(f"{found}, {await refusals(deployment)} calls refused in {rounds} rounds")
    assert found == {"succeeded": len(shoppers.accepted)}
    assert (await judge(deployment, shoppers.accepted)).charges == len(shoppers.accepted)
    assert await found_in_the_clear(deployment, shoppers, [first, *KEYS]) == []


async def refusals(deployment: Deployment) -> int:
    """How many calls the gateway answered by 401."""
    rows = await deployment.fetch(
        "SELECT count(*) AS many FROM attempts, jsonb_array_elements(calls) AS call "
        "WHERE call->>'http_status' = '401'"
    )
    many: int = rows[0]["many"]
    return many


async def found_in_the_clear(
    deployment: Deployment, shoppers: Shoppers, secrets: Sequence[str]
) -> list[str]:
    """Where a secret stands: files of the database, logs, processes, answers."""
    await deployment.fetch("CHECKPOINT")
    payment = next(iter(shoppers.accepted.values()))
    [folder] = await deployment.fetch("SHOW data_directory")
    said = await asyncio.to_thread(
        lambda: deployment.explain(payment) + deployment.command("secrets", "list")
    )
    places = {
        **in_files(deployment, Path(folder[0])),
        **in_processes(deployment.all_pids()),
        "answers": said.encode() + await listed(deployment),
    }
    # What has to be found is found: in the database's files, the processes and the answers.
    for known in (b"ing-0", b"postgres", payment.encode()):
        assert any(known in content for content in places.values()), known
    wanted = [secret.encode() for secret in secrets]
    return [
        place for place, content in places.items() if any(secret in content for secret in wanted)
    ]


def in_files(deployment: Deployment, data: Path) -> dict[str, bytes]:
    """All files but those below HOME/secrets: of the database with its WAL, logs, ledgers."""
    kept = deployment.home / "secrets"
    found = {}
    for root in {deployment.home, data}:
        for file in root.rglob("*"):
            if file.is_file() and kept not in file.parents:
                with contextlib.suppress(FileNotFoundError):  # a living server takes files away
                    found[str(file)] = file.read_bytes()
    return found


def in_processes(pids: list[int]) -> dict[str, bytes]:
    """What others may see of our processes."""
    found = {}
    for pid in pids:
        for name in ("environ", "cmdline"):
            # A session's process ends a moment after the session.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[f"{pid}/{name}"] = Path(f"/proc/{pid}/{name}").read_bytes()
    return found


async def listed(deployment: Deployment) -> bytes:
    """A page of payments, as the API answers."""
    headers = {"Authorization": f"Bearer {deployment.ready['api_key']}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(deployment.ready["api_url"] + "/v1/payments", headers=headers) as reply,
    ):
        assert reply.status == 200
        return await reply.read()

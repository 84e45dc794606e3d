"""kill -9 while cards are saved and let go: each is saved once, at its customer, or not at all."""

import asyncio
import random
import signal
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import aiohttp
import pytest
import stripe as sdk

from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment, until

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

CARDS: Final = 60
KILLS: Final = ("worker", "stripe", "worker", "api", "postmaster", "worker")
PAUSE_SECONDS: Final = (0.6, 1.2)
END_SECONDS_MAX: Final = 150
THERE_SECONDS_MAX: Final = 60
REQUEST_SECONDS_MAX: Final = 8.0
TRIES_MAX: Final = 120


class Keeper:
    """Asks until it is answered, always under the same key, as callers are told to."""

    def __init__(self, deployment: Deployment, session: aiohttp.ClientSession) -> None:
        self._session, self._url = session, deployment.ready["api_url"]
        key = deployment.ready["api_key"]
        self._headers = {"Authorization": f"Bearer {key}"}

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = self._headers | {"Idempotency-Key": uuid.uuid4().hex}
        for _ in range(TRIES_MAX):
            try:
                async with self._session.post(
                    self._url + path, json=body, headers=headers
                ) as answer:
                    found: dict[str, Any] = await answer.json()
                    if answer.status < 300:
                        return found
                    assert answer.status in (500, 503), found
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(random.uniform(0.1, 0.5))
        raise AssertionError(f"{path} was never answered")

    async def get(self, path: str) -> dict[str, Any]:
        async with self._session.get(self._url + path, headers=self._headers) as answer:
            if answer.status == 503:  # the database is away: whoever asks does so once more
                raise aiohttp.ClientError(await answer.text())
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def save(self) -> tuple[str, str]:
        """A customer and the card that is to be saved for it; half of them are let go again."""
        customer = (await self.post("/v1/customers", {"name": "Ada"}))["id"]
        card = {"instrument": {"gateway": "stripe", "token": "pm_card_visa"}}
        method = (await self.post(f"/v1/customers/{customer}/payment_methods", card))["id"]
        return customer, method

    async def pay_and_save(self, number: int) -> tuple[str, str]:
        """A customer, and the payment whose card is to be saved for it."""
        customer = (await self.post("/v1/customers", {"name": "Ada"}))["id"]
        body = {
            "amount": 1999,
            "currency": "EUR",
            "merchant_reference": f"saves-{number}",
            "instrument": {"gateway": "stripe", "token": "pm_card_visa"},
            "not_after": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
            "save": {"customer": customer},
        }
        return customer, (await self.post("/v1/payments", body))["id"]


async def kill_often(deployment: Deployment) -> None:
    for what in KILLS:
        await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
        await until(partial(_is_there, deployment, what), THERE_SECONDS_MAX, f"{what} to kill")
        deployment.signal(what, signal.SIGKILL)


def _is_there(deployment: Deployment, what: str) -> bool:
    return bool(deployment.pids(what))


async def all_in(keeper: Keeper, methods: list[str], status: str) -> None:
    async with asyncio.timeout(END_SECONDS_MAX):
        for method in methods:
            while True:
                try:
                    found = await keeper.get(f"/v1/payment_methods/{method}")
                    if found["status"] == status:
                        break
                    assert found["status"] in ("processing", "detaching"), found
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.1)


def held(client: sdk.StripeClient, deployment: Deployment, rows: list[Any]) -> dict[str, list[str]]:
    """By customer of ours, the tokens that the gateway holds for it."""
    found = {}
    for row in rows:
        page = client.v1.payment_methods.list({"customer": row["gateway_object_id"], "limit": 100})
        known = client.v1.customers.retrieve(row["gateway_object_id"])
        assert known.metadata is not None
        found[known.metadata["strongroom_customer"]] = [one.id for one in page.data]
    return found


async def test_kills_while_cards_are_saved_and_let_go(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=1.0)
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        keeper = Keeper(deployment, session)
        killing = asyncio.create_task(kill_often(deployment))
        made = await asyncio.gather(*(keeper.save() for _ in range(CARDS)))
        await all_in(keeper, [method for _, method in made], "ready")
        await killing
        await all_in(keeper, [made[0][1]], "ready")  # the database is back from its kill
        assert len({method for _, method in made}) == CARDS
        secret = (deployment.home / "secrets" / "stripe_key").read_text().strip()
        client = sdk.StripeClient(secret, base_addresses={"api": deployment.ready["stripe_url"]})
        rows = await deployment.fetch("SELECT gateway_object_id FROM gateway_customers")
        tokens = held(client, deployment, rows)
        assert {customer: len(tokens[customer]) for customer, _ in made} == dict.fromkeys(
            (customer for customer, _ in made), 1
        )
        gone = [method for _, method in made[::2]]
        killing = asyncio.create_task(kill_often(deployment))
        await asyncio.gather(
            *(keeper.post(f"/v1/payment_methods/{method}/detach", {}) for method in gone)
        )
        await all_in(keeper, gone, "detached")
        await killing
        await all_in(keeper, [method for _, method in made[1::2]], "ready")
        tokens = held(client, deployment, rows)
        counts = [len(tokens[customer]) for customer, _ in made]
        print(f"saved {CARDS}, let go {len(gone)}, left at the gateway {sum(counts)}")
        assert counts == [0, 1] * (CARDS // 2)


async def test_kills_while_cards_are_saved_by_paying(deploy: MakeDeployment) -> None:
    """Each payment takes its money once, and leaves one card at its customer."""
    deployment = deploy(deadline_seconds=1.0)
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        keeper = Keeper(deployment, session)
        killing = asyncio.create_task(kill_often(deployment))
        made = await asyncio.gather(*(keeper.pay_and_save(number) for number in range(CARDS)))
        await killing
        methods = await asyncio.gather(*(saved_of(keeper, customer) for customer, _ in made))
        await all_in(keeper, methods, "ready")
        secret = (deployment.home / "secrets" / "stripe_key").read_text().strip()
        client = sdk.StripeClient(secret, base_addresses={"api": deployment.ready["stripe_url"]})
        rows = await deployment.fetch("SELECT gateway_object_id FROM gateway_customers")
        tokens = held(client, deployment, rows)
        assert [len(tokens[customer]) for customer, _ in made] == [1] * CARDS
        kept = await deployment.fetch("SELECT customer_id FROM payment_methods")
        assert len(kept) == len({row["customer_id"] for row in kept}) == CARDS
        charged = await deployment.fetch("SELECT status FROM payments")
        assert [row["status"] for row in charged] == ["succeeded"] * CARDS
        taken = [
            charge.metadata["strongroom_payment"]
            for charge in client.v1.charges.list({"limit": 100}).data
            if charge.paid
        ]
        print(f"paid and saved {CARDS}, charges {len(taken)}, cards {len(kept)}")
        assert sorted(taken) == sorted(payment for _, payment in made)


async def saved_of(keeper: Keeper, customer: str) -> str:
    """The customer's only payment method, once there is one."""
    async with asyncio.timeout(END_SECONDS_MAX):
        while True:
            try:
                found = await keeper.get(f"/v1/customers/{customer}/payment_methods")
                if found["data"]:
                    [one] = found["data"]
                    return str(one["id"])
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.2)

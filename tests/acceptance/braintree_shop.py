"""A merchant with an account at a Braintree stand-in of the tests' own."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.acceptance.client import Api, fresh
from tests.acceptance.running import Running
from tests.sandbox.braintree_server import (
    ACCOUNTS,
    MERCHANT,
    PRIVATE_KEY,
    PUBLIC_KEY,
    RunningBraintree,
)

NONCE: Final = "fake-valid-visa-nonce"


def bought(nonce: str = NONCE, **changes: Any) -> dict[str, Any]:
    """The body of a payment by a nonce."""
    body: dict[str, Any] = {
        "amount": 1050,
        "currency": "EUR",
        "merchant_reference": fresh(),
        "instrument": {"gateway": "braintree", "token": nonce},
    }
    return body | changes


class Shop:
    """The merchant, and the ledger of his gateway."""

    def __init__(self, api: Api, server: RunningBraintree, account: str) -> None:
        self.api, self.server, self.account = api, server, account

    def charges(self, payment_id: str) -> list[dict[str, Any]]:
        """What was really taken for a payment."""
        found: list[dict[str, Any]] = self.server.charges(order_prefix=payment_id + ".")
        return found

    async def paid(self, **fields: Any) -> str:
        """The id of a payment that succeeded."""
        made = await self.api.pay(bought(**fields), wait=20)
        assert (made.status, made.json["status"]) == (201, "succeeded"), made
        return made.id

    def settle(self, payment_id: str, *, succeed: bool = True) -> None:
        """Lets all that was taken for a payment settle."""
        for charge in self.charges(payment_id):
            asked = {"transaction": charge["id"], "succeed": succeed}
            self.server.control("POST", "/_settle", asked)


def open_account(running: Running, entity: str, server: RunningBraintree, folder: Path) -> str:
    """An account of the legal entity at the stand-in, by the command line; its id."""
    file = folder / "braintree_keys"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
        stream.write(f"{MERCHANT}:{PUBLIC_KEY}:{PRIVATE_KEY}\n")
    account = running.command(
        "gateway-accounts", "add", "--entity", entity, "--gateway", "braintree",
        "--environment", "stand_in", "--base-url", server.url, "--secret-file", str(file),
    )  # fmt: skip
    for name, currency in ACCOUNTS.items():
        running.command("gateway-accounts", "pay-to", account, currency, name)
    return account


@pytest.fixture(scope="module")
def braintree_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBraintree]:
    server = RunningBraintree(tmp_path_factory.mktemp("braintree"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def shop_account(
    running: Running, braintree_server: RunningBraintree, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, str]:
    """A legal entity of its own, its account, and its API key."""
    entity = running.command("entities", "create", "Nonces Ltd")
    account = open_account(
        running, entity, braintree_server, tmp_path_factory.mktemp("braintree_keys")
    )
    key = running.command("keys", "create", "--entity", entity, "--name", "all")
    return entity, account, key


@pytest.fixture
async def shop(
    running: Running,
    session: aiohttp.ClientSession,
    braintree_server: RunningBraintree,
    shop_account: tuple[str, str, str],
) -> AsyncIterator[Shop]:
    _, account, key = shop_account
    yield Shop(Api(session, running.api_url, key), braintree_server, account)
    braintree_server.control("DELETE", "/_knobs")

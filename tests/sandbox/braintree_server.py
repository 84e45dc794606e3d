"""The Braintree stand-in as a child process, and the official SDK pointed at it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import braintree
import pytest

from tests.sandbox.conftest import RunningStripe

MERCHANT = "merchant_of_tests"
PUBLIC_KEY = "publickeyoftests"
PRIVATE_KEY = "privatekeyofthetests"
VISA = "fake-valid-visa-nonce"
ACCOUNTS = {"usd": "USD", "eur": "EUR", "jpy": "JPY", "kwd": "KWD", "isk": "ISK"}


class RunningBraintree(RunningStripe):
    """One server process over one data folder; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write_key(PUBLIC_KEY, PRIVATE_KEY)

    def write_key(self, *pairs: str) -> None:
        """The credentials that it accepts: public and private keys in turn."""
        lines = [
            f"{MERCHANT}:{public}:{private}"
            for public, private in zip(pairs[::2], pairs[1::2], strict=True)
        ]
        self.key_file.write_text("\n".join(lines) + "\n")

    def command(self, *more: str) -> list[str]:
        accounts = [f"--merchant-account={name}={currency}" for name, currency in ACCOUNTS.items()]
        return [
            sys.executable, "-m", "strongroom_sandbox.braintree", "--port", "0",
            "--data", str(self.data), "--credentials-file", str(self.key_file),
            "--knob-token-file", str(self.knob_file), *accounts, *more,
        ]  # fmt: skip

    def gateway(
        self, merchant: str = MERCHANT, public: str = PUBLIC_KEY, private: str = PRIVATE_KEY,
        seconds: float = 10,
    ) -> Any:  # fmt: skip
        port = str(urlsplit(self.url).port)
        environment = braintree.Environment(
            "standin", "127.0.0.1", port, "http://127.0.0.1", False, None, "127.0.0.1", port
        )
        configuration = braintree.Configuration(
            environment, merchant, public, private, timeout=seconds, wrap_http_exceptions=True
        )
        return braintree.BraintreeGateway(configuration)

    def sell(self, **params: Any) -> Any:
        """A sale of 10.00 by a card that is fine, unless told otherwise."""
        given = {"amount": "10.00", **params}
        if not {"payment_method_token", "payment_method_nonce"} & set(given):
            given["payment_method_nonce"] = VISA
        return self.gateway().transaction.sale(given)

    def sold(self, *, submit: bool = False, **params: Any) -> Any:
        """The transaction of a sale that was approved."""
        result = self.sell(options={"submit_for_settlement": submit}, **params)
        assert result.is_success, result.message
        return result.transaction

    def settled(self, **params: Any) -> Any:
        """The transaction of a sale that is settled."""
        made = self.sold(submit=True, **params)
        result = self.gateway().testing.settle_transaction(made.id)
        assert result.is_success, result.message
        return result.transaction

    def nonce(self, **minting: Any) -> str:
        """A nonce for one use."""
        made: str = self.control("POST", "/_nonces", minting)["nonce"]
        return made

    def search(self, *criteria: Any) -> list[Any]:
        return list(self.gateway().transaction.search(*criteria).items)

    def refunds(self, **query: str) -> list[dict[str, Any]]:
        page = self.control("GET", "/_ledger/refunds?" + urlencode({"limit": "10000", **query}))
        found: list[dict[str, Any]] = page["data"]
        return found


def codes(result: Any) -> list[str]:
    """The codes of a result's validation errors, of which there has to be one."""
    assert not result.is_success
    found = [each.code for each in result.errors.deep_errors]
    assert found, result.message
    return found


@pytest.fixture(scope="session")
def shared_braintree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBraintree]:
    running = RunningBraintree(tmp_path_factory.mktemp("braintree"))
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture
def gate(shared_braintree: RunningBraintree) -> Iterator[RunningBraintree]:
    """A server that other tests use too, without fault rules before and after."""
    try:
        yield shared_braintree
    finally:
        shared_braintree.control("DELETE", "/_knobs")


@pytest.fixture
def own_braintree(tmp_path: Path) -> Iterator[RunningBraintree]:
    """A server of the test's own, which it may kill and start again."""
    running = RunningBraintree(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.kill()

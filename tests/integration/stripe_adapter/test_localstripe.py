"""The adapter's requests against another Stripe server, written by others: a smoke test.

localstripe runs as a process of its own. It is no oracle: it ignores idempotency keys, gives back
more than was taken, does not know `return_url` and `cancellation_reason`, and says nowhere how much
an intent received. So this looks at what became of its objects, and expects of the adapter no more
than never to claim the contrary.
"""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import stripe
from msgspec.structs import replace

from strongroom.clock import SystemClock
from strongroom.gateways.port import Account
from strongroom.gateways.stripe.client import StripeGateway
from strongroom.payments.refunds import Absent, Refunded
from strongroom.payments.states import Approved, Authorized, Canceled, Declined, Unknown
from tests.integration.stripe_adapter.asking import (
    RETURN_URL,
    Keys,
    account_at,
    new_attempt,
    new_refund,
    prepared,
)
from tests.plugins.parts import LOCALSTRIPE
from tests.sandbox.conftest import SECRET_KEY
from tests.unit.examples import AMOUNT

START_SECONDS_MAX = 20
PART = 1500

pytestmark = pytest.mark.needs("localstripe")


@pytest.fixture(scope="module")
def localstripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("localstripe")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [LOCALSTRIPE, "--from-scratch", "--port", str(port)], stdout=log, stderr=log,
            cwd=folder, env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    try:
        yield _reached(process, port, folder / "log")
    finally:
        process.kill()
        process.wait()


def _reached(process: subprocess.Popen[bytes], port: int, log: Path) -> str:
    for _ in range(START_SECONDS_MAX * 10):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return f"http://127.0.0.1:{port}"
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"localstripe did not start: {log.read_text()[-2000:]}")


class FormerStripe(StripeGateway):
    """Its parameters as they were before API 2026-09-30: localstripe is older."""

    def parameters(self, payment, merchant_account=None, *, saves=False):
        parameters = dict(super().parameters(payment, merchant_account, saves=saves))
        create = dict(parameters["create"])
        create["payment_method_types"] = create.pop("allowed_payment_method_types")
        return parameters | {"create": create}


@pytest.fixture
async def gateway() -> AsyncIterator[StripeGateway]:
    adapter = FormerStripe(SystemClock(), Keys(SECRET_KEY), RETURN_URL, mode="dev")
    yield adapter
    await adapter.close()


@pytest.fixture
def at_localstripe(localstripe) -> Account:
    return account_at(localstripe)


@pytest.fixture
def intents(localstripe):
    return stripe.StripeClient(SECRET_KEY, base_addresses={"api": localstripe}).v1.payment_intents


async def sent(gateway, account, **fields):
    one = await prepared(gateway, account, **fields)
    known = {k: v for k, v in one.parameters["confirm"].items() if k != "return_url"}
    one = replace(one, parameters=one.parameters | {"confirm": known})
    answer, _ = await gateway.send(account, one)
    return one, answer


async def found(intents, one):
    """What localstripe says, without the adapter."""
    expand = {"expand": ["latest_charge"]}
    return await asyncio.to_thread(intents.retrieve, one.gateway_object_id, expand)


async def test_a_payment_is_taken_and_given_back(gateway, at_localstripe, intents):
    one, answer = await sent(gateway, at_localstripe)
    assert isinstance(answer, Approved | Unknown)
    intent = await found(intents, one)
    assert (intent.status, intent.amount, intent.currency) == ("succeeded", AMOUNT, "eur")
    refund = new_refund(gateway, one, PART)
    assert (await gateway.look_at_refund(at_localstripe, refund))[0] == Absent()
    made, call = await gateway.refund(at_localstripe, refund)
    assert made == Refunded(made.object_id, "succeeded", PART, "EUR")
    assert call.http_status == 200
    known = replace(refund, gateway_object_id=made.object_id)
    for asked in (refund, known):
        assert (await gateway.look_at_refund(at_localstripe, asked))[0] == made
    assert (await found(intents, one)).latest_charge.amount_refunded == PART


async def test_a_hold_is_captured_in_part(gateway, at_localstripe, intents):
    one, answer = await sent(gateway, at_localstripe, capture="manual")
    assert isinstance(answer, Authorized | Unknown)
    held = await found(intents, one)
    assert (held.status, held.latest_charge.captured) == ("requires_capture", False)
    answer, _ = await gateway.capture(at_localstripe, one, PART)
    assert answer == Approved(PART, "EUR") or isinstance(answer, Unknown)
    taken = await found(intents, one)
    assert (taken.status, taken.latest_charge.captured) == ("succeeded", True)
    # The rest of the hold went back; localstripe books it as a refund.
    assert taken.latest_charge.amount_refunded == AMOUNT - PART


async def test_what_was_canceled_stays_canceled(gateway, at_localstripe, intents):
    open_one = await prepared(gateway, at_localstripe)
    held, _ = await sent(gateway, at_localstripe, capture="manual")
    for one in (open_one, held):
        await asyncio.to_thread(intents.cancel, one.gateway_object_id)
        assert (await gateway.look(at_localstripe, one))[0] == Canceled()
    assert (await found(intents, held)).latest_charge.captured is False


async def test_a_token_that_is_not_there_is_declined(gateway, at_localstripe):
    answer, _ = await gateway.prepare(at_localstripe, new_attempt(gateway, "pm_nothing"))
    assert isinstance(answer, Declined)
    assert answer.object_open is False

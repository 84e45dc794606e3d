"""Attempts and refunds to ask Stripe about, and a server that answers whatever a test wants."""

import asyncio
import itertools
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec.structs import replace

from strongroom.gateways.port import Account, Prepared
from strongroom.gateways.stripe.client import StripeGateway
from strongroom.payments.refunds import Refund
from strongroom.payments.states import Approved, Attempt, Authorized, Unknown
from strongroom.vault.errors import SecretMissing
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Slot
from tests.sandbox.conftest import RunningStripe
from tests.unit.examples import ACCOUNT, AMOUNT, ENTITY, PAYMENT, START, attempt, payment

RETURN_URL = "https://shop.example/back"
APPROVED = Approved(AMOUNT, "EUR")
LOST, BROKEN = Unknown("connection_lost"), Unknown("gateway_error")
STRUCK_SECONDS_MAX = 60
numbers = itertools.count(1)


def account_at(url: str) -> Account:
    """An account of the examples' legal entity at a stand-in."""
    return Account(
        legal_entity_id=ENTITY,
        gateway_account_id=ACCOUNT,
        gateway="stripe",
        environment="stand_in",
        base_url=url,
    )


def new_attempt(
    gateway: StripeGateway, token: str = "pm_card_visa", *, saves: bool = False, **fields: Any
) -> Attempt:
    of = payment(instrument_token=token, merchant_reference=f"order-{next(numbers)}", **fields)
    return attempt(
        gateway_key=f"sr_{next(numbers)}",
        gateway_object_id=None,
        amount_minor=of.amount_minor,
        currency=of.currency,
        parameters=dict(gateway.parameters(of, saves=saves)),
    )


async def prepared(gateway: StripeGateway, account: Account, **fields: Any) -> Attempt:
    one = new_attempt(gateway, **fields)
    answer, call = await gateway.prepare(account, one)
    assert isinstance(answer, Prepared), answer
    assert (call.operation, call.http_status) == ("create", 200)
    return replace(one, gateway_object_id=answer.object_id)


async def paid(gateway: StripeGateway, account: Account, **fields: Any) -> Attempt:
    one = await prepared(gateway, account, **fields)
    answer, _ = await gateway.send(account, one)
    assert isinstance(answer, Approved), answer
    return one


async def held(gateway: StripeGateway, account: Account, **fields: Any) -> Attempt:
    one = await prepared(gateway, account, capture="manual", **fields)
    answer, _ = await gateway.send(account, one)
    assert isinstance(answer, Authorized), answer
    return one


def new_refund(
    gateway: StripeGateway, of: Attempt, amount_minor: int = AMOUNT, **fields: Any
) -> Refund:
    number = next(numbers)
    refund = Refund(
        legal_entity_id=ENTITY,
        refund_id=UUID(int=ENTITY.int + (number << 40)),
        payment_id=PAYMENT,
        status="processing",
        amount_minor=amount_minor,
        currency=of.currency,
        gateway="stripe",
        gateway_account_id=ACCOUNT,
        gateway_key=f"sr_refund_{number}",
        opened_at=START,
        digest_salt=bytes(16),
        created_at=START,
        updated_at=START,
        **fields,
    )
    return replace(refund, parameters=dict(gateway.refund_parameters(payment(), of, refund)))


def fault(server: RunningStripe, operation: str, name: str, **more: Any) -> None:
    noun = "" if "." in operation else "payment_intents."
    match = {"operation": noun + operation}
    # A read that was cut off is asked again by the HTTP client itself, so it is cut off always.
    often = {} if operation.endswith(("retrieve", "list")) else {"first_n": 1}
    server.knobs({"match": match | often, "fault": name, **more})


async def until_struck(server: RunningStripe) -> None:
    """The fault that was set has met a request, which is on its way from then on."""
    async with asyncio.timeout(STRUCK_SECONDS_MAX):
        while True:
            [rule] = (await asyncio.to_thread(server.control, "GET", "/_knobs"))["rules"]
            if rule.get("hits"):
                return
            await asyncio.sleep(0.02)


def charges(server: RunningStripe, one: Attempt) -> int:
    return len(server.charges(payment_intent=one.gateway_object_id or ""))


class Keys:
    """An account's keys, as the vault would give them: by version."""

    def __init__(self, *oldest_first: str) -> None:
        self.held = dict(enumerate(oldest_first, 1))

    async def versions(self, slot: Slot) -> list[int]:
        assert slot.kind == "stripe_api_key"
        if not self.held:
            raise SecretMissing
        return sorted(self.held, reverse=True)

    async def open(self, slot: Slot, version: int) -> Secret:
        return Secret(self.held[version])


class Answering:
    """A server on loopback that gives the answers it was told, the last one again and again."""

    def __init__(self) -> None:
        self._answers: list[tuple[int, bytes]] = []
        self._runner: web.ServerRunner | None = None
        self.asked: list[str] = []
        self.keys: list[str] = []
        self.port = 0

    def will_say(self, *bodies: object, status: int = 200) -> None:
        self._answers = [
            (status, body if isinstance(body, bytes) else msgspec.json.encode(body))
            for body in bodies
        ]

    async def start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._answer))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def account(self) -> Account:
        return account_at(f"http://127.0.0.1:{self.port}")

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(f"{request.method} {request.path_qs}")
        self.keys.append(request.headers["Authorization"])
        status, body = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return web.Response(status=status, body=body, content_type="application/json")

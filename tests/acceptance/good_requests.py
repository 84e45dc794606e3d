"""For every operation a request that is answered well, and the things that it is asked of."""

import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from strongroom.access.api_keys import SCOPES
from strongroom.http.reference.operation import IDEMPOTENCY_KEY, Operation
from strongroom.http.reference.table import OPERATIONS
from tests.acceptance.client import Answer, Api, StandIn, fresh, item, order, until
from tests.acceptance.raw import send_raw
from tests.acceptance.running import Running

OPERATION = {operation.id: operation for operation in OPERATIONS}
CARD = {"gateway": "stripe", "token": "pm_card_visa"}
AMOUNT = 1999
TILE, TILE_ENTRIES = "tile/0/000", 256
CONSENT = {"given_at": "2026-10-01T09:30:00Z", "text_version": "terms-2026-10"}
NEEDS = {
    "get_payment": "bare",
    "confirm_payment": "bare",
    "cancel_payment": "bare",
    "capture_payment": "held",
    "create_refund": "paid",
    "create_refunds": "paid",
    "get_refund": "paid",
    "get_dispute": "paid",
    "give_evidence": "paid",
    "accept_dispute": "paid",
    "make_checkout_link": "bare",
    "get_checkout_link": "linked",
    "revoke_checkout_link": "linked",
}
OF_A_CUSTOMER = (
    "get_customer", "change_customer", "save_payment_method", "list_payment_methods",
    "get_payment_method", "detach_payment_method", "agree_to_payment_method",
)  # fmt: skip
OF_A_METHOD = (
    "list_payment_methods", "get_payment_method", "detach_payment_method",
    "agree_to_payment_method",
)  # fmt: skip
"""What stands there before the request: a payment without an instrument, one that is held, or
one that was taken."""


class Sent(Struct, frozen=True):
    """A request; `payment` is the one that it asks something of."""

    operation: Operation
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    payment: str | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        return dict(self.headers)["Idempotency-Key"]

    def with_body(self, body: Any) -> "Sent":
        return replace(self, body=body if isinstance(body, bytes) else json.dumps(body).encode())

    def with_fields(self, **fields: Any) -> "Sent":
        return self.with_body(self.json | fields)

    def with_query(self, query: str) -> "Sent":
        return replace(self, path=f"{self.path}?{query}")

    def with_header(self, name: str, value: str) -> "Sent":
        """With one more."""
        return replace(self, headers=(*self.headers, (name, value)))

    def without_header(self, name: str) -> "Sent":
        return replace(self, headers=tuple(one for one in self.headers if one[0] != name))

    def with_other(self, name: str, value: str) -> "Sent":
        return self.without_header(name).with_header(name, value)

    def of(self, payment: str) -> "Sent":
        """The same asked of another payment."""
        assert self.payment is not None
        path = self.path.replace(self.payment, payment)
        body = self.body.replace(self.payment.encode(), payment.encode())
        return replace(self, path=path, body=body, payment=payment)


class World:
    """A deployment with keys, a merchant without an account at Stripe and with one at Braintree
    that takes no currency, and payments on demand.
    """

    def __init__(self, running: Running) -> None:
        self.running = running
        entity = running.legal_entity
        self.keys = {
            scope: running.command(
                "keys", "create", "--entity", entity, "--name", scope, "--scope", scope
            )
            for scope in SCOPES
        }
        poor = running.command("entities", "create", "No Account Ltd")
        self.poor_key = running.command("keys", "create", "--entity", poor, "--name", "poor")
        with tempfile.NamedTemporaryFile() as file:  # which others cannot read
            file.write(b"merchant:public_key:private_key_of_nobody")
            file.flush()
            running.command(
                "gateway-accounts", "add", "--entity", poor, "--gateway", "braintree",
                "--environment", "stand_in", "--base-url", "http://127.0.0.1:9",
                "--secret-file", file.name,
            )  # fmt: skip

    def enter(
        self, session: aiohttp.ClientSession, stripe: StandIn, owner: asyncpg.Connection
    ) -> "World":
        """For one test, with its connections."""
        self.api = Api(session, self.running.api_url, self.running.api_key)
        self.poor = self.api.with_key(self.poor_key)
        self.stripe, self.owner = stripe, owner
        return self

    async def bare(self, **fields: Any) -> str:
        """The id of a payment that waits for an instrument."""
        return (await self.api.pay(order(None, **fields))).id

    async def linked(self) -> str:
        """The id of a payment that has a checkout link."""
        payment = await self.bare()
        made = await self.api.post(f"/v1/payments/{payment}/checkout_link", {})
        assert made.status == 201, made
        return payment

    async def held(self, **fields: Any) -> str:
        made = await self.api.pay(order(capture="manual", **fields), wait=20)
        assert made.json["status"] == "authorized", made
        return made.id

    async def paid(self, **fields: Any) -> str:
        made = await self.api.pay(order(**fields), wait=20)
        assert made.json["status"] == "succeeded", made
        return made.id

    async def disputed(self, payment: str) -> str:
        """The id of a dispute that a bank has just opened."""
        await self.stripe.dispute(payment)
        return str((await self.api.disputes_of(payment))[0]["id"])

    async def customer(self) -> str:
        made = await self.api.post("/v1/customers", {"name": "Ada Byron"})
        assert made.status == 201, made
        return made.id

    async def paid_out(self) -> str:
        """The id of a payout that was just made."""
        await self.paid(currency="NOK", amount=5000)
        made = await self.stripe.pay_out("nok")
        return str((await self.api.payout_at(made["id"]))["id"])

    async def calculated(self, amount: int = 10_000) -> str:
        """The id of a tax calculation that is ready."""
        made = await self.api.post("/v1/tax_calculations", cart(amount))
        assert made.json["status"] == "ready", made
        return made.id

    async def method(self, customer: str, token: str = "pm_card_visa") -> str:
        path = f"/v1/customers/{customer}/payment_methods"
        card = {"instrument": {"gateway": "stripe", "token": token}, "consent": CONSENT}
        made = await self.api.post(path, card, wait=20)
        assert made.status == 201, made
        return made.id

    async def logged(self) -> None:
        """Fills a tile of the log, and sees to it that a checkpoint is cosigned."""
        folder = self.running.home / "log" / self.running.legal_entity
        if not (folder / TILE).exists():
            made = await self.api.bulk([item(None) for _ in range(TILE_ENTRIES)])
            assert made.status == 200, made

        async def is_signed() -> bool:
            return (folder / TILE).exists() and (folder / "checkpoint").exists()

        await until(is_signed)
        shutil.copy(folder / "checkpoint", folder / "checkpoint.cosigned")

    async def good(self, operation_id: str) -> Sent:
        """A request that is answered well."""
        operation = OPERATION[operation_id]
        need = NEEDS.get(operation_id)
        payment: str | None = None
        if need is not None:
            make: Callable[[], Awaitable[str]] = getattr(self, need)
            payment = await make()
        refund = None
        if payment is not None and operation_id == "get_refund":
            refund = (await self.api.refund(payment, 1)).id
        dispute = None
        if payment is not None and "{dispute_id}" in operation.path:
            dispute = await self.disputed(payment)
        customer = await self.customer() if operation_id in OF_A_CUSTOMER else None
        calculation = await self.calculated() if "{calculation_id}" in operation.path else None
        payout = await self.paid_out() if "{payout_id}" in operation.path else None
        if operation_id.startswith("get_log_"):
            await self.logged()
        method = await self.method(customer or "") if operation_id in OF_A_METHOD else None
        path = operation.path.format(
            payment_id=payment,
            refund_id=refund,
            dispute_id=dispute,
            customer_id=customer,
            payout_id=payout,
            calculation_id=calculation,
            payment_method_id=method,
            tile=TILE.removeprefix("tile/"),
            epoch="1",
        )
        headers = []
        if operation.scope is not None:
            headers.append(("Authorization", f"Bearer {self.running.api_key}"))
        if operation.body is not None:
            headers.append(("Content-Type", "application/json"))
        if IDEMPOTENCY_KEY in operation.parameters:
            headers.append(("Idempotency-Key", fresh("key")))
        sent = Sent(operation, path, tuple(headers), payment=payment)
        return sent if operation.body is None else sent.with_body(_body(operation_id, payment))

    async def send(self, sent: Sent, url: str | None = None) -> Answer:
        return await send_raw(
            url or self.running.api_url,
            sent.path,
            list(sent.headers),
            sent.body,
            method=sent.operation.method,
        )


def cart(amount: int = 10_000) -> dict[str, Any]:
    """What is to be taxed, for somebody in Berlin."""
    return {
        "currency": "EUR",
        "line_items": [{"amount": amount, "reference": "ticket"}],
        "customer": {"address": {"country": "DE", "postal_code": "10117"}},
    }


def _body(operation_id: str, payment: str | None) -> dict[str, Any]:
    back = {"payment": payment, "amount": 100}
    bodies: dict[str, dict[str, Any]] = {
        "create_customer": {"name": "Ada Byron"},
        "change_customer": {"name": "Ada Lovelace"},
        "search_customers": {"email": "ada@shop.example"},
        "save_payment_method": {"instrument": CARD, "consent": CONSENT},
        "agree_to_payment_method": CONSENT,
        "detach_payment_method": {},
        "create_payment": order(),
        "create_tax_calculation": cart(),
        "create_payments": {"payments": [item()]},
        "confirm_payment": {"instrument": CARD},
        "capture_payment": {"amount": 100},
        "cancel_payment": {},
        "make_checkout_link": {},
        "revoke_checkout_link": {},
        "create_refund": back,
        "give_evidence": {"evidence": {"customer_name": "A"}},
        "accept_dispute": {},
        "create_refunds": {"refunds": [back | {"idempotency_key": fresh("key")}]},
    }
    return bodies[operation_id]

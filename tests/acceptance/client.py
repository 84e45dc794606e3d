"""A merchant's client of the API, and the reader of the stand-in's ledger."""

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDictProxy

from tests.acceptance import contract

ENDS = ("succeeded", "failed", "canceled")
SETTLE_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.02
GONE = object()
"""As a value of `order`: leave the field out."""


def fresh(prefix: str = "order") -> str:
    """Text that nobody used before."""
    return f"{prefix}-{uuid.uuid4().hex}"


def order(token: str | None = "pm_card_visa", **changes: Any) -> dict[str, Any]:
    """The body of a payment: of a good card, or of none; fields may be replaced or left out."""
    body: dict[str, Any] = {"amount": 1999, "currency": "EUR", "merchant_reference": fresh()}
    if token is not None:
        body["instrument"] = {"gateway": "stripe", "token": token}
    return {name: value for name, value in (body | changes).items() if value is not GONE}


def item(token: str | None = "pm_card_visa", **changes: Any) -> dict[str, Any]:
    """As `order`, with a key of its own: one item of a bulk."""
    return order(token, **({"idempotency_key": fresh("key")} | changes))


async def until(
    condition: Callable[[], Awaitable[bool]], seconds_max: float = SETTLE_SECONDS_MAX
) -> None:
    """Returns once the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds_max):
        while True:
            if await condition():
                return
            await asyncio.sleep(LOOK_SECONDS)


class Answer(NamedTuple):
    """What the API said."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        identifier: str = self.json["id"]
        return identifier

    @property
    def code(self) -> Any:
        """The problem's code; None where it is no problem."""
        return self.json.get("code")

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"

    def as_documented(self, method: str, path: str) -> "Answer":
        """Itself; fails when the OpenAPI document does not know such an answer there."""
        json = self.json if self.body and "json" in self.headers["Content-Type"] else None
        contract.check(method, path, self.status, self.headers, self.body, json)
        return self


class Api:
    """One merchant: an API key at an address."""

    def __init__(self, session: aiohttp.ClientSession, url: str, api_key: str) -> None:
        self.session = session
        self.url = url
        self.api_key = api_key

    def at(self, url: str) -> "Api":
        """The same merchant at another API process."""
        return Api(self.session, url, self.api_key)

    def with_key(self, api_key: str) -> "Api":
        """The same place with another API key."""
        return Api(self.session, self.url, api_key)

    async def post(
        self,
        path: str,
        body: Any,
        *,
        key: str | None = None,
        wait: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """POST with a fresh Idempotency-Key, or with `key`."""
        sent = {
            "Authorization": f"Bearer {self.api_key}",
            "Content-Type": "application/json",
            "Idempotency-Key": key or fresh("key"),
        }
        if wait is not None:
            sent["Prefer"] = f"wait={wait}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(
            self.url + path, data=data, headers=sent | (headers or {})
        ) as response:
            answer = Answer(response.status, response.headers, await response.read())
        return answer.as_documented("POST", path)

    async def bulk(
        self, items: Sequence[Any] | bytes, *, headers: dict[str, str] | None = None
    ) -> Answer:
        """POST /v1/payments/bulk of these items, or of this body."""
        body = items if isinstance(items, bytes) else json.dumps({"payments": items}).encode()
        sent = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        async with self.session.post(
            self.url + "/v1/payments/bulk", data=body, headers=sent | (headers or {})
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def pay(
        self, body: dict[str, Any], *, key: str | None = None, wait: int | None = None
    ) -> Answer:
        return await self.post("/v1/payments", body, key=key, wait=wait)

    async def confirm(
        self,
        payment_id: str,
        token: str | None = None,
        *,
        key: str | None = None,
        wait: int | None = None,
    ) -> Answer:
        body = {} if token is None else {"instrument": {"gateway": "stripe", "token": token}}
        return await self.post(f"/v1/payments/{payment_id}/confirm", body, key=key, wait=wait)

    async def capture(
        self,
        payment_id: str,
        amount: Any = None,
        *,
        key: str | None = None,
        wait: int | None = None,
    ) -> Answer:
        body = {} if amount is None else {"amount": amount}
        return await self.post(f"/v1/payments/{payment_id}/capture", body, key=key, wait=wait)

    async def cancel(
        self, payment_id: str, *, key: str | None = None, wait: int | None = None
    ) -> Answer:
        return await self.post(f"/v1/payments/{payment_id}/cancel", {}, key=key, wait=wait)

    async def refund(
        self,
        payment_id: str,
        amount: Any = None,
        *,
        key: str | None = None,
        wait: int | None = None,
        **more: Any,
    ) -> Answer:
        body = {"payment": payment_id, **({} if amount is None else {"amount": amount}), **more}
        return await self.post("/v1/refunds", body, key=key, wait=wait)

    async def refund_all(
        self, items: Sequence[Any], *, headers: dict[str, str] | None = None
    ) -> Answer:
        """POST /v1/refunds/bulk."""
        body = json.dumps({"refunds": items}).encode()
        sent = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        sent |= headers or {}
        path = "/v1/refunds/bulk"
        async with self.session.post(self.url + path, data=body, headers=sent) as response:
            answer = Answer(response.status, response.headers, await response.read())
        return answer.as_documented("POST", path)

    async def get(self, path: str, *, wait: int | None = None, **query: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
        url = self.url + path
        async with self.session.get(url, params=query, headers=headers) as response:
            answer = Answer(response.status, response.headers, await response.read())
        return answer.as_documented("GET", path)

    async def payment(self, payment_id: str, *, wait: int | None = None) -> dict[str, Any]:
        answer = await self.get(f"/v1/payments/{payment_id}", wait=wait)
        assert answer.status == 200, answer
        payment: dict[str, Any] = answer.json
        return payment

    async def until(self, payment_id: str, *statuses: str) -> dict[str, Any]:
        """The payment, once it has one of these statuses."""
        payment: dict[str, Any] = {}

        async def has_come() -> bool:
            payment.update(await self.payment(payment_id))
            return payment["status"] in statuses

        try:
            await until(has_come)
        except TimeoutError:
            raise AssertionError(f"expected {statuses}, stands at {payment}") from None
        return payment

    async def until_refund(self, refund_id: str, *statuses: str) -> dict[str, Any]:
        """The refund, once it has one of these statuses."""
        refund: dict[str, Any] = {}

        async def has_come() -> bool:
            refund.update((await self.get(f"/v1/refunds/{refund_id}")).json)
            return refund["status"] in statuses

        try:
            await until(has_come)
        except TimeoutError:
            raise AssertionError(f"expected {statuses}, stands at {refund}") from None
        return refund

    async def disputes_of(
        self, payment_id: str, *statuses: str, number: int = 1
    ) -> list[dict[str, Any]]:
        """The payment's disputes, newest first: so many, each in one of these statuses, if any."""
        found: list[dict[str, Any]] = []

        async def have_come() -> bool:
            found[:] = (await self.get("/v1/disputes", payment=payment_id)).json["data"]
            return len(found) == number and all(
                not statuses or one["status"] in statuses for one in found
            )

        try:
            await until(have_come)
        except TimeoutError:
            raise AssertionError(f"expected {number} {statuses}, there are {found}") from None
        return found

    async def payout_at(self, gateway_payout: str, *statuses: str) -> dict[str, Any]:
        """The payout that the gateway has under this id, once it is here, in one of these."""
        found: dict[str, Any] = {}

        async def has_come() -> bool:
            for one in (await self.get("/v1/payouts", limit=100)).json["data"]:
                if one["gateway_payout"] == gateway_payout:
                    found.update(one)
            return bool(found) and (not statuses or found["status"] in statuses)

        try:
            await until(has_come)
        except TimeoutError:
            raise AssertionError(f"expected {statuses}, there is {found}") from None
        return found

    async def all_settled(self, payment_ids: list[str]) -> list[dict[str, Any]]:
        """The payments, once each has come to its end; a few at a time."""
        turns = asyncio.Semaphore(32)

        async def settled(payment_id: str) -> dict[str, Any]:
            async with turns:
                return await self.until(payment_id, *ENDS)

        return list(await asyncio.gather(*map(settled, payment_ids)))


class StandIn:
    """The Stripe stand-in's knobs and ledger."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, token: str, secret: str = ""
    ) -> None:
        self.session = session
        self.url = url
        self._secret = secret
        self._headers = {"X-Knob-Token": token}

    async def _control(self, method: str, path: str, body: object = None) -> Any:
        async with self.session.request(
            method, self.url + path, headers=self._headers, json=body
        ) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def knobs(self, *rules: dict[str, Any]) -> None:
        await self._control("PUT", "/_knobs", {"rules": list(rules)})

    async def clear(self) -> None:
        await self._control("DELETE", "/_knobs")

    async def charges(self) -> dict[str, list[dict[str, Any]]]:
        """What was really taken, by the id of the payment that it was taken for."""
        page = await self._control("GET", "/_ledger/charges?limit=10000")
        assert not page["has_more"]
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for charge in page["data"]:
            found[charge["metadata"].get("strongroom_payment", "")].append(charge)
        return found

    async def charge_of(self, payment_id: str) -> dict[str, Any]:
        """The one charge that was made for a payment, be it taken, held or neither."""
        page = await self._control("GET", "/_ledger/charges?limit=10000&kind=all")
        assert not page["has_more"]
        [found] = [
            charge
            for charge in page["data"]
            if charge["metadata"].get("strongroom_payment") == payment_id
        ]
        charge: dict[str, Any] = found
        return charge

    async def refunds_of(self, payment_id: str) -> list[dict[str, Any]]:
        """What really went back of a payment, or tried to."""
        charge = await self.charge_of(payment_id)
        page = await self._control("GET", f"/_ledger/refunds?charge={charge['id']}&limit=1000")
        found: list[dict[str, Any]] = page["data"]
        return found

    async def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._control("GET", "/_ledger/summary")
        return found

    async def refund_there(self, intent: str, amount: int) -> None:
        """Somebody gives money back at the gateway itself."""
        async with self.session.post(
            self.url + "/v1/refunds",
            data={"payment_intent": intent, "amount": str(amount)},
            headers={"Authorization": f"Bearer {self._secret}"},
        ) as answer:
            assert answer.status == 200, await answer.text()

    async def dispute(self, payment_id: str, **how: Any) -> str:
        """A bank disputes what was taken for a payment; Stripe's id of the dispute."""
        intent = (await self.charge_of(payment_id))["payment_intent"]
        opened = await self._control("POST", "/_disputes", {"payment_intent": intent, **how})
        return str(opened["id"])

    async def pay_out(self, currency: str, **how: Any) -> dict[str, Any]:
        """All that the balance in a currency holds goes to the bank."""
        made: dict[str, Any] = await self._control(
            "POST", "/_payouts", {"currency": currency, **how}
        )
        return made

    async def advance(self, seconds: int) -> None:
        """The stand-in's clock goes on by so much, for good."""
        await self._control("POST", "/_clock", {"advance_seconds": seconds})

    async def decide_dispute(self, dispute_id: str, status: str) -> None:
        """The bank decides."""
        await self._control("POST", "/_disputes", {"dispute": dispute_id, "status": status})

    async def settle(self, **decision: Any) -> None:
        """How what was left open ends: `refund` or `payment_intent`, and `succeed`."""
        await self._control("POST", "/_settle", decision)

    async def decide(self, action_url: str, decision: str) -> int:
        """What the customer does on the 3-D Secure page: `complete` or `fail`."""
        async with self.session.post(f"{action_url}/{decision}", allow_redirects=False) as answer:
            return answer.status

    async def charge_there(self, **parameters: str) -> str:
        """Something else charges by the same account; returns the id of the intent."""
        async with self.session.post(
            self.url + "/v1/payment_intents",
            data=parameters,
            headers={"Authorization": f"Bearer {self._secret}"},
        ) as answer:
            made = await answer.json()
            assert made.get("status") == "succeeded", made
            return str(made["id"])

    async def refunded(self, intent: str) -> int:
        """How much of an intent has gone back."""
        page = await self._control("GET", "/_ledger/charges?limit=10000&kind=all")
        return sum(
            charge["refunded"] + charge["refund_pending"]
            for charge in page["data"]
            if charge["payment_intent"] == intent
        )

    async def newest_events(self, number: int) -> list[str]:
        """The ids that the list of events shows first."""
        async with self.session.get(
            f"{self.url}/v1/events?limit={number}",
            headers={"Authorization": f"Bearer {self._secret}"},
        ) as answer:
            return [event["id"] for event in (await answer.json())["data"]]

"""What is done at a gateway behind our back, in one way for all: it sells, banks dispute, it tells.

Each till stands at the deployment's own stand-in, with the first merchant's account there.
"""

import asyncio
import hashlib
from base64 import encodebytes
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

import aiohttp
import asyncpg
import braintree
from braintree.util.crypto import Crypto

from strongroom.ids import from_text, to_text
from strongroom.local.children import MERCHANT_ACCOUNTS
from tests.acceptance.client import Api, StandIn, fresh, order
from tests.acceptance.hooks import Account, event
from tests.acceptance.running import Running

ACCOUNT: Final = (
    "SELECT gateway_account_id FROM gateway_accounts WHERE legal_entity_id = $1 AND gateway = $2"
)
LETTERS: Final = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
NONCE: Final = "fake-valid-visa-nonce"


class Till(Protocol):
    """A gateway, as those see it who have to do with it beside us."""

    name: str
    account: str
    """Of the first merchant."""
    wins: str
    loses: str
    adds: str
    finishes: str
    accepts: str
    """What evidence is to say so that it wins or loses; and operations for faults."""

    async def paid(self, api: Api, amount: int = 1999) -> str:
        """A payment by this gateway that succeeded."""
        ...

    async def settled(self, payment: str) -> None:
        """What was taken for it has settled, so that it can be given back in part."""
        ...

    async def refunds(self, payment: str) -> list[str]:
        """What went back of it, by the gateway's ids of that which has to settle yet."""
        ...

    async def settle_refund(self, refund: str) -> None:
        """It has gone back for good."""
        ...

    async def dispute(self, payment: str, **how: Any) -> str:
        """A bank disputes what was taken for a payment; the gateway's id of the dispute."""
        ...

    async def strange_dispute(self, amount: int) -> str:
        """A bank disputes what somebody else has taken by the same account."""
        ...

    async def decide(self, dispute: str, status: str) -> None:
        """The bank decides."""
        ...

    async def charged(self, payment: str = "", attempt: str = "1") -> str:
        """Something else charges 12.34 by the same account, with the mark of a payment or none.

        Returns the gateway's id of what we would have made for it.
        """
        ...

    async def object_of(self, payment: str) -> str:
        """The gateway's id of what we made for a payment."""
        ...

    async def given_back(self, charge: str) -> int:
        """How much of a charge has gone back."""
        ...

    async def told(self, dispute: str, kind: str = "opened", amount: int = 1999) -> str:
        """A genuine webhook to our account that names the dispute; its event's id."""
        ...

    async def quiet(self) -> None:
        """From now on it sends no webhooks by itself."""
        ...

    async def strike(self, operation: str, fault: str, *, first: int | None = None) -> None:
        """Calls of the operation meet the fault."""
        ...

    async def calm(self) -> None:
        """It does what it always does."""
        ...


class StripeTill:
    """Stripe's stand-in."""

    name = "stripe"
    wins, loses = "winning_evidence", "losing_evidence"
    adds = finishes = "disputes.update"
    accepts = "disputes.close"
    _kinds: Final = {"opened": "created", "under_review": "updated", "won": "closed"}

    def __init__(self, running: Running, stand_in: StandIn, account: Account) -> None:
        self._running, self._stand_in, self._account = running, stand_in, account
        self.account = account.url.rpartition("/")[2]

    async def paid(self, api: Api, amount: int = 1999) -> str:
        made = await api.pay(order(amount=amount), wait=20)
        assert made.json["status"] == "succeeded", made
        return made.id

    async def settled(self, payment: str) -> None:
        """It can be given back at once."""

    async def refunds(self, payment: str) -> list[str]:
        return []

    async def settle_refund(self, refund: str) -> None:
        """It is there at once."""

    async def dispute(self, payment: str, **how: Any) -> str:
        return await self._stand_in.dispute(payment, **how)

    async def strange_dispute(self, amount: int) -> str:
        intent = await self._stand_in.charge_there(
            amount=str(amount), currency="eur", payment_method="pm_card_createDispute",
            confirm="true", return_url="https://shop.example/",
        )  # fmt: skip
        secret = (self._running.home / "secrets" / "stripe_key").read_text().strip()
        async with self._account.session.get(
            f"{self._running.stripe_url}/v1/disputes?payment_intent={intent}",
            headers={"Authorization": f"Bearer {secret}"},
        ) as answer:
            return str((await answer.json())["data"][0]["id"])

    async def decide(self, dispute: str, status: str) -> None:
        await self._stand_in.decide_dispute(dispute, status)

    async def charged(self, payment: str = "", attempt: str = "1") -> str:
        marks = {"strongroom_payment": payment, "strongroom_attempt": attempt} if payment else {}
        return await self._stand_in.charge_there(
            amount="1234", currency="eur", payment_method="pm_card_visa", confirm="true",
            return_url="https://shop.example/",
            **{f"metadata[{name}]": value for name, value in marks.items()},
        )  # fmt: skip

    async def object_of(self, payment: str) -> str:
        return str((await self._stand_in.charge_of(payment))["payment_intent"])

    async def given_back(self, charge: str) -> int:
        return await self._stand_in.refunded(charge)

    async def told(self, dispute: str, kind: str = "opened", amount: int = 1999) -> str:
        made = event(
            {"id": dispute, "object": "dispute", "amount": amount, "currency": "eur"},
            f"charge.dispute.{self._kinds[kind]}",
        )
        assert (await self._account.send(made)).status == 200
        return str(made["id"])

    async def quiet(self) -> None:
        await self._webhooks("PUT")

    async def strike(self, operation: str, fault: str, *, first: int | None = None) -> None:
        match: dict[str, Any] = {"operation": operation}
        await self._stand_in.knobs(
            {"fault": fault, "match": match if first is None else match | {"first_n": first}}
        )

    async def calm(self) -> None:
        await self._stand_in.clear()
        await self._webhooks("DELETE")

    async def _webhooks(self, method: str) -> None:
        """They go nowhere, or again to where `up` has them."""
        async with self._account.session.request(
            method,
            self._running.stripe_url + "/_webhooks",
            headers={"X-Knob-Token": self._running.knob_token},
            json={},
        ) as answer:
            assert answer.status == 200, await answer.text()


class BraintreeTill:
    """Braintree's stand-in."""

    name = "braintree"
    wins, loses = "compelling_evidence", "losing_evidence"
    adds, finishes, accepts = "disputes.add_evidence", "disputes.finalize", "disputes.accept"

    def __init__(self, running: Running, session: aiohttp.ClientSession, account: str) -> None:
        self.account, self._session, self._base = account, session, running.braintree_url
        self._headers = {"X-Knob-Token": running.knob_token}
        keys = (running.home / "secrets" / "braintree_keys").read_text().strip()
        self._keys = keys.split(":")
        self._url = f"{running.api_url}/webhooks/braintree/{account}"

    @property
    def sdk(self) -> braintree.BraintreeGateway:
        """The official SDK with the keys of the deployment."""
        port = str(urlsplit(self._base).port)
        environment = braintree.Environment(
            "standin", "127.0.0.1", port, "http://127.0.0.1", False, None, "127.0.0.1", port
        )
        return braintree.BraintreeGateway(braintree.Configuration(environment, *self._keys))

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """What its controls say."""
        async with self._session.request(
            method, self._base + path, headers=self._headers, json=body
        ) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def charges(self, payment: str) -> Sequence[dict[str, Any]]:
        """What was really taken for a payment."""
        found = await self.control("GET", f"/_ledger/charges?order_prefix={payment}.&kind=all")
        return list(found["data"])

    async def paid(self, api: Api, amount: int = 1999, currency: str = "EUR") -> str:
        made = await api.pay(braintree_order(amount=amount, currency=currency), wait=20)
        assert made.json["status"] == "succeeded", made
        return made.id

    async def settled(self, payment: str) -> None:
        for charge in await self.charges(payment):
            await self.control("POST", "/_settle", {"transaction": charge["id"]})

    async def refunds(self, payment: str) -> list[str]:
        [charge] = await self.charges(payment)
        page = await self.control("GET", f"/_ledger/refunds?transaction={charge['id']}")
        return [str(one["id"]) for one in page["data"]]

    async def settle_refund(self, refund: str) -> None:
        await self.control("POST", "/_settle", {"transaction": refund})

    async def charge_there(self, amount: str = "9.00", **more: Any) -> str:
        """Somebody else sells by the same account; the id of the Transaction."""
        given = {
            "amount": amount, "payment_method_nonce": NONCE, "order_id": fresh(),
            "merchant_account_id": MERCHANT_ACCOUNTS["EUR"],
            "options": {"submit_for_settlement": True},
        }  # fmt: skip
        sold = await asyncio.to_thread(self.sdk.transaction.sale, given | more)
        assert sold.is_success, sold.message
        return str(sold.transaction.id)

    async def dispute(self, payment: str, **how: Any) -> str:
        [charge] = await self.charges(payment)
        opened = await self.control("POST", "/_disputes", {"transaction": charge["id"], **how})
        return str(opened["id"])

    async def evidence_of(self, payment: str) -> list[str]:
        """The texts that are there for the bank."""
        [charge] = await self.charges(payment)
        page = await self.control("GET", "/_ledger/disputes")
        [held] = [one for one in page["data"] if one["transaction"] == charge["id"]]
        return [one["comments"] for one in held.get("evidence", ())]

    async def charged(self, payment: str = "", attempt: str = "1") -> str:
        return await self.charge_there(
            "12.34", order_id=f"{payment}.{attempt}" if payment else fresh()
        )

    async def object_of(self, payment: str) -> str:
        [charge] = await self.charges(payment)
        return str(charge["id"])

    async def given_back(self, charge: str) -> int:
        page = await self.control("GET", f"/_ledger/refunds?transaction={charge}")
        return len(page["data"])

    async def strange_dispute(self, amount: int) -> str:
        sold = await self.charge_there(f"{amount / 100:.2f}")
        return str((await self.control("POST", "/_disputes", {"transaction": sold}))["id"])

    async def decide(self, dispute: str, status: str, **how: Any) -> None:
        asked = {"dispute": dispute, "status": status, **how}
        await self.control("POST", "/_disputes", asked)

    async def told(self, dispute: str, kind: str = "opened", amount: int = 1999) -> str:
        status = "open" if kind == "opened" else kind
        return await self.tell(
            f"dispute_{kind}",
            f"<dispute><id>{dispute}</id><amount-disputed>{amount / 100:.2f}</amount-disputed>"
            f"<currency-iso-code>EUR</currency-iso-code><status>{status}</status>"
            "<kind>chargeback</kind></dispute>",
        )

    async def tell(self, kind: str, subject: str) -> str:
        """A genuine webhook to our account; its event's id."""
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        xml = (
            f'<notification><timestamp type="datetime">{moment}</timestamp><kind>{kind}</kind>'
            f"<!-- {fresh()} --><subject>{subject}</subject></notification>"
        )
        payload = encodebytes(xml.encode()).decode()
        digest = Crypto.sha1_hmac_hash(self._keys[2], payload)
        fields = {"bt_signature": f"{self._keys[1]}|{digest}", "bt_payload": payload}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(fields).encode()
        async with self._session.post(self._url, data=body, headers=form) as answer:
            assert answer.status == 200, await answer.text()
        return "bt_" + hashlib.sha256(payload.encode()).hexdigest().translate(LETTERS)

    async def quiet(self) -> None:
        await self.control("PUT", "/_webhooks", {})

    async def strike(self, operation: str, fault: str, *, first: int | None = None) -> None:
        match: dict[str, Any] = {"operation": operation}
        rule = {"fault": fault, "match": match if first is None else match | {"first_n": first}}
        await self.knobs(rules=[rule])

    async def knobs(self, **knobs: Any) -> None:
        """Its knobs; decisions come at once, and searches do not lag."""
        usual = {"dispute_decision_seconds": 0, "search_lag_seconds": 0}
        await self.control("PUT", "/_knobs", usual | knobs)

    async def calm(self) -> None:
        await self.knobs()
        await self.control("DELETE", "/_webhooks")


def braintree_order(**fields: Any) -> dict[str, Any]:
    """The body of a payment by a nonce that is good."""
    return order(None, instrument={"gateway": "braintree", "token": NONCE}, **fields)


async def account_at(owner: asyncpg.Connection, entity: str, gateway: str) -> str:
    """The legal entity's account at a gateway."""
    return to_text("gwa", await owner.fetchval(ACCOUNT, from_text("ent", entity), gateway))

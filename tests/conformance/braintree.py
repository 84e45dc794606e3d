"""Braintree's adapter before its stand-in."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from strongroom.clock import SystemClock
from strongroom.gateways.braintree.client import BraintreeAdapter
from strongroom.gateways.port import Gateway
from strongroom.payments.refunds import Refunded
from strongroom.payments.states import Approved, Authorized, DeclineClass
from tests.conformance.matrix import Condition, Operation
from tests.conformance.rig import Subject
from tests.integration.braintree_adapter.selling import (
    KEYS,
    Keys,
    account_at,
    new_attempt,
    new_refund,
    numbers,
    order_id,
    settle,
    sold,
)
from tests.sandbox.braintree_server import RunningBraintree
from tests.unit.examples import AMOUNT

STAGED: Final = (
    "nothing is prepared: the sale is one call, under a key and a reference of its own "
    "(Transaction: Sale, api_request_key)"
)
IN_THE_BROWSER: Final = (
    "the customer authenticates in the browser before the nonce reaches us; a sale that lacks it "
    "is declined (processor response 2099)"
)
CANNOT: Final[Mapping[tuple[Operation, Condition], str]] = {
    (Operation.PREPARE, condition): STAGED for condition in Condition
} | {
    (operation, Condition.ACTION): IN_THE_BROWSER
    for operation in (Operation.SALE, Operation.AUTHORIZE)
}
DECLINES: Final[Mapping[DeclineClass, str]] = {
    "insufficient_funds": "2001",
    "limit_exceeded": "2002",
    "generic_decline": "2000",
    "try_again": "3000",
    "authentication_required": "2099",
    "expired_card": "2004",
    "invalid_card": "2005",
    "incorrect_cvc": "2010",
    "avs_mismatch": "2059",
    "lost_stolen": "2012",
    "fraud": "2014",
    "not_permitted": "2015",
    "revoked": "2017",
    "call_issuer": "2044",
    "duplicate": "2016",
    "config_error": "2026",
}
"""By class, a processor response; the amount of as many whole units brings it about."""
OPERATIONS: Final = {
    Operation.SALE: "transactions.sale",
    Operation.AUTHORIZE: "transactions.sale",
    Operation.LOOK: "transactions.find",
    Operation.CANCEL: "transactions.void",
    Operation.CAPTURE: "transactions.submit_for_settlement",
    Operation.REFUND: "transactions.refund",
    Operation.LOOK_AT_REFUND: "transactions.find",
}
NO_DECLINES: Final[Mapping[DeclineClass, str]] = {
    "authentication_failed": (
        "a gateway rejection (three_d_secure), not an answer of the processor; its own test is in "
        "tests/integration/braintree_adapter"
    ),
    "invalid_instrument": (
        "a nonce that is unknown or used is a validation error, told before any processor is asked"
    ),
}
HOLD_SECONDS: Final = 5
DELAY_MILLISECONDS: Final = 300
MINOR: Final = 100


class BraintreeRig:
    """One server for all cells; each has attempts of its own."""

    name = "braintree"
    cannot, declines, no_declines = CANNOT, DECLINES, NO_DECLINES

    def __init__(self, server: RunningBraintree) -> None:
        self.server = server
        self.braintree = BraintreeAdapter(SystemClock(), Keys(KEYS), mode="dev")
        self.gateway: Gateway = self.braintree
        self.account = account_at(server.url)

    async def close(self) -> None:
        self.calm()
        await self.gateway.close()

    async def ready_for(self, operation: Operation) -> Subject:
        match operation:
            case Operation.SALE:
                return Subject(new_attempt(self.braintree))
            case Operation.AUTHORIZE:
                return Subject(new_attempt(self.braintree, capture="manual"))
            case Operation.LOOK:
                return await self._sold()
            case Operation.CANCEL | Operation.CAPTURE:
                held, answer, _ = await sold(self.braintree, self.account, capture="manual")
                assert isinstance(answer, Authorized), answer
                return Subject(held)
            case Operation.REFUND:
                return await self._refund(AMOUNT)
            case Operation.LOOK_AT_REFUND:
                subject = await self._refund(AMOUNT)
                assert subject.refund is not None
                made, _ = await self.gateway.refund(self.account, subject.refund)
                assert isinstance(made, Refunded)
                known = replace(subject.refund, gateway_object_id=made.object_id)
                return replace(subject, refund=known)
            case Operation.PREPARE:
                raise AssertionError(STAGED)

    async def declined(self, decline: DeclineClass, operation: Operation) -> Subject:
        capture = "manual" if operation is Operation.AUTHORIZE else "automatic"
        amount_minor = int(DECLINES[decline]) * MINOR
        return Subject(new_attempt(self.braintree, amount_minor=amount_minor, capture=capture))

    async def asks(self, operation: Operation) -> Subject:
        raise AssertionError(f"{operation}: {IN_THE_BROWSER}")

    async def settled(self) -> Subject:
        subject = await self._sold()
        settle(self.server, subject.attempt.gateway_object_id)
        return subject

    async def refund_of_more(self) -> Subject:
        return await self._refund(AMOUNT + 1)

    def fresh(self, subject: Subject) -> Subject:
        other = f"sr_{next(numbers)}_fresh"
        return replace(subject, attempt=replace(subject.attempt, gateway_key=other))

    def strike(self, operation: Operation, fault: str) -> None:
        match: dict[str, object] = {"operation": OPERATIONS[operation]}
        if operation not in (Operation.LOOK, Operation.LOOK_AT_REFUND):
            match["first_n"] = 1
        more: dict[str, object] = {}
        if fault.startswith("withhold"):
            more["hold_seconds"] = HOLD_SECONDS
        if fault == "delay":
            more["delay_ms"] = DELAY_MILLISECONDS
        self.server.knobs({"match": match, "fault": fault, **more})

    def calm(self) -> None:
        self.server.control("DELETE", "/_knobs")

    def taken(self, subject: Subject) -> int:
        return self._sum(subject, "taken")

    def held(self, subject: Subject) -> int:
        return self._sum(subject, "held")

    def given_back(self, subject: Subject) -> int:
        sale = subject.attempt.gateway_object_id
        if sale is None:
            return 0
        found = self.server.refunds(transaction=sale)
        return sum(one["amount"] for one in found if one["taken"])

    def _sum(self, subject: Subject, kind: str) -> int:
        found = self.server.charges(order_id=order_id(subject.attempt), kind=kind)
        return sum(charge["amount"] for charge in found)

    async def _sold(self) -> Subject:
        attempt, answer, _ = await sold(self.braintree, self.account)
        assert isinstance(answer, Approved), answer
        return Subject(attempt)

    async def _refund(self, amount_minor: int) -> Subject:
        subject = await self.settled()
        refund = new_refund(self.braintree, subject.attempt, amount_minor)
        return replace(subject, refund=refund)

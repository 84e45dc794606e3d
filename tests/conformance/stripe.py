"""Stripe's adapter before its stand-in."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from strongroom.clock import SystemClock
from strongroom.gateways.port import Gateway
from strongroom.gateways.stripe.client import StripeGateway
from strongroom.payments.refunds import Refunded
from strongroom.payments.states import Attempt, DeclineClass
from tests.conformance.matrix import Condition, Operation
from tests.conformance.rig import Subject
from tests.integration.stripe_adapter.asking import (
    RETURN_URL,
    Keys,
    account_at,
    held,
    new_attempt,
    new_refund,
    numbers,
    paid,
    prepared,
)
from tests.sandbox.conftest import SECRET_KEY, RunningStripe
from tests.unit.examples import AMOUNT

CANNOT: Final[Mapping[tuple[Operation, Condition], str]] = {}
DECLINES: Final[Mapping[DeclineClass, str]] = {
    "insufficient_funds": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "limit_exceeded": "pm_card_visa_chargeDeclinedVelocityLimitExceeded",
    "generic_decline": "pm_card_visa_chargeDeclined",
    "try_again": "pm_card_chargeDeclinedProcessingError",
    "authentication_required": "pm_decline_authentication_required",
    "expired_card": "pm_card_chargeDeclinedExpiredCard",
    "invalid_card": "pm_card_chargeDeclinedIncorrectNumber",
    "incorrect_cvc": "pm_card_chargeDeclinedIncorrectCvc",
    "avs_mismatch": "pm_decline_incorrect_zip",
    "lost_stolen": "pm_card_visa_chargeDeclinedLostCard",
    "fraud": "pm_card_radarBlock",
    "not_permitted": "pm_decline_transaction_not_allowed",
    "revoked": "pm_decline_revocation_of_authorization",
    "call_issuer": "pm_decline_call_issuer",
    "duplicate": "pm_decline_duplicate_transaction",
    "config_error": "pm_decline_testmode_decline",
    "invalid_instrument": "pm_nobody_knows",
}
NO_DECLINES: Final[Mapping[DeclineClass, str]] = {
    "authentication_failed": (
        "a confirm only asks for the authentication; that it failed is told by a later look "
        "(docs.stripe.com/payments/paymentintents/lifecycle)"
    ),
    "invalid_instrument": (
        "told when the PaymentIntent is made, before anything could be sent: prepare, refused"
    ),
}
OPERATIONS: Final = {
    Operation.PREPARE: "payment_intents.create",
    Operation.SALE: "payment_intents.confirm",
    Operation.AUTHORIZE: "payment_intents.confirm",
    Operation.LOOK: "payment_intents.retrieve",
    Operation.CANCEL: "payment_intents.cancel",
    Operation.CAPTURE: "payment_intents.capture",
    Operation.REFUND: "refunds.create",
    Operation.LOOK_AT_REFUND: "refunds.retrieve",
}
ASKS: Final = "pm_card_authenticationRequired"
HOLD_SECONDS: Final = 5
DELAY_MILLISECONDS: Final = 300


class StripeRig:
    """One server for all cells; each has attempts of its own."""

    name = "stripe"
    cannot, declines, no_declines = CANNOT, DECLINES, NO_DECLINES

    def __init__(self, server: RunningStripe) -> None:
        self.server = server
        self.stripe = StripeGateway(SystemClock(), Keys(SECRET_KEY), RETURN_URL, mode="dev")
        self.gateway: Gateway = self.stripe
        self.account = account_at(self.server.url)

    async def close(self) -> None:
        self.calm()
        await self.gateway.close()

    async def ready_for(self, operation: Operation) -> Subject:
        match operation:
            case Operation.PREPARE:
                return Subject(new_attempt(self.stripe))
            case Operation.SALE:
                return Subject(await prepared(self.stripe, self.account))
            case Operation.AUTHORIZE:
                return Subject(await prepared(self.stripe, self.account, capture="manual"))
            case Operation.LOOK:
                return await self.settled()
            case Operation.CANCEL | Operation.CAPTURE:
                return Subject(await held(self.stripe, self.account))
            case Operation.REFUND:
                return await self._refund(AMOUNT)
            case Operation.LOOK_AT_REFUND:
                subject = await self._refund(AMOUNT)
                assert subject.refund is not None
                answer, _ = await self.gateway.refund(self.account, subject.refund)
                assert isinstance(answer, Refunded)
                known = replace(subject.refund, gateway_object_id=answer.object_id)
                return replace(subject, refund=known)

    async def declined(self, decline: DeclineClass, operation: Operation) -> Subject:
        token = DECLINES[decline]
        if operation is Operation.PREPARE:
            return Subject(new_attempt(self.stripe, token))
        return Subject(await self._prepared(token, operation))

    async def asks(self, operation: Operation) -> Subject:
        return Subject(await self._prepared(ASKS, operation))

    async def settled(self) -> Subject:
        return Subject(await paid(self.stripe, self.account))

    async def refund_of_more(self) -> Subject:
        return await self._refund(AMOUNT + 1)

    def fresh(self, subject: Subject) -> Subject:
        other = f"sr_{next(numbers)}"
        return replace(subject, attempt=replace(subject.attempt, gateway_key=other))

    def strike(self, operation: Operation, fault: str) -> None:
        match: dict[str, object] = {"operation": OPERATIONS[operation]}
        if operation not in (Operation.LOOK, Operation.LOOK_AT_REFUND):
            match["first_n"] = 1  # a read that was cut off is asked again by the HTTP client itself
        more: dict[str, object] = {}
        if fault.startswith("withhold"):
            more["hold_seconds"] = HOLD_SECONDS
        if fault == "delay":
            more["delay_ms"] = DELAY_MILLISECONDS
        self.server.knobs({"match": match, "fault": fault, **more})

    def calm(self) -> None:
        self.server.control("DELETE", "/_knobs")

    def taken(self, subject: Subject) -> int:
        return self._sum(subject, "taken", "captured")

    def held(self, subject: Subject) -> int:
        return self._sum(subject, "held", "amount")

    def given_back(self, subject: Subject) -> int:
        return self._sum(subject, "taken", "refunded")

    def _sum(self, subject: Subject, kind: str, field: str) -> int:
        intent = subject.attempt.gateway_object_id
        if intent is None:
            return 0
        charges = self.server.charges(payment_intent=intent, kind=kind)
        return sum(charge[field] for charge in charges)

    async def _prepared(self, token: str, operation: Operation) -> Attempt:
        capture = "manual" if operation is Operation.AUTHORIZE else "automatic"
        return await prepared(self.stripe, self.account, token=token, capture=capture)

    async def _refund(self, amount_minor: int) -> Subject:
        attempt = await paid(self.stripe, self.account)
        return Subject(attempt, new_refund(self.stripe, attempt, amount_minor))

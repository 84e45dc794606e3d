"""Stripe's disputes, payouts, charges and events before its stand-in."""

from collections.abc import Mapping
from typing import Final

from strongroom.clock import SystemClock
from strongroom.gateways.stripe.history import StripeHistory
from strongroom.gateways.stripe.settlement import StripeSettlement
from tests.conformance.aftermath import TELLS, Task
from tests.conformance.braintree_aftermath import strike
from tests.integration.stripe_adapter.asking import Keys, account_at
from tests.sandbox.conftest import SECRET_KEY, RunningStripe

CANNOT: Final[Mapping[tuple[Task, str], str]] = {}
STATUSES: Final = {"needs_response": "open", "under_review": "submitted", "lost": "given in"}


class StripeAftermath:
    """One server for all cells."""

    tasks: Mapping[Task, str] = {
        Task.DISPUTE: "disputes.retrieve",
        Task.DISPUTES: "disputes.list",
        Task.STAGE: "disputes.update",
        Task.SUBMIT: "disputes.update",
        Task.GIVE_IN: "disputes.close",
        Task.PAYOUT: "payouts.retrieve",
        Task.PAYOUTS: "payouts.list",
        Task.CHARGES: "charges.list",
        Task.EVENTS: "events.list",
    }

    def __init__(self, server: RunningStripe) -> None:
        self.server = server
        self.account = account_at(server.url)
        clock, keys = SystemClock(), Keys(SECRET_KEY)
        self.gateway = StripeSettlement(clock, keys, mode="dev")
        self.charges = self.history = StripeHistory(clock, keys, "dev")

    def dispute(self) -> str:
        made = self.server.control("POST", "/_disputes", {"payment_intent": self._paid("eur")})
        return str(made["id"])

    def payout(self) -> str:
        self._paid("usd")
        return str(self.server.control("POST", "/_payouts", {"currency": "usd"})["id"])

    def standing(self, dispute: str) -> tuple[str, int]:
        found = self.server.client().v1.disputes.retrieve(dispute)
        texts = found.evidence.to_dict().values()
        return STATUSES[found.status], sum(isinstance(one, str) for one in texts)

    def strike(self, task: Task, fault: str) -> None:
        strike(self.server, self.tasks[task], fault, once=task in TELLS)

    def calm(self) -> None:
        self.server.control("DELETE", "/_knobs")

    async def close(self) -> None:
        self.calm()
        await self.gateway.close()
        await self.history.close()

    def _paid(self, currency: str) -> str:
        made = self.server.client().v1.payment_intents.create(
            {
                "amount": 1000,
                "currency": currency,
                "payment_method": "pm_card_visa",
                "confirm": True,
                "return_url": "https://shop.example/",
            }
        )
        return made.id

"""Braintree's disputes, payouts and charges before its stand-in."""

from collections.abc import Mapping
from typing import Any, Final

from strongroom.clock import SystemClock
from strongroom.gateways.braintree.history import BraintreeCharges
from strongroom.gateways.braintree.settlement import BraintreeSettlement
from tests.conformance.aftermath import CASES, TELLS, Task
from tests.conformance.matrix import Condition
from tests.integration.braintree_adapter.selling import KEYS, Keys, account_at
from tests.sandbox.braintree_server import RunningBraintree

NO_EVENTS: Final = (
    "Braintree lists no events (its SDK's `webhook_notification` has parse and verify alone); what "
    "webhooks tell of is asked for by these lists, and by looks at payments until they settled"
)
UNREAD: Final = (
    "nothing of its answer is read beside a refusal (`dispute_gateway` of the SDK): the dispute is "
    "looked at afterwards"
)
CANNOT: Final[Mapping[tuple[Task, str], str]] = {
    (Task.EVENTS, case): NO_EVENTS for case in CASES
} | {(task, str(Condition.MALFORMED)): UNREAD for task in (Task.SUBMIT, Task.GIVE_IN)}
STATUSES: Final = {"open": "open", "disputed": "submitted", "accepted": "given in"}


class BraintreeAftermath:
    """One server for all cells."""

    tasks: Mapping[Task, str] = {
        Task.DISPUTE: "disputes.find",
        Task.DISPUTES: "disputes.search",
        Task.STAGE: "disputes.add_evidence",
        Task.SUBMIT: "disputes.finalize",
        Task.GIVE_IN: "disputes.accept",
        Task.PAYOUT: "transactions.search_page",
        Task.PAYOUTS: "transactions.search",
        Task.CHARGES: "transactions.search_page",
    }
    history = None

    def __init__(self, server: RunningBraintree) -> None:
        self.server, self.account = server, account_at(server.url)
        clock, keys = SystemClock(), Keys(KEYS)
        self.gateway = BraintreeSettlement(clock, keys, mode="dev")
        self.charges = BraintreeCharges(clock, keys, "dev")
        self.calm()

    def dispute(self) -> str:
        sold = self.server.settled(merchant_account_id="eur")
        made = self.server.control("POST", "/_disputes", {"transaction": sold.id})
        return str(made["id"])

    def payout(self) -> str:
        self.server.settled(merchant_account_id="usd")
        made = self.server.control("POST", "/_disbursements", {"merchant_account": "usd"})
        part = self.server.gateway().transaction.find(made["transactions"][0])
        return f"usd@{part.disbursement_details.disbursement_date:%Y-%m-%d}"

    def standing(self, dispute: str) -> tuple[str, int]:
        page = self.server.control("GET", "/_ledger/disputes")
        [held] = [one for one in page["data"] if one["id"] == dispute]
        return STATUSES[held["status"]], len(held.get("evidence", ()))

    def strike(self, task: Task, fault: str) -> None:
        strike(self.server, self.tasks[task], fault, once=task in TELLS)

    def calm(self) -> None:
        self.server.control("PUT", "/_knobs", {"search_lag_seconds": 0})

    async def close(self) -> None:
        self.server.control("DELETE", "/_knobs")
        await self.gateway.close()
        await self.charges.close()


def strike(server: Any, operation: str, fault: str, *, once: bool) -> None:
    """The operation meets the fault at a stand-in."""
    match: dict[str, object] = {"operation": operation} | ({"first_n": 1} if once else {})
    more = {"hold_seconds": 5} if fault.startswith("withhold") else {}
    server.knobs({"match": match, "fault": fault, **more}, search_lag_seconds=0)

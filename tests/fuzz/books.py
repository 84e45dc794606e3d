"""What came of all payments in the end, held against what the stand-in really took."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import requests
from msgspec import Struct

from strongroom.clock import monotonic_seconds
from strongroom.gateways.stripe.money import from_stripe
from tests.fuzz.oracle import Wrong, check_sums
from tests.fuzz.walks import Target

PAGE: Final = 100
LEDGER_PAGE: Final = 10_000
SETTLE_SECONDS_MAX: Final = 90.0
LOOK_SECONDS: Final = 1.0

View = dict[str, Any]


class Books(Struct, frozen=True):
    """How far the payments came."""

    payments: dict[str, int]
    refunds: dict[str, int]
    captured_by_hand: int
    refunded: int
    charges: int

    def table(self) -> str:
        """Everything, for people."""
        lines = [f"payments: {shown(self.payments)}", f"refunds: {shown(self.refunds)}"]
        lines.append(
            f"captured by a capture: {self.captured_by_hand}, with money given back: "
            f"{self.refunded}, charges at the gateway: {self.charges}"
        )
        return "\n".join(lines)


def shown(counts: dict[str, int]) -> str:
    """Counts on one line, the largest first."""
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items(), key=lambda p: -p[1]))


def close_books(target: Target, stripe_url: str, knob_token: str) -> Books:
    """Waits until nothing is under way. Raises Wrong where API and ledger say different things."""
    deadline = monotonic_seconds() + SETTLE_SECONDS_MAX
    while True:
        payments = {view["id"]: view for view in pages(target, "/v1/payments")}
        under_way = [view for view in payments.values() if view["status"] == "processing"]
        if not under_way or monotonic_seconds() > deadline:
            break
        time.sleep(LOOK_SECONDS)
    if under_way:
        raise Wrong(f"{len(under_way)} payments stay processing, as {under_way[0]}")
    taken: dict[str, View] = {}
    for charge in ledger(stripe_url, knob_token):
        payment_id = charge["metadata"].get("strongroom_payment", "")
        if charge["idempotency_key"] is None:
            continue  # nothing of ours is sent without a key: a test has made it look like ours
        if payment_id in taken:
            raise Wrong(f"{payment_id} was charged twice: {charge}")
        taken[payment_id] = charge
    for view in payments.values():
        _compare(view, taken.get(view["id"]))
    refunds = list(pages(target, "/v1/refunds"))
    return Books(
        payments=dict(Counter(view["status"] for view in payments.values())),
        refunds=dict(Counter(view["status"] for view in refunds)),
        captured_by_hand=sum(
            view["capture"] == "manual" and view["captured_amount"] > 0
            for view in payments.values()
        ),
        refunded=sum(view["refunded_amount"] > 0 for view in payments.values()),
        charges=sum(payment_id in payments for payment_id in taken),
    )


def _compare(view: View, charge: View | None) -> None:
    check_sums(view)
    if view["status"] == "outcome_unknown" or view["review"] is not None:
        return
    captured = 0 if charge is None else from_stripe(charge["captured"], view["currency"])
    if view["captured_amount"] != captured:
        raise Wrong(f"the gateway took {captured} of {view}")
    if charge is not None and charge["refunded"] > charge["captured"]:
        raise Wrong(f"the gateway gave back more than it took: {charge}")


def pages(target: Target, path: str) -> Iterator[View]:
    """Everything of the first merchant."""
    query: dict[str, Any] = {"limit": PAGE}
    headers = {"Authorization": f"Bearer {target.api_key}"}
    while True:
        answer = requests.get(target.url + path, params=query, headers=headers, timeout=30)
        if answer.status_code != 200:
            raise Wrong(f"{path}: {answer.text}")
        page = answer.json()
        yield from page["data"]
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


def ledger(stripe_url: str, knob_token: str) -> Iterator[View]:
    """Every charge that took money."""
    query: dict[str, Any] = {"limit": LEDGER_PAGE}
    headers = {"X-Knob-Token": knob_token}
    while True:
        answer = requests.get(
            f"{stripe_url}/_ledger/charges", params=query, headers=headers, timeout=60
        )
        page = answer.json()
        yield from page["data"]
        if not page["has_more"]:
            return
        query["starting_after"] = page["data"][-1]["id"]

"""What has to hold at the end of a case: by our rows, our log, and the provider's ledger."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strongroom.ids import to_text
from tests.faults.judge import logged, tidied

if TYPE_CHECKING:
    from tests.faults.points.trial import Trial


async def findings_of(trial: "Trial") -> list[str]:
    """What does not hold; nothing where all is well."""
    ground, flow = trial.ground, trial.flow
    rows = await ground.fetch("SELECT * FROM payments")
    payments = {row["payment_id"]: row for row in rows}
    refunds = await ground.fetch("SELECT * FROM refunds")
    named = {to_text("pay", key) for key in payments} | trial.accepted.keys()
    there = {
        text: [
            charge
            for gateway in trial.gateways_of(text)
            for charge in await ground.charges_of(gateway, text)
        ]
        for text in named
    }
    orders = {to_text("pay", key): row["merchant_reference"] for key, row in payments.items()}
    found = [
        *_accepted(trial, payments),
        *_ended(trial, payments),
        *_charged_once(trial, payments, there),
        *charged_once_for_an_order(orders, there),
        *_given_back(trial, payments, refunds, there),
        *await logged(ground, payments),
    ]
    if flow.ends_without_jobs:
        found += await tidied(ground, payments)
    if "deliverer" in flow.parts:
        found += _told(trial, payments)
    if "signer" in flow.parts:
        found += await ground.log_findings()
    return found


def _accepted(trial: "Trial", payments: dict[Any, Any]) -> list[str]:
    stored = {to_text("pay", key): row["merchant_reference"] for key, row in payments.items()}
    found = [
        f"{text} was answered 2xx for {reference} and is {stored.get(text, 'lost')}"
        for text, reference in trial.accepted.items()
        if stored.get(text) != reference
    ]
    return found + [f"{one} was never answered" for one in stored.keys() - trial.accepted.keys()]


def _ended(trial: "Trial", payments: dict[Any, Any]) -> list[str]:
    may = trial.flow.ends | (trial.flow.endings_when_late if trial.cells else frozenset())
    return [
        f"{to_text('pay', key)} ends {row['status']} ({row['status_reason']}), {row['review']}"
        for key, row in payments.items()
        if (row["status"] not in may or row["review"])
        and not (row["status"] == "outcome_unknown" and row["review"] in trial.flow.frozen)
    ]


def _charged_once(
    trial: "Trial", payments: dict[Any, Any], there: dict[str, list[dict[str, Any]]]
) -> list[str]:
    found = []
    texts = {to_text("pay", key): row for key, row in payments.items()}
    for text, charges in there.items():
        taken = [one["captured"] for one in charges if one["kind"] == "taken"]
        held = [one["id"] for one in charges if one["kind"] == "held"]
        row = texts.get(text, {})
        ours = row.get("captured_minor", 0)
        if len(taken) > 1:
            found.append(f"{text} was charged {len(taken)} times: {taken}")
        frozen = row.get("review") in trial.flow.frozen
        unsure = frozen and row["status"] == "outcome_unknown" and trial.flow.leaps
        stands = [row.get(name) for name in ("status", "status_reason", "review")]
        if sum(taken) != ours and not unsure and not is_voided(trial.gateways_of(text), row, taken):
            found.append(f"{text} is {stands}, has captured {ours}, the gateway {taken}")
        if held and not unsure:
            found.append(f"{text} is {stands}, has ended, and money is still held: {held}")
    return found


def is_voided(gateways: Sequence[str], row: Mapping[str, Any], taken: Sequence[Any]) -> bool:
    """Whether all was given back before Braintree settled it: by a void, so that nothing is taken
    there (docs/braintree.md)."""
    whole = 0 < row.get("captured_minor", 0) == row.get("refunded_minor", 0)
    return "braintree" in gateways and whole and not taken


def charged_once_for_an_order(
    orders: dict[str, str], there: dict[str, list[dict[str, Any]]]
) -> list[str]:
    """`orders`: by payment its merchant reference; `there`: by payment the provider's charges."""
    charged: dict[str, list[str]] = defaultdict(list)
    for text, reference in orders.items():
        if any(one["kind"] == "taken" for one in there[text]):
            charged[reference].append(text)
    return [
        f"{reference} was charged by {texts}"
        for reference, texts in charged.items()
        if len(texts) > 1
    ]


def _given_back(
    trial: "Trial",
    payments: dict[Any, Any],
    refunds: list[Any],
    there: dict[str, list[dict[str, Any]]],
) -> list[str]:
    sums: dict[Any, int] = defaultdict(int)
    frozen: dict[Any, int] = defaultdict(int)
    for row in refunds:
        sums[row["payment_id"]] += row["amount_minor"] * (row["status"] == "succeeded")
        frozen[row["payment_id"]] += row["amount_minor"] * (row["review"] in trial.flow.frozen)
    found = []
    for key, row in payments.items():
        text = to_text("pay", key)
        charges = [one for one in there[text] if one["kind"] == "taken"]
        given = sum(one["refunded"] for one in charges)
        if is_voided(trial.gateways_of(text), row, charges):
            given = sums[key]
        three = (row["refunded_minor"], sums[key], given)
        beyond = given - sums[key]  # of what waits for a person, nobody knows
        agree = row["refunded_minor"] == sums[key] and beyond in (0, frozen[key])
        if not agree or row["refunding_minor"] != frozen[key]:
            found.append(f"{text} says given back, its refunds, the ledger: {three}")
    known = {to_text("ref", row["refund_id"]): row["amount_minor"] for row in refunds}
    if known != trial.refunds:
        found.append(f"refunds are {known}, answered were {trial.refunds}")
    return found


def _told(trial: "Trial", payments: dict[Any, Any]) -> list[str]:
    """Each event came, none before the one before it; some may have come twice."""
    heard = trial.ground.receiver.sequences()
    found = []
    for key, row in payments.items():
        text = to_text("pay", key)
        came = list(dict.fromkeys(heard.get(text, [])))
        if came != list(range(1, row["version"] + 1)):
            found.append(f"{text} has {row['version']} events, told were {heard.get(text)}")
    return found

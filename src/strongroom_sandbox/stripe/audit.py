"""What really happened to money, for tests: pages of charges and refunds, and sums over all.

Nothing here is Stripe's. A hold that was released is no refund: no money came back.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from strongroom_sandbox.stripe.books import Books, Charge, Refund
from strongroom_sandbox.stripe.form import pairs_of, tree_of
from strongroom_sandbox.stripe.params import Params

PAGE_LIMIT_DEFAULT = 100
PAGE_LIMIT_MAX = 10_000
KINDS = ("taken", "held", "declined", "all")
PAGING = ("payment_intent", "metadata", "limit", "starting_after")

Json = dict[str, Any]
Item = TypeVar("Item", Charge, Refund)


def charges(books: Books, query: str) -> Json:
    """Page through charges, oldest first; by default those that took money."""
    params = Params(tree_of(pairs_of(query)), (*PAGING, "kind"))
    kind, intent_id = params.choice("kind", KINDS) or "taken", params.text("payment_intent")
    found = books.charges.values() if intent_id is None else books.charges_of(intent_id)
    page, more = _page(found, params, lambda charge: _is_kind(books, charge, kind))
    return {"data": [_charge(books, charge) for charge in page], "has_more": more}


def refunds(books: Books, query: str) -> Json:
    """Page through refunds of captured money, oldest first."""
    params = Params(tree_of(pairs_of(query)), (*PAGING, "charge", "status"))
    intent_id, charge_id = params.text("payment_intent"), params.text("charge")
    status = params.text("status")
    found: Iterable[Refund] = books.refunds.values()
    if charge_id is not None:
        found = books.refunds_of(charge_id)
    elif intent_id is not None:
        of = books.charges_of(intent_id)
        found = [refund for charge in of for refund in books.refunds_of(charge.id)]
    page, more = _page(
        found, params, lambda each: not each.releases and status in (None, each.status)
    )
    return {"data": [_refund(refund) for refund in page], "has_more": more}


def summary(books: Books) -> Json:
    """Sum up by currency: taken, given back, on its way back, come back from a failed refund.

    ``over_refunded`` names charges of which more was given back than taken; ``over_asked`` counts
    requests that wanted to.
    """
    sums: Counter[str] = Counter()
    charges, over = 0, []
    for charge in books.charges.values():
        if charge.captured:
            charges += 1
            sums[charge.currency] += charge.amount_captured
            if charge.amount_refunded > charge.amount_captured:
                over.append(charge.id)
    by_status: dict[str, Counter[str]] = {
        status: Counter() for status in ("succeeded", "pending", "failed")
    }
    counts: Counter[str] = Counter()
    for refund in books.refunds.values():
        if not refund.releases:
            counts[refund.status] += 1
            by_status[refund.status][refund.currency] += refund.amount
    return {
        "intents": Counter(intent.status for intent in books.intents.values()),
        "charges": charges,
        "sums": sums,
        "refunds": counts,
        "refunded": by_status["succeeded"],
        "refund_pending": by_status["pending"],
        "refund_failed": by_status["failed"],
        "over_refunded": over,
        "over_asked": books.over_asked,
    }


def _page(
    items: Iterable[Item], params: Params, takes: Callable[[Item], bool]
) -> tuple[list[Item], bool]:
    limit = params.integer("limit") or PAGE_LIMIT_DEFAULT
    if not 1 <= limit <= PAGE_LIMIT_MAX:
        raise ValueError(f"limit must be from 1 to {PAGE_LIMIT_MAX}")
    after, wanted = params.text("starting_after"), params.metadata() or {}
    found: list[Item] = []
    skipping = after is not None
    for item in items:
        if skipping:
            skipping = item.id != after
            continue
        if takes(item) and wanted.items() <= item.metadata.items():
            found.append(item)
            if len(found) > limit:
                break
    return found[:limit], len(found) > limit


def _is_kind(books: Books, charge: Charge, kind: str) -> bool:
    match kind:
        case "taken":
            return charge.captured
        case "held":
            released = any(refund.releases for refund in books.refunds_of(charge.id))
            return charge.paid and not charge.captured and not released
        case "declined":
            return not charge.paid
        case _:
            return True


def _charge(books: Books, charge: Charge) -> Json:
    back: Counter[str] = Counter()
    for refund in books.refunds_of(charge.id):
        if not refund.releases:
            back[refund.status] += refund.amount
    return {
        "id": charge.id,
        "payment_intent": charge.payment_intent,
        "amount": charge.amount_captured if charge.captured else charge.amount,
        "currency": charge.currency,
        "metadata": charge.metadata,
        "time": charge.created if charge.captured_at is None else charge.captured_at,
        "idempotency_key": charge.idempotency_key,
        "payment_method": charge.payment_method,
        "customer": charge.customer,
        "taken": charge.captured,
        "captured": charge.amount_captured,
        "refunded": back["succeeded"],
        "refund_pending": back["pending"],
        "refund_failed": back["failed"],
    }


def _refund(refund: Refund) -> Json:
    return {
        "id": refund.id,
        "charge": refund.charge,
        "payment_intent": refund.payment_intent,
        "amount": refund.amount,
        "currency": refund.currency,
        "status": refund.status,
        "failure_reason": refund.failure_reason,
        "metadata": refund.metadata,
        "time": refund.created,
        "idempotency_key": refund.idempotency_key,
    }

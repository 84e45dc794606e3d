"""What really happened to money, for tests: pages of sales and refunds, and sums over all.

Nothing here is Braintree's. Amounts are integers of the minor unit. A sale is ``taken`` once it was
submitted for settlement and nothing undid it, ``held`` while it is merely authorized.
"""

from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from strongroom_sandbox.braintree.books import Books, Transaction

PAGE_LIMIT_DEFAULT = 100
PAGE_LIMIT_MAX = 10_000
KINDS = ("taken", "held", "declined", "all")
FILTERS = ("kind", "order_id", "order_prefix", "limit", "starting_after", "transaction")

Json = dict[str, Any]


def charges(books: Books, query: str) -> Json:
    """Page through sales, oldest first; by default those that take money. Raises ValueError."""
    asked = _asked(query)
    kind = asked.get("kind", "taken")
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}")
    found = [
        one for one in books.transactions.values()
        if one.kind == "sale" and kind in ("all", _kind(one)) and _is_asked(one, asked)
    ]  # fmt: skip
    return _page([_charge(books, one) for one in found], asked)


def refunds(books: Books, query: str) -> Json:
    """Page through refunds, oldest first. Raises ValueError."""
    asked = _asked(query)
    found = [
        one for one in books.transactions.values()
        if one.kind == "credit" and _is_asked(one, asked)
        and asked.get("transaction") in (None, one.refunded_transaction)
    ]  # fmt: skip
    return _page([_refund(one) for one in found], asked)


def summary(books: Books) -> Json:
    """Sum up by currency what was taken and given back.

    ``over_refunded`` names sales of which more was given back than taken; ``over_asked`` counts
    requests that wanted to; ``twice`` names orders that took money more than once.
    """
    sums: Counter[str] = Counter()
    back: Counter[str] = Counter()
    orders: Counter[str] = Counter()
    over = []
    for one in books.transactions.values():
        if not one.taken:
            continue
        if one.kind == "credit":
            back[one.currency] += one.amount
            continue
        sums[one.currency] += one.amount
        orders[one.order_id or one.id] += 1
        if _back(books, one) > one.amount:
            over.append(one.id)
    statuses = Counter(one.status for one in books.transactions.values())
    return {
        "transactions": statuses,
        "charges": sum(orders.values()),
        "sums": sums,
        "refunded": back,
        "over_refunded": over,
        "over_asked": books.over_asked,
        "twice": [order for order, count in orders.items() if count > 1],
    }


def _asked(query: str) -> dict[str, str]:
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if not set(asked) <= set(FILTERS):
        raise ValueError(f"ask by {', '.join(FILTERS)}")
    return asked


def _is_asked(one: Transaction, asked: dict[str, str]) -> bool:
    order = one.order_id or ""
    return asked.get("order_id", order) == order and order.startswith(asked.get("order_prefix", ""))


def _page(found: list[Json], asked: dict[str, str]) -> Json:
    limit = int(asked.get("limit", PAGE_LIMIT_DEFAULT))
    if not 1 <= limit <= PAGE_LIMIT_MAX:
        raise ValueError(f"limit must be from 1 to {PAGE_LIMIT_MAX}")
    after = asked.get("starting_after")
    if after is not None:
        places = [number for number, each in enumerate(found) if each["id"] == after]
        found = found[places[0] + 1 :] if places else []
    return {"data": found[:limit], "has_more": len(found) > limit}


def _kind(one: Transaction) -> str:
    if one.taken:
        return "taken"
    return "held" if one.status == "authorized" else "declined"


def _back(books: Books, sold: Transaction) -> int:
    refunds = (books.transactions[each] for each in sold.refunds)
    return sum(each.amount for each in refunds if each.taken)


def _charge(books: Books, one: Transaction) -> Json:
    return {
        "id": one.id,
        "order_id": one.order_id,
        "status": one.status,
        "amount": one.amount,
        "currency": one.currency,
        "merchant_account_id": one.merchant_account,
        "time": one.created,
        "api_request_key": one.api_request_key,
        "payment_method": one.nonce or one.token,
        "taken": one.taken,
        "captured": one.amount if one.taken else 0,
        "refunded": _back(books, one),
    }


def _refund(one: Transaction) -> Json:
    return {
        "id": one.id,
        "transaction": one.refunded_transaction,
        "order_id": one.order_id,
        "status": one.status,
        "amount": one.amount,
        "currency": one.currency,
        "time": one.created,
        "api_request_key": one.api_request_key,
        "taken": one.taken,
    }

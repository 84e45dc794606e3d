"""Transaction search: first the ids that meet all criteria, then pages of them.

It lags: a transaction is found only once ``search_lag_seconds`` have passed since it was made. An
empty answer therefore proves nothing, as with Braintree.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from strongroom_sandbox.braintree.books import Transaction
from strongroom_sandbox.braintree.currencies import whole_units
from strongroom_sandbox.braintree.errors import Refused
from strongroom_sandbox.braintree.scene import Scene
from strongroom_sandbox.braintree.wire import Tree

PAGE_SIZE = 50
IDS_MAX = 20_000
CRITERIA_MAX = 20
DAY_SECONDS = 24 * 3600

TEXTS: dict[str, Callable[[Transaction], str | None]] = {
    "id": lambda one: one.id,
    "order_id": lambda one: one.order_id,
    "currency": lambda one: one.currency,
    "customer_id": lambda one: one.customer,
    "payment_method_token": lambda one: one.token,
}
LISTS: dict[str, Callable[[Transaction], str | None]] = {
    "ids": lambda one: one.id,
    "status": lambda one: one.status,
    "type": lambda one: one.kind,
    "merchant_account_id": lambda one: one.merchant_account,
    "credit_card_card_type": lambda one: one.card.brand,
}
TIMES: dict[str, Callable[[Transaction], int | None]] = {
    "created_at": lambda one: one.created,
    "authorized_at": lambda one: _since(one, "authorized"),
    "submitted_for_settlement_at": lambda one: _since(one, "submitted_for_settlement"),
    "settled_at": lambda one: _since(one, "settled"),
    "voided_at": lambda one: _since(one, "voided"),
    "processor_declined_at": lambda one: _since(one, "processor_declined"),
    "gateway_rejected_at": lambda one: _since(one, "gateway_rejected"),
    "disbursement_date": lambda one: one.disbursed_on,
    "authorization_expired_at": lambda one: _since(one, "authorization_expired"),
}
COMPARE: dict[str, Callable[[str, str], bool]] = {
    "is": lambda held, asked: held.lower() == asked.lower(),
    "is_not": lambda held, asked: held.lower() != asked.lower(),
    "starts_with": lambda held, asked: held.lower().startswith(asked.lower()),
    "ends_with": lambda held, asked: held.lower().endswith(asked.lower()),
    "contains": lambda held, asked: asked.lower() in held.lower(),
}


def find_ids(scene: Scene, criteria: Any) -> list[str]:
    """Ids of what meets the criteria, newest first. Raises Refused (400) for unknown criteria."""
    return [one.id for one in _found(scene, criteria)][:IDS_MAX]


def find_page(scene: Scene, criteria: Any) -> list[Transaction]:
    """What meets the criteria, at most a page of it; they have to name ids."""
    return _found(scene, criteria)[:PAGE_SIZE]


def _found(scene: Scene, criteria: Any) -> list[Transaction]:
    tests = _tests(criteria)
    seen = scene.now - scene.knobs.search_lag_seconds
    ids = criteria.get("ids")
    books = scene.books
    some: Iterable[Transaction] = books.transactions.values()
    asked = criteria.get("order_id")
    order = asked.get("is") if isinstance(asked, dict) else None
    if isinstance(ids, list):
        named = [each for each in ids if isinstance(each, str)]
        some = [books.transactions[each] for each in named if each in books.transactions]
    elif isinstance(order, str):
        some = books.with_order(order)
    found = [one for one in some if one.created <= seen and all(test(one) for test in tests)]
    return found if isinstance(ids, list) else found[::-1]


def _tests(criteria: Any) -> list[Callable[[Transaction], bool]]:
    if not isinstance(criteria, dict) or not 0 < len(criteria) <= CRITERIA_MAX:
        raise Refused(400, "no criteria")
    return [_test(name, asked) for name, asked in criteria.items()]


def _test(name: str, asked: Any) -> Callable[[Transaction], bool]:
    if name in LISTS and isinstance(asked, list):
        return lambda one: LISTS[name](one) in asked
    if not isinstance(asked, dict):
        raise Refused(400, f"cannot search by {name[:40]}")
    if not all(isinstance(value, str | None) for value in asked.values()):
        raise Refused(400, f"cannot search by {name[:40]}")
    if name in TEXTS and all(key in COMPARE for key in asked):
        return lambda one: all(
            COMPARE[key](TEXTS[name](one) or "", value or "") for key, value in asked.items()
        )
    if name in TIMES:
        low, high = _range(asked, _seconds)
        return lambda one: within(TIMES[name](one), low, high)
    if name == "amount":
        least, most = _range(asked, Decimal)
        return lambda one: within(whole_units(one.amount, one.currency), least, most)
    raise Refused(400, f"cannot search by {name[:40]}")


def _range(asked: Tree, read: Callable[[str], Any]) -> tuple[Any, Any]:
    if not set(asked) <= {"min", "max", "is"}:
        raise Refused(400, "a range has min and max")
    try:
        bounds = {key: read(value) for key, value in asked.items() if value is not None}
    except (ValueError, InvalidOperation):
        raise Refused(400, "a range that cannot be read") from None
    return bounds.get("is", bounds.get("min")), bounds.get("is", bounds.get("max"))


def day_range(asked: Any) -> tuple[int | None, int | None]:
    """The bounds of a range of days, each whole. Raises Refused (400)."""
    if not isinstance(asked, dict):
        raise Refused(400, "a range has min and max")
    low, high = _range(asked, _seconds)
    last = None if high is None else high - high % DAY_SECONDS + DAY_SECONDS - 1
    return (None if low is None else low - low % DAY_SECONDS), last


def within(held: Any, low: Any, high: Any) -> bool:
    """Whether it lies in a range, whose bounds belong to it."""
    return held is not None and (low is None or low <= held) and (high is None or held <= high)


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "")).replace(tzinfo=UTC).timestamp())


def _since(one: Transaction, status: str) -> int | None:
    return next((each.at for each in one.history if each.status == status), None)

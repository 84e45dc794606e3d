"""Disbursements at Braintree, as payouts.

They cannot be asked for: "there are no alternative ways for retrieving the disbursement object"
than its webhook (developer.paypal.com/braintree/docs/guides/reports/webhooks). But there is one for
each merchant account and day, and each Transaction says on which day it was paid out. So a payout
is known here by merchant account and day, and what Transactions say of that day is what it is. Its
fees are not among that, nor what banks have taken back: Braintree accounts for both apart.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, Final

from braintree import BraintreeGateway, TransactionSearch
from braintree.exceptions import NotFoundError

from strongroom.clock import monotonic_seconds
from strongroom.gateways.braintree.connections import Heard
from strongroom.gateways.braintree.marks import attempt_of, refund_of
from strongroom.gateways.braintree.money import from_braintree
from strongroom.payments.states import Unknown
from strongroom.settlement.payouts import ItemSeen, PayoutSeen, PayoutStatus
from strongroom.settlement.port import (
    ListAnswer,
    Listed,
    NoSuchObject,
    PayoutLook,
    PayoutReturned,
    PayoutShown,
)

PARTS_MAX: Final = 2_000
"""Transactions of one payout; they are shown fifty at a time, within one call's deadline."""
ACCOUNTS_MAX: Final = 20
LIST_SECONDS_MAX: Final = 8.0
"""For a list, well within a call's deadline; the days that are left are asked for at once."""
DAYS_MIN: Final = 3
"""However long that takes: a list begins a day before the end of the last one."""
DAYS_MAX: Final = 31
"""So far back the first list goes, and one after a long outage."""
SEARCH_LAG_MAX: Final = timedelta(days=2)
"""So long an empty search proves nothing at all."""
EXCEPTION: Final = "disbursement_exception"
HELD: Final = "funds_held"
_PAYOUT: Final = re.compile(r"([A-Za-z0-9_-]{1,64})@([0-9]{4}-[0-9]{2}-[0-9]{2})")


def payout_id_of(merchant_account: object, day: object) -> str | None:
    """By what we know the disbursement of a merchant account on a day."""
    if not isinstance(merchant_account, str) or not isinstance(day, date):
        return None
    made = f"{merchant_account}@{day:%Y-%m-%d}"
    return made if _PAYOUT.fullmatch(made) else None


def list_payouts(gateway: BraintreeGateway, since: datetime | None, now: datetime) -> ListAnswer:
    """The days since then on which a merchant account was paid out, as far as there is time."""
    ends = monotonic_seconds() + LIST_SECONDS_MAX
    accounts = gateway.merchant_account.all().merchant_accounts.items
    names = [one.id for one in islice(accounts, ACCOUNTS_MAX + 1)]
    if len(names) > ACCOUNTS_MAX:
        return Unknown("too_many")
    oldest = now - timedelta(days=DAYS_MAX)
    first = max(since or oldest, oldest).date()
    paid = [name for name in names if _any(gateway, name, first, None)]
    found: list[str] = []
    # A day ahead: where Braintree's day begins is not said.
    for n in range((now.date() - first).days + 2):
        day = first + timedelta(days=n)
        if n >= DAYS_MIN and monotonic_seconds() > ends and day < now.date():
            return Listed(tuple(found), _begins(day))
        found += [f"{name}@{day:%Y-%m-%d}" for name in paid if _any(gateway, name, day, day)]
    return Listed(tuple(found))


def _any(gateway: BraintreeGateway, account: str, first: date, last: date | None) -> bool:
    """Whether something was paid out to the merchant account, by ids alone."""
    days = TransactionSearch.disbursement_date
    within = days >= first if last is None else days.between(first, last)
    of_account = TransactionSearch.merchant_account_id.in_list([account])
    return bool(list(gateway.transaction.search(within, of_account).ids))


def look_at_payout(
    gateway: BraintreeGateway, object_id: str, known: Sequence[str], now: datetime
) -> Heard[PayoutLook]:
    """What was paid out to a merchant account on a day. `known`: parts that it had before."""
    named = _PAYOUT.fullmatch(object_id)
    try:
        account, day = (named[1], date.fromisoformat(named[2])) if named else ("", date.min)
    except ValueError:
        account, day = "", date.min
    if not account:
        return Heard(NoSuchObject())
    of_account = TransactionSearch.merchant_account_id.in_list([account])
    found = list(islice(gateway.transaction.search(_on(day), of_account).items, PARTS_MAX + 1))
    if len(found) > PARTS_MAX:
        return Heard(Unknown("too_many"))
    parts = [one for one in found if _is_part(one, account, day)]
    if parts:
        return _shown(object_id, parts, day)
    # An empty search proves nothing: what was part of it is asked by its id.
    for transaction_id in known:
        if _is_part(gateway.transaction.find(transaction_id), account, day):
            return Heard(Unknown("not_shown_yet"))
    if known:
        return Heard(PayoutReturned(EXCEPTION), object_id, "returned")
    try:
        gateway.merchant_account.find(account)
    except NotFoundError:
        return Heard(NoSuchObject())
    is_new = now - _begins(day) < SEARCH_LAG_MAX
    return Heard(Unknown("not_shown_yet") if is_new else NoSuchObject())


def _begins(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _on(day: date) -> Any:
    return TransactionSearch.disbursement_date.between(day, day)


def _is_part(found: Any, account: str, day: date) -> bool:
    """Whether the Transaction itself says so, whatever brought it here."""
    paid_on = getattr(found.disbursement_details, "disbursement_date", None)
    return bool(paid_on == day and found.merchant_account_id == account)


def _shown(object_id: str, parts: Sequence[Any], day: date) -> Heard[PayoutLook]:
    currencies = {str(one.disbursement_details.settlement_currency_iso_code) for one in parts}
    if len(currencies) != 1:
        return Heard(Unknown("several_currencies"))
    currency = currencies.pop().upper()
    items = [_item(one, currency) for one in parts]
    if any(item is None for item in items):
        return Heard(Unknown("amount_not_representable"))
    told = tuple(item for item in items if item is not None)
    details = [one.disbursement_details for one in parts]
    status: PayoutStatus = "paid"
    reason: str | None = None
    if any(getattr(one, "success", None) is not True for one in details):
        status, reason = "failed", EXCEPTION
    elif any(getattr(one, "funds_held", None) is True for one in details):
        status, reason = "pending", HELD
    begins = _begins(day)
    seen = PayoutSeen(
        object_id=object_id,
        status=status,
        status_reason=reason,
        amount_minor=sum(item.amount_minor for item in told),
        currency=currency,
        arrives_at=begins,
        opened_at=begins,
    )
    return Heard(PayoutShown(seen, told), object_id, status)


def _item(found: Any, currency: str) -> ItemSeen | None:
    """One Transaction; a credit is what went back."""
    minor = from_braintree(found.disbursement_details.settlement_amount, currency)
    if minor is None:
        return None
    mark = attempt_of(found.order_id)
    is_credit = found.type == "credit"
    return ItemSeen(
        item_id=found.id,
        kind="refund" if is_credit else "charge",
        amount_minor=-minor if is_credit else minor,
        fee_minor=0,
        currency=currency,
        source_id=found.id,
        intent_id=None if is_credit else found.id,
        payment_id=mark[0] if mark and not is_credit else None,
        attempt_no=mark[1] if mark and not is_credit else None,
        refund_id=refund_of(found.order_id) if is_credit else None,
    )

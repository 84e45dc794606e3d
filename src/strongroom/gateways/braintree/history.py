"""Braintree's past: its charges, found by when they were made.

It lists no events: what a webhook told is told once (`braintree.webhook_notification_gateway` has
`parse` and `verify` alone). What was missed is learnt by asking for what webhooks are about:
payments and refunds are looked at until they settled, disputes and payouts are listed.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from braintree import BraintreeGateway, TransactionSearch

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.braintree.connections import Connections, Heard
from strongroom.gateways.braintree.marks import attempt_of
from strongroom.gateways.braintree.money import from_braintree
from strongroom.gateways.braintree.reading import REFUNDABLE, SETTLED, TAKEN, VOIDABLE
from strongroom.gateways.history import CURSOR_GONE, Charged, NotListed, Page, Window
from strongroom.gateways.port import Account, Credentials
from strongroom.payments.states import NotSent, Unknown

PAGE_ITEMS_MAX: Final = 250
"""They are shown fifty at a time, all within one call's deadline."""
SEARCH_LAG_MAX: Final = timedelta(hours=1)
"""A search may not show what was made just before; so each goes back further by this."""
HOLDS_MONEY: Final = sorted(TAKEN | SETTLED | VOIDABLE | REFUNDABLE)
_SECOND: Final = timedelta(seconds=1)


class BraintreeCharges:
    """One for all of a process's Braintree accounts."""

    def __init__(self, clock: Clock, credentials: Credentials, mode: Mode) -> None:
        self._connections = Connections(clock, credentials, mode)

    async def charges(
        self, account: Account, window: Window, cursor: str | None
    ) -> Page[Charged] | NotListed:
        """See Charges. A page is a stretch of time; the cursor is the end of the next one."""
        since = window.since - SEARCH_LAG_MAX
        try:
            until = window.until if cursor is None else datetime.fromisoformat(cursor)
        except ValueError:
            return CURSOR_GONE
        said, _ = await self._connections.ask(
            account, "search_charges", lambda gateway: Heard(_page(gateway, since, until))
        )
        return NotListed(said.why) if isinstance(said, NotSent | Unknown) else said

    async def close(self) -> None:
        """Lets go of connections."""
        self._connections.close()


def _page(gateway: BraintreeGateway, since: datetime, until: datetime) -> Page[Charged] | NotListed:
    """The newest of them: as long a stretch up to `until` as fits into a page."""
    since, until = since.replace(microsecond=0), until.replace(microsecond=0)
    first = since
    while True:
        found = _search(gateway, first, until)
        number = len(list(found.ids))
        if number <= PAGE_ITEMS_MAX:
            break
        if until - first < _SECOND:
            return NotListed("too_many_in_a_second")
        first = until - ((until - first) // 2)
        first = first.replace(microsecond=0) + (_SECOND if first.microsecond else timedelta())
    return Page(
        items=[_read(one) for one in found.items],
        seen=number,
        cursor=(first - _SECOND).isoformat() if first > since else None,
        reached_at=first,
    )


def _search(gateway: BraintreeGateway, first: datetime, last: datetime) -> Any:
    return gateway.transaction.search(
        TransactionSearch.created_at.between(first.astimezone(UTC), last.astimezone(UTC)),
        TransactionSearch.type.in_list(["sale"]),
        TransactionSearch.status.in_list(HOLDS_MONEY),
    )


def _read(found: Any) -> Charged:
    currency, made_at = str(found.currency_iso_code).upper(), found.created_at
    mark = attempt_of(found.order_id)
    return Charged(
        charge_id=found.id,
        object_id=found.id,
        amount_minor=from_braintree(found.amount, currency) or 0,
        currency=currency,
        happened_at=made_at.replace(tzinfo=UTC) if made_at.tzinfo is None else made_at,
        payment_id=mark[0] if mark else None,
        attempt_no=mark[1] if mark else None,
    )

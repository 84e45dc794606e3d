"""Payouts at Stripe, and the balance transactions that each has paid out."""

from datetime import UTC, datetime
from typing import Any, Final, get_args

import stripe
from msgspec.structs import replace
from stripe import StripeClient

from strongroom.clock import monotonic_seconds
from strongroom.gateways.stripe.errors import CODE_CHARACTERS_MAX
from strongroom.gateways.stripe.metadata import attempt_no_of, payment_id_of, refund_id_of
from strongroom.gateways.stripe.money import from_stripe
from strongroom.payments.states import Unknown
from strongroom.settlement.payouts import ItemSeen, PayoutSeen, PayoutStatus
from strongroom.settlement.port import PayoutLook, PayoutShown

PAGE_SIZE: Final = 100
LIST_SECONDS_MAX: Final = 8.0
"""A payout whose movements take longer is shown without them: they are asked for again."""
ITS_OWN: Final = frozenset({"payout", "payout_cancel", "payout_failure"})
"""Movements that are the payout itself."""
_STATUSES: Final[frozenset[str]] = frozenset(get_args(PayoutStatus))

Found = tuple[stripe.Payout, list[Any] | None]


async def fetch_payout(client: StripeClient, object_id: str) -> Found:
    """The Payout and its balance transactions; None where Stripe does not tell of them, or not yet.

    Stripe knows those of automatic payouts alone (docs.stripe.com/api/balance_transactions/list).
    """
    ends = monotonic_seconds() + LIST_SECONDS_MAX
    payout = await client.v1.payouts.retrieve_async(object_id)
    if payout.reconciliation_status != "completed":
        return payout, None
    seen: list[Any] = []
    asked: dict[str, Any] = {"payout": object_id, "limit": PAGE_SIZE, "expand": ["data.source"]}
    while monotonic_seconds() < ends:
        page = await client.v1.balance_transactions.list_async(asked)  # type: ignore[arg-type]
        seen += page.data
        if not page.has_more:
            return payout, seen
        asked["starting_after"] = page.data[-1].id
    return payout, None


def read_payout(found: Found, object_id: str) -> PayoutLook:
    """What a Payout shows, in our words; Unknown for what we have no word for."""
    payout, movements = found
    status: Any = payout.status
    if payout.id != object_id:
        return Unknown("another_object")
    if status not in _STATUSES:
        return Unknown("unexpected_status")
    currency = payout.currency.upper()
    amount_minor = from_stripe(payout.amount, currency)
    if amount_minor is None:
        return Unknown("amount_not_representable")
    code = payout.failure_code
    seen = PayoutSeen(
        object_id=payout.id,
        status=status,
        status_reason=None if code is None else str(code)[:CODE_CHARACTERS_MAX],
        amount_minor=amount_minor,
        currency=currency,
        arrives_at=datetime.fromtimestamp(payout.arrival_date, UTC),
        opened_at=datetime.fromtimestamp(payout.created, UTC),
    )
    if movements is None:
        return PayoutShown(seen, None)
    items = tuple(_item(one) for one in movements if one.type not in ITS_OWN)
    return PayoutShown(seen, items)


def _item(found: Any) -> ItemSeen:
    """Raises ValueError for an amount that is none of ours: the look has then failed."""
    currency = found.currency.upper()
    amount, fee = from_stripe(found.amount, currency), from_stripe(found.fee, currency)
    if amount is None or fee is None:
        raise ValueError("an amount that cannot be said in our minor units")
    source = found.source
    source_id = source if isinstance(source, str) or source is None else source.id
    item = ItemSeen(
        item_id=found.id,
        kind=str(found.type)[:CODE_CHARACTERS_MAX],
        amount_minor=amount,
        fee_minor=fee,
        currency=currency,
        source_id=source_id,
    )
    metadata = getattr(source, "metadata", None)
    match getattr(source, "object", None):
        case "charge":
            return replace(
                item,
                intent_id=source.payment_intent,
                payment_id=payment_id_of(metadata),
                attempt_no=attempt_no_of(metadata),
            )
        case "refund":
            return replace(item, refund_id=refund_id_of(metadata))
        case _:
            return item

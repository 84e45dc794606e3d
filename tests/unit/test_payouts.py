"""What becomes of a payout by what the gateway shows."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from strongroom.settlement.payouts import (
    ITEMISED_EVERY,
    ITEMISED_FOR,
    OPEN_EVERY,
    PAID_AFTER,
    NewPayout,
    PayoutSeen,
    next_look,
    payout_seen,
)
from tests.unit.examples import ACCOUNT, ENTITY, START

NEW = NewPayout(
    legal_entity_id=ENTITY, payout_id=UUID(int=7), digest_salt=bytes(16), gateway="stripe",
    gateway_account_id=ACCOUNT,
)  # fmt: skip


def seen(status: Any = "pending", **fields: Any) -> PayoutSeen:
    given: dict[str, Any] = {
        "object_id": "po_1", "status": status, "status_reason": None, "amount_minor": 900,
        "currency": "EUR", "arrives_at": START + timedelta(days=2), "opened_at": START,
    }  # fmt: skip
    return PayoutSeen(**given | fields)


def test_each_change_is_a_version_with_its_event():
    first, kind = payout_seen(None, seen(), itemised=False, new=NEW, now=START)
    assert (first.version, kind) == (1, "payout.pending")
    same, kind = payout_seen(first, seen(), itemised=False, new=NEW, now=START)
    assert (same, kind) == (first, None)
    later = START + timedelta(days=1)
    listed, kind = payout_seen(first, seen(), itemised=True, new=NEW, now=later)
    assert (listed.version, listed.itemised, kind) == (2, True, "payout.changed")
    paid, kind = payout_seen(listed, seen("paid"), itemised=False, new=NEW, now=later)
    assert (paid.version, paid.itemised, kind) == (3, True, "payout.paid")
    failed, kind = payout_seen(
        paid, seen("failed", status_reason="account_closed"), itemised=True, new=NEW, now=later
    )
    assert (failed.status, failed.status_reason, kind) == (
        "failed", "account_closed", "payout.failed"
    )  # fmt: skip
    digests = {one.row_digest() for one in (first, listed, paid, failed)}
    assert len(digests) == 4


def test_what_is_paid_is_looked_at_until_no_bank_returns_it():
    paid, _ = payout_seen(None, seen("paid"), itemised=True, new=NEW, now=START)
    at, waits = paid.arrives_at, []
    while (then := next_look(paid, at)) is not None:
        waits.append(then - paid.arrives_at)
        at = then
    assert waits == list(PAID_AFTER)
    pending, _ = payout_seen(None, seen(), itemised=True, new=NEW, now=START)
    assert next_look(pending, START) == START + OPEN_EVERY
    bare, _ = payout_seen(None, seen("paid"), itemised=False, new=NEW, now=START)
    assert next_look(bare, START) == START + ITEMISED_EVERY
    by_hand = bare.arrives_at + ITEMISED_FOR
    assert next_look(bare, by_hand) == bare.arrives_at + PAID_AFTER[2]
    returned, _ = payout_seen(None, seen("failed"), itemised=False, new=NEW, now=START)
    assert next_look(returned, by_hand) is None
    failed, _ = payout_seen(None, seen("failed"), itemised=True, new=NEW, now=START)
    assert next_look(failed, START) is None

"""What becomes of a dispute and of its payment's sums, whatever comes in whatever order."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from strongroom.payments.rows import digest_in_format
from strongroom.payments.states import Payment
from strongroom.settlement.disputes import (
    ENDED_AFTER,
    MISMATCH,
    OPEN_EVERY,
    TAKES_MONEY,
    Dispute,
    NewRow,
    Seen,
    dispute_seen,
    next_look,
    waits_for_payment,
)
from tests.unit.examples import ENTITY, payment

NOW = payment().created_at

TAKEN = 1000
ACCOUNT = ENTITY
STATUSES = (
    "needs_response", "under_review", "won", "lost", "warning_needs_response",
    "warning_under_review", "warning_closed", "prevented",
)  # fmt: skip


def taken(**fields: Any) -> Payment:
    return payment(status="succeeded", amount_minor=TAKEN, captured_minor=TAKEN, **fields)


def seen(status: Any = "needs_response", amount_minor: int | None = TAKEN, **fields: Any) -> Seen:
    of = taken()
    given: dict[str, Any] = {
        "object_id": "du_1", "intent_id": "pi_1", "payment_id": of.payment_id, "attempt_no": 1,
        "status": status, "amount_minor": amount_minor, "currency": of.currency,
        "reason": "fraudulent", "evidence_due_by": NOW + timedelta(days=7), "has_evidence": False,
        "submissions": 0, "opened_at": NOW,
    }  # fmt: skip
    return Seen(**given | fields)


def new(number: int = 1) -> NewRow:
    return NewRow(
        dispute_id=type(ENTITY)(int=number), digest_salt=bytes(16), gateway="stripe",
        gateway_account_id=ACCOUNT,
    )  # fmt: skip


def see(of: Payment, known: Dispute | None, what: Seen, number: int = 1) -> tuple[Payment, Dispute]:
    decision = dispute_seen(of, known, what, new(number), NOW)
    return decision.payment, decision.dispute


def test_what_the_bank_holds_cannot_be_given_back():
    after, dispute = see(taken(refunded_minor=300), None, seen(amount_minor=500))
    assert (after.disputed_minor, after.withheld_minor, after.refundable_minor) == (500, 500, 200)
    assert (after.version, after.review) == (taken().version + 1, None)
    won, _ = see(after, dispute, seen("won", 500))
    assert (won.disputed_minor, won.withheld_minor, won.refundable_minor) == (0, 0, 700)
    lost, _ = see(after, dispute, seen("lost", 500))
    assert (lost.disputed_minor, lost.refundable_minor) == (500, 200)


def test_of_one_that_is_won_in_part_the_bank_keeps_the_rest():
    after, dispute = see(taken(), None, seen())
    won, dispute = see(after, dispute, seen("won", kept_minor=150))
    assert (dispute.status, dispute.amount_minor, dispute.disputed_minor) == ("won", TAKEN, 150)
    assert (won.disputed_minor, won.refundable_minor, won.review) == (150, 850, None)
    strange, _ = see(after, dispute, seen("won", kept_minor=150, currency="GBP"))
    assert (strange.refundable_minor, strange.review) == (0, MISMATCH)


def test_a_dispute_after_everything_went_back_withholds_nothing():
    after, _ = see(taken(refunded_minor=TAKEN), None, seen())
    assert (after.disputed_minor, after.withheld_minor, after.refundable_minor) == (TAKEN, 0, 0)
    assert after.review is None


def test_what_a_refund_that_fails_sets_free_is_withheld():
    under_way, _ = see(taken(refunding_minor=800), None, seen())
    assert under_way.withheld_minor == 200
    failed = replace(under_way, refunding_minor=0).withholding()
    assert (failed.withheld_minor, failed.refundable_minor) == (TAKEN, 0)


def test_an_inquiry_takes_nothing_until_it_becomes_a_dispute():
    after, dispute = see(taken(), None, seen("warning_needs_response"))
    assert (after.disputed_minor, after.refundable_minor) == (0, TAKEN)
    after, _ = see(after, dispute, seen("needs_response"))
    assert (after.disputed_minor, after.refundable_minor) == (TAKEN, 0)


def test_the_same_seen_again_changes_nothing():
    after, dispute = see(taken(), None, seen())
    again = dispute_seen(after, dispute, seen(), new(2), NOW + timedelta(hours=1))
    assert (again.payment, again.dispute, again.kind) == (after, dispute, None)
    more = dispute_seen(after, dispute, seen(has_evidence=True), new(2), NOW)
    assert (more.kind, more.payment.disputed_minor) == ("dispute.changed", TAKEN)
    assert more.dispute.dispute_id == dispute.dispute_id


def test_other_money_than_was_taken_is_withheld_in_full_and_frozen():
    for other in (seen(currency="GBP"), seen(amount_minor=TAKEN + 1), seen(amount_minor=None)):
        after, dispute = see(taken(), None, other)
        assert (after.review, after.refundable_minor) == (MISMATCH, 0), other
        assert after.disputed_minor == dispute.disputed_minor >= TAKEN
        assert after.withheld_minor == TAKEN
        kept, _ = see(replace(after, review="amount_mismatch"), dispute, other)
        assert kept.review == "amount_mismatch"


@given(st.lists(st.tuples(
    st.sampled_from(STATUSES), st.integers(1, 3), st.integers(0, 1500),
    st.sampled_from(("EUR", "GBP")), st.integers(0, TAKEN), st.integers(0, TAKEN),
), max_size=12))  # fmt: skip
def test_no_order_of_events_makes_a_sum_negative(steps):
    of = taken()
    disputes: dict[int, Dispute] = {}
    for status, number, amount, currency, refunding, refunded in steps:
        what = seen(status, amount, currency=currency, object_id=f"du_{number}")
        of, disputes[number] = see(of, disputes.get(number), what, number)
        if refunding + refunded <= TAKEN:
            of = replace(of, refunding_minor=refunding, refunded_minor=refunded).withholding()
        assert of.disputed_minor == sum(one.disputed_minor for one in disputes.values())
        assert of.refundable_minor >= 0
        assert 0 <= of.withheld_minor <= of.disputed_minor
        assert of.refunding_minor + of.refunded_minor + of.withheld_minor <= of.captured_minor
        for one in disputes.values():
            assert (one.disputed_minor == 0) or one.status in TAKES_MONEY


def test_it_is_looked_at_as_long_as_it_may_change():
    _, dispute = see(taken(), None, seen())
    assert next_look(dispute, NOW) == NOW + OPEN_EVERY
    _, ended = see(taken(), None, seen("lost"))
    at, waits = NOW, []
    while (at_next := next_look(ended, at)) is not None:
        waits.append(at_next - NOW)
        at = at_next
    assert waits == list(ENDED_AFTER)


def test_older_versions_digests_are_still_told():
    of = taken()
    digests = {digest_in_format(of, number) for number in (1, 2, 3)}
    assert len(digests) == 3
    disputed = replace(of, disputed_minor=5, withheld_minor=5)
    assert digest_in_format(disputed, 2) == digest_in_format(of, 2)
    assert digest_in_format(disputed, 3) != digest_in_format(of, 3)


def test_it_waits_only_until_it_is_known_what_was_taken():
    for status in ("processing", "requires_action", "outcome_unknown"):
        of = payment(status=status, amount_minor=TAKEN)
        assert waits_for_payment(of, seen())
        assert not waits_for_payment(replace(of, review="amount_mismatch"), seen())
    for status in ("authorized", "failed", "canceled", "requires_payment_method"):
        assert not waits_for_payment(payment(status=status, amount_minor=TAKEN), seen())
    assert not waits_for_payment(taken(), seen())
    assert not waits_for_payment(taken(), seen(amount_minor=TAKEN + 1)), "a person has to look"

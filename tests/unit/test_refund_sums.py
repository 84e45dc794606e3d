"""Any number of refunds of one payment, whatever is answered in whatever order."""

from datetime import timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.payments.refunds import (
    Absent,
    Refund,
    RefundAnswer,
    RefundAnswered,
    Refunded,
    Refused,
    refund_answered,
    refund_asked,
)
from strongroom.payments.states import NotPossible, NotSent, Payment, Unknown
from tests.plugins.short import share
from tests.unit.examples import START
from tests.unit.refund_examples import MOMENTS, REFUND, answered, payment_of, refund, sums_of

SOON = START + timedelta(seconds=5)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.none() | st.integers(-1, 120)),
        st.tuples(
            st.integers(0, 9),
            st.sampled_from(["pending", "succeeded", "failed", "refused", "absent", "not_sent",
                             "unknown", "more"]),
            st.sampled_from([("send", True), ("send", False), ("look", False)]),
            st.sampled_from(MOMENTS),
        ),
    ),
    max_size=40,
)  # fmt: skip


def heard(word: str, one: Refund, to: tuple[str, bool]) -> RefundAnswered:
    """An answer about this refund; `more` speaks of another amount."""
    object_id, amount = f"re_{one.refund_id.int & 0xFF}", one.amount_minor
    asked, first = to
    match word:
        case "pending" | "succeeded" | "failed" as status:
            return answered(Refunded(object_id, status, amount, "EUR"), asked=asked, first=first)
        case "more":
            return answered(
                Refunded(object_id, "succeeded", amount + 1, "EUR"), asked=to[0], first=to[1]
            )
        case _:
            others: dict[str, RefundAnswer] = {
                "refused": Refused("x"),
                "absent": Absent(),
                "not_sent": NotSent("x"),
                "unknown": Unknown("x"),
            }
            return answered(others[word], asked=asked, first=first)


@settings(max_examples=share(1500, 250), deadline=None)
@given(steps, st.integers(1, 120))
def test_never_more_is_held_and_given_back_than_was_captured(taken, captured):
    of: Payment = payment_of(captured_minor=captured)
    refunds: list[Refund] = []
    for step in taken:
        if step[0] == "ask":
            try:
                of, amount = refund_asked(of, step[1], SOON)
            except NotPossible:
                continue
            number = len(refunds)
            refund_id = UUID(int=REFUND.int + number)
            refunds.append(refund(refund_id=refund_id, amount_minor=amount))
        elif refunds:
            place, word, to, now = step
            one = refunds[place % len(refunds)]
            decision = refund_answered(of, one, heard(word, one, to), now)
            of, refunds[place % len(refunds)] = decision.payment, decision.refund
        assert (of.refunding_minor, of.refunded_minor) == sums_of(*refunds)
        assert 0 <= of.refunding_minor + of.refunded_minor <= captured
        assert min(of.refunding_minor, of.refunded_minor) >= 0
        assert 0 <= of.refundable_minor <= captured

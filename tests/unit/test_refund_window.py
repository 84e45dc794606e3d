"""How long a refund may be sent again under its key, where the gateway has none before a while."""

import pytest

from strongroom.payments.refunds import NOT_FOUND, SAME_KEY_WINDOW, Absent, NoneYet
from strongroom.payments.states import Schedule, Send
from tests.unit.examples import PART, START
from tests.unit.refund_examples import answered, refund
from tests.unit.test_refunds import OPEN, decided


@pytest.mark.parametrize("status", OPEN)
def test_one_that_waits_for_the_settlement_keeps_the_window_of_its_key(status):
    """However long that takes; once it may be there, it is sent again under its key."""
    late = START + SAME_KEY_WINDOW * 3
    before = refund(status=status, opened_at=START)
    waits = decided(before, answered(NoneYet()), late)
    assert (waits.kind, waits.refund.review, waits.refund.opened_at) == (None, None, late)
    assert isinstance(waits.effect, Schedule)
    assert waits.payment.refunding_minor == PART
    gone = decided(waits.refund, answered(Absent()), late + SAME_KEY_WINDOW / 2)
    assert gone.effect == Send()
    given_up = decided(waits.refund, answered(Absent()), late + SAME_KEY_WINDOW)
    assert given_up.refund.review == NOT_FOUND

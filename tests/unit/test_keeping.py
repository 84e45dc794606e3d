"""What becomes of a wish to save what pays: only what has paid is saved."""

from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from strongroom.customers.keeping import NEVER_MADE, POLL_SECONDS, Wish, wait_of, what_to_do
from strongroom.payments.states import Status
from tests.unit.examples import ENTITY, PAYMENT, START, attempt, payment

WISH = Wish(
    legal_entity_id=ENTITY,
    payment_id=PAYMENT,
    payment_method_id=UUID(int=1),
    customer_id=UUID(int=2),
    lease=1,
    tries=1,
    created_at=START,
)


@pytest.mark.parametrize(
    ("status", "what"),
    [
        ("requires_payment_method", "wait"),
        ("processing", "wait"),
        ("requires_action", "wait"),
        ("outcome_unknown", "wait"),
        ("authorized", "keep"),
        ("succeeded", "keep"),
        ("failed", "over"),
        ("canceled", "over"),
    ],
)
def test_what_has_paid_is_kept_and_what_cannot_pay_any_more_is_over(
    status: Status, what: str
) -> None:
    assert what_to_do(WISH, payment(status=status), attempt(), START) == what


def test_what_a_person_has_to_look_at_waits() -> None:
    frozen = payment(status="succeeded", review="settlement_declined")
    assert what_to_do(WISH, frozen, attempt(), START) == "wait"


def test_without_an_object_of_the_gateway_nothing_says_what_paid() -> None:
    paid = payment(status="succeeded")
    assert what_to_do(WISH, paid, None, START) == "wait"
    assert what_to_do(WISH, paid, attempt(gateway_object_id=None), START) == "wait"


def test_a_payment_that_may_still_be_made_is_waited_for_and_then_no_more() -> None:
    end = START + NEVER_MADE
    assert what_to_do(WISH, None, None, end - timedelta(seconds=1)) == "wait"
    assert what_to_do(WISH, None, None, end) == "drop"
    assert wait_of(WISH, None, end - timedelta(seconds=1)) == end


def test_waits_grow_to_a_minute() -> None:
    waits = [
        (wait_of(replace(WISH, tries=tries), payment(), START) - START).seconds
        for tries in range(1, 12)
    ]
    assert waits == [*POLL_SECONDS, *[POLL_SECONDS[-1]] * 3]

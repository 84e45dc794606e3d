"""Our mark on what Braintree makes for us: the order_id of a Transaction."""

import re
from typing import Final
from uuid import UUID

from strongroom.ids import MalformedId, Prefix, from_text

ATTEMPT_MAX: Final = 2**31 - 1
_ATTEMPT: Final = re.compile(r"(pay_[0-9a-z]{26})\.([1-9][0-9]{0,9})")


def attempt_of(order_id: object) -> tuple[UUID, int] | None:
    """The payment and the number of its attempt that a sale was made for, if it was for one."""
    ours = _ATTEMPT.fullmatch(order_id) if isinstance(order_id, str) else None
    payment_id = _ours("pay", ours[1]) if ours else None
    if ours is None or payment_id is None or int(ours[2]) > ATTEMPT_MAX:
        return None
    return payment_id, int(ours[2])


def refund_of(order_id: object) -> UUID | None:
    """The refund that a credit was made for, if it was for one."""
    return _ours("ref", order_id) if isinstance(order_id, str) else None


def _ours(prefix: Prefix, text: str) -> UUID | None:
    try:
        return from_text(prefix, text)
    except MalformedId:
        return None
